#!/bin/sh
# Answers out of the cache of LiteLLM's proxy 1.108.7 (`cache: true`, in memory), in front of a server like vLLM.
#
# Guess: what is cached is the answer to the same request, in the form that it had. Its documentation: it stores and
#        reuses answers "when you make the same request twice".
# Seen:  it compares the fields of OpenAI's API, and few others. vLLM's own are handed on to the server, but not compared:
#        a request with `structured_outputs` gets the free text that an earlier one without it got. So it is with
#        `chat_template_kwargs` (thinking or not), `min_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids`,
#        `bad_words` and `prompt_logprobs`. A streamed completion comes back as the events of a chat, `delta` in place
#        of `text`: a client of completions reads an empty answer with finish_reason stop. Of a streamed chat with
#        `n: 2` both answers come back as one, word by word in turn. Half a text that vLLM broke off (`abort`) is kept
#        as one that says `stop`. All this is a 200; the header `x-litellm-cache-key`, which only a cached answer has,
#        is all that tells.
# So:    send `cache: {"no-cache": true}` in the body, which is heard. Setting `enable_caching_on_provider_specific_optional_params`
#        to true beside `cache: true` has vLLM's fields compared. They are a known fault: issue 42400 of litellm, open since
#        September 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm[proxy]==1.108.7' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
KEY = "sk-" + "0123456789abcdef" * 2
FIELDS = {  # of vLLM's, one that another answer follows from
    "structured_outputs": {"json": {"type": "object"}},
    "chat_template_kwargs": {"enable_thinking": False},
    "min_p": 0.5,
    "repetition_penalty": 1.2,
    "min_tokens": 5,
    "stop_token_ids": [13],
    "bad_words": ["answer"],
    "prompt_logprobs": 1,
}
COMPARED = {"temperature": 0.5, "seed": 7, "max_tokens": 5, "response_format": {"type": "json_object"}, "top_k": 5}
asked = []  # each request that came


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        words = [f"answer {len(asked)} ", "word "]
        is_chat, choices = "chat" in self.path, range(request.get("n", 1))
        if not request.get("stream"):
            said = {"message": {"role": "assistant", "content": "".join(words)}} if is_chat else {"text": "".join(words)}
            reason = "abort" if request.get("min_tokens") == 99 else "stop"
            answer = {"choices": [{"index": 0, **said, "finish_reason": reason, "logprobs": None}]}
            answer["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
            self.say("application/json", json.dumps({**self.named(is_chat), **answer}))
            return
        events = [
            {"index": at, **({"delta": {"content": f"{at} {word}"}} if is_chat else {"text": word}), "finish_reason": None}
            for word in words
            for at in choices
        ]
        events += [{"index": at, **({"delta": {}} if is_chat else {"text": ""}), "finish_reason": "stop"} for at in choices]
        lines = [json.dumps({**self.named(is_chat), "choices": [event]}) for event in events]
        self.say("text/event-stream", "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]))

    def named(self, is_chat):
        return {"id": "1", "created": 1, "model": "m", "object": "chat.completion.chunk" if is_chat else "text_completion"}

    def say(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def send(port, path, **fields):
    """The body, and whether its headers say that it was cached."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    prompt = {"messages": [{"role": "user", "content": "Hi"}]} if "chat" in path else {"prompt": "Hi"}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    connection.request("POST", f"/v1/{path}", json.dumps({"model": "m", **prompt, **fields}), headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == 200, body
    time.sleep(0.5)  # an answer goes to the cache a moment after it was sent
    return body, "x-litellm-cache-key" in answer.headers


def events(body):
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


def is_asked_again(port, name, **fields):
    """Whether the server is asked once more where these fields are added to a request. `name`: of the pair."""
    send(port, "chat/completions", user=name)
    before = len(asked)
    _, is_cached = send(port, "chat/completions", user=name, **fields)
    assert is_cached == (len(asked) == before)
    return len(asked) > before


def twice(port, path, **fields):
    """The body of a request, and that of the same one again, which the server did not get."""
    before = len(asked)
    bodies = [send(port, path, **fields)[0] for _ in range(2)]
    assert len(asked) == before + 1, "it is not cached"
    return bodies


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
base = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
config = {
    "model_list": [{"model_name": "m", "litellm_params": {"model": "hosted_vllm/m", "api_base": base, "api_key": "none"}}],
    "litellm_settings": {"cache": True, "cache_params": {"type": "local"}},
    "general_settings": {"master_key": KEY},
}
(folder / "config.yaml").write_text(json.dumps(config))
command = [folder / "venv/bin/litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
environment = {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
    try:
        for _ in range(1800):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        again = {name: is_asked_again(port, name, **{name: value}) for name, value in {**FIELDS, **COMPARED}.items()}
        handed_on = [name for name in FIELDS if send(port, "chat/completions", user="new " + name, **{name: FIELDS[name]})
                     and asked[-1].get(name) == FIELDS[name]]
        not_cached = is_asked_again(port, "told", min_p=0.5, cache={"no-cache": True})
        streams = [events(body) for body in twice(port, "completions", stream=True)]
        chats = [events(body) for body in twice(port, "chat/completions", stream=True, n=2)]
        broken = [json.loads(body)["choices"][0] for body in twice(port, "chat/completions", min_tokens=99, user="broken")]
    finally:
        server.terminate()
print("litellm", version("litellm"))
print("the server is asked again where this differs:", again)
print("with no-cache:", not_cached)
texts = ["".join(one["choices"][0].get("text") or "" for one in stream) for stream in streams]
deltas = "".join(one["choices"][0].get("delta", {}).get("content") or "" for one in streams[1])
reasons = [next(filter(None, (one["choices"][0].get("finish_reason") for one in stream))) for stream in streams]
print(f"a streamed completion: texts {texts}, of the second `delta` has {deltas!r}; ends {reasons}")
choices = [[(one["choices"][0]["index"], one["choices"][0]["delta"].get("content")) for one in chat] for chat in chats]
print("a streamed chat, n 2, at first:", choices[0])
print("    and again:", choices[1])
print("an answer that was broken off:", *[(one["finish_reason"], one.get("provider_specific_fields")) for one in broken])
assert again == {**dict.fromkeys(FIELDS, False), **dict.fromkeys(COMPARED, True)}, "other fields are compared now"
assert handed_on == list(FIELDS), "some are not handed on to the server"
assert not_cached, "no-cache is not heard any more"
assert texts[0] == deltas != "" and texts[1] == "" and reasons == ["stop", "stop"], "completions come back as they were now"
assert {index for index, _ in choices[0]} == {0, 1} and {index for index, _ in choices[1]} == {0}, "choices are kept apart now"
assert "".join(text or "" for _, text in choices[1]) == "".join(text or "" for _, text in choices[0])
assert [one["finish_reason"] for one in broken] == ["stop", "stop"], "half a text is no longer whole"
assert "abort" not in json.dumps(broken[1]), "the cached one tells now"
PYTHON

#!/bin/sh
# The same answer, whole and streamed, through LiteLLM's proxy 1.108.7.
#
# Guess: a stream is the same answer in pieces: its text, log-probs and counts are those of the whole one.
# Seen:  a whole chat whose text begins with thoughts (<think> or <thinking>) loses them: they are moved to
#        `reasoning_content`. Streamed, they stay in the text, and so they do in completions. Log-probs of a completion come
#        with a whole answer, and not at all with a streamed one, though they were asked for and sent. Where the server
#        counts no tokens, a whole chat has counts of 0, and of a streamed one LiteLLM counts them itself, by a tokenizer
#        that is not the model's, and nothing says so.
# So:    choose one way for a job and keep it. Ask for log-probs of completions whole. Set the server's own reasoning parser
#        (vLLM: `--reasoning-parser`), so that no thoughts are in a text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm[proxy]==1.108.7' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
KEY = "sk-" + "0123456789abcdef" * 2
TEXT, COUNTS = "<think>Why?</think>Because.", {"prompt_tokens": 1000, "completion_tokens": 2000, "total_tokens": 3000}
LOGPROBS = {"tokens": [TEXT], "token_logprobs": [-0.5], "top_logprobs": None, "text_offset": [0]}


class Upstream(BaseHTTPRequestHandler):
    """The text, as one piece, with log-probs in completions; the model `counts` counts tokens."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat, stream = self.path.endswith("/chat/completions"), bool(asked.get("stream"))
        given = {("delta" if stream else "message"): {"role": "assistant", "content": TEXT}} if chat else {"text": TEXT}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None if chat else LOGPROBS, **given}
        kind = ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion"
        answer = {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]}
        counts = {"usage": COUNTS} if asked["model"] == "counts" else {}
        if stream:
            answers = [answer, *([{**answer, "choices": [], **counts}] if counts else [])]
            body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in answers) + b"data: [DONE]\n\n"
        else:
            body = json.dumps({**answer, **counts}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def told(port, path, model, stream):
    """The text, the thoughts, whether log-probs came, and the counts of both, as the proxy says them."""
    prompt = {"prompt": "Hi", "logprobs": 1} if path == "completions" else {"messages": [{"role": "user", "content": "Hi"}]}
    fields = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = json.dumps({"model": model, **prompt, **fields}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/{path}", body, headers)) as answer:
        lines = [line.removeprefix("data: ") for line in answer.read().decode().splitlines()]
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    choices = [choice for one in answers for choice in one["choices"]]
    said = [choice.get("message") or choice.get("delta") or {"content": choice.get("text")} for choice in choices]
    text = "".join(one.get("content") or "" for one in said)
    thoughts = "".join(one.get("reasoning_content") or "" for one in said)
    counts = [(one["usage"]["prompt_tokens"], one["usage"]["completion_tokens"]) for one in answers if one.get("usage")]
    return text, thoughts, any(choice.get("logprobs") for choice in choices), counts[-1] if counts else None


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
base = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
config = {
    "model_list": [{"model_name": "*", "litellm_params": {"model": "openai/*", "api_base": base, "api_key": "none"}}],
    "general_settings": {"master_key": KEY},
}
(folder / "config.yaml").write_text(json.dumps(config))
command = [folder / "venv/bin/litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
environment = {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
    try:
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        ways = [(path, model) for path in ("chat/completions", "completions") for model in ("counts", "silent")]
        said = {(path, model, stream): told(port, path, model, stream) for path, model in ways for stream in (False, True)}
    finally:
        server.terminate()
print("litellm", version("litellm"), "the server says", TEXT)
for (path, model, stream), (text, thoughts, has_logprobs, counts) in said.items():
    print(f"{path}, {'streamed' if stream else 'whole'}, the server {'counts' if model == 'counts' else 'does not count'}:")
    print(f"    text {text!r}, thoughts {thoughts!r}, log-probs {has_logprobs}, counts {counts}")
for (path, model, stream), (text, thoughts, has_logprobs, counts) in said.items():
    cut = path == "chat/completions" and not stream
    assert (text, thoughts) == (("Because.", "Why?") if cut else (TEXT, "")), "thoughts are told otherwise now"
    assert has_logprobs is (path == "completions" and not stream), "log-probs are told otherwise now"
    if model == "counts":
        assert counts == (1000, 2000), "the server's own counts are changed"
assert said["chat/completions", "silent", False][3] == (0, 0), "a whole chat is counted now"
prompt, completion = said["chat/completions", "silent", True][3]
assert 0 < prompt < 100 and 0 < completion < 100, "a stream is not counted any more"
PYTHON

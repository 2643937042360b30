#!/bin/sh
# Answers that OptiLLM 0.4.0 makes by its techniques (`re2-`, `moa-`, `cot_reflection-`, `self_consistency-` before the
# model's name), what of a request reaches the model, and what failures look like; without torch, which these do without.
#
# Guess: a technique asks the model more often, or otherwise, and hands out what it wrote. Its README calls it a "drop-in
#        replacement" and "a transparent proxy": temperature, seed, stop strings and a schema hold for what is asked, an
#        answer that max_tokens cut says `length`, and a refusal keeps its status.
# Seen:  of a text in which "User:" or "Assistant:" stands, only what follows the last of these is handed out: of a talk
#        that was to be written, the last line, with finish_reason stop. Of the request max_tokens arrives, in
#        cot_reflection temperature, too; `seed`, `stop`, `top_p` and `response_format` never do. What max_tokens cut is `stop`
#        (moa, cot_reflection), a 500 (re2), or "No consistent answer found." with `stop` and 0 tokens, after five answers
#        that were paid for. A prompt arrives as "User: ...". `usage` has no prompt_tokens. Without a technique fields, texts
#        and reasons are as they should be, but vLLM's own fields (`chat_template_kwargs`) are a 500. With and without,
#        400, 401, 403, 404 and 429 are 500 without `Retry-After`; what fails (429, 5xx, a connection that breaks) is asked
#        three times by itself, and a whole answer as well as a stream is generated to its end after its client has gone.
# So:    with a technique ask for nothing that has the form of a chat, or have it in JSON without these two words; put the
#        form into the prompt, and check it; give a large max_tokens, and believe no `stop`. Read the status in a 500's words.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile flask==3.1.3 openai==3.57.0 cerebras-cloud-sdk==1.91.0 networkx \
    numpy z3-solver==4.15.4.0 litellm==1.110.2 math-verify==0.9.0 scikit-learn requests pyyaml 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --no-compile --no-deps optillm==0.4.0 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

folder = sys.argv[1]
LONG = 40  # tenths of a second that `slow` takes
TALK = "A man asks for bread.\nUser: Have you any?\nAssistant: No, we are closed.\nThey part."
TECHNIQUES = ("re2", "moa", "cot_reflection", "self_consistency")
SENT = {"max_tokens": 50, "temperature": 0.25, "top_p": 0.5, "seed": 3, "stop": ["#"], "response_format": {"type": "json_object"}}
asked = []  # each request that came in full
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        prompts = " ".join(message["content"] for message in request["messages"])
        refused = next((status for status in ("400", "401", "403", "404", "429", "500") if status in prompts), None)
        if refused:
            self.whole(int(refused), {"error": {"message": "no", "type": "no", "code": "no"}})
        elif "breaks" in prompts:
            self.close_connection = True
        elif "slow" not in prompts or self.work():
            reason = "length" if "cut" in prompts else "stop"
            said = {"role": "assistant", "content": TALK if "talk" in prompts else "Some words"}
            choices = [{"index": at, "message": said, "finish_reason": reason} for at in range(request.get("n") or 1)]
            count = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            named = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            self.whole(200, {**named, "choices": choices, "usage": count})

    def work(self):
        for tenth in range(LONG):
            time.sleep(0.1)
            if select.select([self.connection], [], [], 0)[0]:
                made.append(tenth)
                return False
        made.append(LONG)
        return True

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def send(model, prompt, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    body = json.dumps({"model": model, "messages": messages, **fields})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    return connection


def ask(model, prompt, **fields):
    """The status, the answer, its `Retry-After`, and the requests that the server got for it."""
    asked.clear()
    answer = send(model, prompt, **fields).getresponse()
    return answer.status, json.loads(answer.read()), answer.headers["Retry-After"], list(asked)


def short(answer):
    """Text and finish reason of an answer's only choice, or its error."""
    if "error" in answer:
        return answer["error"]
    (choice,) = answer["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def left(**fields):
    """Tenths of a second that the server worked for a client that left after ten."""
    made.clear()
    connection = send("m", "slow", **fields)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
base = f"http://127.0.0.1:{server.server_address[1]}/v1"
command = [f"{folder}/venv/bin/optillm", "--host", "127.0.0.1", "--port", str(port), "--base-url", base]
environment = {"PATH": os.environ["PATH"], "HOME": folder, "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
QUIET = subprocess.DEVNULL
with subprocess.Popen(command, env=environment, stdout=QUIET, stderr=QUIET, cwd=folder) as proxy:
    try:
        for _ in range(4000):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert proxy.poll() is None, "OptiLLM did not start"
                time.sleep(0.1)
        models = {name: f"{name}-m" for name in TECHNIQUES} | {"none": "m"}
        talks = {name: ask(model, "Write a talk", **SENT) for name, model in models.items()}
        cuts = {name: ask(model, "cut", **SENT) for name, model in models.items()}
        refused = {status: ask("m", status) for status in ("400", "401", "403", "404", "429", "500", "breaks")}
        refused_re2 = {status: ask("re2-m", status) for status in ("400", "429")}
        own = ask("m", "Hi", chat_template_kwargs={"enable_thinking": False})
        gone, gone_stream = left(), left(stream=True)
    finally:
        proxy.terminate()
arrived = {name: sorted(key for key in SENT if talk[3][0].get(key) == SENT[key]) for name, talk in talks.items()}
print("optillm", version("optillm"))
for name, talk in talks.items():
    print(f"{name}: a talk is {short(talk[1])}; asked {len(talk[3])} times; arrived: {arrived[name]}; usage {talk[1]['usage']}")
    print(f"    first prompt: {talk[3][0]['messages'][-1]['content'][:40]!r}")
    status, answer, _, requests = cuts[name]
    print(f"    cut by max_tokens: {status}, {short(answer)}; asked {len(requests)} times; usage {answer.get('usage')}")
for status, (seen, answer, again, requests) in refused.items():
    print(f"{status}: {seen}, Retry-After {again}, asked {len(requests)} times, {answer}")
print("vLLM's own fields:", own[0], own[1], "asked", len(own[3]))
print(f"a client that left after 1 s: whole answer worked on for {gone / 10} s of {LONG / 10}, stream for {gone_stream / 10} s")
for name in TECHNIQUES:
    status, answer, _, requests = talks[name]
    assert (status, short(answer)) == (200, ("No, we are closed.\nThey part.", "stop")), "a talk is whole now"
    assert "prompt_tokens" not in answer["usage"], "it counts the prompt now"
    assert "User: Write a talk" in requests[0]["messages"][-1]["content"], "the prompt arrives as it is now"
assert arrived == {
    "re2": ["max_tokens"],
    "moa": ["max_tokens"],
    "cot_reflection": ["max_tokens", "temperature"],
    "self_consistency": ["max_tokens"],
    "none": sorted(SENT),
}, "other fields arrive now"
assert (short(talks["none"][1]), short(cuts["none"][1])) == ((TALK, "stop"), ("Some words", "length"))
seen = {name: (cuts[name][0], short(cuts[name][1]), len(cuts[name][3])) for name in TECHNIQUES}
assert seen["re2"] == (500, "re2_approach: provider returned a None or truncated response", 1), "re2 hands out what was cut now"
assert seen["moa"] == (200, ("Some words", "stop"), 3), "moa tells what was cut now"
assert seen["cot_reflection"] == (200, ("Some words", "stop"), 1), "cot_reflection tells what was cut now"
assert seen["self_consistency"] == (200, ("No consistent answer found.", "stop"), 5), "self_consistency tells what was cut now"
assert cuts["self_consistency"][1]["usage"]["completion_tokens"] == 0, "it counts what was cut now"
times = {status: len(requests) for status, (*_, requests) in refused.items()}
assert {(status, again) for status, _, again, _ in [*refused.values(), *refused_re2.values()]} == {(500, None)}, "a status stays now"
assert times == {"400": 1, "401": 1, "403": 1, "404": 1, "429": 3, "500": 3, "breaks": 3}, "it asks otherwise now"
assert len(refused_re2["429"][3]) == 3, "re2 asks otherwise now"
assert (own[0], len(own[3])) == (500, 0), "vLLM's own fields are handed on now"
assert (gone, gone_stream) == (LONG, LONG), "clients that leave are heard now"
PYTHON

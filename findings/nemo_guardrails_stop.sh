#!/bin/sh
# Answers that were cut, streams, and fields of a request, behind the server of NVIDIA's NeMo Guardrails 0.24.1, with no
# rails and `passthrough: true`, which hands prompts on as they are.
#
# Guess: a guard looks at what passes, and hands it on or withholds it. Its documentation says that "the request and response
#        formats are compatible with the OpenAI Chat Completions API": `length` stays, a stream says why it ended, a field
#        is handed on or refused; `logprobs` stands in its list of fields.
# Seen:  each whole answer says `stop`: one that max_tokens cut, and half a text of a vLLM that is stopped (`abort`), too.
#        A stream has no finish_reason at all, and ends with [DONE] always, also where the server's broke off amid the
#        answer: half a text and a whole one are the same. A piece of a stream that reads as a JSON object is not put into
#        an event but becomes the event, so a client finds no text in it. `usage` is gone, whole and streamed. Of the
#        request `seed`, `n`, `logprobs`, `top_logprobs`, `response_format`, `logit_bias`, `max_completion_tokens` and
#        vLLM's own fields never arrive; each is a 200. 429, 500 and 503 are asked three times before the client hears of
#        one. An answer, streamed or not, is generated to its end after its client has gone.
# So:    no rule about `finish_reason` finds a cut text behind it: hold texts against a form of their own, or ask the server
#        and have the texts checked by /v1/checks. Say `max_tokens`. Other fields go by
#        `guardrails: {"options": {"llm_params": {"seed": 1}}}`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'nemoguardrails[server]==0.24.1' 2>/dev/null
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
from pathlib import Path

folder = Path(sys.argv[1])
LONG = 40  # tenths of a second that `slow` takes
COUNT = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
FORM = '{"answer": "no"}'
SENT = {
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["#"],
    "seed": 3,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {"type": "json_object"},
    "logit_bias": {"1": -100},
    "max_completion_tokens": 5,
    "chat_template_kwargs": {"enable_thinking": False},
}
asked = []  # each request that came in full
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        prompt, stream = request["messages"][-1]["content"], request.get("stream", False)
        if prompt.isdigit():
            self.whole(int(prompt), {"error": {"message": "no", "type": "no", "code": "no"}})
            return
        if stream:
            self.begin()
        if prompt == "slow":
            self.generate(stream)
        elif stream:
            for piece in (FORM,) if prompt == "form" else ("Do ", "not ", "use"):
                self.event(piece, None)
                if prompt == "half":
                    return
            self.event("", prompt)
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.answer("Do not use", prompt)

    def generate(self, stream):
        for tenth in range(LONG):
            time.sleep(0.1)
            if select.select([self.connection], [], [], 0)[0]:
                made.append(tenth)
                return
            if stream:
                self.event("word ", None)
        made.append(LONG)
        if not stream:
            self.answer("words", "stop")

    def begin(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, text, reason):
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], "usage": COUNT}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def answer(self, text, reason):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        named = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        self.whole(200, {**named, "choices": [choice], "usage": COUNT})

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def send(prompt, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], **fields})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    return connection


def heard(prompt, **fields):
    """The status, and what came: an object, or the data of each event."""
    asked.clear()
    answer = send(prompt, **fields).getresponse()
    body = answer.read().decode()
    if not fields.get("stream") or answer.status != 200:
        return answer.status, json.loads(body)
    events = [line.removeprefix("data: ") for line in body.splitlines() if line]
    return answer.status, [event if event == "[DONE]" else json.loads(event) for event in events]


def left(**fields):
    """Tenths of a second that the server worked for a client that left after ten."""
    made.clear()
    connection = send("slow", **fields)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
place = folder / "configs/plain"
place.mkdir(parents=True)
behind = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1"}
main = {"type": "main", "engine": "openai", "model": "m", "parameters": behind}
(place / "config.yml").write_text(json.dumps({"passthrough": True, "models": [main]}))
command = [folder / "venv/bin/nemoguardrails", "server", "--config", folder / "configs", "--port", str(port)]
command += ["--default-config-id", "plain"]
environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "OPENAI_API_KEY": "none"}
QUIET = subprocess.DEVNULL
with subprocess.Popen(command, env=environment, stdout=QUIET, stderr=QUIET, cwd=folder) as guard:
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.5)
        status, fields = heard("stop", **SENT)
        arrived = sorted(asked[0].keys() & SENT.keys())
        by_options = heard("stop", guardrails={"options": {"llm_params": {"seed": 3}}})[0], asked[0].get("seed")
        whole = {reason: heard(reason)[1] for reason in ("stop", "length", "abort")}
        streamed = {reason: heard(reason, stream=True)[1] for reason in ("stop", "length", "abort", "half")}
        form = heard("form", stream=True)[1]
        failures = {code: (heard(code)[0], len(asked)) for code in ("400", "429", "500", "503")}
        gone, gone_stream = left(), left(stream=True)
    finally:
        guard.terminate()


def said(events):
    """The texts of a stream, its finish reasons, and its last event."""
    choices = [event["choices"][0] for event in events if event != "[DONE]"]
    return "".join(c["delta"]["content"] for c in choices), {c["finish_reason"] for c in choices}, events[-1]


print("nemoguardrails", version("nemoguardrails"))
print("sent:", sorted(SENT), "- arrived:", arrived, "- with options.llm_params: seed", by_options[1])
for reason, answer in whole.items():
    choice = answer["choices"][0]
    print(f"whole, {reason}: {choice['message']['content']!r}, {choice['finish_reason']}, usage {answer.get('usage')}")
for reason, events in streamed.items():
    print(f"streamed, {reason}:", said(events))
print(f"a piece {FORM} is the event", form[0])
print("failures, and how often the server was asked:", failures)
print(f"a client that left after 1 s: whole answer worked on for {gone / 10} s of {LONG / 10}, stream for {gone_stream / 10} s")
assert (status, arrived) == (200, ["max_tokens", "stop", "temperature", "top_p"]), "other fields arrive now"
assert by_options == (200, 3), "options.llm_params is not heard any more"
assert {answer["choices"][0]["finish_reason"] for answer in whole.values()} == {"stop"}, "it tells why an answer ended now"
assert all(answer.get("usage") is None for answer in whole.values()), "it hands out usage now"
for reason, events in streamed.items():
    text = "Do " if reason == "half" else "Do not use"
    assert said(events) == (text, {None}, "[DONE]"), "streams tell why they ended now"
    assert not any("usage" in event for event in events), "streams have usage now"
assert form[0]["answer"] == "no" and "choices" not in form[0], "a piece of JSON is a text now"
assert failures == {"400": (400, 1), "429": (429, 3), "500": (500, 3), "503": (503, 3)}, "it asks otherwise now"
assert (gone, gone_stream) == (LONG, LONG), "clients that leave are heard now"
PYTHON

#!/bin/sh
# What of a request reaches the server, and what of its answer the client, behind TensorZero's gateway 2026.6.0, as its
# Python package starts it (`patch_openai_client`, with openai 3.57.0), with a provider of type `vllm`.
#
# Guess: a gateway that has a type `vllm` speaks as vLLM does: a schema forces the answer, a field that it does not know is
#        refused or handed on, `abort`, which vLLM says of half a text when it is stopped, is no good end. A refusal keeps its
#        status. When the client has gone, the server may stop.
# Seen:  a schema (`response_format`) is sent on as `guided_json`, a name that vLLM has no more since 0.12 and passes over
#        without a word: the answer is free text (tried with vLLM 0.32.0). `logprobs`, `structured_outputs`,
#        `chat_template_kwargs`, `min_p` and others are left out; a line in the gateway's log is all that tells. `abort`
#        becomes `stop`, whole and streamed. 400, 401 and 429 are all 502, without `Retry-After`: a client asks again for
#        what will never be answered, and takes a limit for an outage. A stream is generated to its end after its client
#        has gone; whole answers are given up.
# So:    give the server the type `openai`, with its `api_base`: the schema arrives as `response_format`. Send other fields
#        as `tensorzero::extra_body`. Ask for log-probs past it, and for whole answers through it; read the status in the
#        words of a 502; and start vLLM behind it with `--shutdown-timeout 60`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'tensorzero==2026.6.0' 'openai==3.57.0' 2>/dev/null
cd "$folder"
venv/bin/python - 2>gateway.log <<'PYTHON'
import http.client
import json
import select
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from openai import OpenAI
from tensorzero import close_patched_openai_client_gateway, patch_openai_client

LONG = 60  # tenths of a second that the prompt `slow` takes
SCHEMA = {"type": "object", "properties": {"answer": {"type": "boolean"}}}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}}
FIELDS = {"logprobs": True, "structured_outputs": {"json": SCHEMA}, "chat_template_kwargs": {"thinking": False}, "min_p": 0.1}
asked = []  # the requests that came
made = []  # tenths that `slow` worked before its client was gone


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        prompt, stream = request["messages"][-1]["content"], request.get("stream", False)
        reason = "abort" if prompt == "abort" else "stop"
        if prompt.isdigit():
            self.whole(int(prompt), {"error": {"message": "no", "type": "no", "code": int(prompt)}})
        elif stream:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            if prompt != "slow" or self.work(stream):
                self.chunk({"role": "assistant", "content": "half a te"})
                self.chunk({}, reason)
                self.wfile.write(b"data: [DONE]\n\n")
        elif prompt != "slow" or self.work(stream):
            choice = {"index": 0, "message": {"role": "assistant", "content": "half a te"}, "finish_reason": reason}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            self.whole(200, {**answer, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

    def work(self, stream):
        """Works for its time, in a stream with words, and is told whether its client stayed."""
        for tenth in range(LONG):
            time.sleep(0.1)
            try:
                if stream:
                    self.chunk({"content": "word"})
                gone = bool(select.select([self.connection], [], [], 0)[0])
            except OSError:
                gone = True
            if gone:
                made.append(tenth)
                return False
        made.append(LONG)
        return True

    def chunk(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        said = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def send(prompt, model="vllm", **fields):
    connection = http.client.HTTPConnection(gateway.hostname, gateway.port, timeout=120)
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps({"model": f"tensorzero::model_name::{model}", "messages": messages, **fields})
    connection.request("POST", f"{gateway.path.rstrip('/')}/chat/completions", body, {"Content-Type": "application/json"})
    return connection


def arrives(model, **fields):
    """The status of the answer, and what arrives at the server of these fields, or under another name."""
    status = send("hi", model, **fields).getresponse().status
    return status, {name: value for name, value in asked[-1].items() if name not in ("model", "messages", "stream")}


def ends(stream):
    """What the client is told of why an answer ended of which the server says `abort`."""
    said = send("abort", stream=stream).getresponse().read().decode()
    if not stream:
        return json.loads(said)["choices"][0]["finish_reason"]
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    return [choice["finish_reason"] for event in events for choice in event["choices"]][-1]


def failure(status, **fields):
    answer = send(status, **fields).getresponse()
    return answer.status, answer.headers["Retry-After"], json.loads(answer.read())["error"]["message"]


def left(stream):
    """Tenths of a second that the server worked for a client that left after ten."""
    asked.clear()
    made.clear()
    connection = send("slow", stream=stream)
    while not asked:
        time.sleep(0.1)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
config = "gateway.observability.enabled = false\n"
for kind in ("vllm", "openai"):
    config += f"""
[models.{kind}]
routing = ["it"]
[models.{kind}.providers.it]
type = "{kind}"
model_name = "m"
api_base = "http://127.0.0.1:{upstream.server_address[1]}/v1/"
api_key_location = "none"
"""
Path("tensorzero.toml").write_text(config)
client = patch_openai_client(OpenAI(api_key="none"), config_file="tensorzero.toml", async_setup=False)
gateway = urlsplit(str(client.base_url))
schema = {kind: arrives(kind, **FORMAT) for kind in ("vllm", "openai")}
fields = {kind: arrives(kind, **FIELDS) for kind in ("vllm", "openai")}
extra = arrives("vllm", **{"tensorzero::extra_body": [{"pointer": "/structured_outputs", "value": {"json": SCHEMA}}]})
ended = {stream: ends(stream) for stream in (False, True)}
failures = {(status, stream): failure(status, stream=stream) for status in ("400", "401", "429") for stream in (False, True)}
worked = {stream: left(stream) for stream in (False, True)}
close_patched_openai_client_gateway(client)
print("tensorzero", version("tensorzero"))
for kind in ("vllm", "openai"):
    print(f"{kind}: of a schema arrives {schema[kind]}; of {list(FIELDS)} {fields[kind]}")
print("by tensorzero::extra_body:", extra)
print("abort, whole and streamed:", *ended.values())
for (status, stream), told in failures.items():
    print(f"{status}, {'streamed' if stream else 'whole'}:", *told)
print(f"a client that left after 1 s: a whole answer worked on for {worked[False] / 10} s of {LONG / 10}, a stream {worked[True] / 10} s")
assert schema["vllm"] == (200, {"guided_json": SCHEMA}), "a schema is sent otherwise now"
assert schema["openai"][1]["response_format"]["json_schema"]["schema"] == SCHEMA
assert fields == {"vllm": (200, {}), "openai": (200, {})}, "fields are handed on now"
assert extra == (200, {"structured_outputs": {"json": SCHEMA}})
assert set(ended.values()) == {"stop"}, "abort is told now"
for (status, _), (seen, again, said) in failures.items():
    assert (seen, again) == (502, None) and f"{status} " in said, "failures are told otherwise now"
assert worked[False] < LONG // 2 and worked[True] == LONG, "clients that leave are treated otherwise now"
PYTHON

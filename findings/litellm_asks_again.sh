#!/bin/sh
# One request to LiteLLM's proxy 1.108.7 as it is by default, and how many reach the server behind it.
#
# Guess: a gateway sends on what it gets, once; and a request whose client has hung up is given up there, too.
# Seen:  a 500, a 429, and a connection that is closed after the request was taken, which may have been billed, are each
#        asked three times before the client hears of it once, and no header of the failure tells. A whole answer is
#        generated to its end after the client has gone; of a stream the server is cut off at once.
# So:    count three for each try, or send `num_retries: 0` in the body, which is heard. And with a time-out of one's own
#        stream, or each answer that is not waited for is paid for in full.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm[proxy]==1.108.7' 2>/dev/null
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
KEY = "sk-" + "0123456789abcdef" * 2
LONG = 60  # tenths of a second that the model `slow` takes
asked = []  # a model for each request that came
made = []  # tenths that `slow` worked before its client was gone


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request["model"])
        if request["model"] == "slow":
            self.generate(request.get("stream", False))
        elif request["model"] == "closed":
            self.close_connection = True
        else:
            self.whole(int(request["model"]), {"error": {"message": "no", "type": "no", "code": "no"}})

    def generate(self, stream):
        if stream:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
        for tenth in range(LONG):
            time.sleep(0.1)
            if select.select([self.connection], [], [], 0)[0]:
                made.append(tenth)
                return
            if stream:
                choice = {"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": None}
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        made.append(LONG)
        if not stream:
            choice = {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
            self.whole(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def send(port, model, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    return connection


def failure(port, model, **fields):
    """How often the server was asked, and the headers of the failure that speak of it."""
    asked.clear()
    answer = send(port, model, **fields).getresponse()
    assert answer.status >= 400, answer.read()
    return len(asked), [name for name in answer.headers if "retr" in name.lower() or "attempt" in name.lower()]


def left(port, **fields):
    """Tenths of a second that the server worked for a client that left after ten."""
    made.clear()
    connection = send(port, "slow", **fields)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


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
        failures = {model: failure(port, model) for model in ("500", "429", "closed", "400")}
        told_not_to = failure(port, "500", num_retries=0)
        whole, streamed = left(port), left(port, stream=True)
    finally:
        server.terminate()
print("litellm", version("litellm"))
for model, (times, headers) in failures.items():
    print(f"{model}: one request is {times} at the server; headers of the failure that tell: {headers}")
print(f"500 with num_retries 0: {told_not_to[0]} at the server")
print(f"a client that left after 1 s: a whole answer worked on for {whole / 10} s of {LONG / 10}, a stream for {streamed / 10} s")
assert failures == {"500": (3, []), "429": (3, []), "closed": (3, []), "400": (1, [])}, "it asks otherwise now"
assert told_not_to == (1, []), "num_retries is not heard any more"
assert whole == LONG, "a whole answer is given up now when its client leaves"
assert streamed < LONG // 2, "a stream goes on now when its client leaves"
PYTHON

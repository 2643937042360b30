#!/bin/sh
# Refusals, broken answers and dead servers behind LMDeploy 0.18.0's own balancer (`lmdeploy serve proxy`, as it is by
# default).
#
# Guess: one talks to it as to a server behind it: its documentation says of its completions and chats that their usage "is
#        the same as that of api_server". A refusal keeps its status. A server that has died is found out: with two
#        servers the other one gets the requests.
# Seen:  whole answers are all 200, whatever the server said: 400, 401, 429, 500 and 503 are words in the body, and
#        `Retry-After` is gone. A server that cannot be reached, and one that breaks off before or amid its answer, are a
#        200 as well, {"error_code": 10402, "text": "Failed to get response after a period of time"}, after a
#        millisecond; who reads `text` has it for an answer. Streams keep the status of a refusal; where the server
#        breaks off, that object follows the events as a bare line, without `data:`, which a parser by the book drops,
#        and the body ends well. A dead server stays in the list for up to 90 seconds. Since it has nothing in flight, it is
#        the one that is chosen: of two servers it gets nearly all requests, and each is a 200. A whole answer is
#        generated to its end after its client has gone; a stream is given up.
# So:    look for `error_code`, and for `object: error`, in each 200, and believe no answer without its end (a finish
#        reason, [DONE]). Ask the servers themselves, or start it with LMDEPLOY_CONTROLLER_HEART_BEAT_EXPIRATION=5,
#        after which a dead server is left out within some seconds. The codes and the clients that leave are known: pull
#        request 4647 of lmdeploy, open since June 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the engine needs is left out. The proxy imports torch, and works with one that lmdeploy would not choose.
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 transformers==5.24.0 'numpy<3' aiohttp einops \
  fastapi fire mmengine-lite openai partial_json_parser pillow psutil pybase64 pyzmq requests shortuuid uvicorn 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --no-compile --no-deps lmdeploy==0.18.0 2>/dev/null
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
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
LONG = 40  # tenths of a second that `slow` takes
NOTHING = {"error_code": 10402, "text": "Failed to get response after a period of time"}
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.whole(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, stream = request["prompt"], request.get("stream", False)
        if prompt == "slow":
            self.generate(stream)
        elif prompt == "half":
            self.begin(stream)
            self.wfile.write(b'data: {"choices": [{"text": "half"}]}\n\n' if stream else b'{"choices": [')
            self.close_connection = True
        elif prompt == "closed":
            self.close_connection = True
        elif prompt == "200":
            time.sleep(0.2)
            self.whole(200, {"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]})
        else:
            self.whole(int(prompt), {"object": "error", "message": "no", "type": "no", "code": int(prompt)})

    def begin(self, stream):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()

    def generate(self, stream):
        self.begin(stream)
        for tenth in range(LONG):
            time.sleep(0.1)
            if select.select([self.connection], [], [], 0)[0]:
                made.append(tenth)
                break
            if stream:
                self.wfile.write(b'data: {"choices": [{"text": "word "}]}\n\n')
        else:
            made.append(LONG)
        self.close_connection = True

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


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def send(path, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
    return connection


def ask(prompt, **fields):
    """Status, `Retry-After`, and body."""
    answer = send("/v1/completions", model="m", prompt=prompt, **fields).getresponse()
    return answer.status, answer.headers["Retry-After"], answer.read()


def add(server):
    assert b"successfully" in send("/nodes/add", url=f"http://127.0.0.1:{server.server_address[1]}").getresponse().read()


def left(**fields):
    """Tenths of a second that the server worked for a client that left after ten."""
    made.clear()
    connection = send("/v1/completions", model="m", prompt="slow", **fields)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


well, dies = serve(), serve()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = [folder / "venv/bin/lmdeploy", "serve", "proxy", "--server-name", "127.0.0.1", "--server-port", str(port)]
environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
QUIET = subprocess.DEVNULL
with subprocess.Popen(command, env=environment, stdout=QUIET, stderr=QUIET, cwd=folder) as proxy:
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.5)
        add(well)
        cases = ("400", "401", "429", "500", "503", "closed", "half")
        whole = {case: ask(case) for case in cases}
        streamed = {case: ask(case, stream=True) for case in cases}
        gone, gone_stream = left(), left(stream=True)
        add(dies)
        dies.shutdown()
        dies.server_close()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask("200"), range(40)))
    finally:
        proxy.terminate()
print("lmdeploy", version("lmdeploy"))
for case in cases:
    print(f"{case}: whole {whole[case][0]}, {whole[case][2].decode()}")
    print(f"  streamed {streamed[case][0]}, {streamed[case][2].decode().strip()!r}")
print(f"a client that left after 1 s: whole answer worked on for {gone / 10} s of {LONG / 10}, stream for {gone_stream / 10} s")
lost = sum(json.loads(body) == NOTHING for _, _, body in answers)
print(f"two servers, one dead, 40 requests, four at once: {lost} get {NOTHING}, {40 - lost} an answer")
refused = ("400", "401", "429", "500", "503")
assert all(status == 200 and wait is None for status, wait, _ in whole.values()), "whole answers have other statuses now"
assert all(json.loads(whole[case][2])["code"] == int(case) for case in refused), "refusals are told otherwise now"
assert all(streamed[case][:2] == (int(case), None) for case in refused), "refused streams have other statuses now"
assert all(json.loads(whole[case][2]) == NOTHING for case in ("closed", "half")), "broken answers are told otherwise now"
assert streamed["closed"][0] == 200 and json.loads(streamed["closed"][2]) == NOTHING, "no stream is told otherwise now"
half = streamed["half"][2].decode().split()
assert half[0] == "data:" and json.loads(streamed["half"][2].splitlines()[-1]) == NOTHING, "half a stream is told otherwise now"
assert gone == LONG and gone_stream < LONG // 2, "clients that leave are heard otherwise now"
assert {status for status, _, _ in answers} == {200} and lost >= 30, "a dead server gets fewer requests now"
PYTHON

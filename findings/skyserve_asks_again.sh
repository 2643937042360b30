#!/bin/sh
# An answer that takes longer than the balancer waits, and a server that dies, behind SkyPilot 0.14.1's own balancer, which
# `sky serve up` puts before the replicas (its module sky.serve.load_balancer; its controller is played here).
#
# Guess: a balancer before servers that write for minutes waits for them. What it does not wait for is a 504, sent once; a
#        request that was passed on, and may have been billed, is not sent again without a word. Other replicas are
#        there for those that cannot be reached.
# Seen:  it waits for 120 seconds until the first byte, and a whole answer has none before its end. One that takes longer is
#        asked for three times, also where there is one replica alone, and then is a 500, "Max retries 3 exceeded":
#        the row can never be answered, and is paid for three times in six minutes, by each of the client's own tries.
#        So is a connection that breaks before the answer: three at the server within seconds. No header tells. Statuses
#        (429, 500) pass as they are, with `Retry-After`. When the client has gone, a whole answer is still worked on, until
#        that time is over or it ends. Streams have it all otherwise: each event starts the 120 seconds anew, and a client
#        that leaves is heard.
# So:    stream; or set `service: load_balancer: {stream_timeout_seconds: 1800}`, which counts for whole answers, too; and
#        count three for each 500 of it. That it asks the same replica again is known: pull request 3916 of skypilot, open
#        since September 2024.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile skypilot==0.14.1 2>/dev/null
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
WAITS = 3  # seconds that the balancer waits here, in place of 120
LONG = 80  # tenths of a second that `slow` takes
asked = []  # a prompt for each request that came in full
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    """The only replica, and the controller that names it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/controller/load_balancer_sync":
            self.whole(200, {"replica_info": {f"http://127.0.0.1:{self.server.server_address[1]}": {}}})
            return
        asked.append(request["prompt"])
        if request["prompt"] == "closed":
            self.close_connection = True
        elif request["prompt"] == "slow":
            self.generate(request.get("stream", False))
        else:
            self.whole(int(request["prompt"]), {"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]})

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
                self.close_connection = True
                return
            if stream:
                self.wfile.write(b'data: {"choices": [{"index": 0, "text": "word ", "finish_reason": null}]}\n\n')
        made.append(LONG)
        if not stream:
            self.whole(200, {"choices": [{"index": 0, "text": "words", "finish_reason": "stop"}]})

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


def send(prompt, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": "m", "prompt": prompt, **fields})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    return connection


def heard(prompt, **fields):
    """How often the server was asked, the status, `Retry-After`, and the body."""
    asked.clear()
    answer = send(prompt, **fields).getresponse()
    body = answer.read()
    return len(asked), answer.status, answer.headers["Retry-After"], body


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
run = f"""
from sky.serve import constants, load_balancer
print(constants.DEFAULT_LB_STREAM_TIMEOUT, flush=True)
load_balancer.run_load_balancer("http://127.0.0.1:{server.server_address[1]}", {port}, stream_timeout_seconds={WAITS})
"""
environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
command = [sys.executable, "-c", run]
log = (folder / "log").open("w+")
with subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.DEVNULL, cwd=folder) as balancer:
    try:
        for _ in range(200):
            try:
                if heard("200")[1] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.5)
        refused = {status: heard(status)[:3] for status in ("429", "500")}
        closed = heard("closed")
        made.clear()
        slow = heard("slow")
        worked = list(made)
        streamed = heard("slow", stream=True)
        gone, gone_stream = left(), left(stream=True)
    finally:
        balancer.terminate()
log.seek(0)
waits = int(log.readline())
print("skypilot", version("skypilot"), "- seconds that it waits by default:", waits)
for status, seen in refused.items():
    print(f"{status}: {seen[0]} at the server, {seen[1]} at the client, Retry-After {seen[2]}")
print(f"connection closed: {closed[0]} at the server, {closed[1]} at the client: {closed[3].decode()}")
print(f"whole answer of {LONG / 10} s, {WAITS} s are waited for: {slow[0]} at the server, each for at least {min(worked) / 10} s,")
print(f"  {slow[1]} at the client: {slow[3].decode()}")
print(f"the same as a stream: {streamed[0]} at the server, {streamed[1]} at the client, {streamed[3].count(b'word ')} words")
print(f"a client that left after 1 s: whole answer worked on for {gone / 10} s, stream for {gone_stream / 10} s")
assert waits == 120, "it waits otherwise now"
assert refused == {"429": (1, 429, "7"), "500": (1, 500, "7")}, "statuses pass otherwise now"
assert closed[:3] == (3, 500, None) and b"Max retries 3 exceeded" in closed[3], "it asks otherwise after a broken connection"
assert slow[:3] == (3, 500, None) and b"ReadTimeout" in slow[3], "it asks otherwise for what it does not wait for"
assert streamed[:2] == (1, 200) and streamed[3].count(b"word ") == LONG, "a stream is cut now"
assert gone > 20 and gone_stream < LONG // 2, "clients that leave are heard otherwise now"
PYTHON

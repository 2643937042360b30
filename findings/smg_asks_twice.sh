#!/bin/sh
# One request whose connection breaks, behind smg 1.13.0, with and without its retries.
#
# Guess: `--disable-retries` sends a request once: its documentation has it for "client handles retries". A request that the
#        server has taken in full, and may have billed, is not sent again without a word.
# Seen:  where the connection ends before a byte of the answer, the request is sent a second time, with `--disable-retries`,
#        too, be the connection a kept one or new. By default that happens in each of the five tries: one row that the
#        server breaks off at is ten at the server within a second, and one 500 for the client. An answer that breaks off
#        in its middle is asked once with `--disable-retries`, and five times without; a stream once in either case.
#        sglang-router 0.3.2, from which it has come, sends each once with that option (and so does vllm-router 0.1.17).
# So:    count ten possible bills for each such 500, and two where retries are off. Stream: what has begun is not asked again.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for package in smg==1.13.0 sglang-router==0.3.2; do
  python3 -m venv "$folder/${package%%==*}"
  "$folder/${package%%==*}/bin/python" -m pip install --quiet "$package" 2>/dev/null
done
python3 - "$folder" <<'PYTHON'
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path(sys.argv[1])
COMMANDS = {
    "smg": [folder / "smg/bin/smg", "launch"],
    "sglang-router": [folder / "sglang-router/bin/sglang-router", "launch"],
}
PATH = "/v1/chat/completions"
asked = []  # a prompt for each request that came in full


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.whole({"object": "list", "data": [{"id": "m", "object": "model"}], "model_path": "m"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][0]["content"]
        if self.path == PATH:
            asked.append(prompt)
        if prompt == "good" or self.path != PATH:
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            self.whole({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
            return
        self.close_connection = True
        if prompt == "half":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if request.get("stream") else "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"data: " if request.get("stream") else b'{"choices": [')

    def whole(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def send(port, prompt, stream=False):
    """The status; None if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream})
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        try:
            answer.read()
        except http.client.IncompleteRead:
            pass
        return answer.status
    except OSError:
        return None
    finally:
        connection.close()


def times(port, prompt, stream=False):
    """How many requests one row is at the server, and what the client hears of it."""
    asked.clear()
    status = send(port, prompt, stream)
    time.sleep(0.3)
    return len(asked), status


def through(name, *options):
    port = free_port()
    command = [*COMMANDS[name], "--host", "127.0.0.1", "--port", port, "--prometheus-port", free_port(), *options]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream.server_address[1]}", "--disable-circuit-breaker"]
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as router:
        try:
            for _ in range(600):
                if send(port, "good") == 200:
                    break
                time.sleep(0.1)
            seen = {"kept connection closed": times(port, "closed")}
            seen["new connection closed"] = times(port, "closed")
            seen["half an answer"] = times(port, "half")
            seen["half a stream"] = times(port, "half", stream=True)
        finally:
            router.send_signal(signal.SIGKILL)
    for case, (requests, status) in seen.items():
        print(f"{name} {' '.join(options)}: {case}: {requests} at the server, {status} at the client")
    return [requests for requests, _ in seen.values()]


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
assert through("smg", "--disable-retries") == [2, 2, 1, 1], "with retries off it asks otherwise now"
assert through("smg") == [10, 10, 5, 1], "it asks otherwise now"
assert through("sglang-router", "--disable-retries") == [1, 1, 1, 1], "sglang-router asks again, too"
PYTHON

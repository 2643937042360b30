#!/bin/sh
# Rows that fail, and what the others get, behind sglang-router 0.3.2 and vllm-router 0.1.17 with one server, as they are by
# default.
#
# Guess: a circuit breaker counts what tells that a server is ill, a row once. A 400 (a prompt too long) and a 429 with
#        `Retry-After: 7` are answers of one that is well. vllm-router's words: the breakers "protect workers".
# Seen:  a 429, 500, 503 is asked five times within a second, whatever `Retry-After` says, and each of the five counts.
#        Ten in a row, so two rows, and for a minute everybody gets a 503 without `Retry-After`; the server, which would
#        have answered, is not asked. sglang-router counts 429 and 400, too: ten prompts in a row that are too long shut
#        it. After the minute the first 400 shuts it for another one. vllm-router counts neither, and 500 and 503 as well.
# So:    start them with `--disable-retries --disable-circuit-breaker` where one client with patience of its own stands in
#        front; else wait out the minute, do not spread rows that fail alike one behind another, and take its 503 for no
#        failure of the row.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'sglang-router==0.3.2' 'vllm-router==0.1.17' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

bin_folder = Path(sys.argv[1]) / "venv/bin"
ROUTERS = {"sglang-router": [bin_folder / "sglang-router", "launch"], "vllm-router": [bin_folder / "vllm-router"]}
MANY = 12  # rows at most, one behind another


class Upstream(BaseHTTPRequestHandler):
    """Answers with the status that the prompt names; counts what comes in its server's `asked`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.whole(200, {"object": "list", "data": [{"id": "m", "object": "model"}], "model_path": "m"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/completions":  # vllm-router asks /v1/completions/render first
            self.server.asked.append(request["prompt"])
        choice = {"index": 0, "text": "Hi", "finish_reason": "stop"}
        self.whole(int(request["prompt"]), {"id": "1", "object": "text_completion", "model": "m", "choices": [choice]})

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def send(port, prompt):
    """The status, and whether the answer says when to come back."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = json.dumps({"model": "m", "prompt": prompt})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After")
    except OSError:
        return None, None
    finally:
        connection.close()


@contextmanager
def running(command):
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    upstream.asked = []
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", port, "--prometheus-port", free_port()]
    options += ["--worker-urls", f"http://127.0.0.1:{upstream.server_address[1]}"]
    with subprocess.Popen([str(o) for o in command + options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as router:
        try:
            for _ in range(600):
                if send(port, "200")[0] == 200:
                    break
                time.sleep(0.1)
            upstream.asked.clear()
            yield port, upstream.asked
        finally:
            router.send_signal(signal.SIGKILL)


def until_shut(name, prompt):
    """How often a row is asked, in what time, and after how many such rows nobody is let through (None: not at all)."""
    with running(ROUTERS[name]) as (port, asked):
        for rows in range(MANY + 1):
            asked.clear()
            start = time.monotonic()
            send(port, prompt)
            if not asked:
                assert send(port, "200") == (503, None) and not asked
                return times, took, rows
            if not rows:
                times, took = len(asked), time.monotonic() - start
    return times, took, None


def wait_until_open(port, limit=90):
    start = time.monotonic()
    while send(port, "200")[0] != 200:
        assert time.monotonic() - start < limit, "it stays shut"
        time.sleep(0.5)
    return time.monotonic() - start


def minutes(name, prompt, rows):
    """Seconds that it is shut, and whether the first 400 after them shuts it again."""
    with running(ROUTERS[name]) as (port, _):
        for _ in range(rows):
            send(port, prompt)
        shut = wait_until_open(port)
        send(port, "400")
        return shut, send(port, "200")[0] == 503


with ThreadPoolExecutor(2) as pool:
    shut = {name: pool.submit(minutes, name, "500", 2) for name in ROUTERS}
    shut = {name: waiting.result() for name, waiting in shut.items()}
    seen = {(name, p): pool.submit(until_shut, name, p) for name in ROUTERS for p in ("400", "429", "500", "503")}
    seen = {key: waiting.result() for key, waiting in seen.items()}
for (name, prompt), (times, took, rows) in seen.items():
    print(f"{name}: a {prompt} is {times} at the server within {took:.1f} s; shut after {rows} such rows")
for name, (seconds, again) in shut.items():
    print(f"{name}: shut for {seconds:.0f} s; the first 400 after that shuts it again: {again}")
assert {key: (times, rows) for key, (times, _, rows) in seen.items()} == {
    ("sglang-router", "400"): (1, 10),
    ("sglang-router", "429"): (5, 2),
    ("sglang-router", "500"): (5, 2),
    ("sglang-router", "503"): (5, 2),
    ("vllm-router", "400"): (1, None),
    ("vllm-router", "429"): (5, None),
    ("vllm-router", "500"): (5, 2),
    ("vllm-router", "503"): (5, 2),
}, "they count otherwise now"
assert all(took < 5 for _, took, _ in seen.values()), "they wait for Retry-After now"
assert all(50 < seconds < 80 for seconds, _ in shut.values()), "they are shut for another time now"
assert [again for _, again in shut.values()] == [True, False], "another thing shuts them again now"
PYTHON

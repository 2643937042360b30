#!/bin/sh
# What one row that fails does to the others, behind OGX 1.5.0 (the former Llama Stack; `ogx run` with its provider
# remote::vllm). It needs Python 3.12 or later; `PYTHON=... sh ogx_refusal_stops_all.sh` says which one.
#
# Guess: a refusal is the cheapest answer there is: what the server said goes to the client, and a line to the log. The
#        other rows do not notice. Its words for itself: "Open-source, OpenAI-compatible API server".
# Seen:  for each 403, 404, 422, 429, 5xx and broken connection the one process draws a picture of the traceback into its
#        log, also where that is a file: ten seconds of CPU and more, some hundred times what an answer takes. Until it is
#        drawn nobody else is answered, in chats and completions alike. So 64 rows that meet a rate limit together
#        keep everyone waiting for ten minutes, in which clients run into their time-outs, and ask, and pay, again. A 400
#        is not so. By then it has asked three times by itself (429, 5xx, a broken connection), and `Retry-After` is
#        gone. A whole answer is generated to its end after its client has gone. Fields, texts, finish reasons, log-probs
#        and counts come through as they are (tried).
# So:    start it with OGX_LOG_FORMAT=json: the same refusal costs what an answer does. Declare the rate oneself, so that
#        it meets no limit.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for python in "${PYTHON:-python3}" python3.12 python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[2-4].*/bin/python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile ogx==1.5.0 2>/dev/null
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
asked = []  # the prompts of requests that came in full
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        model = {"id": "m", "object": "model", "created": 1, "owned_by": "me"}
        self.whole(200, {"object": "list", "data": [model]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][0]["content"] if "messages" in request else request["prompt"]
        asked.append(prompt)
        if prompt.isdigit():
            self.whole(int(prompt), {"error": {"message": "no", "type": "no", "code": "no"}})
        elif prompt == "breaks":
            self.close_connection = True
        elif prompt != "slow" or self.work():
            message = {"role": "assistant", "content": "words"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            count = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            named = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            self.whole(200, {**named, "choices": [choice], "usage": count})

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


def send(port, prompt, completion=False):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    said = {"prompt": prompt} if completion else {"messages": [{"role": "user", "content": prompt}]}
    path = "/v1/completions" if completion else "/v1/chat/completions"
    connection.request("POST", path, json.dumps({"model": "vllm/m", **said}), {"Content-Type": "application/json"})
    return connection


def ask(port, prompt, completion=False):
    """The answer's status, its `Retry-After`, and how often the server was asked."""
    asked.clear()
    answer = send(port, prompt, completion).getresponse()
    answer.read()
    return answer.status, answer.headers["Retry-After"], len(asked)


def cpu(process):
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(port, process, prompt, completion=False):
    """What `ask` says; seconds of CPU until the next row was answered, too; and how long that row waited."""
    before = cpu(process)
    told = ask(port, prompt, completion)
    began = time.monotonic()
    assert ask(port, "Hi")[0] == 200
    return *told, cpu(process) - before, time.monotonic() - began


def left(port):
    """Tenths of a second that the server worked for a client that left after ten."""
    made.clear()
    connection = send(port, "slow")
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


def up(port, process):
    for _ in range(4000):
        assert process.poll() is None, "OGX did not start"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v1/models")
            if b"vllm/m" in connection.getresponse().read():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("OGX did not start in time")


def run(name, **settings):
    """What each kind of row cost by a server that is started with these settings."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = folder / name
    home.mkdir()
    vllm = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "api_token": "none"}
    provider = {"provider_id": "vllm", "provider_type": "remote::vllm", "config": vllm}
    config = {
        "version": 2,
        "distro_name": "d",
        "apis": ["inference"],
        "providers": {"inference": [provider]},
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": str(home / "kv.db")},
                "sql_default": {"type": "sql_sqlite", "db_path": str(home / "sql.db")},
            },
            "stores": {
                "metadata": {"namespace": "registry", "backend": "kv_default"},
                "inference": {"table_name": "inference", "backend": "sql_default"},
                "conversations": {"table_name": "conversations", "backend": "sql_default"},
                "prompts": {"table_name": "prompts", "backend": "sql_default"},
            },
        },
    }
    (home / "run.yaml").write_text(json.dumps(config))
    command = [folder / "venv/bin/ogx", "run", home / "run.yaml", "--port", str(port), "--insecure"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **settings}
    with (
        open(home / "log", "w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home) as process,
    ):
        try:
            up(port, process)
            ask(port, "Hi")
            rows = {prompt: cost(port, process, prompt) for prompt in ("Hi", "400", "404", "429", "breaks")}
            rows["404 of a completion"] = cost(port, process, "404", completion=True)
            return rows, left(port)
        finally:
            process.terminate()


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ogx", version("ogx"))
runs = {"by default": run("default"), "with OGX_LOG_FORMAT=json": run("json", OGX_LOG_FORMAT="json")}
for name, (rows, worked) in runs.items():
    print(f"{name}:")
    for prompt, (status, again, times, used, waited) in rows.items():
        print(f"    {prompt}: {status}, Retry-After {again}, asked {times} times; {used:.2f} s of CPU", end="; ")
        print(f"the next row waited {waited:.1f} s")
    print(f"    a client that left after 1 s: whole answer worked on for {worked / 10} s of {LONG / 10}")
(default, worked), (plain, _) = runs.values()
for rows in (default, plain):
    told = {prompt: row[:3] for prompt, row in rows.items()}
    assert told == {
        "Hi": (200, None, 1),
        "400": (400, None, 1),
        "404": (404, None, 1),
        "429": (429, None, 3),
        "breaks": (500, None, 3),
        "404 of a completion": (404, None, 1),
    }, "it asks, or tells, otherwise now"
for prompt in ("404", "429", "breaks", "404 of a completion"):
    assert default[prompt][3] > 20 * default["Hi"][3], "a refusal is cheap now"
    assert default[prompt][3] > 20 * plain[prompt][3], "a refusal is as dear by OGX_LOG_FORMAT=json"
assert default["400"][3] < default["404"][3] / 10, "a 400 is dear, too"
assert worked == LONG, "clients that leave are heard now"
PYTHON

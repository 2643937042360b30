#!/bin/sh
# What of a request reaches the server behind sglang-router 0.3.2, beside vllm-router 0.1.17 and smg 1.13.0, its relatives.
#
# Guess: a router chooses a server, and hands on the request: a field that it does not know is the server's to know. By its
#        own words it "can route to any OpenAI-compatible backend". What it will not hand on it refuses.
# Seen:  of a chat only the fields are left that it knows. Gone, with a 200 and without a word, are vLLM's
#        `structured_outputs`, `bad_words`, `allowed_token_ids`, `prompt_logprobs`, `chat_template`, `thinking_token_budget`,
#        `return_token_ids`; SGLang's own `priority`, `custom_params`, `custom_logit_processor`, `rid`, `stop_regex`; OpenAI's
#        `user` and `store`. `max_tokens` arrives as `max_completion_tokens`, so a server that has the old name alone has no
#        limit. Completions arrive with all of them, and so do both at the other two. All three add fields of their own.
# So:    an answer that was to follow a schema is free text, and paid for. Say the schema as `response_format`, which arrives;
#        say both names of the limit; or send completions. And hold answers against what was asked for.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'sglang-router==0.3.2' 'vllm-router==0.1.17' 2>/dev/null
python3 -m venv "$folder/smg"  # has a command of the same name as sglang-router has
"$folder/smg/bin/python" -m pip install --quiet 'smg==1.13.0' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
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
ROUTERS = {
    "sglang-router": [folder / "venv/bin/sglang-router", "launch"],
    "vllm-router": [folder / "venv/bin/vllm-router"],
    "smg": [folder / "smg/bin/smg", "launch"],
}
PATHS = {"chats": "/v1/chat/completions", "completions": "/v1/completions"}
ASKED = {
    "structured_outputs": {"json": {"type": "object"}},
    "bad_words": ["no"],
    "allowed_token_ids": [1, 2],
    "prompt_logprobs": 1,
    "chat_template": "{{ messages[0].content }}",
    "thinking_token_budget": 5,
    "return_token_ids": True,
    "priority": 1,
    "custom_params": {"a": 1},
    "custom_logit_processor": "a",
    "rid": "row 17",
    "stop_regex": "a+",
    "user": "me",
    "store": False,
    "max_tokens": 5,
    "seed": 7,
    "top_k": 5,
    "min_tokens": 2,
}
came = {}  # the last request's fields, by its path


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.whole({"object": "list", "data": [{"id": "m", "object": "model"}], "model_path": "m"})

    def do_POST(self):
        came[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choice = {"index": 0, "text": "Hi", "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        self.whole({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

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


def status(port, path, request):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(request), {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def asked_through(port):
    """For chats and completions: the fields that did not arrive, and those that came in addition."""
    seen = {}
    for kind, path in PATHS.items():
        prompt = {"messages": [{"role": "user", "content": "Hi"}]} if kind == "chats" else {"prompt": "Hi"}
        request = {"model": "m", **prompt, **ASKED}
        assert status(port, path, request) == 200
        got = came.pop(path)
        seen[kind] = ([name for name in request if got.get(name) != request[name]], [n for n in got if n not in request])
    return seen


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
worker = f"http://127.0.0.1:{upstream.server_address[1]}"
seen = {}
for name, command in ROUTERS.items():
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", port, "--prometheus-port", free_port(), "--worker-urls", worker]
    with subprocess.Popen([str(o) for o in command + options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as router:
        try:
            for _ in range(600):
                if status(port, PATHS["completions"], {"model": "m", "prompt": "Hi"}) == 200:
                    break
                time.sleep(0.1)
            seen[name] = asked_through(port)
        finally:
            router.send_signal(signal.SIGKILL)
    for kind, (lost, added) in seen[name].items():
        print(f"{name}, {kind}: did not arrive: {lost}; came in addition: {added}")
lost, added = seen["sglang-router"]["chats"]
assert lost == list(ASKED)[:15], "other fields arrive now"
assert "max_completion_tokens" in added, "max_tokens keeps its name now"
others = [seen[name][kind][0] for name in seen for kind in PATHS if (name, kind) != ("sglang-router", "chats")]
assert others == [[]] * 5, "the others lose fields now"
assert all(seen[name]["chats"][1] for name in seen), "one of them adds nothing now"
PYTHON

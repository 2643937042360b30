#!/bin/sh
# `finish_reason: abort`, and none at all, in answers that pass through LiteLLM's proxy 1.108.7.
#
# Guess: a gateway hands on why an answer ended, or at least makes no good end of a bad one. `abort` is what vLLM 0.32.0
#        says of half a text when it is stopped, `repetition` what it says of a text that it cut since it went in circles.
# Seen:  both become `stop`: whole or streamed, in chats and completions. A whole chat that says no reason, and a stream
#        that ends without one, are given `stop` as well. Only a whole chat keeps the word, in
#        `provider_specific_fields.native_finish_reason`; the others have no trace of it. `length` stays.
# So:    behind it `stop` is no proof that an answer is whole. Let its servers end what is in flight before they stop
#        (vLLM: `--shutdown-timeout 60`), and check texts by their own form.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm[proxy]==1.108.7' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
KEY = "sk-" + "0123456789abcdef" * 2
HALF = "Half of the te"


class Upstream(BaseHTTPRequestHandler):
    """Half a text, and the model's name as the reason why it ended; a model `none` says none."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat, stream = self.path.endswith("/chat/completions"), asked.get("stream")
        reason = None if asked["model"] == "none" else asked["model"]
        text = {("delta" if stream else "message"): {"role": "assistant", "content": HALF}} if chat else {"text": HALF}
        end = {"delta": {}} if chat else {"text": ""}
        choices = [text, *([end] if reason else [])] if stream else [text]
        for choice in choices:
            choice |= {"index": 0, "finish_reason": None, "logprobs": None}
        choices[-1]["finish_reason"] = reason
        kind = ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion"
        answers = [{"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]} for choice in choices]
        counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        events = [b"data: " + json.dumps(answer).encode() + b"\n\n" for answer in answers]
        body = b"".join([*events, b"data: [DONE]\n\n"]) if stream else json.dumps(answers[0] | {"usage": counts}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def reasons(port, path, model, stream):
    """The reasons that the proxy says, and those under `native_finish_reason`."""
    prompt = {"prompt": "Hi"} if path == "completions" else {"messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps({"model": model, "stream": stream, **prompt}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/{path}", body, headers)) as answer:
        lines = [line.removeprefix("data: ") for line in answer.read().decode().splitlines()]
    choices = [choice for line in lines if line.startswith("{") for choice in json.loads(line)["choices"]]
    natives = [(choice.get("provider_specific_fields") or {}).get("native_finish_reason") for choice in choices]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")], [one for one in natives if one]


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
        ways = [(path, stream) for path in ("chat/completions", "completions") for stream in (False, True)]
        said = {
            (path, stream, model): reasons(port, path, model, stream)
            for path, stream in ways
            for model in ("length", "abort", "repetition", "none")
        }
    finally:
        server.terminate()
print("litellm", version("litellm"))
for (path, stream, model), (told, natives) in said.items():
    print(f"{path}, {'streamed' if stream else 'whole'}: {model} is told as {told}", f"native {natives}" if natives else "")
for (path, stream, model), (told, natives) in said.items():
    nothing = path == "completions" and not stream and model == "none"
    expected = ["length"] if model == "length" else [] if nothing else ["stop"]
    assert told == expected, f"it tells {model} otherwise now: {told}"
    keeps = path == "chat/completions" and not stream and model in ("abort", "repetition")
    assert natives == ([model] if keeps else []), f"it keeps the reason elsewhere now: {natives}"
PYTHON

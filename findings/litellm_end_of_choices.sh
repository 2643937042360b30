#!/bin/sh
# A stream of two choices (`n: 2`) that passes through litellm 1.108.7, whose choices end at different places.
#
# Guess: each choice keeps its `finish_reason`, under its own index.
# Seen:  one is told for the whole stream. It is the first that ended, comes under index 0 whichever that was, and before
#        texts of choice 0 that follow. No other choice says that it came to its end.
# So:    with `n` do not stream through it; and believe no end of a choice before all have said theirs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm==1.108.7' 2>/dev/null
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm

SENT = [(1, "c", None), (0, "a", None), (1, None, "length"), (0, "b", None), (0, None, "stop")]


class Upstream(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        named = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for index, text, reason in SENT:
            delta = {} if text is None else {"content": text}
            choice = {"index": index, "delta": delta, "finish_reason": reason}
            self.wfile.write(b"data: " + json.dumps({**named, "choices": [choice]}).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
stream = litellm.completion(
    model="openai/m",
    api_base=f"http://127.0.0.1:{server.server_address[1]}/v1",
    api_key="none",
    messages=[{"role": "user", "content": "Write about tents."}],
    n=2,
    stream=True,
)
told = [(one.index, one.delta.content, one.finish_reason) for chunk in stream for one in chunk.choices]
print("litellm", version("litellm"))
print("sent:", SENT)
print("told:", told)
ends = [(index, reason) for index, _, reason in told if reason]
assert ends == [(0, "length")], f"it tells other ends now: {ends}"
PYTHON

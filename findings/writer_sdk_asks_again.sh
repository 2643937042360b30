#!/bin/sh
# One row that fails or takes too long at Writer's own client, writer-sdk 3.0.0, as it is by default, and how many requests
# the server gets; beside openai 3.57.0.
#
# Guess: three. Its README says so in two places: `max_retries`, "default is 2", and of requests that time out, "retried
#        twice by default". A server that says when to come back is heard.
# Seen:  eight, within two minutes; the README's third place says "7 times". So an answer that takes longer than its
#        three minutes is asked for, and may be billed, eight times in 26 minutes, before there is one APITimeoutError.
#        So it is where the connection ends before the answer or in its middle, and with 429 and 500. No header tells
#        the server that it knows the request, but a count (`x-stainless-retry-count`). A `Retry-After` of more than 60
#        seconds is passed over: told to wait for 61, or for an hour, it comes again after one second, then two, four.
#        openai waits for the 61, and leaves the hour to its caller.
# So:    `Writer(max_retries=0)`, and count and wait oneself; or `max_retries=1, timeout=900`, as long as the longest answer
#        takes. Where a limit is told in minutes, stop all rows oneself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet writer-sdk==3.0.0 openai==3.57.0 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import openai
import writerai

asked = defaultdict(list)  # for each row: when its requests came, and their headers
REFUSED = {"500": (500, {}), "429": (429, {}), "61 s": (429, {"Retry-After": "61"}), "1 h": (429, {"Retry-After": "3600"})}
ANSWER = {"id": "1", "object": "chat.completion", "created": 1, "model": "palmyra-x5"}
ANSWER["choices"] = [{"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}]


class Server(BaseHTTPRequestHandler):
    """Does to a row what its prompt says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        client, row = request["messages"][0]["content"].split(", ")
        asked[client, row].append((time.monotonic(), dict(self.headers)))
        if row == "slow":
            time.sleep(3)
        if row == "closed":
            self.close_connection = True
            return
        status, headers = REFUSED.get(row, (200, {}))
        body = json.dumps(ANSWER if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if row == "cut":
            body, self.close_connection = body[:20], True
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # clients that have gone
        pass


def send(client, row):
    """Sends one row as the client does by default, but for the time that it waits for an answer."""
    address, wait = f"http://127.0.0.1:{server.server_address[1]}", {"timeout": 1} if row == "slow" else {}
    messages = [{"role": "user", "content": f"{client}, {row}"}]
    try:
        if client == "writer-sdk":
            writerai.Writer(base_url=address, api_key="none", **wait).chat.chat(model="palmyra-x5", messages=messages)
        else:
            openai.OpenAI(base_url=address, api_key="none", **wait).chat.completions.create(model="m", messages=messages)
        ended[client, row] = "an answer"
    except Exception as error:
        ended[client, row] = type(error).__name__


server = Quiet(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
ended = {}
rows = [("writer-sdk", row) for row in ("500", "429", "61 s", "1 h", "slow", "closed", "cut")]
rows += [("openai", row) for row in ("61 s", "1 h")]
threads = [threading.Thread(target=send, args=row) for row in rows]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("writer-sdk", version("writer-sdk"), "openai", version("openai"))
gaps = {}
for row in rows:
    times = [at for at, _ in asked[row]]
    gaps[row] = [later - at for at, later in zip(times, times[1:])]
    print(*row, f"- {len(times)} requests, after", *[f"{gap:.1f}" for gap in gaps[row]], "s:", ended[row])
for client, row in rows:
    if client == "writer-sdk":
        assert len(asked[client, row]) == 8, "it asks otherwise now"
        assert ended[client, row] != "an answer"
        assert not [name for _, headers in asked[client, row] for name in headers if "idempot" in name.lower()]
counts = [headers.get("x-stainless-retry-count") for _, headers in asked["writer-sdk", "closed"]]
print("its header x-stainless-retry-count:", *counts)
assert counts == [str(at) for at in range(8)]
for row in ("61 s", "1 h"):
    assert gaps["writer-sdk", row][0] < 30, "it waits as the server says now"
assert all(gap > 60 for gap in gaps["openai", "61 s"]) and len(gaps["openai", "61 s"]) == 2
assert gaps["openai", "1 h"] == [], "openai asks again now"
PYTHON

#!/bin/sh
# Streams, long answers and clients that leave, behind Portkey's AI gateway 1.15.2 as npm installs it (Node 20; streams also
# with Node 24).
#
# Guess: a gateway hands a stream on; a 500 is no answer, so nothing to pay; how long an answer may take is the client's to
#        say: its documentation has a time-out that one sets, `x-portkey-request-timeout`.
# Seen:  every stream is a 500, "Something went wrong", in chats and completions. The server has got the request by then,
#        and writes the whole stream, for nobody. The first byte of a whole answer must come within five minutes (Node's
#        fetch has this limit, and nothing sets another): one that takes longer is a 500, "fetch failed", and the server is
#        cut off, with all that was generated. A whole answer is generated to its end after its client has gone.
# So:    send whole answers through it, with a `max_tokens` that is written in less than five minutes, and count each 500 of
#        it as possibly billed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent '@portkey-ai/gateway@1.15.2' '@hono/node-server@1.19.19' 'hono@4.13.19' >/dev/null 2>&1
python3 - <<'PYTHON'
import http.client
import json
import select
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATHS = {"chats": "/v1/chat/completions", "completions": "/v1/completions"}
LONG = 320  # seconds that the model `long` takes
worked = {}  # for each row: the seconds that the server worked for it, and whether it came to its end


class Upstream(BaseHTTPRequestHandler):
    """Works for as many seconds as `max_tokens` says, unless the other end is gone."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        start = time.monotonic()
        if request["stream"]:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
        ended = self.work(request["max_tokens"], request["stream"])
        worked[request["user"]] = (time.monotonic() - start, ended)
        if ended and request["stream"]:
            self.wfile.write(b"data: [DONE]\n\n")
        elif ended:
            choice = {"index": 0, "text": "Hi", "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            body = json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def work(self, seconds, stream):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.connection], [], [], 0.1)[0]:
                return False
            if stream:
                choice = {"index": 0, "text": "word ", "delta": {"content": "word "}, "finish_reason": None}
                self.wfile.write(b"data: " + json.dumps({"id": "1", "choices": [choice]}).encode() + b"\n\n")
        return True

    def log_message(self, *_):
        pass


def send(row, seconds, kind="chats", stream=False, patience=600):
    """The status and the body; None if the client left before."""
    prompt = {"messages": [{"role": "user", "content": "Hi"}]} if kind == "chats" else {"prompt": "Hi"}
    body = json.dumps({"model": "m", **prompt, "max_tokens": seconds, "stream": stream, "user": row})
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", "x-portkey-provider": "openai"}
    headers["x-portkey-custom-host"] = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("POST", PATHS[kind], body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except TimeoutError:
        return None
    finally:
        connection.close()


def seen(row, seconds, **how):
    heard = send(row, seconds, **how)
    while row not in worked:
        time.sleep(0.1)
    print(f"{row}: the client hears {heard}; the server worked {worked[row][0]:.0f} s, to its end: {worked[row][1]}")
    return heard


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = ["node", "node_modules/@portkey-ai/gateway/build/start-server.js", f"--port={port}", "--headless"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as gateway:
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        heard = {}
        long = threading.Thread(target=lambda: heard.update(long=seen("a long answer", LONG)))
        long.start()
        assert seen("an answer", 1)[0] == 200
        streams = [seen(f"a stream of {kind}", 5, kind=kind, stream=True) for kind in PATHS]
        left = seen("an answer whose client leaves after 1 s", 5, patience=1)
        long.join()
    finally:
        gateway.terminate()
assert [status for status, _ in streams] == [500, 500], "streams are handed on now"
assert all(worked[f"a stream of {kind}"][1] for kind in PATHS), "the server is cut off now where a stream fails"
assert left is None and worked["an answer whose client leaves after 1 s"][1], "it gives up now what nobody waits for"
assert heard["long"][0] == 500 and "HeadersTimeoutError" in heard["long"][1], "an answer may take longer now"
assert 290 < worked["a long answer"][0] < 310 and not worked["a long answer"][1], "the server is not cut off now"
PYTHON

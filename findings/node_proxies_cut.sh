#!/bin/sh
# A server that breaks off in the middle of an answer, behind proxies for Node (20): http-proxy 1.18.1, express-http-proxy
# 2.1.2, configurable-http-proxy 5.3.0 (JupyterHub's), http-proxy-middleware 4.2.1 and @fastify/http-proxy 11.6.3.
#
# Guess: where the server's connection ends before the answer does, the proxy ends the client's, too, and the client has an
#        error at once (RFC 9112, 8).
# Seen:  the first three tell the client nothing: it keeps its connection, and waits until its own time is over, for a whole
#        answer with a length as for a stream. http-proxy-middleware breaks off where the server closed; where it reset
#        the connection, as the system does for a process that was killed with data unread, the proxy writes "Error
#        occurred while trying to proxy" behind the events, and ends the body well: for the client a 200, complete.
#        @fastify/http-proxy breaks off in each case. When the client leaves before a whole answer has come, behind
#        http-proxy and @fastify/http-proxy it is generated to its end.
# So:    behind such a proxy a dead server is told by the client's own time-out alone: let it be no longer than the longest
#        answer takes. And believe no stream without the end that its format has (`[DONE]`, a finish reason).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent http-proxy@1.18.1 express-http-proxy@2.1.2 configurable-http-proxy@5.3.0 http-proxy-middleware@4.2.1 \
  @fastify/http-proxy@11.6.3 express@5.3.0 fastify@5.12.8 >/dev/null 2>&1
cat > proxies.js <<'NODE'
const [target, plain, express_port, middleware, fast] = process.argv.slice(2)
const express = require('express')
const { createProxyMiddleware } = require('http-proxy-middleware')
const answerError = (error, request, response) => { if (!response.headersSent) response.writeHead(502); response.end() }
require('http-proxy').createProxyServer({ target }).on('error', answerError).listen(plain, '127.0.0.1')
express().use(require('express-http-proxy')(target)).listen(express_port, '127.0.0.1')
express().use(createProxyMiddleware({ target })).listen(middleware, '127.0.0.1')
const fastify = require('fastify')()
fastify.register(require('@fastify/http-proxy'), { upstream: target })
fastify.listen({ port: Number(fast), host: '127.0.0.1' })
NODE
python3 - <<'PYTHON'
import http.client
import json
import select
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 15  # seconds that the client waits for the next byte
EVENT = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": null}]}\n\n'
NAMES = ("http-proxy", "express-http-proxy", "http-proxy-middleware", "@fastify/http-proxy", "configurable-http-proxy")
left = {}  # for each row whose client left: whether the server worked to the end


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        how, row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        if how == "slow":
            left[row] = not select.select([self.connection], [], [], 5)[0]
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if how == "whole" else "text/event-stream")
        self.send_header(*("Content-Length", "1000") if how == "whole" else ("Transfer-Encoding", "chunked"))
        self.end_headers()
        if how == "whole":
            self.wfile.write(b'{"id": "1", "choices": [')
            return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        self.wfile.flush()
        time.sleep(0.5)
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def heard(name, how, patience=PATIENCE):
    """What the client hears: an error, nothing, or an end, and what stood behind the event."""
    connection = http.client.HTTPConnection("127.0.0.1", ports[name], timeout=patience)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps([how, name]), {"Content-Type": "application/json"})
        body = connection.getresponse().read()
        return "a complete body", body.removeprefix(EVENT)[:37].decode()
    except TimeoutError:
        return ("nothing",)
    except (http.client.HTTPException, ConnectionError):
        return ("an error",)
    finally:
        connection.close()


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
target = f"http://127.0.0.1:{upstream.server_address[1]}"
ports = {name: free_port() for name in NAMES}
jupyter = ["node", "node_modules/.bin/configurable-http-proxy", "--ip", "127.0.0.1", "--port", str(ports[NAMES[-1]])]
jupyter += ["--api-port", str(free_port()), "--default-target", target]
others = ["node", "proxies.js", target, *(str(ports[name]) for name in NAMES[:-1])]
running = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in (others, jupyter)]
try:
    for port in ports.values():
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
    with ThreadPoolExecutor(20) as pool:
        cases = [(name, how) for name in NAMES for how in ("whole", "closed", "reset") if (name, how) != (NAMES[0], "reset")]
        seen = dict(zip(cases, pool.map(lambda case: heard(*case), cases), strict=True))
        for name in NAMES:
            assert heard(name, "slow", patience=1) == ("nothing",)
    while len(left) < len(NAMES):
        time.sleep(0.1)
finally:
    for process in running:
        process.terminate()
for (name, how), what in seen.items():
    print(f"{name}: {how}: the client hears {' with '.join(what)}")
print("generated to the end after the client has left:", [name for name in NAMES if left[name]])
for name in ("http-proxy", "express-http-proxy", "configurable-http-proxy"):
    assert {what for (proxy, _), what in seen.items() if proxy == name} == {("nothing",)}, f"{name} says something now"
assert [seen["http-proxy-middleware", how] for how in ("whole", "closed")] == [("an error",)] * 2
assert seen["http-proxy-middleware", "reset"] == ("a complete body", "Error occurred while trying to proxy:"), "no such end now"
assert [seen["@fastify/http-proxy", how] for how in ("whole", "closed", "reset")] == [("an error",)] * 3
assert [name for name in NAMES if left[name]] == ["http-proxy", "@fastify/http-proxy"], "others are cut off now"
PYTHON

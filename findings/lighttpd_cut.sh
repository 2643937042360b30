#!/bin/sh
# A server that breaks off in the middle of an answer in chunks, behind lighttpd 1.4.69 as it is by default, and h2o
# 2.2.5 (both of Debian 12).
#
# Guess: chunks whose last one never came are no answer (RFC 9112, 8), and the proxy breaks its own off, too, as
#        lighttpd does where the server told a length. nginx, HAProxy, Apache, Squid, Varnish, nghttpx, Caddy and
#        Envoy do so for chunks as well (tried; nginx with `proxy_http_version 1.1`).
# Seen:  lighttpd gathers an answer before it sends it (`server.stream-response-body` is 0), and sends what it has got
#        with the Content-Length of that half: a 200, complete for every client, be the connection closed or reset.
#        h2o ends its chunks well where the server's connection was closed, and breaks off where it was reset. Half of
#        a text, or of a file in lines, is read as all of it. A stream of vLLM is in chunks, and so are most.
# So:    in lighttpd set `server.stream-response-body = 1`, which breaks off in each case; and believe no answer
#        without the end that its format has ([DONE], a finish reason, the last brace). Its code of June 2026 has it
#        mended (1.4.83), which Debian 12 does not have.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq lighttpd=1.4.69-1 h2o=2.2.5+dfsg2-7 libyaml-0-2 libxxhash0 libnettle8 2>/dev/null)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
python3 - "$folder" <<'PYTHON'
import http.client
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

folder = Path(sys.argv[1])
EVENT = b"data: half of the text\n\n"
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
HEADS = {"chunks": b"Transfer-Encoding: chunked", "length": b"Content-Length: 100"}
CASES = [(kind, how) for kind in HEADS for how in ("closed", "reset")]


class Server(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        length = 0
        while (header := self.rfile.readline()) != b"\r\n":
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        kind, how = path.strip("/").split("-")
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + HEADS[kind] + b"\r\n\r\n")
        self.wfile.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT) if kind == "chunks" else EVENT)
        time.sleep(0.5)  # so that the proxy has it before the end
        if how == "reset":
            self.connection.setsockopt(*RESET)
            self.connection.close()


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


server = Threads(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
direct = server.server_address[1]
QUIET = subprocess.DEVNULL
NAMES = ("lighttpd", "lighttpd streaming", "h2o")
ports = {name: free() for name in NAMES}
lighttpd, h2o = folder / "root/usr/sbin/lighttpd", folder / "root/usr/bin/h2o"
for name in NAMES[:2]:
    (folder / f"{name}.conf").write_text(f"""
server.modules = ("mod_proxy")
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {ports[name]}
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {direct})))
{"server.stream-response-body = 1" if "streaming" in name else ""}
""")
(folder / "h2o.conf").write_text(f"""
listen: {{host: 127.0.0.1, port: {ports["h2o"]}}}
num-threads: 1
{"user: root" if os.getuid() == 0 else ""}
hosts: {{default: {{paths: {{/: {{proxy.reverse.url: "http://127.0.0.1:{direct}/"}}}}}}}}
""")
modules = folder / "root/usr/lib/lighttpd"
commands = {name: [lighttpd, "-D", "-m", modules, "-f", folder / f"{name}.conf"] for name in NAMES[:2]}
commands["h2o"] = [h2o, "-c", folder / "h2o.conf"]
environment = os.environ | {"LD_LIBRARY_PATH": str(next((folder / "root/usr/lib").glob("*-linux-gnu")))}


def got(port, kind, how):
    """What a client has of an answer that was cut, and whether it is told."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", f"/{kind}-{how}", b"Hi")
    answer = connection.getresponse()
    length = answer.headers["Content-Length"]
    try:
        assert answer.read() == EVENT
        end = "complete"
    except (http.client.IncompleteRead, ConnectionError):
        end = "cut"
    assert answer.status == 200
    return end, length


for command in ([lighttpd, "-v"], [h2o, "--version"]):
    print(subprocess.run(command, env=environment, capture_output=True, text=True).stdout.splitlines()[0])
seen = {"none": {case: got(direct, *case) for case in CASES}}
for name in NAMES:
    with subprocess.Popen(commands[name], env=environment, stdout=QUIET, stderr=QUIET) as proxy:
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", ports[name]), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            seen[name] = {case: got(ports[name], *case) for case in CASES}
        finally:
            proxy.terminate()
for name, cases in seen.items():
    for (kind, how), (end, length) in cases.items():
        print(f"proxy: {name}; {kind}, {how}: half came, and for the client it is {end} (Content-Length: {length})")
ends = {name: [cases[case][0] for case in CASES] for name, cases in seen.items()}
assert ends["none"] == ends["lighttpd streaming"] == ["cut"] * 4
assert ends["lighttpd"] == ["complete", "complete", "cut", "cut"], "lighttpd does otherwise now"
assert {seen["lighttpd"]["chunks", how][1] for how in ("closed", "reset")} == {str(len(EVENT))}
assert ends["h2o"] == ["complete", "cut", "cut", "cut"], "h2o does otherwise now"
PYTHON

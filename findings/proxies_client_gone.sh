#!/bin/sh
# A client that has hung up, and how long the server goes on, behind HAProxy 2.6.12, Apache httpd 2.4.71, lighttpd
# 1.4.69 and h2o 2.2.5, beside nginx 1.22.1 (all of Debian 12, as they are by default).
#
# Guess: who hangs up is heard: the proxy closes the server's connection as well, as nginx does, and Squid, nghttpx,
#        Caddy and Envoy (tried). vLLM then stops generating, so a time-out costs what was made until then.
# Seen:  all four let the server work at a whole answer to its end, and throw it away; so does Varnish 7.1.1 (tried).
#        The next try begins beside it: each time-out makes the server slower, and the next one likelier, and
#        everything is paid for. A stream is given up within a moment, since the proxy meets the closed connection
#        when it hands on the next piece; but not behind lighttpd, which gathers it first, unless
#        `server.stream-response-body = 1` is set. HAProxy's `option abortonclose` helped at some times only, with the
#        same request (tried); by its documentation it is the default in later versions.
# So:    behind these, where a client has a time-out of its own, stream; or let it be longer than the longest answer
#        takes, and bound that by `max_tokens`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq haproxy=2.6.12-1+deb12u4 liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 \
  apache2-bin=2.4.71-1~deb12u1 libapr1 libaprutil1 lighttpd=1.4.69-1 libxxhash0 libnettle8 h2o=2.2.5+dfsg2-7 \
  libyaml-0-2 nginx=1.22.1-9+deb12u11 2>/dev/null)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
python3 - "$folder" <<'PYTHON'
import http.client
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

folder = Path(sys.argv[1])
QUIET = subprocess.DEVNULL
NAMES = ("nginx", "HAProxy", "Apache", "lighttpd", "lighttpd, streaming", "h2o")
LONG = 60  # tenths of a second that an answer takes
made = {}  # tenths that the server worked at an answer, by what was asked


class Server(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        length = 0
        while (header := self.rfile.readline()) != b"\r\n":
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        made[path] = self.work(path == "/stream")

    def work(self, stream):
        """Answers until nobody listens, and returns how long that was."""
        try:
            head = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked" if stream else b"Content-Length: 2"
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n\r\n"
            if stream:
                self.wfile.write(head)
            for tenth in range(LONG):
                if select.select([self.connection], [], [], 0.1)[0]:
                    return tenth
                if stream:
                    self.wfile.write(b"c\r\ndata: word\n\n\r\n")
            self.wfile.write(b"0\r\n\r\n" if stream else head + b"ok")
        except OSError:
            return tenth
        return LONG


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


server = Threads(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
behind = f"127.0.0.1:{server.server_address[1]}"
ports = {name: free() for name in NAMES}
root = folder / "root/usr"
kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
modules = ("mpm_event", "authz_core", "proxy", "proxy_http")
loads = "\n".join(f"LoadModule {name}_module {root}/lib/apache2/modules/mod_{name}.so" for name in modules)
texts = {
    "nginx": f"""daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}
http {{
  access_log off; {temporary}
  server {{ listen 127.0.0.1:{ports["nginx"]}; location / {{ proxy_pass http://{behind}; proxy_http_version 1.1; }} }}
}}""",
    "Apache": f"""{loads}
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName proxy
Listen 127.0.0.1:{ports["Apache"]}
ProxyPass / http://{behind}/
""",
    "h2o": f"""listen: {{host: 127.0.0.1, port: {ports["h2o"]}}}
num-threads: 1
{"user: root" if os.getuid() == 0 else ""}
hosts: {{default: {{paths: {{/: {{proxy.reverse.url: "http://{behind}/"}}}}}}}}
""",
}
texts["HAProxy"] = f"""
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{ports["HAProxy"]}
  default_backend back
backend back
  server one {behind}
"""
for name, option in (("lighttpd", ""), ("lighttpd, streaming", "server.stream-response-body = 1")):
    texts[name] = f"""
server.modules = ("mod_proxy")
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {ports[name]}
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {server.server_address[1]})))
{option}
"""
programs = {
    "nginx": [root / "sbin/nginx", "-p", folder, "-e", folder / "error.log", "-c"],
    "HAProxy": [root / "sbin/haproxy", "-db", "-f"],
    "Apache": [root / "sbin/apache2", "-DFOREGROUND", "-f"],
    "lighttpd": [root / "sbin/lighttpd", "-D", "-m", root / "lib/lighttpd", "-f"],
    "h2o": [root / "bin/h2o", "-c"],
}
environment = os.environ | {"LD_LIBRARY_PATH": str(next((root / "lib").glob("*-linux-gnu")))}


def left(port):
    """Tenths of a second that the server worked at a whole answer and a stream, whose clients left after one second."""
    made.clear()
    clients = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(2)]
    for client, path in zip(clients, ("/whole", "/stream")):
        client.request("POST", path, b"Hi")
    time.sleep(1)
    for client in clients:
        client.close()
    for _ in range(300):
        if len(made) == 2:
            break
        time.sleep(0.1)
    return made["/whole"], made["/stream"]


seen = {}
for number, name in enumerate(NAMES):
    path = folder / f"{number}.conf"
    path.write_text(texts[name])
    command = [*programs[name.split(",")[0]], path]
    with subprocess.Popen(command, env=environment, stdout=QUIET, stderr=QUIET) as proxy:
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", ports[name]), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            time.sleep(0.5)
            seen[name] = left(ports[name])
        finally:
            proxy.terminate()
for name, (whole, stream) in seen.items():
    print(f"{name}: of {LONG / 10} s a whole answer was worked at for {whole / 10} s, a stream for {stream / 10} s")
for name in ("HAProxy", "Apache", "lighttpd", "lighttpd, streaming", "h2o"):
    assert seen[name][0] == LONG, f"{name} gives a whole answer up now"
assert seen["lighttpd"][1] == LONG, "lighttpd gives a stream up now"
assert seen["nginx"][0] < LONG // 2, "nginx does not give a whole answer up any more"
for name in set(NAMES) - {"lighttpd"}:
    assert seen[name][1] < LONG // 2, f"{name} does not give a stream up any more"
PYTHON

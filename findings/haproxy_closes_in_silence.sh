#!/bin/sh
# A server that takes a request, works on it and dies before its answer, behind HAProxy 2.6.12 and Apache httpd 2.4.71
# (both of Debian 12); the client is libcurl 8.23.0 (pycurl 7.49.0).
#
# Guess: a 502, by which a client knows that the request was passed on, and may have been billed. Both say so where it
#        is the first request of its connection.
# Seen:  where it is a later one, as in a batch nearly all are, both close the connection without a byte, as a server
#        closes one that was idle. By HTTP/2 HAProxy says REFUSED_STREAM, whose meaning is that nothing was done with
#        the request (RFC 9113, 8.7). libcurl believes either and asks again by itself, POST or not, and says nothing:
#        one request is two at the server, and six by HTTP/2, each of which may have been worked on for minutes.
#        nginx, Squid, Varnish, h2o, nghttpx, Caddy and Envoy say 502 or 503 (tried).
# So:    behind these two take a kept connection that ends without a byte for possibly billed, and REFUSED_STREAM as
#        well. With libcurl: HTTP/1.1, and CURLOPT_FORBID_REUSE, which gives each request a connection of its own.
#        That HAProxy does it on purpose, so that clients ask again, is known: issues 2375 and 3414 of haproxy.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq haproxy=2.6.12-1+deb12u4 liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 \
  apache2-bin=2.4.71-1~deb12u1 libapr1 libaprutil1 2>/dev/null)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet pycurl==7.49.0 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pycurl

folder = Path(sys.argv[1])
came = []  # the path of each request that the server has taken in full
QUIET = subprocess.DEVNULL
PROXIES = ("haproxy", "apache")


class Server(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) != b"\r\n":
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.rfile.read(length)
            path = line.split()[1].decode()
            came.append(path)
            if path == "/dies":
                time.sleep(0.3)  # at work
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


server = Threads(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
behind = f"127.0.0.1:{server.server_address[1]}"
ports = {name: free() for name in PROXIES}
(folder / "haproxy.cfg").write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{ports["haproxy"]}
  default_backend back
backend back
  server one {behind}
""")
modules = ("mpm_event", "authz_core", "proxy", "proxy_http")
place = folder / "root/usr/lib/apache2/modules"
loads = "\n".join(f"LoadModule {name}_module {place}/mod_{name}.so" for name in modules)
(folder / "apache.conf").write_text(f"""{loads}
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName proxy
Listen 127.0.0.1:{ports["apache"]}
ProxyPass / http://{behind}/
""")
commands = {
    "haproxy": [folder / "root/usr/sbin/haproxy", "-db", "-f", folder / "haproxy.cfg"],
    "apache": [folder / "root/usr/sbin/apache2", "-DFOREGROUND", "-f", folder / "apache.conf"],
}
environment = os.environ | {"LD_LIBRARY_PATH": str(next((folder / "root/usr/lib").glob("*-linux-gnu")))}


def ask(port, paths, version, forbid_reuse=0):
    """What the client heard, one request after the other, and how often the last one came."""
    came.clear()
    client, heard = pycurl.Curl(), []
    client.setopt(pycurl.HTTP_VERSION, version)
    client.setopt(pycurl.FORBID_REUSE, forbid_reuse)
    for path in paths:
        client.setopt(pycurl.URL, f"http://127.0.0.1:{port}{path}")
        client.setopt(pycurl.POSTFIELDS, '{"prompt": "Hi"}')
        client.setopt(pycurl.WRITEDATA, io.BytesIO())
        try:
            client.perform()
            heard.append(client.getinfo(pycurl.RESPONSE_CODE))
        except pycurl.error as error:
            heard.append(error.args[1])
    client.close()
    return heard, came.count(paths[-1])


def bare(port):
    """What comes over the connection itself when the server dies at the first request, and at the second one."""
    seen = []
    for paths in (["/dies"], ["/well", "/dies"]):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            for path in paths:
                peer.sendall(f"POST {path} HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\nHi".encode())
                said = peer.recv(65536)
        seen.append(said.split(b"\r\n")[0])
    return seen


HTTP_1, HTTP_2 = pycurl.CURL_HTTP_VERSION_1_1, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
print(pycurl.version.split(" OpenSSL")[0])
seen = {}
for name in PROXIES:
    said = subprocess.run([commands[name][0], "-v"], env=environment, stdout=subprocess.PIPE, text=True).stdout
    print(said.splitlines()[0])
    with subprocess.Popen(commands[name], env=environment, stdout=QUIET, stderr=QUIET) as proxy:
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", ports[name]), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            first, later = bare(ports[name])
            print(f"  the server dies at the first request: {first!r}; at the second: {later!r}")
            by_default, alone = (ask(ports[name], ["/well", "/dies"], HTTP_1, forbid) for forbid in (0, 1))
            seen[name] = (first.split()[1], later), by_default, alone
            print(f"  libcurl: {by_default[0]}, and the second request is {by_default[1]} at the server")
            print(f"  libcurl, a connection for each: {alone[0]}, and it is {alone[1]} at the server")
            if name == "haproxy":
                http_2 = ask(ports[name], ["/well", "/dies"], HTTP_2)
                print(f"  libcurl, HTTP/2: {http_2[0]}, and the second request is {http_2[1]} at the server")
        finally:
            proxy.terminate()
for name in PROXIES:
    assert seen[name] == ((b"502", b""), ([200, 502], 2), ([200, 502], 1)), f"{name} does otherwise now"
assert http_2[0][0] == 200 and "Connection died" in http_2[0][1] and http_2[1] == 6, "HTTP/2 is otherwise now"
PYTHON

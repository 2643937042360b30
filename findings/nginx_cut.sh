#!/bin/sh
# A server that breaks off in the middle of a streamed answer, behind nginx 1.22.1 (Debian 12) as it is by default.
#
# Guess: a proxy that loses its upstream in the middle of a body breaks the body off, too, and the client has an error.
# Seen:  nginx asks the upstream by HTTP/1.0, where the end of a body without Content-Length is the end of the connection.
#        A server that answers so, and dies after half of its events, is answered in full for all that the client can
#        see: chunks, the last chunk, 200. The same server asked directly by HTTP/1.1 answers in chunks, and the client
#        gets an error where they end. With `proxy_http_version 1.1` nginx breaks the body off as well.
# So:    believe no stream behind a proxy without the end that its format has (`[DONE]`, a finish reason).
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq nginx=1.22.1-9+deb12u11 2>/dev/null)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
python3 - "$folder" <<'PYTHON'
import http.client
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

folder = Path(sys.argv[1])
nginx = folder / "root/usr/sbin/nginx"
EVENT = b"data: half of the text\n\n"

def serve(server):
    """Half an answer: chunked where the request is HTTP/1.1, until the end of the connection where it is HTTP/1.0."""
    while True:
        connection, _ = server.accept()
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        if b"HTTP/1.1" in request.splitlines()[0]:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        else:
            connection.sendall(head + b"Connection: close\r\n\r\n" + EVENT)
        connection.close()

def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]

upstream = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(upstream,), daemon=True).start()
direct = upstream.getsockname()[1]
by_default, by_1_1 = free(), free()
(folder / "nginx.conf").write_text(f"""
pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{by_default}; location / {{ proxy_pass http://127.0.0.1:{direct}; }} }}
  server {{ listen 127.0.0.1:{by_1_1}; location / {{ proxy_pass http://127.0.0.1:{direct}; proxy_http_version 1.1; }} }}
}}
""")
print(subprocess.run([nginx, "-v"], stderr=subprocess.PIPE, text=True).stderr.strip())
subprocess.run([nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"], check=True)

def asked(port):
    for _ in range(100):
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            client.request("GET", "/")
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    answer = client.getresponse()
    try:
        return answer.status, answer.read() == EVENT and "whole"
    except http.client.IncompleteRead:
        return answer.status, "broken off"

seen = {"direct": asked(direct), "nginx": asked(by_default), "nginx, proxy_http_version 1.1": asked(by_1_1)}
for way, what in seen.items():
    print(f"{way}: {what}")
assert seen["direct"] == (200, "broken off")
assert seen["nginx"] == (200, "whole"), "nginx breaks the body off, or asks by HTTP/1.1, now"
assert seen["nginx, proxy_http_version 1.1"] == (200, "broken off")
PYTHON

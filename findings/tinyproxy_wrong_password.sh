#!/bin/sh
# A proxy that wants a password, tinyproxy 1.11.1 (Debian 12): what it answers to none, and to a wrong one.
#
# Guess: 407 and a challenge to both (RFC 9110, 15.5.8): the credentials are missing or do not serve.
# Seen:  407 and a challenge where there is none. A wrong password is 401 without a challenge: for CONNECT as for a plain
#        request, which a client cannot tell from a 401 of the server behind.
# So:    take a 401 in answer to CONNECT for the proxy's. Where plain requests through a proxy are answered by 401, doubt
#        its password as well as the server's key.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq tinyproxy-bin=1.11.1-2.1+deb12u1 2>/dev/null)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
python3 - "$folder" <<'PYTHON'
import base64
import socket
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
tinyproxy = folder / "root/usr/bin/tinyproxy"

def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]

port, behind = free(), free()
(folder / "tinyproxy.conf").write_text(f"""
Port {port}
Listen 127.0.0.1
Timeout 10
Allow 127.0.0.1
BasicAuth somebody right
DefaultErrorFile "{folder}/none.html"
""")

def answer(request, password):
    """The status and the challenge, if there is one."""
    login = base64.b64encode(f"somebody:{password}".encode()).decode() if password else None
    head = f"{request} HTTP/1.1\r\nHost: 127.0.0.1:{behind}\r\n"
    head += f"Proxy-Authorization: Basic {login}\r\n" if login else ""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(f"{head}\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said and (more := peer.recv(65536)):
            said += more
    lines = said.split(b"\r\n\r\n")[0].split(b"\r\n")
    return int(lines[0].split()[1]), any(line.lower().startswith(b"proxy-authenticate:") for line in lines)

print(subprocess.run([tinyproxy, "-v"], stdout=subprocess.PIPE, text=True).stdout.strip())
process = subprocess.Popen([tinyproxy, "-d", "-c", folder / "tinyproxy.conf"], stdout=subprocess.DEVNULL)
(folder / "pid").write_text(str(process.pid))
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.1)
seen = {
    (what, password): answer(request, password)
    for what, request in (("CONNECT", f"CONNECT 127.0.0.1:{behind}"), ("GET", f"GET http://127.0.0.1:{behind}/"))
    for password in (None, "wrong")
}
for (what, password), (status, has_challenge) in seen.items():
    print(f"{what}, password {password}: {status}, {'a' if has_challenge else 'no'} challenge")
wanted = {(what, password): ((407, True) if password is None else (401, False))
          for what in ("CONNECT", "GET") for password in (None, "wrong")}
sys.exit(0 if seen == wanted else "it has changed")
PYTHON

#!/bin/sh
# A conditional read (`If-Match`) by obstore 0.12.1 of an object that was replaced meanwhile, in s3rver 3.7.1 and in moto
# 5.2.5.
#
# Guess: a server that speaks S3 answers 412 to an ETag that is no longer the object's, as AWS documents it, or says 501
#        that it has no conditions; so a reader that passes the ETag cannot be given other bytes.
# Seen:  moto answers 412. s3rver passes over the condition, and the new object's bytes come with 200; the answer's own ETag,
#        which obstore hands out, is what gives it away.
# So:    compare the ETag of each answer with the first one's, whatever condition was sent.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder"/*.pid 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'obstore==0.12.1' 'moto[server]==5.2.5'
npm install --silent --no-fund --no-audit --prefix "$folder" s3rver@3.7.1 >/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version

import obstore
from obstore.store import S3Store

folder = sys.argv[1]

def free():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]

def up(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")

def read_after_change(port, key, secret):
    store = S3Store("bucket", endpoint=f"http://127.0.0.1:{port}", access_key_id=key, secret_access_key=secret,
                    region="us-east-1", client_options={"allow_http": True})
    obstore.put(store, "rows.csv", b"old")
    known = obstore.head(store, "rows.csv")["e_tag"]
    obstore.put(store, "rows.csv", b"new")
    try:
        answer = obstore.get(store, "rows.csv", options={"if_match": known})
    except Exception as error:
        return type(error).__name__
    return bytes(answer.bytes()), answer.meta["e_tag"] != known

print("obstore", version("obstore"))
ports = free(), free()
servers = {
    "moto " + version("moto"): ([f"{folder}/venv/bin/moto_server", "-H", "127.0.0.1", "-p", str(ports[0])], ports[0]),
    "s3rver 3.7.1": ([f"{folder}/node_modules/.bin/s3rver", "-d", f"{folder}", "-a", "127.0.0.1", "-p", str(ports[1]),
                      "--configure-bucket", "bucket"], ports[1]),
}
seen = {}
for name, (command, port) in servers.items():
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        up(port)
        if name.startswith("moto"):
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT"))
        seen[name] = read_after_change(port, "S3RVER", "S3RVER")
        print(name, seen[name])
        server.terminate()
moto, s3rver = seen.values()
assert moto == "PreconditionError", "moto reads another object now"
assert s3rver == (b"new", True), "s3rver heeds the condition now"
PYTHON

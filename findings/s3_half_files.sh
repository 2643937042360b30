#!/bin/sh
# An exception amid the rows of a file that a program writes into S3, within `with`: s3fs 2026.9.0, pyarrow 26.0.1,
# cloudpathlib 0.26.0 and opendal 0.47.12, beside obstore 0.12.1 and smart_open 9.0.2 (server: moto 5.2.5).
#
# Guess: an object is there whole or not at all: it appears when its upload is completed, and an exception gives the
#        upload up. Half a file is what disks have. A Parquet file without its end can be read by nobody.
# Seen:  obstore and smart_open give it up, and last night's object stays. The other four complete the upload on the way
#        out of `with`: half the lines take the place of last night's. `pq.ParquetWriter` writes its footer on the way
#        out, too, so that half a Parquet file is a whole one with half the rows. So it is with Ctrl-C. Within
#        `with fs.transaction:` s3fs leaves the old object.
# So:    `with fs.transaction:` around s3fs' file; else write here, and upload what is whole. Count the rows of what
#        others have uploaded. Of pyarrow it is known: issue 40502 of arrow, open since March 2024.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 's3fs==2026.9.0' 'pyarrow==26.0.1' 'cloudpathlib[s3]==0.26.0' \
    'opendal==0.47.12' 'obstore==0.12.1' 'smart_open[s3]==9.0.2' 'moto[server]==5.2.5'
cd "$folder"
AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 \
    "$folder/venv/bin/python" - <<'PYTHON'
import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import cloudpathlib
import obstore
import opendal
import pyarrow as pa
import pyarrow.parquet as pq
import s3fs
import smart_open
from obstore.store import S3Store
from pyarrow import fs

ROWS, OLD, NAME = 400, b"last night's", "night/rows"
ANSWER = "a long answer " * 3_000

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
os.environ["AWS_ENDPOINT_URL"] = url = f"http://127.0.0.1:{port}"
server = subprocess.Popen([Path(sys.executable).parent / "moto_server", "-p", str(port)], stdout=-3, stderr=-3)
Path("pid").write_text(str(server.pid))
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.2)
s3 = boto3.client("s3")
s3.create_bucket(Bucket="night")
at_s3fs = s3fs.S3FileSystem(endpoint_url=url, key="a", secret="b")
at_pyarrow = fs.S3FileSystem(endpoint_override=url, access_key="a", secret_key="b", region="us-east-1")
at_obstore = S3Store("night", endpoint=url, client_options={"allow_http": True})
at_opendal = opendal.Operator("s3", bucket="night", endpoint=url, region="us-east-1", access_key_id="a",
                              secret_access_key="b")


def answers(kind):
    """Yields half the rows, 8 MB of text: more than one part of an upload."""
    yield from range(ROWS // 2)
    raise kind("the server is gone")


def lines(opened, kind=ConnectionError):
    with opened as file:
        for row in answers(kind):
            file.write(f"{row} {ANSWER}\n".encode())


def parquet(opened, kind=ConnectionError):
    schema = pa.schema({"row": pa.int64(), "text": pa.string()})
    with opened as file, pq.ParquetWriter(file, schema) as writer:
        for row in answers(kind):
            writer.write_batch(pa.record_batch([[row], [ANSWER]], schema=schema))


def in_transaction(write):
    with at_s3fs.transaction:
        write(at_s3fs.open(NAME, "wb"))


def stored(write):
    """Returns what is in the bucket after the exception: the old object, or how many rows."""
    s3.put_object(Bucket="night", Key="rows", Body=OLD)
    try:
        write()
    except (ConnectionError, KeyboardInterrupt):
        pass
    else:
        raise AssertionError("no error is raised")
    assert not s3.list_multipart_uploads(Bucket="night").get("Uploads")
    body = s3.get_object(Bucket="night", Key="rows")["Body"].read()
    if body == OLD:
        return "old"
    return pq.read_table(io.BytesIO(body)).num_rows if body.startswith(b"PAR1") else body.count(b"\n")


opened = {
    "s3fs": lambda: at_s3fs.open(NAME, "wb"),
    "pyarrow": lambda: at_pyarrow.open_output_stream(NAME),
    "cloudpathlib": lambda: cloudpathlib.CloudPath(f"s3://{NAME}", client=client).open("wb"),
    "opendal": lambda: at_opendal.open("rows", "wb"),
    "obstore": lambda: obstore.open_writer(at_obstore, "rows"),
    "smart_open": lambda: smart_open.open(f"s3://{NAME}", "wb", transport_params={"client": s3}),
}
client = cloudpathlib.S3Client(endpoint_url=url)
for name, open_it in opened.items():
    for write in (lines, parquet):
        if name in ("opendal", "obstore") and write is parquet:
            continue  # pyarrow does not take their files.
        found = stored(lambda: write(open_it()))
        print(f"{name}, {write.__name__}: {found}")
        expected = "old" if name in ("obstore", "smart_open") else ROWS // 2
        assert found == expected, f"{name} leaves {found} now"
for write in (lines, parquet):
    found = stored(lambda: in_transaction(write))
    print(f"s3fs in a transaction, {write.__name__}: {found}")
    assert found == "old"
found = stored(lambda: parquet(opened["s3fs"](), KeyboardInterrupt))
print(f"s3fs, parquet, Ctrl-C: {found}")
assert found == ROWS // 2
PYTHON

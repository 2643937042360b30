#!/bin/sh
# A full btrfs and SQLite's write-ahead log. Needs root, loop devices and mkfs.btrfs; seen on Linux 6.18.
#
# Guess: a full disk is an error of SQLite's, whatever the file system.
# Seen:  a COMMIT is refused in words. Closing the database then writes to the shared memory (-shm), for which btrfs wants
#        a new block: SIGBUS ends the process. On ext4, xfs and tmpfs it does not.
# So:    where little is free, close without moving the log (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE).
#        `locking_mode = EXCLUSIVE` needs no -shm, but locks all readers out, those of the same process, too.
set -eu
folder=$(mktemp -d)
trap 'umount "$folder/disk" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'apsw==3.54.1.0' 2>/dev/null || "$folder/venv/bin/python" -m pip install --quiet apsw
truncate -s 120M "$folder/image"
mkfs.btrfs -q -M "$folder/image" >/dev/null 2>&1
mkdir "$folder/disk"
mount -o loop "$folder/image" "$folder/disk"
cat >"$folder/fill.py" <<'PYTHON'
import contextlib
import os
import sys

import apsw

path, witness = f"{sys.argv[1]}/a.sqlite", os.open(f"{sys.argv[1]}/witness", os.O_RDWR | os.O_CREAT)
writer = apsw.Connection(path)
for said in ("page_size = 8192", "journal_mode = wal", "synchronous = FULL", "wal_autocheckpoint = 512"):
    writer.execute(f"PRAGMA {said}").fetchall()
writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
reader = apsw.Connection(path, apsw.SQLITE_OPEN_READONLY)
try:
    while True:
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany("INSERT INTO t VALUES (NULL, ?)", [(os.urandom(40_000),) for _ in range(20)])
        writer.execute("COMMIT")
        with contextlib.suppress(OSError):
            os.pwrite(witness, os.urandom(12), 0)
        reader.execute("SELECT max(id) FROM t").get
except apsw.FullError as error:
    print("a COMMIT is refused:", error, flush=True)
if writer.in_transaction:
    writer.execute("ROLLBACK")
reader.close()
if len(sys.argv) > 2:
    writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
writer.close()
PYTHON
status=0
"$folder/venv/bin/python" "$folder/fill.py" "$folder/disk" || status=$?
echo "closing ends with $status (128 + 7 is SIGBUS)"
rm -f "$folder"/disk/*
sync
"$folder/venv/bin/python" "$folder/fill.py" "$folder/disk" spared
echo "closing without moving the log ends with 0"

#!/bin/sh
# The driver of ray 2.60.0 when the cluster's head (its gcs_server) is killed, and it does nothing but other work.
#
# Guess: what is awaited of Ray fails with an exception, and what to do next is the driver's to decide.
# Seen:  Ray ends the driver's process from a thread of its own, 60 s later, with exit code 1: no `except`, no `finally`
#        and no `atexit` of the driver's is run, and what it had not yet written is lost.
# So:    ask the head's port now and then, and be done with what must be saved before that minute is over.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'ray==2.60.0'
cat > "$folder/driver.py" <<'PYTHON'
import atexit
import os
import signal
import time
from pathlib import Path

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)


@ray.remote(num_cpus=0)
class Actor:
    def ping(self):
        return 1


print("ray", ray.__version__, "an actor answers:", ray.get(Actor.remote().ping.remote()), flush=True)
for status in Path("/proc").glob("[0-9]*/cmdline"):
    try:
        if "gcs_server" in status.read_text() and f"--session-name={ray._private.worker._global_node.session_name}" in status.read_text():
            os.kill(int(status.parent.name), signal.SIGKILL)
    except (OSError, ValueError):
        pass
atexit.register(print, "the driver came to its end by itself", flush=True)
try:
    time.sleep(100)
finally:
    print("the driver decides", flush=True)
PYTHON
began=$(date +%s)
code=0
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" "$folder/driver.py" > "$folder/said" 2> "$folder/errors" || code=$?
seconds=$(($(date +%s) - began))
cat "$folder/said"
echo "exit code $code after about a minute: $seconds s in all"
grep -q "Failed to connect to GCS within 60 seconds" "$folder/errors"
if [ "$code" -ne 1 ] || grep -q "the driver" "$folder/said"; then exit 1; fi

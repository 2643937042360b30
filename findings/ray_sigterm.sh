#!/bin/sh
# The SIGTERM handler of a program that calls `ray.init` and `ray.shutdown`, ray 2.60.0.
#
# Guess: a library leaves the handler that a program has set, or puts it back at its shutdown.
# Seen:  `ray.init` replaces it, and after `ray.shutdown` Ray's is still there. A SIGTERM that comes hours later ends the
#        program as if it had no handler (by the signal): its own is never called, no `finally` and no `atexit` runs.
# So:    keep what `signal.getsignal` says before `ray.init`; set it again after that, and once more after the shutdown.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'ray==2.60.0'
cat > "$folder/program.py" <<'PYTHON'
import atexit
import os
import signal

import ray

def own(number, frame):
    print("own handler", flush=True)

atexit.register(lambda: print("atexit", flush=True))
signal.signal(signal.SIGTERM, own)
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
during = signal.getsignal(signal.SIGTERM)
ray.shutdown()
after = signal.getsignal(signal.SIGTERM)
print("ray", ray.__version__, "during:", during.__name__, "after:", after.__name__, flush=True)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on", flush=True)
finally:
    print("finally", flush=True)
PYTHON
"$folder/venv/bin/python" - "$folder/program.py" <<'PYTHON'
import subprocess
import sys

ended = subprocess.run([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(ended.stdout + f"exit: {ended.returncode}")
lines = ended.stdout.splitlines()
assert lines[0].startswith("ray ") and "own" not in lines[0].split(), "the handler is kept, or put back, now"
assert lines[1:] == [], "more is run now after the signal"
assert ended.returncode == -15, "the signal ends the program in another way now"
PYTHON

#!/bin/sh
# What becomes of a cell at work when papermill is stopped, or its `--execution-timeout` is over; papermill 2.7.0,
# ipykernel 7.4.0, nbclient 0.11.0, jupyter_client 8.10.0.
#
# Guess: a cell that is to stop gets a KeyboardInterrupt, and ends what it has begun: its `finally` runs, however long
#        that takes. Under cron or a scheduler, SIGTERM to papermill does the same.
# Seen:  SIGTERM ends papermill alone. The kernel sees that its parent is gone and leaves at once: no exception, no
#        `finally`, no `atexit`. SIGINT and the time-out do interrupt the cell, and 2.5 seconds later the kernel gets
#        SIGTERM while the cell still ends: a cell that has answers in flight, or a file half written, has that long.
# So:    do not buy in a notebook that a scheduler may stop: run the command before it and load its results; or let the
#        cell end by itself, before papermill's time is over (batchgen: `until`).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet \
    'papermill==2.7.0' 'ipykernel==7.4.0' 'nbclient==0.11.0' 'jupyter_client==8.10.0'
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
log = folder / "log"
CELL = f"""
import atexit, signal, time

def say(what):
    with open({str(log)!r}, "a") as file:
        file.write(f"{{what}} {{time.time()}}\\n")

def term(number, frame):
    say("SIGTERM")
    raise SystemExit

signal.signal(signal.SIGTERM, term)
atexit.register(say, "atexit")
say("began")
try:
    time.sleep(60)
except KeyboardInterrupt:
    say("interrupted")
    for second in range(20):  # what is in flight ends
        time.sleep(1)
    say("ended-in-order")
finally:
    say("finally")
"""
cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": CELL}
kernel = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
(folder / "night.ipynb").write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def night(name, number=None, *options):
    """Runs the notebook, sends the signal once the cell is at work, and returns what the cell said, with seconds since
    it was to stop."""
    log.unlink(missing_ok=True)
    command = [folder / "venv/bin/papermill", folder / "night.ipynb", folder / "out.ipynb", "--no-progress-bar", *options]
    environ = {**os.environ, "HOME": str(folder), "JUPYTER_PATH": str(folder / "venv/share/jupyter")}
    started = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not log.exists():
        time.sleep(0.1)
        assert started.poll() is None, "papermill ended before the cell began"
    time.sleep(2)
    asked = time.time()
    if number is not None:
        started.send_signal(number)
    started.wait(60)
    time.sleep(5)
    lines = [line.split() for line in log.read_text().splitlines()]
    said = {what: float(at) - asked for what, at in lines}
    print(f"{name}:", ", ".join(f"{what} after {at:.1f} s" for what, at in said.items() if what != "began") or "nothing")
    return said


print(*(f"{name} {version(name)}" for name in ("papermill", "ipykernel", "nbclient", "jupyter_client")))
assert list(night("SIGTERM", signal.SIGTERM)) == ["began"], "the cell hears of it now, or runs on"
for name, said in (
    ("SIGINT", night("SIGINT", signal.SIGINT)),
    ("time-out", night("--execution-timeout", None, "--execution-timeout", "4")),
):
    assert list(said) == ["began", "interrupted", "SIGTERM", "finally", "atexit"], f"{name}: another order now"
    assert said["SIGTERM"] - said["interrupted"] < 10, f"{name}: a cell has longer now"
PYTHON

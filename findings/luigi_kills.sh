#!/bin/sh
# A program of Luigi's ExternalProgramTask, when Luigi is asked to stop, or the task's `worker_timeout` is over; luigi
# 3.8.1.
#
# Guess: a scheduler that gets SIGTERM hands it on to what it runs, waits some seconds, and only then kills; and it ends
#        with another exit status than after a good night.
# Seen:  with one worker the program gets SIGKILL at once, and Luigi ends with 0. With two workers Luigi dies by the
#        signal, and the program runs on, an orphan. After `worker_timeout` the program gets SIGKILL at once, and Luigi
#        ends with 0. In no case does the program see SIGTERM: what it had in flight is paid for and lost.
# So:    ask the program itself to stop (SIGTERM to its pid), or give it its own deadline (batchgen: `until`) well before
#        `worker_timeout`. Set Luigi's `[retcode]`, or it says 0 whatever happened.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'luigi==3.8.1'
cat > "$folder/night.sh" <<'SH2'
#!/bin/sh
# A night that ends in order when it is asked to, within a second.
trap 'echo asked >> "$1"; sleep 1; echo "ended in order" >> "$1"; exit 3' TERM INT
echo $$ > "$1"
i=0
while [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
SH2
chmod +x "$folder/night.sh"
cat > "$folder/nights.py" <<'PYTHON'
import os

import luigi
from luigi.contrib.external_program import ExternalProgramTask


class Night(ExternalProgramTask):
    worker_timeout = int(os.environ["SECONDS_AT_MOST"]) or None

    def program_args(self):
        return [os.environ["NIGHT"], os.environ["LOG"]]

    def output(self):
        return luigi.LocalTarget(os.environ["LOG"] + ".result")
PYTHON
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
luigi = [str(folder / "venv/bin/luigi"), "--module", "nights", "Night", "--local-scheduler", "--no-lock"]


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def night(name, *options, seconds=0, stop=True):
    """Runs Luigi, stops it once the program is at work, and returns (its exit status, what the program wrote after its
    pid, whether the program still runs three seconds later)."""
    log = folder / name
    environ = {**os.environ, "PYTHONPATH": str(folder), "NIGHT": str(folder / "night.sh"), "LOG": str(log)}
    started = subprocess.Popen(
        [*luigi, *options],
        env={**environ, "SECONDS_AT_MOST": str(seconds)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.1)
        assert started.poll() is None, "Luigi ended before the program began"
    time.sleep(1)
    if stop:
        started.send_signal(signal.SIGTERM)
    status = started.wait(60)
    time.sleep(3)
    pid, *wrote = log.read_text().split("\n")[:-1]
    still = lives(int(pid))
    if still:
        os.kill(int(pid), signal.SIGKILL)
    print(f"{name}: Luigi's exit status {status}; the program wrote {wrote}, and {'runs on' if still else 'is gone'}")
    return status, wrote, still


print("luigi", version("luigi"))
assert night("SIGTERM, one worker") == (0, [], False), "Luigi hands the signal on now, or says how it ended"
assert night("SIGTERM, two workers", "--workers", "2") == (-15, [], True), "Luigi ends its program now, or waits"
ended = night("worker_timeout", "--workers", "2", "--worker-force-multiprocessing", seconds=3, stop=False)
assert ended == (0, [], False), "a program may end in order now after worker_timeout"
PYTHON

#!/bin/sh
# The second try of a task that ran out of time, beside the program of the first: Airflow 3.3.2's BashOperator
# (`execution_timeout`, providers-standard 1.21.0), and Prefect 3.9.1's ShellOperation (`timeout_seconds`, prefect-shell
# 0.3.7).
#
# Guess: a scheduler that ends a program waits until it is gone, at least before it starts the same program again; and
#        it hears how it ended.
# Seen:  both send SIGTERM, as they should, and wait for nothing. The task counts as failed at once. With a short
#        `retry_delay` (Prefect's is none unless it is set; Airflow's is five minutes) the second program begins while
#        the first still ends what it has in flight. Both run side by side, and the exit status of the first, which may
#        say that all is well, is heard by nobody.
# So:    let the program end by itself, before the scheduler's time is over (batchgen: `until`). Let a retry wait longer
#        than an orderly end takes (batchgen: a minute, and publishing), and give the program a lock of its own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/night.sh" <<'SH2'
#!/bin/sh
# A night that ends in order when it is asked to, which takes some seconds, as its answers take.
trap 'echo "asked $$" >> "$1"; sleep 8; echo "ended $$" >> "$1"; exit 0' TERM
echo "began $$" >> "$1"
i=0
while [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done
SH2
chmod +x "$folder/night.sh"
cat > "$folder/check.py" <<'PYTHON'
import sys
import time
from pathlib import Path

what, log = sys.argv[1], Path(sys.argv[2])
for _ in range(60):  # what was asked to end still does
    lines = [line.split() for line in log.read_text().splitlines()]
    if sum(said == "ended" for said, _ in lines) == 2:
        break
    time.sleep(0.5)
first = lines[0][1]
print(f"{what}:", ", ".join(f"{said} {'first' if pid == first else 'second'}" for said, pid in lines))
at = [said + (" first" if pid == first else " second") for said, pid in lines]
assert at.index("asked first") < at.index("began second") < at.index("ended first"), "the first is waited for now"
PYTHON

python3 -m venv "$folder/airflow"
"$folder/airflow/bin/python" -m pip install --quiet 'apache-airflow==3.3.2' 'apache-airflow-providers-standard==1.21.0'
export AIRFLOW_HOME="$folder/home" AIRFLOW__CORE__LOAD_EXAMPLES=False
mkdir -p "$AIRFLOW_HOME/dags"
cat > "$AIRFLOW_HOME/dags/nights.py" <<'PYTHON'
import datetime as dt
import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("nights", schedule=None, start_date=dt.datetime(2026, 1, 1)):
    BashOperator(
        task_id="night",
        bash_command=f"{os.environ['NIGHT']} {os.environ['LOG']}",
        execution_timeout=dt.timedelta(seconds=3),
        retries=1,
        retry_delay=dt.timedelta(seconds=1),
    )
PYTHON
export NIGHT="$folder/night.sh" LOG="$folder/airflow.log"
"$folder/airflow/bin/airflow" db migrate > /dev/null 2>&1
"$folder/airflow/bin/airflow" dags test nights > "$folder/said" 2>&1 || true
grep -q AirflowTaskTimeout "$folder/said"
python3 "$folder/check.py" "airflow 3.3.2" "$LOG"

python3 -m venv "$folder/prefect"
"$folder/prefect/bin/python" -m pip install --quiet 'prefect==3.9.1' 'prefect-shell==0.3.7'
export PREFECT_HOME="$folder/prefect-home" PREFECT_SERVER_ANALYTICS_ENABLED=false LOG="$folder/prefect.log"
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/nights.py" <<'PYTHON'
import os

from prefect import flow, task
from prefect_shell import ShellOperation


@task(timeout_seconds=3, retries=1)
def night():
    ShellOperation(commands=[f"{os.environ['NIGHT']} {os.environ['LOG']}"]).run()


@flow
def nights():
    night()


nights()
PYTHON
"$folder/prefect/bin/python" "$folder/nights.py" > "$folder/said" 2>&1 || true
grep -q TaskRunTimeoutError "$folder/said"
python3 "$folder/check.py" "prefect 3.9.1" "$LOG"

#!/bin/sh
# Answers in a CSV file that Label Studio 1.23.2 imports, as it is installed by pip, and the same rows as JSON.
#
# Guess: a cell is text, as in a task of JSON. What people see and label is what stands in the file, and what they export
#        can be joined with it again by its number.
# Seen:  the texts "None", "NA", "N/A" and "null" are empty: just what a model answers where there is nothing to say, and what
#        a label may be called. "0042" is 42, "1.10" is 1.1, and beside one "N/A" a score of 3 is 3.0, where all others of
#        their column read like numbers; of "true" and "false" alone a column is one of truth values. The import counts all
#        rows, and says nothing; the export has the changed values. As JSON each row is as it was.
# So:    import tasks as JSON, `[{"data": {"id": "0042", "text": "None"}}]`. Where CSV was imported, join by Label Studio's
#        own number of the task and the order of the file, not by a column of it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'label-studio==1.23.2' 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import csv
import io
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from importlib.metadata import version

TOKEN = "0123456789abcdef" * 2 + "01234567"
ROWS = [  # what a file of answers holds
    {"id": "0042", "text": "None", "score": "3", "price": "1.10", "is_spam": "true"},
    {"id": "0043", "text": "N/A", "score": "N/A", "price": "2.00", "is_spam": "false"},
    {"id": "0044", "text": "null", "score": "4", "price": "1.90", "is_spam": "true"},
    {"id": "0045", "text": "NA", "score": "5", "price": "1.95", "is_spam": "true"},
    {"id": "0046", "text": "None of these.", "score": "5", "price": "1.95", "is_spam": "true"},
]
SEEN = [
    {"id": 42, "text": "", "score": 3.0, "price": 1.1, "is_spam": True},
    {"id": 43, "text": "", "score": "", "price": 2.0, "is_spam": False},
    {"id": 44, "text": "", "score": 4.0, "price": 1.9, "is_spam": True},
    {"id": 45, "text": "", "score": 5.0, "price": 1.95, "is_spam": True},
    {"id": 46, "text": "None of these.", "score": 5.0, "price": 1.95, "is_spam": True},
]
LABELS = """<View><Text name="it" value="$text"/>
<Choices name="label" toName="it"><Choice value="good"/></Choices></View>"""


def ask(path, body=None, kind="application/json"):
    headers = {"Authorization": f"Token {TOKEN}", **({"Content-Type": kind} if body else {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/projects{path}", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def imported(name, content):
    """How many rows the import of a file counts, and what an export has of them."""
    project = ask("/", json.dumps({"title": name, "label_config": LABELS}).encode())["id"]
    form = f'--end\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n{content}\r\n--end--\r\n'
    counted = ask(f"/{project}/import", form.encode(), "multipart/form-data; boundary=end")["task_count"]
    tasks = ask(f"/{project}/export?exportType=JSON&download_all_tasks=true")
    return counted, [task["data"] for task in sorted(tasks, key=lambda task: task["id"])]


def up(server):
    for _ in range(6000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60).close()
            return
        except OSError:
            assert server.poll() is None, "Label Studio did not start"
            time.sleep(0.1)
    raise AssertionError("Label Studio did not start in ten minutes")


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
table = io.StringIO()
writer = csv.DictWriter(table, ROWS[0])
writer.writeheader()
writer.writerows(ROWS)
quiet = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
environment = {**os.environ, **quiet, "HOME": os.getcwd(), "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}
command = ["venv/bin/label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
command += ["--data-dir", os.getcwd(), "--username", "a@example.com", "--password", "pass-word-1", "--user-token", TOKEN]
with open("server.log", "w") as log, subprocess.Popen(
    command, env=environment, stdout=log, stderr=log, start_new_session=True
) as server:
    try:
        up(server)
        by_csv = imported("rows.csv", table.getvalue())
        by_json = imported("rows.json", json.dumps([{"data": row} for row in ROWS]))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
print("label-studio", version("label-studio"))
for row, from_csv, from_json in zip(ROWS, by_csv[1], by_json[1]):
    print(f"{row}\n    by CSV:  {from_csv}\n    by JSON: {'as it was' if from_json == row else from_json}")
assert (by_csv[0], by_json) == (len(ROWS), (len(ROWS), ROWS)), "JSON is read otherwise now"
assert repr([{name: row[name] for name in ROWS[0]} for row in by_csv[1]]) == repr(SEEN), "CSV is read otherwise now"
PYTHON

#!/bin/sh
# The textfile collector of node_exporter 1.5.0 (Debian 12), and two files that give one metric, each with its own words
# in the HELP line.
#
# Guess: HELP is a remark. A file that is refused sets `node_textfile_scrape_error`, which is what one alerts on.
# Seen:  of the file that is read second all samples of that metric are missing, and those of its other metrics are there.
#        The answer is 200, `node_textfile_scrape_error` stays 0; a line of the log is all that tells.
# So:    never reword a HELP line: jobs of two versions on one machine take each other's samples away.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq prometheus-node-exporter=1.5.0-1+b6 2>/dev/null)
dpkg-deb -x "$folder"/*.deb "$folder/root"
mkdir "$folder/metrics"
cat > "$folder/metrics/a.prom" <<'METRICS'
# HELP job_rows Rows of the job.
# TYPE job_rows gauge
job_rows{job="a"} 1
METRICS
cat > "$folder/metrics/b.prom" <<'METRICS'
# HELP job_rows Rows that the job has.
# TYPE job_rows gauge
job_rows{job="b"} 2
# HELP job_seconds Seconds of the job.
# TYPE job_seconds gauge
job_seconds{job="b"} 3
METRICS
python3 - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

folder = Path(sys.argv[1])
exporter = folder / "root/usr/bin/prometheus-node-exporter"

def scraped():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [exporter, f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
               "--collector.textfile", f"--collector.textfile.directory={folder}/metrics"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    status, lines = answer.status, answer.read().decode().splitlines()
                break
            except OSError:
                time.sleep(0.1)
        process.terminate()
    return status, [line for line in lines if line.startswith(("job_", "node_textfile_scrape_error"))]

print(subprocess.run([exporter, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.splitlines()[0])
status, lines = scraped()
print(status, *lines, sep="\n  ")
assert status == 200 and "node_textfile_scrape_error 0" in lines
assert 'job_rows{job="a"} 1' in lines and 'job_seconds{job="b"} 3' in lines
assert 'job_rows{job="b"} 2' not in lines, "both files are shown now"
print((folder / "log").read_text().strip().splitlines()[-1][:200])
(folder / "metrics/b.prom").write_text((folder / "metrics/a.prom").read_text().replace('"a"', '"b"'))
status, lines = scraped()
print("with one HELP:", status, *lines, sep="\n  ")
assert any(line.startswith('job_rows{job="b"}') for line in lines)
PYTHON

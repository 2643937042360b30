"""How much of a gateway's limit is used that only the gateway knows: nginx and HAProxy, where they are installed.

The job declares no limit and has 64 requests in flight. What is measured is what the gateway granted, from its first
answer to the end of the run, beside what it would grant. A run that fails a row ends the benchmark.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import answers
import made
import servers
from machine import ENVIRONMENT, core, note, run_of
from made import Bench
from table import Line

HAPROXY = shutil.which("haproxy", path=f"{ENVIRONMENT.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
ENOUGH = 0.85
SECONDS = 30
"""How long a run takes at the limit."""

_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  limit_req_zone $server_port zone=rate:1m rate={rate}r/s;
  limit_conn_zone $server_port zone=number:1m;
  server {{ listen 127.0.0.1:{port}; {limit} location / {{ proxy_pass {upstream}; }} }}
}}
"""
_HAPROXY = """
global
  log /dev/null local0
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 1s
frontend front
  bind 127.0.0.1:{port}
  {limit}
  default_backend back
backend back
  server one {address} {slots}
"""
_STICK_TABLE = """stick-table type integer size 1k expire 60s store http_req_rate(10s)
  http-request track-sc0 int(1)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {} }}"""


class Case(NamedTuple):
    """A gateway's limit: so many requests a second, granted to answers that take `latency` seconds. `first`: what it
    grants beyond that at the start."""

    what: str
    gateway: str
    rate: int
    limit: str
    latency: float = 0.05
    slots: str = ""
    first: int = 0


CASES = (
    Case("nginx limit_req, no burst, 503", "nginx", 20, "limit_req zone=rate;", 0.3),
    Case("nginx limit_req, no burst, 429", "nginx", 20, "limit_req zone=rate; limit_req_status 429;", 0.3),
    Case("nginx limit_req, burst=10 nodelay, 503", "nginx", 20, "limit_req zone=rate burst=10 nodelay;", first=10),
    Case("nginx limit_conn 8, answers of 0.4 s", "nginx", 20, "limit_conn number 8;", 0.4),
    Case("HAProxy stick-table, 300 in 10 s", "haproxy", 30, _STICK_TABLE.format(300)),
    Case("HAProxy maxconn 8, queue 1 s", "haproxy", 20, "", 0.4, "maxconn 8"),
)


def lines(bench: Bench) -> Iterator[Line]:
    for case in CASES:
        program = servers.NGINX if case.gateway == "nginx" else HAPROXY
        if program is None:
            yield Line(case.what, "not installed")
            continue
        note(f"  {case.what}")
        rows = case.rate * bench.pick(SECONDS, SECONDS // 2) + case.first
        job = made.job(bench.folder / case.what.replace("/", " "), rows)
        with servers.own(answers.constant(20), case.latency) as upstream, _gateway(program, case, upstream.url) as url:
            run_of(job, url)
        seconds = upstream.answered[-1] - upstream.arrived[0]
        used = (rows - case.first) / seconds / case.rate
        yield Line(case.what, f"{rows / seconds:.1f} rows/s", f">= {ENOUGH} of the limit", used)


@contextmanager
def _gateway(program: str, case: Case, upstream: str) -> Iterator[str]:
    """The URL of a gateway in front of `upstream`."""
    with tempfile.TemporaryDirectory() as folder:
        port = servers.free_port()
        path = Path(folder) / "configuration"
        about = {"folder": folder, "port": port, "limit": case.limit, "rate": case.rate, "upstream": upstream}
        about |= {"address": upstream.removeprefix("http://"), "slots": case.slots}
        path.write_text((_NGINX if case.gateway == "nginx" else _HAPROXY).format(**about))
        command = [program, "-c", path] if case.gateway == "nginx" else [program, "-db", "-f", path]
        with core(0):
            process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            servers.wait_for(("127.0.0.1", port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()

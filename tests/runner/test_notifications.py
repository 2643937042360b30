"""What follows on a run, however it ended: who is told, which numbers stay, and what is said on stderr meanwhile."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.name_server import said_where_no_name_server_answers
from support.service import Status, error_body

from batchgen import commands
from batchgen.job.load import read_job
from batchgen.runner import webhook
from batchgen.runner.run import Runner
from batchgen.storage import file_lock
from batchgen.ui import logs

SECRET = "3f9c-a-secret-path"
ROWS = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(6)]


class Hook:
    """Takes POSTs, and answers them with these statuses in turn, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self.told: list[dict] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked.append(self.path)
                hook.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


def refuse_one(_, body: dict) -> Status | None:
    return Status(400, error_body("BadRequest", "no")) if "shelf 1." in body["prompt"] else None


ENDINGS = {
    0: {},
    1: {"script": refuse_one},
    2: {"sections": {"prompt": "{{ nobody }}"}},
    3: {"sections": {"until": {"requests": 2}}},
    4: {"script": lambda *_: Status(401, error_body("Unauthorized", "who?"))},
    5: {"folder": "out/.batchgen/job.sqlite"},
}


def run(job, service, called, exit_code: int, notify: dict | None = None, **given):
    """A run that ends with this exit code."""
    ending = ENDINGS[exit_code]
    service.script = ending.get("script")
    if "folder" in ending:
        (job.folder / ending["folder"]).mkdir(parents=True)
    path = job(
        ROWS,
        report=True,
        **({"notify": notify} if notify else {}),
        **ending.get("sections", {}),
        **given.pop("sections", {}),
    )
    ended = called("run", path, **given)
    assert ended.returncode == exit_code, ended.stderr
    return ended


# who is told


@pytest.mark.parametrize("exit_code", ENDINGS)
@pytest.mark.parametrize("on", ["failed", "stopped", "always"])
def test_who_asked_for_an_ending_is_told_of_it(job, service, called, hook, exit_code, on):
    ended = run(job, service, called, exit_code, {"url": hook.url, "on": [on]})
    ending = {0: "always", 3: "stopped"}.get(exit_code, "failed")
    if on not in (ending, "always"):
        assert hook.told == []
        return
    (told,) = hook.told
    assert (told["job"], told["exit_code"]) == ("job", exit_code)
    assert told["verdict"] == {0: "finished", 3: "stopped"}.get(exit_code, "failed")
    assert told["seconds"] >= 0
    counts = {0: (6, 6, 0, 0), 1: (6, 5, 1, 0), 3: (6, 2, 0, 4), 4: (6, 0, 0, 6)}.get(exit_code, (None,) * 4)
    assert tuple(told[name] for name in ("rows", "ok", "failed", "pending")) == counts
    if exit_code in (2, 5):
        assert told["message"] in ended.stderr
    else:
        assert told["path"] == str(job.output)
        assert told["report"] == str(job.output.with_suffix(".report.html"))
        assert f"{counts[1]} of 6 rows have their text" in told["message"]
    assert service.key not in json.dumps(told)


def test_a_missing_key_is_told(job, service, called, hook):
    path = job(ROWS, notify={"url": hook.url})
    assert called("run", path, env={"WRITER_API_KEY": None}).returncode == 2
    assert "WRITER_API_KEY" in hook.told[0]["message"]


def test_the_exit_code_may_stand_in_the_address(job, service, called, hook):
    for exit_code in (0, 1):
        run(job, service, called, exit_code, {"url": hook.url + "/{exit_code}?from=batchgen", "on": ["always"]})
        job.output.with_name(".batchgen").joinpath("job.sqlite").unlink()
    assert hook.asked == [f"/{SECRET}/{n}?from=batchgen" for n in (0, 1)]


def test_the_address_may_be_in_a_variable_and_must_be_there_before_anything_is_sent(job, service, called, hook):
    path = job(ROWS, notify={"url_env": "HOOK", "on": ["always"]}, metrics="job.prom")
    ended = called("run", path, env={"HOOK": None})
    assert (ended.returncode, service.requests) == (2, 0)
    assert "HOOK: no address to notify" in ended.stderr
    ended = called("run", path, env={"HOOK": f"http://example.com/{SECRET}"})
    assert (ended.returncode, service.requests) == (2, 0)
    assert "HOOK should be https" in ended.stderr
    assert SECRET not in ended.stderr
    assert called("plan", path, env={"HOOK": None}).returncode == 0, "as with the key, a plan needs none"
    assert called("run", path, env={"HOOK": hook.url}).returncode == 0
    assert len(hook.told) == 1


@pytest.mark.parametrize(
    ("statuses", "tries", "warned"),
    [
        ([503, 429], 3, None),
        ([500] * 3, 3, "127.0.0.1: answered 500"),
        ([404], 1, "127.0.0.1: answered 404"),
        ([302], 1, "127.0.0.1: answered 302"),
    ],
)
def test_a_message_is_tried_a_few_times(hook, statuses, tries, warned):
    hook.statuses = list(statuses)
    assert webhook.post(hook.url, b"{}", None) == warned
    assert len(hook.told) == tries


SILENT = """
from batchgen.runner import webhook
webhook.TRY_SECONDS = 2.0
print(webhook.post("https://hooks.example/secret", b"{}", None))
"""


def test_name_servers_that_never_answer_hold_nobody_up(tmp_path):
    """A lookup lasts as long as the system's patience, and the end of the process waited for it."""
    said = said_where_no_name_server_answers(tmp_path, SILENT)
    assert said == "hooks.example: cannot be reached: no name server has answered for 1.5 s\n"


def test_a_message_that_is_refused_is_one_warning(job, service, called, hook):
    hook.statuses = [404]
    ended = run(job, service, called, 1, {"url": hook.url})
    assert "warning: nobody was notified: 127.0.0.1: answered 404" in ended.stderr
    assert SECRET not in ended.stderr


def test_where_nobody_listens_the_run_ends_as_it_ended(job, service, called, hook):
    hook.server.server_close()
    ended = run(job, service, called, 0, {"url": hook.url, "on": ["always"]})
    assert "warning: nobody was notified: 127.0.0.1: cannot be reached" in ended.stderr
    assert SECRET not in ended.stderr


def test_the_address_is_in_no_file_and_no_line(job, service, called, hook):
    ended = run(job, service, called, 1, {"url": hook.url}, sections={"metrics": "m/job.prom"})
    assert len(hook.told) == 1
    for file in job.files() - {"job.yaml"}:
        assert SECRET.encode() not in (job.folder / file).read_bytes(), file
    assert SECRET not in ended.stdout + ended.stderr + repr(read_job(job.folder / "job.yaml"))


@pytest.mark.parametrize("trial", [["--local"], ["--limit", "2"], ["--limit", "6"]], ids=" ".join)
def test_a_trial_tells_nobody(job, service, called, hook, trial):
    path = job(ROWS, notify={"url": hook.url, "on": ["always"]}, metrics="job.prom")
    assert called("run", path, *trial).returncode == 0
    assert hook.told == []
    assert not (job.folder / "job.prom").exists()
    assert called("run", path).returncode == 0
    assert (len(hook.told), metrics(job)["batchgen_rows"][("ok",)]) == (1, 6)


def test_a_run_that_finds_another_at_work_leaves_it_to_that_one(job, service, called, hook):
    path = job(ROWS, notify={"url": hook.url, "on": ["always"]}, metrics="job.prom")
    (job.folder / "out" / ".batchgen").mkdir(parents=True)
    with file_lock.exclusive(job.checkpoint.with_suffix(".lock")):
        assert called("run", path).returncode == 75
    assert hook.told == []
    assert not (job.folder / "job.prom").exists()


def test_a_crash_is_told_and_stays_one(job, service, hook, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda *_, **__: {}["sk-in-an-error"])
    path = job(ROWS, notify={"url": hook.url}, metrics="job.prom")
    with pytest.raises(KeyError):
        commands.run(path, environ={"WRITER_API_KEY": service.key, "WRITER_BASE_URL": service.url})
    assert (hook.told[0]["exit_code"], hook.told[0]["message"]) == (1, "crashed: KeyError")
    assert metrics(job)["batchgen_exit_code"] == {(): 1}


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ({"url": f"http://example.com/{SECRET}"}, "should be https"),
        ({"url": f"https://me:{SECRET}@example.com"}, "must not hold a user name or password"),
        ({"url": f"ftp://example.com/{SECRET}"}, "should be an address such as"),
        ({"url": f"https://example.com/{SECRET}/{{date}}"}, "a placeholder that is not known: {exit_code} is"),
        ({"url": f"https://example.com/{SECRET}#x"}, "must not hold a fragment"),
        ({"url": f"https://example.com/{SECRET}", "url_env": "HOOK"}, "should have one of url and url_env"),
        ({"on": ["always"]}, "should have one of url and url_env"),
        ({"url_env": SECRET}, "should be the NAME of an environment variable"),
        ({"url_env": "HOOK", "on": ["sometimes"]}, "'failed', 'stopped' or 'always'"),
        ({"url_env": "HOOK", "on": []}, "notify.on: should not be empty"),
        ({"urL": f"https://example.com/{SECRET}"}, "did you mean url?"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_mistakes_are_told_with_their_place_and_without_the_address(job, service, called, notify, said, command):
    ended = called(command, job(ROWS, notify=notify))
    assert (ended.returncode, service.requests) == (2, 0)
    assert said in ended.stderr
    assert "job.yaml:" in ended.stderr
    assert SECRET not in ended.stderr


def test_results_that_the_gate_rejects_are_told_and_no_success(job, service, called, hook):
    service.script = refuse_one
    path = job(ROWS, gate={"max_failed": "1%"}, report=True, notify={"url": hook.url}, metrics="job.prom")
    assert called("run", path).returncode == 1
    (told,) = hook.told
    assert "rejected: " in told["message"]
    assert told["path"].endswith("job.rejected.parquet")
    page = (job.folder / "out" / "job.report.html").read_text(encoding="utf-8")
    assert "The gate kept the last good output." in page
    assert "batchgen_last_success_timestamp_seconds" not in metrics(job)


# metrics


def metrics(job, path: str = "job.prom") -> dict[str, dict[tuple[str, ...], float]]:
    """Values by family and by labels other than the job's, as Prometheus' own parser reads them."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families((job.folder / path).read_text(encoding="utf-8")):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            assert sample.labels["job"] == "job"
            others = tuple(value for name, value in sample.labels.items() if name != "job")
            found.setdefault(sample.name, {})[others] = sample.value
    return found


def test_the_numbers_of_a_run_and_when_it_last_went_well(job, service, called, monkeypatch):
    sections = {"metrics": "job.prom"}
    run(job, service, called, 0, sections=sections)
    good = metrics(job)
    assert good["batchgen_rows"] == {("ok",): 6, ("failed",): 0, ("pending",): 0}
    assert good["batchgen_requests_sent"] == {(): 6}
    assert good["batchgen_tokens"][("prompt",)] == 6 * len("Write about shelf 0.") / 4
    assert good["batchgen_tokens"][("answer",)] > 0
    assert good["batchgen_exit_code"] == {(): 0}
    assert good["batchgen_last_success_timestamp_seconds"] == good["batchgen_last_run_timestamp_seconds"]
    run(job, service, called, 2, sections=sections)
    bad = metrics(job)
    assert bad["batchgen_exit_code"] == {(): 2}
    assert "batchgen_rows" not in bad, "there was nothing to count"
    assert bad["batchgen_last_success_timestamp_seconds"] == good["batchgen_last_success_timestamp_seconds"]
    assert bad["batchgen_last_run_timestamp_seconds"][()] > good["batchgen_last_run_timestamp_seconds"][()]
    job.checkpoint.unlink()
    run(job, service, called, 1, sections=sections)
    assert metrics(job)["batchgen_failed_rows"] == {("invalid",): 1}
    assert metrics(job)["batchgen_last_success_timestamp_seconds"] == good["batchgen_last_success_timestamp_seconds"]


def test_the_metrics_are_for_everybody_to_read_and_appear_whole(job, service, called):
    (job.folder / "job.prom").write_text("nonsense {", encoding="utf-8")
    before = os.umask(0o077)
    try:
        run(job, service, called, 0, sections={"metrics": "job.prom"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((job.folder / "job.prom").stat().st_mode) == 0o644
    assert stat.S_IMODE(job.checkpoint.stat().st_mode) == 0o600
    assert metrics(job)["batchgen_exit_code"] == {(): 0}
    assert not [name for name in job.files() if name.endswith(".tmp")]


def test_each_shard_has_metrics_of_its_own(job):
    loaded = read_job(job(ROWS, input={"shard": "2/3"}, metrics="job.prom"))
    assert loaded.metrics == str(job.folder / f"job{loaded.input.parsed_shard.suffix}.prom")
    assert loaded.metrics != str(job.folder / "job.prom")


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("job.txt", "ends in .prom"),
        ("s3://bucket/job.prom", "should be a file on this machine"),
        ("folder.prom", "is not a regular file"),
        ("rows.csv/job.prom", "cannot be written"),
    ],
)
def test_metrics_that_cannot_be_written_are_told_before_anything_is_spent(job, service, called, command, path, said):
    (job.folder / "folder.prom").mkdir()
    ended = called(command, job(ROWS, metrics=path))
    assert (ended.returncode, service.requests) == (2, 0)
    assert said in ended.stderr


def test_metrics_that_fail_at_the_end_are_one_warning(job, service, called, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("batchgen.runner.metrics.os.fchmod", full)
    ended = run(job, service, called, 0, sections={"metrics": "job.prom"})
    assert "warning: the metrics were not written" in ended.stderr
    assert "No space left" in ended.stderr


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_takes_the_place_of_the_metrics_amid_a_run_is_named(there, job, service, called):
    at = job.folder / "metrics"

    def take(n: int, _: dict) -> None:
        if n == 1:
            (at / "job.prom").mkdir(parents=True) if there == "folder" else at.write_text("")

    service.script = take
    ended = called("run", job(ROWS, metrics="metrics/job.prom"))
    assert ended.returncode == 0
    (said,) = [line for line in ended.stderr.splitlines() if "warning" in line]
    assert f"warning: the metrics were not written: {at}" in said
    assert "export" not in said, "which writes no metrics"


# what is said meanwhile


@pytest.mark.parametrize("exit_code", ENDINGS)
@pytest.mark.parametrize("more", [(), ("--quiet",), ("-v",)])
def test_every_line_is_an_object(job, service, called, exit_code, more):
    ending = ENDINGS[exit_code]
    service.script = ending.get("script")
    if "folder" in ending:
        (job.folder / ending["folder"]).mkdir(parents=True)
    path = job(ROWS, **ending.get("sections", {}))
    ended = called("run", path, "--log-format", "json", *more)
    assert ended.returncode == exit_code
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert all({"time", "level", "message", "job"} <= line.keys() for line in lines)
    assert {line["job"] for line in lines} <= {"job"}
    assert all(line["time"].endswith("Z") for line in lines)
    assert service.key not in ended.stderr
    if exit_code in (2, 5) or (more == ("--quiet",) and exit_code):
        assert lines[-1]["level"] == "error"
    elif not more:
        assert lines[-2]["todo"] == 6
        assert lines[-2]["done"] == {0: 6, 1: 6, 3: 2, 4: 0}[exit_code]
        assert (lines[-1]["exit_code"], lines[-1]["rows"]) == (exit_code, 6), "the summary comes last"


@pytest.fixture
def said(monkeypatch) -> Iterator[io.StringIO]:
    """What is logged as objects."""
    before = logs.log.handlers, logs.log.level, logs.log.propagate, logging.raiseExceptions
    said = io.StringIO()
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr("sys.stderr", said)
    logs.start("json", logging.INFO)
    yield said
    logs.log.handlers, logs.log.level, logs.log.propagate, logging.raiseExceptions = before


def test_whatever_a_message_holds_is_inert_and_comes_back():
    hostile = 'a\x1b[31m\u202e\n\x00\u2028"}\ud800'
    record = logging.makeLogRecord({"msg": "%s", "args": (hostile,), "levelname": "WARNING", logs.FIELDS: {"done": 3}})
    written = logs.JsonFormatter().format(record)
    assert not set(written) & set("\x1b\u202e\n\x00\u2028\ud800")
    line = json.loads(written)
    assert (line["message"], line["done"], line["level"]) == (hostile, 3, "warning")


def test_a_crash_is_an_object_too(said):
    sys.excepthook(ValueError, ValueError("x\ny"), None)
    line = json.loads(said.getvalue())
    assert line["message"] == "crashed: ValueError"
    assert "x\ny" in line["traceback"]


def test_a_quiet_run_that_went_well_says_nothing_at_all(job, service, batchgen, hook):
    path = job(ROWS, notify={"url": hook.url, "on": ["always"]}, metrics="job.prom")
    for _ in range(2):
        ended = batchgen("run", path, "--quiet")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert len(hook.told) == 2

"""What is good stays: less never replaces more, nothing is bought twice, and no job takes what is another's."""

import json
import sqlite3
from collections import Counter
from contextlib import closing

import polars as pl
import pyarrow.parquet as pq
import pytest
from support.service import Hold, Raw, Status, error_body

from batchgen import commands
from batchgen.errors import UsageError

ROWS = [{"id": f"{number:02}", "name": f"product {number}"} for number in range(60)]
EDITED = "Write much about {{ name }}."


def refuse(_, __):
    return Status(401, error_body("Unauthorized", "no"))


def texts(job, path=None) -> int:
    return sum(row["status"] == "ok" for row in job.rows(path))


def edit(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def complete(job, called):
    """A job whose sixty rows have their text."""
    path = job(ROWS)
    assert called("run", path).returncode == 0
    return path


# Less never replaces more


@pytest.mark.parametrize("gate", [{}, {"max_failed": "50%"}], ids=["without a gate", "with one"])
@pytest.mark.parametrize(
    "how",
    [
        "--fresh, and the key is refused",
        "an edited prompt, and a budget of one request",
        "an edited prompt, and half of the rows fail",
    ],
)
def test_results_with_more_texts_stay_where_rows_are_unanswered(how, gate, job, called, service):
    path = job(ROWS, gate=gate)
    assert called("run", path).returncode == 0
    before = job.output.read_bytes()
    arguments: list[str] = []
    if "edited" in how:
        edit(path, "Write about", "Write much about")
    if "refused" in how:
        service.script, arguments = refuse, ["--fresh"]
    elif "budget" in how:
        path.write_text(path.read_text(encoding="utf-8") + "\nuntil: {requests: 1}\n", encoding="utf-8")
    else:
        service.script = lambda _, body: Status(400) if int(body["prompt"].split()[-1].strip(".")) % 2 else None
    ended = called("run", path, *arguments, "--json")
    assert job.output.read_bytes() == before
    partial = job.output.with_name("job.partial.parquet")
    said = ended.json
    rejected = said["rejected"] != []
    aside = job.output.with_name("job.rejected.parquet") if rejected else partial
    assert said["path"] == str(aside)
    assert len(job.rows(aside)) == 60
    if not rejected:
        assert "keeps its 60 texts" in said["partial"]
        assert "take its place once every row is answered" in said["partial"]
        status = called("status", path)
        assert "job.partial.parquet" in status.stdout
        assert called("status", path, "--json").json["partial"] == str(partial)


def test_the_status_of_a_limited_run_is_about_its_own_results(job, called, service, complete):
    edit(complete, "Write about", "Write much about")
    service.script = lambda n, _: Status(400) if n > 90 else None
    assert called("run", complete).returncode == 1
    assert called("status", complete, "--json").json["partial"].endswith("job.partial.parquet")
    assert called("run", complete, "--limit", "5").returncode == 0
    said = called("status", complete, "--json").json
    assert (said["rows"], said["partial"]) == (5, None)


def test_a_later_run_that_is_complete_replaces_and_removes_what_was_partial(job, called, service, complete):
    edit(complete, "Write about", "Write much about")
    service.script = lambda n, _: Status(400) if n > 70 else None
    assert called("run", complete).returncode == 1
    partial = job.output.with_name("job.partial.parquet")
    assert partial.exists()
    service.script = None
    ended = called("run", complete, "--json")
    assert (ended.returncode, ended.json["partial"], ended.json["path"]) == (0, None, str(job.output))
    assert texts(job) == 60
    assert not partial.exists()


def test_export_keeps_to_the_same(job, called, service, complete):
    edit(complete, "Write about", "Write much about")
    path = complete
    path.write_text(path.read_text(encoding="utf-8") + "\nuntil: {requests: 3}\n", encoding="utf-8")
    assert called("run", path).returncode == 3
    assert "job.partial.parquet" in called("export", path).stdout
    assert texts(job) == 60
    elsewhere = job.folder / "elsewhere.parquet"
    assert called("export", path, "-o", elsewhere).returncode == 0
    assert texts(job, elsewhere) == 3


def test_a_folder_of_parts_is_kept_by_a_folder(job, called, service):
    path = job(ROWS, output={"path": "out/job", "rows_per_file": 25})
    assert called("run", path).returncode == 0
    service.script = refuse
    assert called("run", path, "--fresh").returncode == 4
    kept = pl.read_parquet(job.folder / "out" / "job" / "*.parquet")
    assert (kept["status"] == "ok").sum() == 60
    beside = pl.read_parquet(job.folder / "out" / "job.partial" / "*.parquet")
    assert beside["status"].to_list() == ["pending"] * 60


def test_as_many_texts_replace_and_so_do_fewer_rows_that_are_all_answered(job, called, service, complete):
    job.write(ROWS[:40])
    assert called("run", complete).returncode == 0
    assert len(job.rows()) == 40, "the input has become smaller"
    edit(complete, "Write about", "Write much about")
    service.script = lambda n, _: Status(400) if n == 61 else None
    job.write(ROWS[:41])
    assert called("run", complete, "--json").json["path"] == str(job.output), "one failed, and there are as many texts"
    assert texts(job) == 40


@pytest.mark.parametrize("arguments", [["--limit", "5"], ["--limit", "60"], ["--limit", "999"]])
def test_the_first_rows_have_a_file_of_their_own_and_their_answers_are_the_jobs(arguments, job, called, service):
    path, few = job(ROWS), min(int(arguments[1]), 60)
    first = job.output.with_name(f"job.first-{arguments[1]}.parquet")
    ended = called("run", path, *arguments, "--json")
    assert (ended.returncode, ended.json["path"], len(job.rows(first))) == (0, str(first), few)
    assert not job.output.exists()
    assert str(first) in called("plan", path, *arguments, "--json").json["path"]
    assert str(first.name) in called("export", path).stdout, "export after it is of the same rows"
    assert called("run", path).returncode == 0
    assert service.served == Counter({f"Write about {row['name']}.": 1 for row in ROWS}), "bought once"
    assert len(job.rows()) == 60
    assert len(job.rows(first)) == few
    assert str(job.output.name) in called("export", path).stdout


def test_a_limit_in_the_job_file_is_the_job(job, called):
    path = job(ROWS, input={"path": "rows.csv", "id": "id", "limit": 7})
    assert called("run", path).returncode == 0
    assert len(job.rows()) == 7


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "5", 2**63])
def test_in_python_too_a_limit_is_a_number_of_rows(limit, job, pointing):
    for ask in (commands.run, commands.plan):
        with pytest.raises(UsageError, match="limit: should be a number of rows from 1 on"):
            ask(job(ROWS), limit=limit, environ=pointing)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"min_rows": 61}, "there are 60 rows; gate.min_rows asks for 61"),
        ({"min_rows": 60, "min_done": "95%"}, None),
        ({"min_done": "99%"}, "58 of 60 rows (96.7 %) have their text; gate.min_done asks for 99 %"),
        ({"min_done": 1.0}, "gate.min_done asks for 100 %"),
        ({"min_chars": 2**63 - 1}, "have fewer than 9,223,372,036,854,775,807 characters, which is gate.min_chars"),
    ],
)  # fmt: skip
def test_a_gate_asks_for_rows_and_for_answers(gate, said, job, called, service):
    service.script = lambda n, _: Status(400) if n <= 2 else None
    ended = called("run", job(ROWS, gate=gate), "--json")
    rejected = ended.json["rejected"]
    assert rejected == [] if said is None else said in "; ".join(rejected)
    assert job.output.exists() == (said is None)


# --fresh can be resumed, and loses nothing


def test_a_fresh_run_that_was_stopped_goes_on_and_buys_nothing_twice(job, called, service, complete):
    complete.write_text(complete.read_text(encoding="utf-8") + "\nuntil: {requests: 30}\n", encoding="utf-8")
    assert called("run", complete, "--fresh").returncode == 3
    ended = called("run", complete, "--fresh")
    assert ended.returncode == 0
    assert "continues the fresh run" in ended.stderr
    assert service.served == Counter({f"Write about {row['name']}.": 2 for row in ROWS})
    assert called("run", complete, "--fresh").returncode == 3, "after one that has finished, another begins"
    assert service.requests == 150


def test_after_a_fresh_run_that_was_refused_every_stored_answer_serves(job, called, service, complete):
    service.script = refuse
    assert called("run", complete, "--fresh").returncode == 4
    service.script = None
    asked = service.requests
    ended = called("run", complete, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["sent"]) == (0, 60, 0)
    assert service.requests == asked
    assert called("plan", complete, "--json").json["reused"] == 60


def test_after_a_fresh_run_that_was_stopped_the_newest_answers_serve(job, called, service, complete):
    old = {row["id"]: row["finished_at"] for row in job.rows()}
    text = complete.read_text(encoding="utf-8")
    complete.write_text(text + "\nuntil: {requests: 20}\n", encoding="utf-8")
    service.script = lambda n, _: Status(400) if n % 2 else None
    assert called("run", complete, "--fresh").returncode == 3
    service.script = None
    complete.write_text(text, encoding="utf-8")
    ended = called("run", complete, "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 0), "rows that failed anew have their old answer"
    newer = sum(row["finished_at"] > old[row["id"]] for row in job.rows())
    assert newer == 10
    assert "dropped 10" in called("prune", complete, "--yes").stdout, "older ones, of which there is a newer"
    assert called("plan", complete, "--json").json["todo"] == 0


def test_a_job_that_reuses_nothing_looks_past_its_own_unfinished_run_alone(job, called, service):
    path = job(ROWS, reuse=False, until={"requests": 40})
    assert called("run", path).returncode == 3
    assert called("run", path).returncode == 0, "it resumes"
    assert service.requests == 60
    assert called("plan", path, "--json").json["again"] == 60
    assert "bought again" in called("plan", path).stdout
    assert called("plan", path, "--json").json["changed"] == 0, "and none of them has changed"


@pytest.mark.parametrize("between", [["--limit", "5"], ["--limit", "5", "--fresh"], ["refused"]], ids=" ".join)
def test_a_fresh_run_stays_open_until_one_of_the_whole_job_has_ended(between, job, called, service, complete):
    text = complete.read_text(encoding="utf-8")
    complete.write_text(text + "\nuntil: {requests: 30}\n", encoding="utf-8")
    assert called("run", complete, "--fresh").returncode == 3
    if between == ["refused"]:
        job.write([*ROWS, {"id": "60", "name": "product 60"}])
        service.script = refuse
        assert called("run", complete).returncode == 4
        service.script = None
        job.write(ROWS)
    else:
        assert called("run", complete, *between).returncode == 0
    served = service.served.copy()
    assert called("run", complete, "--fresh").returncode == 0
    bought = service.served - served
    assert bought.total() == 30
    assert max(service.served.values()) == 2


def test_a_fresh_trial_is_the_beginning_of_a_fresh_run_and_another_one_begins_anew(job, called, service, complete):
    for asked in (65, 70):
        assert called("run", complete, "--fresh", "--limit", "5").returncode == 0
        assert service.requests == asked
    assert called("run", complete, "--fresh").returncode == 0
    assert service.requests == 125, "five of the sixty are there"


def test_a_job_that_reuses_nothing_does_not_buy_its_trial_again(job, called, service):
    path = job(ROWS, reuse=False)
    assert called("run", path, "--limit", "5").returncode == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nuntil: {requests: 20}\n", encoding="utf-8")
    assert called("run", path).returncode == 3
    assert called("run", path, "--limit", "5").returncode == 0
    path.write_text(text, encoding="utf-8")
    assert called("run", path).returncode == 0
    assert service.requests == 60
    assert called("run", path).returncode == 0
    assert service.requests == 120, "a whole run that has ended is over"


def test_prune_drops_no_answer_that_may_serve(job, called, service, complete):
    service.script = lambda n, _: Status(400) if n in {62, 63, 64} else None
    assert called("run", complete, "--fresh").returncode == 1
    assert "dropped 57" in called("prune", complete, "--yes").stdout, "older ones, of which there is a newer"
    service.script = None
    ended = called("run", complete, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 60)
    assert called("run", complete, "--fresh", "--limit", "5").returncode == 0
    called("prune", complete, "--yes")
    assert called("plan", complete, "--json").json["todo"] == 0


# Whose name, whose file


def test_two_jobs_with_one_output_do_not_replace_each_other(job, called, service, complete):
    before = job.output.read_bytes()
    other = job(ROWS, name="other", prompt=EDITED)
    for command in ("plan", "run"):
        ended = called(command, other)
        assert ended.returncode == 2
        for words in ("holds the results of the job job", str(complete), "other", "output: {path: ...}", "--adopt"):
            assert words in ended.stderr
    assert service.requests == 60
    assert job.output.read_bytes() == before
    assert called("run", other, "--adopt").returncode == 0
    assert service.requests == 120
    assert called("run", complete).returncode == 2, "now it is the other's"


@pytest.mark.parametrize(
    ("beside", "gate"), [("job.partial", {}), ("job.rejected", {"max_failed": "50%"})], ids=["partial", "rejected"]
)
def test_what_is_not_put_in_place_takes_no_other_jobs(beside, gate, job, called, service, complete):
    """Its results lie where this job's go that do not replace the last good ones."""
    theirs = job.folder / "out" / f"{beside}.parquet"
    assert called("run", job(ROWS, name=beside, output={"path": str(theirs)})).returncode == 0
    before = theirs.read_bytes()
    path = job(ROWS, gate=gate, prompt=EDITED)
    sent = service.requests
    service.script = lambda n, _: Status(400) if n % 4 else None
    for command in (["plan"], ["try"], ["export"], ["run"], ["run", "--fresh"]):
        ended = called(*command, path)
        assert ended.returncode == 2, command
        for words in (str(theirs), f"holds the results of the job {beside}", "may go there", "output: {path: ...}"):
            assert words in ended.stderr
    assert service.requests == sent
    assert theirs.read_bytes() == before
    assert called("run", path, "--adopt").returncode == 1
    assert 0 < texts(job, theirs) < 60


def test_a_job_that_is_not_gated_has_no_rejected_results(job, called, service, complete):
    theirs = job.folder / "out" / "job.rejected.parquet"
    assert called("run", job(ROWS, name="job.rejected", output={"path": str(theirs)})).returncode == 0
    assert called("run", complete, "--fresh").returncode == 0


def test_results_that_another_job_has_put_there_meanwhile_stay(job, service, start, called, ended):
    """Neither was there when the other began."""
    service.script = lambda _, body: Hold() if body["prompt"].startswith("Write much") else None
    slow = start("run", job(ROWS, name="slow", prompt=EDITED))
    service.wait(lambda service: service.in_flight == 8)
    assert called("run", job(ROWS, name="quick")).returncode == 0
    before = job.output.read_bytes()
    service.release()
    stopped = ended(slow)
    assert (stopped.returncode, "holds the results of the job quick" in stopped.stderr) == (3, True), stopped.stderr
    assert job.output.read_bytes() == before
    again = called(
        "run",
        job(ROWS, name="slow", prompt=EDITED, output={"path": "out/slow.parquet", "state": "out/.batchgen"}),
        "--json",
    )
    assert (again.returncode, again.json["sent"], again.json["ok"]) == (0, 0, 60), "nothing is bought twice"


def test_brackets_in_a_name_mean_no_other_file(job, called, service):
    assert called("run", job(ROWS, name="one", output={"path": "out/job1.parquet"})).returncode == 0
    service.script = lambda n, _: Status(400) if n % 4 else None
    ended = called("run", job(ROWS, name="other", prompt=EDITED, output={"path": "out/job[1].parquet"}))
    assert (ended.returncode, "partial" in ended.stdout) == (1, False), ended.stderr
    assert 0 < texts(job, job.folder / "out" / "job[1].parquet") < 60


def test_two_job_files_with_one_name_do_not_share_a_checkpoint(job, called, service, complete):
    edit(complete, "input:", "name: job\ninput:")
    copy = complete.with_name("copy.yaml")
    copy.write_text(complete.read_text(encoding="utf-8").replace("Write about", "Sing of"), encoding="utf-8")
    for command in (["plan"], ["run"], ["prune", "--yes"]):
        ended = called(*command, copy)
        assert ended.returncode == 2, command
        for words in ("is the checkpoint of the job job", str(complete), str(copy), "`name:` of its own", "--adopt"):
            assert words in ended.stderr
    assert service.requests == 60
    assert called("run", complete, "--json").json["sent"] == 0


def test_an_export_takes_nothing_that_is_anothers(job, called, complete):
    edit(complete, "input:", "name: job\ninput:")
    before = job.output.read_bytes()
    copy = complete.with_name("copy.yaml")
    copy.write_text(complete.read_text(encoding="utf-8"), encoding="utf-8")
    assert called("export", copy).returncode == 2
    assert job.output.read_bytes() == before
    assert called("run", complete).returncode == 0


def test_a_job_file_that_was_made_for_one_run_is_gone_with_its_folder(job, called, service):
    for folder in ("first", "second"):
        path = job(ROWS, input={"path": str(job.folder / "rows.csv"), "id": "id"}, output={"path": str(job.output)})
        (job.folder / folder).mkdir()
        path = path.rename(job.folder / folder / "job.yaml")
        assert called("run", path).returncode == 0
        path.unlink()
        path.parent.rmdir()
    assert service.requests == 60


def test_a_project_that_was_moved_and_a_job_file_that_was_renamed_stay_themselves(job, called, service, complete):
    edit(complete, "input:", "name: job\ninput:")
    moved = job.folder.rename(job.folder.with_name("moved"))
    assert called("run", moved / complete.name, "--json").json["sent"] == 0
    renamed = (moved / complete.name).rename(moved / "renamed.yaml")
    assert called("run", renamed, "--json").json["sent"] == 0
    assert service.requests == 60


def test_a_link_that_an_update_leads_elsewhere_is_the_same_job(job, called, service):
    """Releases lie side by side, and a link leads to the one in force."""
    text = job(
        ROWS, input={"path": str(job.folder / "rows.csv"), "id": "id"}, output={"path": str(job.output)}
    ).read_text()
    for release in ("1", "2"):
        (job.folder / release).mkdir()
        (job.folder / release / "job.yaml").write_text(text, encoding="utf-8")
        (job.folder / "current").unlink(missing_ok=True)
        (job.folder / "current").symlink_to(release)
        assert called("run", job.folder / "current" / "job.yaml").returncode == 0
    assert service.requests == 60
    assert called("run", job.folder / "1" / "job.yaml").returncode == 2, "by its own name it is another"


def test_a_checkpoint_of_an_earlier_version_has_no_owner_and_gets_one(job, called, service, complete):
    with closing(sqlite3.connect(job.checkpoint)) as db:
        db.executescript("DROP TABLE owner; DROP TABLE starts")
    assert called("plan", complete, "--json").json["reused"] == 60
    assert called("run", complete, "--json").json["sent"] == 0
    with closing(sqlite3.connect(job.checkpoint)) as db:
        assert db.execute("SELECT * FROM owner").fetchall() == [("job", "../../job.yaml")]


def test_a_renamed_job_is_told_of_the_answers_that_lie_beside(job, called, service, complete):
    renamed = complete.rename(complete.with_name("newer.yaml"))
    job.output.unlink()
    for ended in (called("plan", renamed), called("plan", renamed, "--limit", "5")):
        assert "holds answers to" in " ".join(ended.stdout.split())
        assert "job.sqlite" in ended.stdout
    ended = called("run", renamed, "--adopt", job.checkpoint, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 60)
    assert service.requests == 60
    assert texts(job) == 60


def test_what_lies_beside_is_said_before_anything_is_sent(job, called, service, complete):
    renamed = complete.rename(complete.with_name("newer.yaml"))
    job.output.unlink()
    said = called("run", renamed).stderr
    assert "holds answers to 60 of these 60 rows, which would be bought again: `--adopt" in said


@pytest.mark.parametrize("path", ["out2/job.parquet", "out/new/job.parquet", "job.parquet"])
def test_who_moves_the_output_is_told_where_the_answers_are(job, called, service, complete, path):
    moved = job(ROWS, output={"path": path})
    said = " ".join(called("plan", moved).stdout.split())
    assert f"{job.checkpoint} (of the job job) holds answers to 60 of these 60 rows" in said
    assert called("run", moved, "--adopt", job.checkpoint, "--json").json["sent"] == 0


def test_what_is_adopted_replaces_none_of_the_jobs_own_answers(job, called, service, complete):
    service.script = lambda *_: Raw(json.dumps({"choices": [{"text": "newer"}], "model": "served"}).encode())
    newer = {"name": "newer", "output": {"path": "out/newer.parquet"}}
    assert called("run", job(ROWS[:10], **newer)).returncode == 0
    ended = called("run", job(ROWS, **newer), "--adopt", job.checkpoint, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 60)
    found = job.rows(job.folder / "out" / "newer.parquet")
    assert [row["text"] == "newer" for row in found] == [True] * 10 + [False] * 50


def test_what_is_no_checkpoint_is_not_adopted(job, called, complete):
    ended = called("run", complete, "--adopt", job.folder / "rows.csv")
    assert (ended.returncode, "is not a checkpoint" in ended.stderr) == (2, True)
    assert not (job.folder / "rows.lock").exists()


def test_adopt_may_stand_before_the_job(job, called, complete):
    assert called("run", "--adopt", complete).returncode == 0
    assert called("run", "--adopt").returncode == 2
    assert "no such file" in called("run", complete, "--adopt", "nowhere.sqlite").stderr


def test_prune_drops_nothing_where_nobody_can_be_asked(job, called, complete):
    job.write(ROWS[:10])
    ended = called("prune", complete)
    assert (ended.returncode, "--yes" in ended.stderr) == (2, True)
    assert called("plan", complete, "--json").json["gone"] == 50
    assert "dropped 50" in called("prune", complete, "--yes").stdout


def test_prune_does_not_mind_a_row_that_no_minute_grants(job, called, complete):
    path = job([*ROWS[:10], {"id": "60", "name": "x" * 4000}], limits={"tokens_per_minute": 1000})
    assert "dropped 50" in called("prune", path, "--yes").stdout


# Modes are not names


def test_a_server_that_is_called_local_is_a_server(job, called, service):
    path = job(ROWS[:3], endpoint={"name": "local"})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"]) == (0, 3)
    assert service.requests == 3
    assert {row["model"] for row in job.rows()} == {"palmyra-x5-served"}
    assert called("run", path, env={"WRITER_API_KEY": None}).returncode == 2, "it wants a key like any other"


def test_a_job_that_is_named_like_a_trial_is_not_that_trial(job, called, service):
    trial = job(ROWS[:3], name="job")
    assert called("run", trial, "--local").returncode == 0
    path = job(ROWS[:3], name="real", output={"path": "out/job.local.parquet"})
    assert called("run", path).returncode == 2
    assert service.requests == 0
    assert pq.read_table(job.folder / "out" / "job.local.parquet")["model"].to_pylist() == ["local-ngram"] * 3

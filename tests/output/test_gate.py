"""The gate on a run's results: what falls short stands beside the last good output, says why, and exits 1."""

import json
from bisect import bisect_right
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.service import Raw, Status, error_body
from support.store import Store

import batchgen as package
from batchgen.errors import UsageError
from batchgen.job.checks import Gate
from batchgen.job.load import read_job
from batchgen.output.destination import Destination
from batchgen.output.gate import GateStats, distance, last_good, lengths_in


def rejected(path: Path) -> Path:
    return Destination(path, None, Path()).rejected


def products(count):
    return [{"id": f"{n:02}", "name": f"product {n}"} for n in range(count)]


def number(body):
    return int(body["prompt"].split()[-1].rstrip("."))


def answering(text_of):
    """A script: row n is answered `text_of(n)`; None fails it."""

    def script(_, body):
        text = text_of(number(body))
        if text is None:
            return Status(400, error_body("fail.input.invalid", "no"))
        return Raw(json.dumps({"choices": [{"text": text}], "model": "served"}).encode())

    return script


def long_text(n):
    return f"{n} " * (100 + n)


def alike(_):
    return "same"


def reasons_in(path):
    """As the file's metadata have them; None where it was not rejected."""
    told = (pq.read_metadata(path).metadata or {}).get(b"batchgen.rejected")
    return told and json.loads(told)


FAILED = "3 of 10 rows (30 %) failed; gate.max_failed allows 20 %"
SHORT = "2 of 10 texts (20 %) have fewer than 100 characters, which is gate.min_chars; the shortest has 6"
ALIKE = "4 of 10 texts (40 %) equal an earlier row's; gate.max_duplicates allows 39 %"


@pytest.mark.parametrize(
    ("gate", "text_of", "reason"),
    [
        ({"max_failed": "20%"}, lambda n: None if n < 3 else long_text(n), FAILED),
        ({"min_chars": 100}, lambda n: "little" if n in (3, 4) else long_text(n), SHORT),
        ({"max_duplicates": "39%"}, lambda n: "same" if n < 5 else long_text(n), ALIKE),
        ({"max_drift": "50%"}, lambda n: f"a short text {n}", "the texts' lengths are 100 % from those of {output}: in characters, the median is 14 and was 208; gate.max_drift allows 50 %"),
    ],
    ids=["failed", "short", "duplicates", "drift"],
)  # fmt: skip
def test_a_run_that_falls_short_leaves_the_last_good_output(job, called, service, gate, text_of, reason):
    output, beside = job.output, rejected(job.output)
    service.script = answering(long_text)
    path = job(products(10), gate=gate)
    first = called("run", path, "--json")
    assert (first.returncode, first.json["rejected"], first.json["path"]) == (0, [], str(output))
    good = output.read_bytes()

    service.script = answering(text_of)
    anew = {"prompt": "Now write about {{ name }}."}
    night = called("run", job(products(10), gate=gate, **anew), "--json")
    reason = reason.replace("{output}", str(output))
    assert night.returncode == 1
    assert (night.json["rejected"], night.json["path"], night.json["stopped"]) == ([reason], str(beside), None)
    assert output.read_bytes() == good
    assert package.load(output)["status"].to_list() == ["ok"] * 10
    assert reasons_in(beside) == [reason]
    assert reasons_in(output) is None
    assert package.load(beside)["text"].to_list() == [text_of(n) for n in range(10)]
    assert json.loads(pq.read_schema(beside).metadata[b"batchgen"])["settings"]["gate"]

    sent = service.requests
    again = called("run", path, "--no-retry-failed")
    assert again.returncode == 1
    assert service.requests == sent, "an unchanged job is judged again, and nothing is bought"
    assert f"rejected  {reason}\n" in again.stdout
    assert again.stdout.startswith("job: rejected: ")
    assert output.read_bytes() == good

    job(products(10), gate=dict.fromkeys(gate, 1 if "min_chars" in gate else "100%"), **anew)
    passed = called("run", path, "--no-retry-failed", "--json")
    assert service.requests == sent
    assert passed.json["rejected"] == []
    assert passed.returncode == (1 if "max_failed" in gate else 0), "published, and some rows have no text"
    if "max_failed" in gate:
        assert passed.json["path"] == str(output.with_name("job.partial.parquet")), "fewer texts replace no more"
    else:
        assert package.load(output)["text"].to_list() == [text_of(n) for n in range(10)]
        assert not beside.exists(), "what was rejected does not stay beside what was not"


def test_rows_that_ask_the_same_may_be_answered_alike(job, called, service):
    service.script = answering(long_text)
    twice = [{**row, "id": f"{at}{row['id']}"} for at in "ab" for row in products(3)]
    path = job(twice, gate={"max_duplicates": 0})
    assert called("run", path).returncode == 0
    assert called("export", path).returncode == 0
    service.script = answering(lambda n: "same" if n < 2 else long_text(n))
    ended = called("run", path, "--fresh", "--json")
    assert ended.json["rejected"] == ["1 of 3 texts (33.3 %) equals an earlier row's; gate.max_duplicates allows 0 %"]


def test_a_gate_that_is_gone_leaves_nothing_behind(job, called, service):
    service.script = answering(alike)
    path = job(products(4), gate={"max_duplicates": 0})
    assert called("run", path).returncode == 1
    job(products(4))
    assert called("run", path).returncode == 0
    assert not rejected(job.output).exists()


def test_what_was_rejected_may_be_the_next_input(job, called, service):
    """Without a gate nothing is written beside the output, and an input is never removed."""
    service.script = answering(alike)
    path = job(products(4), gate={"max_duplicates": 0})
    assert called("run", path).returncode == 1
    renames = {
        name: f"{name}_before" for name in pl.read_parquet_schema(rejected(job.output)) if name not in products(1)[0]
    }
    job(products(4), input={"path": "out/job.rejected.parquet", "rename": renames})
    assert called("run", path).returncode == 0
    assert package.load(job.output)["text_before"].to_list() == ["same"] * 4
    assert rejected(job.output).exists()


def test_without_a_last_good_output_there_is_none_afterwards(job, called, service):
    service.script = answering(alike)
    path = job(products(4), gate={"max_duplicates": 0, "max_drift": 0})
    assert called("run", path).returncode == 1
    assert not job.output.exists()
    service.script = answering(long_text)
    assert called("run", path, "--fresh").returncode == 0
    assert not rejected(job.output).exists()


def test_export_hears_the_gate_for_the_jobs_own_output_alone(job, called, service):
    service.script = answering(alike)
    path = job(products(4), gate={"max_duplicates": "10%"})
    assert called("run", path).returncode == 1
    rejected(job.output).unlink()
    mine = job.folder / "mine.parquet"
    ended = called("export", path, "-o", mine)
    assert ended.returncode == 0
    assert package.load(mine).height == 4
    assert reasons_in(mine) is None
    for own in ([], ["-o", job.folder / "out" / ".." / "out" / "job.parquet"]):
        ended = called("export", path, *own)
        assert ended.returncode == 1
        assert "rejected  3 of 4 texts (75 %) equal an earlier row's" in ended.stdout
        assert not job.output.exists()
        assert reasons_in(rejected(job.output)) == ["3 of 4 texts (75 %) equal an earlier row's; gate.max_duplicates allows 10 %"]  # fmt: skip
        rejected(job.output).unlink()


@pytest.mark.parametrize(
    ("given", "warned"), [({}, True), ({"gate": {"min_rows": 1}}, False), ({"input": {"where": "name <> ''"}}, False)]
)
def test_an_input_without_rows_is_told_also_to_a_quiet_run(job, called, given, warned):
    """Its results replace the last ones: a gate keeps those, and a condition may have none of its rows tonight."""
    path = job([{"id": "1", "name": "tent"}], **given)
    assert called("run", path, "--quiet").returncode == 0
    (job.folder / "rows.csv").write_text("id,name\n")
    ended = called("run", path, "--quiet")
    assert ("has no rows: so will the results" in ended.stderr) is warned, ended.stderr


@pytest.mark.parametrize(
    ("text_of", "left_out"), [(long_text, []), (alike, ["4 of 5 texts (80 %) equal an earlier row's; gate.max_duplicates allows 1 %"])]
)  # fmt: skip
def test_of_a_stopped_run_what_is_done_is_judged(job, called, service, text_of, left_out):
    service.script = answering(text_of)
    path = job(products(10), gate={"max_duplicates": 0.01, "max_failed": 0}, until={"requests": 5})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["pending"], ended.json["rejected"]) == (3, 5, left_out)
    assert job.output.exists() == (not left_out)
    assert rejected(job.output).exists() == bool(left_out)


def test_a_run_in_which_nothing_was_done_takes_no_place(job, called, service):
    service.script = answering(long_text)
    path = job(products(3), gate={"max_failed": "50%"})
    assert called("run", path).returncode == 0
    good = job.output.read_bytes()
    service.script = lambda *_: Status(401, error_body("Unauthorized", "no such key"))
    ended = called("run", path, "--fresh", "--json")
    assert (ended.returncode, ended.json["rejected"]) == (4, ["no row is done"])
    assert job.output.read_bytes() == good


def test_dates_are_held_against_the_latest_day_before(job, called, service):
    service.script = answering(long_text)
    path = job(products(5), gate={"max_drift": "50%"}, output={"path": "out/{date}/job.parquet"})
    assert called("run", path).returncode == 0
    (today,) = job.folder.glob("out/*/job.parquet")
    yesterday = job.folder / "out" / "2020-02-02" / "job.parquet"
    yesterday.parent.mkdir()
    today.rename(yesterday)
    service.script = answering(lambda n: f"text {n}")
    ended = called("run", path, "--fresh", "--json")
    assert ended.returncode == 1
    assert str(yesterday) in ended.json["rejected"][0]
    assert [str(file.relative_to(job.folder)) for file in sorted(job.folder.glob("out/*/*.parquet"))] == [
        "out/2020-02-02/job.parquet",
        f"out/{today.parent.name}/job.rejected.parquet",
    ]


@pytest.mark.parametrize(
    ("path", "files", "last"),
    [
        ("out/x.parquet", ["out/x.parquet"], "out/x.parquet"),
        ("out/x.parquet", ["out/y.parquet"], None),
        ("out/{date}/x.parquet", ["out/2026-01-01/x.parquet", "out/2026-01-03/x.parquet"], "out/2026-01-03/x.parquet"),
        ("out/{date}/x.parquet", ["out/2026-01-05/x.parquet", "out/2026-01-06/x.parquet"], "out/2026-01-05/x.parquet"),
        ("out/{date}/x.parquet", ["out/2026-01-07/x.parquet", "out/abcd-ef-gh/x.parquet"], None),
        ("out/{date}/x.parquet", ["out/2026-01-01/x.rejected.parquet", "out/2026-01-01/y.parquet"], None),
        ("out/{date}/{date}-{name}.parquet", ["out/2026-01-01/2026-01-01-job.parquet", "out/2026-01-02/2026-01-01-job.parquet"], "out/2026-01-01/2026-01-01-job.parquet"),
        ("o[u]t/{date}.parquet", ["o[u]t/2026-01-01.parquet", "out/2026-01-02.parquet"], "o[u]t/2026-01-01.parquet"),
    ],
)  # fmt: skip
def test_the_last_good_output(job, path, files, last):
    written = job(products(1), output={"path": path})
    for file in files:
        (job.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (job.folder / file).touch()
    found = last_good(read_job(written), "2026-01-05")
    assert found == (job.folder / last if last else None)


@pytest.mark.parametrize("content", [b"no results", None], ids=["no Parquet", "another table"])
def test_what_is_no_results_file_is_not_held_against(job, called, service, content):
    service.script = answering(long_text)
    path = job(products(2), gate={"max_drift": 0})
    job.output.parent.mkdir()
    if content is None:
        pl.DataFrame({"text": [1], "status": [b"ok"]}).write_parquet(job.output)
    else:
        job.output.write_bytes(content)
    ended = called("run", path)
    assert ended.returncode == 0
    assert "gate.max_drift is not checked" in ended.stderr
    assert package.load(job.output).height == 2


def test_somebodys_own_file_beside_the_output_stays(job, called, service):
    service.script = answering(long_text)
    path = job(products(2), gate={"max_failed": 0})
    beside = rejected(job.output)
    beside.parent.mkdir()
    pl.DataFrame({"mine": [1]}).write_parquet(beside)
    assert called("run", path).returncode == 0
    assert pl.read_parquet(beside)["mine"].to_list() == [1]


def test_a_target_that_cannot_be_written_is_told_before(job, called, service):
    path = job(products(2), gate={"max_failed": 0})
    rejected(job.output).mkdir(parents=True)
    ended = called("run", path)
    assert ended.returncode == 2
    assert "job.rejected.parquet: is a folder" in ended.stderr
    assert service.requests == 0


def test_an_input_that_would_be_overwritten_is_told_before(job, called, service):
    path = job(
        products(2), gate={"max_failed": 0}, output={"path": "rows.parquet"}, input={"path": "rows.rejected.parquet"}
    )
    pl.DataFrame(products(2)).write_parquet(job.folder / "rows.rejected.parquet")
    ended = called("plan", path)
    assert ended.returncode == 2
    assert "rows.rejected.parquet: is also the input" in ended.stderr


def test_a_local_trial_is_rejected_beside_its_own_output(job, called):
    path = job(products(2), gate={"min_chars": 10_000})
    ended = called("run", path, "--local")
    assert ended.returncode == 1
    assert {file for file in job.files() if file.endswith(".parquet")} == {"out/job.local.rejected.parquet"}


def test_a_folder_of_parts_is_kept_as_a_file_is(job, called, service):
    given = {"output": {"path": "out/shelf", "rows_per_file": 4}}
    service.script = answering(long_text)
    path = job(products(10), gate={"max_drift": "50%"}, **given)
    assert called("run", path).returncode == 0
    service.script = answering(lambda n: f"a short text {n}")
    ended = called("run", path, "--fresh", "--json")
    good, beside = job.folder / "out/shelf", job.folder / "out/shelf.rejected"
    assert (ended.returncode, ended.json["path"]) == (1, str(beside))
    assert f"the texts' lengths are 100 % from those of {good}" in ended.json["rejected"][0]
    assert package.load(good)["text"].to_list() == [long_text(n) for n in range(10)]
    assert package.load(beside)["text"].to_list() == [f"a short text {n}" for n in range(10)]
    ended = called("run", job(products(10), gate={"max_drift": 1.0}, **given), "--json")
    assert (ended.returncode, ended.json["sent"], beside.exists()) == (0, 0, False)
    assert package.load(good)["text"].to_list() == [f"a short text {n}" for n in range(10)]


@pytest.mark.parametrize("output", [{"path": "s3://shelf/{date}/job.parquet"}, {"path": "s3://shelf/{date}/job", "rows_per_file": 4}], ids=["object", "parts"])  # fmt: skip
def test_in_a_store_too(job, called, service, monkeypatch, output):
    """The last good one is that of an earlier day."""
    with Store() as store:
        for variable, value in store.environ.items():
            monkeypatch.setenv(variable, value)
        service.script = answering(long_text)
        before = output | {"path": output["path"].replace("{date}", "2020-02-29")}
        assert called("run", job(products(10), output=before)).returncode == 0
        service.script = answering(lambda n: f"a short text {n}")
        path = job(products(10), gate={"max_drift": "50%"}, output=output)
        ended = called("run", path, "--fresh", "--json")
        assert (ended.returncode, "/job.rejected" in ended.json["path"]) == (1, True)
        assert f"100 % from those of {before['path']}" in ended.json["rejected"][0]
        assert package.load(ended.json["path"])["text"][3] == "a short text 3"
        assert package.load(before["path"])["text"][3] == long_text(3)
        ended = called("run", job(products(10), gate={"max_drift": 1.0}, output=output), "--json")
        assert (ended.returncode, ended.json["sent"]) == (0, 0)
        assert not [name for name in store.names() if "rejected" in name]


def test_check_and_gate_together(job, called, service):
    """An unfit row counts as failed, and its text as none."""
    service.script = answering(lambda n: "bad" if n < 4 else long_text(n))
    given = {"gate": {"max_failed": "39%", "min_chars": 10, "max_duplicates": 0}}
    path = job(products(10), check={"min_chars": 10, "retries": 1}, **given)
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"]) == (1, 14)
    assert ended.json["rejected"] == ["4 of 10 rows (40 %) failed; gate.max_failed allows 39 %"]


# The arithmetic

lengths = st.lists(st.integers(0, 2**20) | st.integers(0, 8), min_size=1, max_size=60)


@given(lengths, lengths)
def test_the_distance_is_that_of_kolmogorov_and_smirnov(one, other):
    def share(values, length):
        return bisect_right(sorted(values), length) / len(values)

    expected = max(abs(share(one, at) - share(other, at)) for at in {*one, *other})
    found = distance(pl.Series(one, dtype=pl.UInt32), pl.Series(other, dtype=pl.UInt32))
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 <= found <= 1


@given(lengths)
def test_what_is_spread_alike_has_no_distance(values):
    assert distance(pl.Series(values), pl.Series(values * 3)) == 0
    assert distance(pl.Series(values), pl.Series([max(values) + 1])) == 1


@pytest.mark.parametrize("percent", range(101))
def test_a_share_that_is_just_met_passes(percent):
    gate = Gate.model_validate({"max_failed": f"{percent}%", "max_drift": f"{percent / 10}%"})
    for rows in (100, 200, 700):
        tally = GateStats(gate, None)
        tally.add(pl.DataFrame(), pl.Series([None] * rows, dtype=pl.String))
        assert tally.reasons(rows, percent * rows // 100, 0) == []
        assert len(tally.reasons(rows, percent * rows // 100 + 1, 0)) == 1
    assert gate.max_drift == percent / 1000


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        pytest.param({"min_done": "50%"}, "no row is done", id="a share of nothing"),
        pytest.param({"max_failed": "0%"}, "no row is done", id="none that may fail"),
        pytest.param({"min_rows": 1, "min_done": "50%"}, "there are 0 rows; gate.min_rows asks for 1", id="a row"),
    ],
)
def test_an_input_without_rows_passes_no_gate(gate, said):
    assert GateStats(Gate.model_validate(gate), None).reasons(0, 0, 0) == [said]


def test_pieces_are_judged_as_the_whole(tmp_path):
    texts = ["a", None, "bb", "a", "ccc", None, "bb", "a"]
    occurrence = [0, 0, 0, 1, 0, 0, 0, 0]
    last = tmp_path / "last.parquet"
    pl.DataFrame({"text": ["x" * 9, None, "y"], "status": ["ok", "pending", "failed"]}).write_parquet(last)
    gate = Gate(min_chars=2, max_duplicates=0.1, max_drift=0.1, max_failed=0.1)
    for size in (1, 3, 8):
        tally = GateStats(gate, last)
        for at in range(0, 8, size):
            known = pl.DataFrame({"occurrence": occurrence[at : at + size]}, schema={"occurrence": pl.UInt32})
            tally.add(known, pl.Series(texts[at : at + size], dtype=pl.String))
        assert tally.reasons(9, 2, 1) == [
            "2 of 8 rows (25 %) failed; gate.max_failed allows 10 %",
            "3 of 6 texts (50 %) have fewer than 2 characters, which is gate.min_chars; the shortest has 1",
            "2 of 5 texts (40 %) equal an earlier row's; gate.max_duplicates allows 10 %",
            f"the texts' lengths are 100 % from those of {last}: in characters, the median is 1 and was 9; gate.max_drift allows 10 %",
        ]


def test_the_lengths_of_a_results_file_are_of_its_good_texts(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"text": ["é🏕", None, "unfit", ""], "status": ["ok", "failed", "failed", "ok"]}).write_parquet(path)
    assert lengths_in(path).to_list() == [2, 0]
    assert lengths_in(tmp_path / "none.parquet") is None


# The job file


@pytest.mark.parametrize(
    ("written", "share"),
    [("2%", 0.02), ("0.02", 0.02), ("0%", 0), ("0", 0), ("1", 1), ("100%", 1), ("2.5%", 0.025), ("0.7%", 0.007), ("2 %", 0.02)],
)  # fmt: skip
def test_how_a_share_is_written(job, written, share):
    path = job(products(1))
    path.write_text(f"{path.read_text()}gate: {{max_failed: {written}}}\n")
    assert read_job(path).gate.max_failed == share


@pytest.mark.parametrize("written", ["2", "-0.1", "101%", "-1%", "two", "'%'", "nan%", ".nan", "true", "[1]", "1e3%"])
def test_what_is_no_share_is_refused(job, written):
    path = job(products(1))
    path.write_text(f"{path.read_text()}gate: {{max_drift: {written}}}\n")
    with pytest.raises(UsageError, match=r"job.yaml:\d+:8: gate.max_drift: should be a share such as 2% or 0.02"):
        read_job(path)


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"max_failed": 1}, "gate.max_failed: 100% rejects nothing; one percent is written 1%"),
        ({"max_drift": "100%"}, "gate.max_drift: 100% rejects nothing"),
        ({"min_done": 0}, "gate.min_done: 0% rejects nothing"),
        ({"min_done": 1, "max_failed": 0, "max_duplicates": "1%"}, None),
    ],
)
def test_a_share_that_rejects_nothing_is_warned_of(gate, told, job, called):
    warnings = called("plan", job(products(2), gate=gate), "--json").json["warnings"]
    assert [one for one in warnings if "gate" in one] == [one for one in warnings if told and one.startswith(told)]
    assert bool(told) == any("gate" in one for one in warnings)


def test_unknown_conditions_are_refused(job):
    path = job(products(1))
    path.write_text(f"{path.read_text()}gate: {{max_fail: 2%}}\n")
    with pytest.raises(UsageError, match=r"gate.max_fail: unknown key; did you mean max_failed\?"):
        read_job(path)


def test_a_rejected_file_has_its_name_from_the_output():
    assert rejected(Path("out/seo.local.parquet")) == Path("out/seo.local.rejected.parquet")

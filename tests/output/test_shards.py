"""Shards: an input in parts, each a job of its own; and their results as one file, in the order of the whole input."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.service import Raw, Status, error_body, expected_answer
from support.store import Store

import batchgen as package
from batchgen.input.row_checksum import RowChecksum
from batchgen.input.source import open_source
from batchgen.job.sections import Input
from batchgen.job.shard import Shard
from batchgen.output import interleave
from batchgen.output.column_names import ANSWER_DETAILS
from batchgen.output.destination import Destination
from batchgen.output.publish import WHOLE_KEY
from batchgen.output.schema import LOG_PROBS

PARTS = st.integers(1, 40).flatmap(lambda of: st.builds(Shard, st.integers(1, of), st.just(of)))


@given(PARTS, st.integers(0, 300), st.integers(0, 300))
def test_a_shards_rows_are_every_nth_of_the_whole(part, rows, start):
    own = range(rows)[part.number - 1 :: part.of]
    assert part.rows(rows) == len(own)
    assert start + part.first(start) == next(
        row for row in range(start, start + part.of) if row % part.of == part.number - 1
    )


@given(PARTS, st.integers(1, 300))
def test_so_many_rows_of_the_whole_hold_so_many_of_a_shard(part, rows):
    assert part.rows(part.whole(rows)) == rows
    assert part.rows(part.whole(rows) - 1) == rows - 1


@given(PARTS)
def test_a_shard_is_read_as_it_is_written(part):
    assert Shard.parse(str(part)) == part


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """More rows than a batch has, with a value that is no number at the end."""
    path = tmp_path_factory.mktemp("large") / "rows.csv"
    path.write_text("a\n" + "".join(f"{n}\n" for n in range(9000)) + "x\n", encoding="utf-8")
    return path


def source(path: Path, **spec):
    return open_source(Input.model_validate({"path": path.name, **spec}, context={"folder": path.parent}))


@pytest.mark.parametrize("of", [1, 2, 7, 4096, 5000, 20_000])
@pytest.mark.parametrize("limit", [None, 3, 8999])
def test_every_row_is_in_one_shard(large, of, limit):
    """The limit first, then the shard."""
    wanted = [*map(str, range(9000)), "x"][:limit]
    for number in {1, 2, of // 2, of} - {0}:
        if number <= of:
            batches = [frame["a"].to_list() for frame in source(large, shard=f"{number}/{of}", limit=limit).batches()]
            assert [value for batch in batches for value in batch] == wanted[number - 1 :: of]
            assert all(batches)


@pytest.mark.parametrize(
    ("part", "first", "wanted"),
    [
        ({"limit": 5}, 8, [0, 1, 2, 3, 4]),
        ({"limit": 8}, 5, [0, 1, 2, 3, 4]),
        ({"shard": "4/4"}, 3, [3, 7, 11]),
        ({"shard": "2/16"}, 8, [1]),
        ({"shard": "2/3", "limit": 8}, 2, [1, 4]),
        ({"shard": "2/3", "limit": 8}, 4, [1, 4, 7]),
    ],
)
def test_the_first_rows_are_the_jobs_own(job, called, part, first, wanted):
    """Those that a run sends without --limit."""
    path = job(rows(12), input={"path": "rows.csv", "id": "id", **part})
    assert called("plan", path, "--limit", first, "--json").json["rows"] == len(wanted)
    ended = called("run", path, "--limit", first, "--json")
    assert (ended.returncode, ended.json["rows"]) == (0, len(wanted))
    assert [row["id"] for row in job.rows(Path(ended.json["path"]))] == [f"r{n}" for n in wanted]
    assert called("plan", path, "--json").json["gone"] == 0, "each answer is one of the job's"


def test_a_row_is_named_by_its_number_in_the_whole(large, job, called):
    """Row 9,001 of all is row 1,287 of the sixth of seven."""
    assert 9000 % 7 == 5
    for section in ({"schema": {"a": "Int64"}}, {}):
        path = job(
            [{"a": "b"}],
            input={"path": str(large), "id": "a", "shard": "6/7", **section},
            prompt="{{ a }}",
            priority="a",
        )
        ended = called("plan", path)
        assert ended.returncode == 2
        assert "row 9,001: " in ended.stderr
    path = job(
        [{"a": "b"}], input={"path": str(large), "id": "a", "shard": "6/7"}, prompt="{{ a }}{{ 1 // 0 if a == 'x' }}"
    )
    assert "row 9,001 (x)" in called("plan", path).stderr
    assert (
        called(
            "plan",
            job([{"a": "b"}], input={"path": str(large), "id": "a", "shard": "5/7"}, prompt="{{ a }}", priority="a"),
        ).returncode
        == 0
    )


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "1/0", "a/b", "1/3/5", "-1/3", " 1/3", 3])
def test_a_shard_that_there_is_not(job, called, wrong):
    ended = called("plan", job([{"id": "a", "name": "b"}], input={"shard": wrong}))
    assert ended.returncode == 2
    assert "input.shard: should be " in ended.stderr


# whole jobs


def rows(count: int) -> list[dict[str, str]]:
    return [{"id": f"r{n}", "name": f"product {n}"} for n in range(count)]


class Shards:
    """A job in parts: job files that differ in their shard alone."""

    def __init__(self, job, called, of: int) -> None:
        self.job, self.called, self.of = job, called, of
        self.files: list[Path] = []
        self.results = [job.folder / "out" / f"job-{n}-of-{of}.parquet" for n in range(1, of + 1)]

    def write(self, given: object, **sections) -> "Shards":
        inputs = sections.pop("input", {})
        self.files = [
            self.job(given, name=f"seo.{n}", input={**inputs, "shard": f"{n}/{self.of}"}, **sections)
            for n in range(1, self.of + 1)
        ]
        return self

    def run(self, *options) -> "Shards":
        for file in self.files:
            assert self.called("run", file, "--quiet", *options).returncode in (0, 1)
        return self

    def merge(self, *options):
        return self.called("merge", *self.files, *options)


@pytest.fixture
def shards(job, called, service):
    return lambda of: Shards(job, called, of)


@pytest.mark.parametrize(("of", "count", "kind"), [(3, 20, "csv"), (4, 7, "parquet"), (5, 3, "ndjson"), (1, 4, "csv")])
def test_shards_make_the_whole(shards, service, job, of, count, kind):
    ended = shards(of).write(rows(count), kind=kind).run().merge()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{count} rows: {count} ok" in ended.stdout.replace("\n", " ")
    found = job.rows()
    assert [row["id"] for row in found] == [f"r{n}" for n in range(count)]
    assert all(row["text"] == expected_answer(f"Write about {row['name']}.")["text"] for row in found)
    assert service.served.total() == count, "none was bought twice"
    schema = pq.read_schema(job.output)
    part = pq.read_schema(job.folder / "out" / f"job-1-of-{of}.parquet")
    assert schema.remove_metadata() == part.remove_metadata()


def test_folders_of_parts_are_merged_into_one(shards, service, job):
    """Parts of three rows, in shards of seven and six: no two boundaries fall together."""
    output = {"path": "out/job", "rows_per_file": 3}
    ended = shards(3).write(rows(20), output=output).run().merge()
    assert ended.returncode == 0, ended.stderr
    assert len(list((job.folder / "out/job").iterdir())) == 7
    assert package.load(job.folder / "out/job")["id"].to_list() == [f"r{n}" for n in range(20)]
    assert service.served.total() == 20


def test_shards_in_a_store(shards, job, monkeypatch):
    with Store() as store:
        for variable, value in store.environ.items():
            monkeypatch.setenv(variable, value)
        some = shards(2).write(rows(5), output={"path": "s3://shelf/out/job.parquet"})
        ended = some.merge()
        assert (
            ended.returncode,
            "job-1-of-2.parquet: no such results: run this shard first" in ended.stderr.replace("\n", " "),
        ) == (2, True)
        assert some.run().merge().returncode == 0
        assert store.table("out/job.parquet")["id"].to_pylist() == [f"r{n}" for n in range(5)]


def test_what_was_merged_stands_in_the_metadata(shards, job):
    shards(2).write(rows(4)).run().merge()
    said = interleave.read_metadata(job.output)
    assert [one["settings"]["input"]["shard"] for one in said["merged"]] == ["1/2", "2/2"]
    assert [one["job"] for one in said["merged"]] == ["seo.1-1-of-2", "seo.2-2-of-2"]
    assert said["job"] == "seo.1"
    assert "test-key" not in json.dumps(said)


def test_a_merge_ends_as_its_rows_do(shards, service, job):
    some = shards(2)
    service.script = lambda _, body: Status(400, error_body("x", "no")) if "product 5." in body["prompt"] else None
    ended = some.write(rows(8)).run().merge()
    assert (ended.returncode, [row["status"] for row in job.rows()].index("failed")) == (1, 5)
    for name in ("job-1-of-2", "job-2-of-2", "job"):
        (job.folder / "out" / f"{name}.parquet").unlink()  # else less would not replace more
    some.write(rows(8), until={"requests": 1}, prompt="Now about {{ name }}.")
    for file in some.files:
        assert some.called("run", file, "--quiet").returncode == 3
    ended = some.merge()
    assert ended.returncode == 3
    assert [row["status"] for row in job.rows()] == ["ok", "ok", *["pending"] * 6]


def test_a_merge_replaces_no_more_by_less(shards, job):
    some = shards(2)
    assert some.write(rows(8)).run().merge().returncode == 0
    for number in (1, 2):
        (job.folder / "out" / f"job-{number}-of-2.parquet").unlink()
    some.write(rows(8), until={"requests": 1}, prompt="Now about {{ name }}.")
    for file in some.files:
        assert some.called("run", file, "--quiet").returncode == 3
    ended = some.merge()
    assert (ended.returncode, "job.partial.parquet" in ended.stdout) == (3, True)
    assert [row["status"] for row in job.rows()] == ["ok"] * 8


def test_more_choices_of_one_shard_are_a_column_of_all(shards, service, job):
    def script(_, body):
        given = expected_answer(body["prompt"])
        several = {"choices": [given, {**given, "text": "another"}], "model": "m"}
        return Raw(json.dumps(several).encode()) if "product 2." in body["prompt"] else None

    service.script = script
    assert shards(3).write(rows(7)).run().merge().returncode == 0
    assert [(row["more_choices"] or [{}])[0].get("text") for row in job.rows()] == [None, None, "another", *[None] * 4]


def as_before_0_3(path: Path) -> None:
    """Writes results as versions before 0.3.0 had them: without the details of an answer."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name not in (*ANSWER_DETAILS, "more_choices")]
    choices = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS)]))
    more = pa.array([[{"text": "older", "log_probs": None}], *[None] * (table.num_rows - 1)], choices)
    old = table.select(names).append_column("more_choices", more)
    pq.write_table(old.replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize("old", [[1], [2, 3], [1, 2, 3]])
def test_results_of_versions_before_and_after_the_details_of_an_answer(shards, service, job, old):
    """Each machine may be upgraded between its runs."""
    choices = [{"text": "A tent.", "finish_reason": "stop"}, {"text": "newer"}]
    service.script = lambda *_: Raw(json.dumps({"choices": choices}).encode())
    some = shards(3).write(rows(7)).run()
    for number in old:
        as_before_0_3(some.results[number - 1])
    ended = some.merge()
    assert (ended.returncode, ended.stderr) == (0, "")
    for at, row in enumerate(job.rows()):
        of_old = at % 3 + 1 in old
        assert row["id"] == f"r{at}"
        assert row.get("finish_reason") == (None if of_old else "stop")
        texts = [choice["text"] for choice in row["more_choices"] or ()]
        assert texts == ([] if of_old and at >= 3 else ["older"] if of_old else ["newer"])
    names = pq.read_schema(job.output).names
    assert ("finish_reason" in names) == (len(old) < 3)
    assert names[-1] == "more_choices"


def test_large_rows_are_put_together_in_few_at_a_time(tmp_path):
    """Row groups that are small for their rows' size, in files whose steps do not fall together with them."""
    files, count = [], 1000
    for number in range(3):
        own = range(count)[number::3]
        table = pa.table({"n": list(own), "status": ["ok"] * len(own), "error": pa.nulls(len(own), pa.string())})
        files.append(tmp_path / f"{number}.parquet")
        pq.write_table(table, files[-1], row_group_size=[50, 7, 64][number])
    done = interleave.interleave(files, Destination(tmp_path / "all.parquet", None, tmp_path), {}, None)
    assert pq.read_table(tmp_path / "all.parquet")["n"].to_pylist() == list(range(count))
    assert (done.rows, done.ok) == (count, count)
    opened = [interleave.ShardFile(file, [pq.ParquetFile(file)]) for file in files]
    steps = [table.num_rows for table in interleave._woven(opened, opened[0].schema)]
    assert max(steps) <= 7


def test_a_trial_of_shards_is_merged_beside_the_real_thing(shards, job):
    ended = shards(2).write(rows(4)).run("--local").merge("--local")
    assert ended.returncode == 0, ended.stderr
    assert {row["model"] for row in job.rows(job.folder / "out" / "job.local.parquet")} == {"local-ngram"}
    assert not job.output.exists()


def test_paths_that_hold_a_name_or_a_date(shards, job):
    some = shards(2).write(rows(4), output={"path": "out/{date}/{name}.parquet"}).run()
    assert some.merge().returncode == 0
    (found,) = (job.folder / "out").glob("*/seo.1.parquet")
    assert len(job.rows(found)) == 4


@pytest.mark.parametrize("trial", [("run", "--limit", "2"), ("try", "-n", "1")], ids=["first rows", "a few"])
def test_a_trial_on_a_later_day_leaves_the_results_that_are_merged(shards, job, monkeypatch, trial):
    def day(date: str) -> None:
        for room in ("runner.trial", "runner.run"):
            monkeypatch.setattr(f"batchgen.{room}.today", lambda: date)

    dated = {"path": "out/{date}/{name}.parquet"}
    day("2026-01-05")
    some = shards(2).write(rows(4), output=dated).run()
    day("2026-01-06")
    some.write(rows(6), output=dated)
    for file in some.files:
        assert some.called(trial[0], file, *trial[1:]).returncode == 0
    ended = some.merge()
    assert ended.returncode == 0, ended.stderr
    assert len(job.rows(job.folder / "out/2026-01-05/seo.1.parquet")) == 4


def test_where_to(shards, job):
    some = shards(2).write(rows(4)).run()
    assert some.merge("-o", job.folder / "x.parquet").returncode == 0
    assert len(job.rows(job.folder / "x.parquet")) == 4
    for wrong, said in [
        (some.results[0], "is the input or a shard's results"),
        (job.folder / "x.csv", "should end in .parquet"),
    ]:
        ended = some.merge("-o", wrong)
        assert ended.returncode == 2
        assert said in ended.stderr
    assert not job.output.exists()


def test_a_merge_takes_no_place_of_another_job(shards, job):
    before = job(rows(3), name="whole")
    some = shards(2)
    assert some.called("run", before, "--quiet").returncode == 0
    kept = job.output.read_bytes()
    some.write(rows(4)).run()
    ended = some.merge()
    assert (ended.returncode, "holds the results of the job whole" in ended.stderr) == (2, True), ended.stderr
    assert job.output.read_bytes() == kept
    assert some.merge("-o", job.output).returncode == 0, "by name it may"
    assert some.merge().returncode == 0, "what was merged of the same shards is replaced"
    renamed = [file.rename(file.with_name(f"new-{file.name}")) for file in some.files]
    assert some.called("merge", *renamed).returncode == 0
    job.output.unlink()
    assert some.called("run", before, "--quiet").returncode == 0
    before.unlink()
    assert some.called("merge", *renamed).returncode == 0, "the other job is gone"


def test_a_merge_takes_no_place_of_another_jobs_incomplete_results(shards, job):
    theirs = job.output.with_name("job.partial.parquet")
    some = shards(2)
    other = job(rows(3), name="job.partial", output={"path": str(theirs)})
    assert some.called("run", other, "--quiet").returncode == 0
    ended = some.write(rows(4)).run().merge()
    assert (ended.returncode, "holds the results of the job job.partial" in ended.stderr) == (2, True), ended.stderr


def test_a_job_that_was_cut_into_shards_is_replaced_by_them(shards, job):
    """Its file is the first shard's now."""
    some = shards(2)
    path = job(rows(4), name="seo.1")
    assert some.called("run", path, "--quiet").returncode == 0
    assert some.write(rows(4)).run().merge().returncode == 0


@pytest.mark.parametrize("through", ["the folder", "a link"])
@pytest.mark.parametrize("name", ["part-00000.parquet", "x.parquet", "below/x.parquet"])
@pytest.mark.parametrize("folder", ["job-2-of-2", "job", "of another job"])
def test_no_merge_among_parts(shards, job, folder, name, through):
    output = {"path": "out/job", "rows_per_file": 3}
    some = shards(2)
    other = job(rows(4), name="other", output={**output, "path": "out/of another job"})
    assert some.called("run", other, "--quiet").returncode == 0
    some.write(rows(8), output=output).run()
    place = job.folder / "out" / folder
    if through == "a link":
        (job.folder / "link").symlink_to(place)
        place = job.folder / "link"
    before = job.files()
    ended = some.merge("-o", place / name)
    assert (ended.returncode, "a folder of results, which a run replaces as a whole" in ended.stderr) == (2, True)
    assert job.files() == before


def refused(some: Shards, files: list[Path]) -> str:
    ended = some.called("merge", *files)
    assert ended.returncode == 2
    assert not some.job.output.exists()
    return ended.stderr


@pytest.mark.parametrize("is_here", [True, False], ids=["the input is here", "the input is on another machine"])
@pytest.mark.parametrize(
    ("output", "stranger", "said"),
    [
        ({"path": "out/job", "rows_per_file": 3}, "out/job/notes.txt", "holds notes.txt, and would be replaced"),
        ({"path": "out/job", "rows_per_file": 3}, "out/job", "is a file, and output.rows_per_file needs a folder"),
        ({"path": "out/job.parquet"}, "out/job.parquet/notes.txt", "is a folder: choose the name of a file"),
    ],
)
def test_a_strangers_file_in_the_place_of_a_merge(shards, job, is_here, output, stranger, said):
    made = shards(3).write(rows(20), output=output).run()
    there = job.folder / stranger
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    if not is_here:
        (job.folder / "rows.csv").unlink()
    ended = made.merge()
    assert (ended.returncode, said in ended.stderr, there.read_text()) == (2, True, "mine"), ended.stderr


def test_what_is_not_every_shard_of_one_input_is_refused(shards, job):
    some = shards(3).write(rows(9)).run()
    one, two, three = some.files
    assert "1 of 3 shards is missing: 2/3" in refused(some, [one, three])
    assert f"{two}: is shard 2/3, as {two} is" in refused(some, [one, two, two])
    other = job(rows(9), name="other", input={"shard": "2/4"})
    assert f"{other}: is one of 4 shards, and {one} one of 3" in refused(some, [one, other, three])
    other = job(rows(9), name="other", input={"shard": "2/3", "limit": 5})
    assert f"{other}: its input is not that of {one}: input.limit is another" in refused(some, [one, other, three])
    other = job(rows(9), name="other")
    assert f"{other}: has no input.shard" in refused(some, [one, other, three])
    some.results[1].rename(job.folder / "kept.parquet")
    assert "job-2-of-3.parquet: no such results: run this shard first" in refused(some, some.files)
    some.results[1].write_bytes(some.results[0].read_bytes())
    assert "job-2-of-3.parquet: holds shard 1/3, not 2/3" in refused(some, some.files)
    some.results[1].write_bytes(some.results[0].read_bytes()[:-9])
    assert "job-2-of-3.parquet: cannot be read" in refused(some, some.files)
    pq.write_table(pa.table({"a": [1]}), some.results[1])
    assert "job-2-of-3.parquet: is not a results file of batchgen" in refused(some, some.files)


def test_an_input_that_changed_between_the_shards_runs_is_refused(shards, job):
    some = shards(2).write(rows(8)).run()
    job.write(rows(12))
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    assert "the input changed between the runs" in refused(some, some.files)
    job.write([{**row, "more": "x"} for row in rows(8)])
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    assert "its columns differ from those of job-1-of-2.parquet: more" in refused(some, some.files)
    job.write(rows(8))
    text = some.files[1].read_text(encoding="utf-8")
    some.files[1].write_text(text.replace("  shard:", "  limit: 7\n  shard:"), encoding="utf-8")
    assert "its input is not that of" in refused(some, some.files)


def test_a_shard_whose_last_run_was_rejected_is_refused(shards, service):
    some = shards(2).write(rows(6), gate={"max_failed": 0}).run()
    service.script = lambda _, body: Status(400, error_body("x", "no")) if "product 3." in body["prompt"] else None
    for file in some.files:
        some.called("run", file, "--quiet", "--fresh")
    assert "job-2-of-2.parquet: is of an earlier run" in refused(some, some.files)


def test_a_page_that_is_damaged_leaves_the_old_file(shards, job):
    some = shards(2).write(rows(8), report=False).run()
    assert some.merge().returncode == 0
    before = job.output.read_bytes()
    whole = bytearray(some.results[1].read_bytes())
    whole[4:400] = b"\0" * 396
    some.results[1].write_bytes(whole)
    ended = some.merge()
    assert (ended.returncode, "job-2-of-2.parquet: cannot be read" in ended.stderr) == (2, True)
    assert job.output.read_bytes() == before
    assert {path.name for path in job.output.parent.iterdir()} == {
        ".batchgen",
        "job.parquet",
        *(path.name for path in some.results),
    }


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_checksum_of_rows_does_not_know_of_batches(cut, other):
    texts = ["", None, "a", "ü\0", "b\n"] * 4
    frame = pl.DataFrame({"a": texts, "n": range(20), "x": [0.5] * 20})
    whole, pieces, less = RowChecksum(), RowChecksum(), RowChecksum()
    whole.add(frame)
    for piece in (frame.head(cut), frame.slice(cut)):
        pieces.add(piece)
    assert str(pieces) == str(whole)
    less.add(frame.filter(pl.int_range(pl.len()) != other))
    assert (str(less) == str(whole)) == (other == 20)


SAME_NUMBER = [*rows(8)[1:], {"id": "new", "name": "product new"}]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_input_that_lost_a_row_and_got_another_is_refused(shards, job, kind):
    """Row after row has moved from one shard to the other: one is in both, others are in none."""
    some = shards(2).write(rows(8), kind=kind).run()
    job.write(SAME_NUMBER, kind)
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    said = refused(some, some.files)
    assert "job-2-of-2.parquet: is a shard of other rows than job-1-of-2.parquet: the input changed" in said
    assert some.run().merge().returncode == 0
    assert [row["id"] for row in job.rows()] == [row["id"] for row in SAME_NUMBER]


@pytest.mark.parametrize(
    ("odd", "changed"),
    [
        ("prompt", {"prompt": "A haiku on {{ name }}."}),
        ("request.max_tokens", {"request": {"max_tokens": 51}}),
        ("request.temperature", {"request": {"temperature": 0.5}}),
        ("columns.model", {"columns": {"model": "name"}}),
    ],
)
def test_shards_of_other_requests_are_refused(shards, odd, changed):
    some = shards(2).write(rows(4)).run()
    some.write(rows(4), **changed)
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    assert f"job-2-of-2.parquet: was made with another {odd} than job-1-of-2.parquet" in refused(some, some.files)


def test_results_of_prompts_that_were_edited_since_are_refused(shards):
    """All shards alike: nothing told that their texts were made for other prompts."""
    some = shards(2).write(rows(4)).run()
    some.write(rows(4), prompt="A haiku on {{ name }}.")
    assert "job-1-of-2.parquet: was made with another prompt than" in refused(some, some.files)
    assert some.run().merge().returncode == 0
    assert some.run().merge().returncode == 0


def test_shards_that_differ_in_what_makes_no_request_are_merged(shards, job):
    """Each machine may have its own rate, and the input at a path of its own."""
    some = shards(2).write(rows(4)).run()
    copy = job.folder / "copy.csv"
    copy.write_bytes((job.folder / "rows.csv").read_bytes())
    some.write(rows(4), input={"path": "copy.csv"}, limits={"concurrency": 2}, check={"min_chars": 1})
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    assert some.merge().returncode == 0
    assert [row["id"] for row in job.rows()] == [f"r{n}" for n in range(4)]


def in_two_folders(some: Shards) -> tuple[Path, Path]:
    """Two shards as two machines have them: each in a folder of its own, with the input beside the job file."""
    machines = []
    for number, file in enumerate(some.files, 1):
        folder = some.job.folder / f"machine{number}"
        folder.mkdir()
        for path in (file, some.job.folder / "rows.csv"):
            (folder / path.name).write_bytes(path.read_bytes())
        machines.append(folder / file.name)
    return machines[0], machines[1]


def test_each_machine_may_have_the_input_beside_its_job_file(shards, job):
    one, two = in_two_folders(shards(2).write(rows(5)))
    for file in (one, two):
        assert shards(2).called("run", file, "--quiet").returncode == 0
    (two.parent / "rows.csv").unlink()
    merged = shards(2).called("merge", one, two, "-o", job.folder / "all.parquet")
    assert merged.returncode == 0, merged.stderr
    assert [row["id"] for row in job.rows(job.folder / "all.parquet")] == [f"r{n}" for n in range(5)]


def test_inputs_at_two_paths_of_which_results_of_before_the_checksum_tell_nothing_are_refused(shards, job):
    some = shards(2).write(rows(4))
    one, two = in_two_folders(some)
    for file in (one, two):
        assert some.called("run", file, "--quiet").returncode == 0
    old = one.parent / "out" / "job-1-of-2.parquet"
    pq.write_table(pq.read_table(old), old)  # which drops what stands beside the schema
    said = some.called("merge", one, two, "-o", job.folder / "all.parquet")
    assert (said.returncode, (job.folder / "all.parquet").exists()) == (2, False)
    assert f"{old}: says nothing of the input that it was made of" in said.stderr


def test_results_of_before_the_checksum_are_merged_as_they_were(shards, job):
    some = shards(2).write(rows(8)).run()
    old = pq.read_table(some.results[0])
    pq.write_table(old, some.results[0])  # which drops what stands beside the schema
    assert pq.read_metadata(some.results[0]).metadata.get(WHOLE_KEY.encode()) is None
    job.write([*rows(7), {"id": "r7", "name": "product new"}])
    assert some.called("run", some.files[1], "--quiet").returncode == 0
    assert some.merge().returncode == 0


def test_a_name_that_two_shards_share_is_refused(shards, job):
    """Within a shard, or without shards, it is refused before anything is sent."""
    given = [*rows(6), {"id": "r1", "name": "product new"}, {"id": "r7", "name": "product 7"}]
    some = shards(2).write(given).run()
    assert "rows 2 and 7 of the whole have the same id, which is input.id" in refused(some, some.files)
    some.write(given, input={"id": None})
    assert some.run().merge().returncode == 0
    assert [row["id"] for row in job.rows()] == [row["id"] for row in given]

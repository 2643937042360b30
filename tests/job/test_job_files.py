"""A job is found by its path, or by its name without suffix: here, and in the folder `jobs`."""

import os
import shlex

import pytest

from batchgen.errors import UsageError
from batchgen.job.job_files import find_job_file, names_of_jobs

SEVERAL = "several job files have this name"


@pytest.mark.parametrize(
    ("files", "given", "found"),
    [
        pytest.param(["seo.yaml"], "seo", "seo.yaml", id="here"),
        pytest.param(["jobs/seo.yaml"], "seo", "jobs/seo.yaml", id="in jobs"),
        pytest.param(["jobs/seo.yml"], "seo", "jobs/seo.yml", id="the short suffix"),
        pytest.param(["nights/seo.yaml"], "nights/seo", "nights/seo.yaml", id="in another folder, with its path"),
        pytest.param(["nights/seo.yaml"], "seo", "seo", id="another folder is not searched"),
        pytest.param(["jobs/deep/seo.yaml"], "deep/seo", "deep/seo", id="nor what lies below"),
        pytest.param(["seo.yaml", "seo"], "seo", "seo", id="a file of exactly this name"),
        pytest.param(["seo.yaml", "seo/rows.csv"], "seo", "seo.yaml", id="a folder is not a job"),
        pytest.param(["seo.v2.yaml"], "seo.v2", "seo.v2.yaml", id="a name with a dot"),
        pytest.param(["seo.yaml", "jobs/seo.yaml"], "seo.yaml", "seo.yaml", id="a path is a path"),
        pytest.param(["seo.yaml", "jobs/seo.yaml"], "./seo.yaml", "seo.yaml", id="however it is written"),
        pytest.param([], "seo", "seo", id="nothing"),
        pytest.param([], "x" * 252, "x" * 252, id="a name that takes no suffix"),
        pytest.param(["jobs.yaml", "jobs/x.yaml"], "jobs/", "jobs", id="a folder, as its slash says"),
        pytest.param(["seo.yaml", "jobs/seo.yaml"], "seo", "seo.yaml and jobs/seo.yaml", id="two places"),
        pytest.param(["seo.yaml", "seo.yml"], "seo", "seo.yaml and seo.yml", id="two suffixes"),
    ],
)
def test_a_job_by_its_name(files, given, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    if " and " in found:
        with pytest.raises(UsageError, match=f"{SEVERAL}: {found}"):
            find_job_file(given)
        assert given not in names_of_jobs()
    else:
        assert str(find_job_file(given)) == found


def test_every_name_finds_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("a.yaml", "a.yml", "b.yaml", "jobs/b.yml", "jobs/c.yaml", "d.yml", "d", "e.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    names = names_of_jobs()
    assert sorted(names) == ["a.yaml", "a.yml", "b.yaml", "c", "d.yml", "e", "jobs/b.yml"]
    assert all(find_job_file(name).samefile(file) for name, file in names.items())


def test_commands_take_the_name_and_name_the_file(job, batchgen, tmp_path):
    here = tmp_path / "elsewhere"
    path = job([{"id": "1", "name": "x"}], name="letters")
    (here / "jobs").symlink_to(job.folder)
    assert batchgen("run", "letters").returncode == 0
    assert job.output.exists()
    assert batchgen("status", "letters", "--json").json["done"] == 1
    missing = batchgen("plan", "leters")
    assert missing.returncode == 2
    assert "leters: cannot be read: No such file or directory; did you mean jobs/letters.yaml?" in missing.stderr
    assert "k: cannot be read: No such file or directory; the jobs here: letters" in batchgen("plan", "k").stderr
    path.write_text(path.read_text().replace("name }}", "nmae }}"))
    assert batchgen("plan", "letters").stderr.startswith("error: jobs/letters.yaml: prompt: line 1")


def test_where_there_is_no_job_the_error_says_how_one_is_made(batchgen, tmp_path):
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    assert (
        "letters: cannot be read: No such file or directory; `batchgen init NAME` makes a job"
        in batchgen("run", "letters").stderr
    )


def test_what_is_read_from_a_pipe_is_no_name(tmp_path):
    """`batchgen plan <(make-job)`"""
    fifo = tmp_path / "made"
    os.mkfifo(fifo)
    (tmp_path / "made.yaml").touch()
    assert find_job_file(fifo) == fifo


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"id,name\n1,tent\n"),
        ("my rows.CSV", b"id: name\n"),
        ("rows.ndjson", b'{"input": "a", "output": "b"}\n'),
        ("rows.json", b'[{"id": 1}]'),
        ("rows.parquet", b"PAR1\xff"),
        ("rows.xlsx", b"PK\x03\x04\xff"),
        ("rows.csv.gz", b"\x1f\x8b\xff"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_input_in_place_of_a_job_is_told_how_a_job_is_made_of_it(
    command, name, content, tmp_path, monkeypatch, called
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ended = called(command, name)
    made = f"`batchgen init --input {shlex.quote(name)}` writes a job for it"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: {name}: is an input, and no job file: {made}\n"


def test_a_job_file_may_have_the_name_of_an_input(job, called):
    path = job([{"id": "1", "name": "x"}])
    assert called("plan", path.rename(path.with_name("job.csv"))).returncode == 0

"""What is sent is what was planned: a row whose request is another one by now is not sent, and stops the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchgen.checkpoint.index import join
from batchgen.checkpoint.row_key import Identity
from batchgen.errors import InputChanged
from batchgen.job.load import as_job
from batchgen.runner.plan import NO_INDEX, Plan, make_plan
from batchgen.runner.prepare import PreparedJob, prepare
from batchgen.runner.tasks import tasks
from batchgen.send.task import Task

ROWS = ["n,cell", *(f"{n},cell {n}" for n in range(5))]


def prepared(folder: Path, **more: object) -> PreparedJob:
    (folder / "rows.csv").write_text("\n".join(ROWS) + "\n")
    given = {
        "name": "job",
        "input": {"path": str(folder / "rows.csv")},
        "prompt": "Say {{ cell }}.",
        "request": {"model": "m"},
        "output": {"path": str(folder / "out.parquet")},
        **more,
    }
    return prepare(as_job(given), {"WRITER_BASE_URL": "http://127.0.0.1:9"}, "job.yaml")


def planned(setup: PreparedJob) -> Plan:
    return make_plan(setup, NO_INDEX, iter(()), retry_failed=False)


def made(setup: PreparedJob, plan: Plan) -> list[Task]:
    return [task for batch in tasks(setup, plan) for task in batch]


@pytest.mark.parametrize("order", ["input", "random"])
def test_tasks_have_the_keys_of_what_they_send(tmp_path, order):
    setup = prepared(tmp_path, order=order)
    plan = planned(setup)
    found = made(setup, plan)
    assert len(found) == 5
    assert [task.key for task in found] == [Identity(setup.identity).digest(task.body) for task in found]
    assert {task.key for task in found} == {join(*halves) for halves in plan.rows.select("hi", "lo").iter_rows()}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("cell 3", "cell 9", id="another text"),
        pytest.param(",cell 4\n", "," + 7 * "\n", id="the last row has no text any more"),
        pytest.param("3,cell 3\n4,cell 4", "4,cell 4\n3,cell 3", id="two rows that changed places"),
    ],
)
@pytest.mark.parametrize("order", ["input", "random"])
def test_an_edit_that_leaves_no_trace_on_the_file_is_found_by_the_rows(tmp_path, before, after, order):
    """As long as before, in the same file, with the times put back."""
    setup = prepared(tmp_path, order=order)
    plan = planned(setup)
    path = tmp_path / "rows.csv"
    stat, text = path.stat(), path.read_text()
    path.write_text(text.replace(before, after))
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    setup.source.verify()
    with pytest.raises(InputChanged, match="every answer is kept"):
        made(setup, plan)

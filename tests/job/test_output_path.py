"""Where results go: shard, trial and first rows each leave their mark, and the whole's path has none of a shard."""

import pytest

from batchgen.job.dated_path import DatedPath
from batchgen.job.load import read_job

DAY = "2026-11-28"


@pytest.mark.parametrize(
    ("path", "shard", "mode", "own", "whole"),
    [
        ("out/x.parquet", None, (False, None), "out/x.parquet", "out/x.parquet"),
        ("out/x.parquet", None, (True, None), "out/x.local.parquet", "out/x.local.parquet"),
        ("out/x.parquet", None, (False, 5), "out/x.first-5.parquet", "out/x.first-5.parquet"),
        ("out/x.parquet", None, (True, 5), "out/x.local.first-5.parquet", "out/x.local.first-5.parquet"),
        ("out/x.parquet", "2/3", (False, None), "out/x-2-of-3.parquet", "out/x.parquet"),
        ("out/x.parquet", "2/3", (True, 5), "out/x-2-of-3.local.first-5.parquet", "out/x.local.first-5.parquet"),
        ("out/{name}.parquet", "2/3", (False, None), "out/seo-2-of-3.parquet", "out/seo.parquet"),
        ("out/{name}.parquet", "2/3", (True, None), "out/seo-2-of-3.local.local.parquet", "out/seo.local.local.parquet"),
        ("out/{date}/x.parquet", "2/3", (False, None), f"out/{DAY}/x-2-of-3.parquet", f"out/{DAY}/x.parquet"),
        ("out-2-of-3/x-2-of-3.parquet", "2/3", (False, None), "out-2-of-3/x-2-of-3-2-of-3.parquet", "out-2-of-3/x-2-of-3.parquet"),
        ("s3://shelf/{name}/{date}.parquet", "2/3", (False, None), f"s3://shelf/seo-2-of-3/{DAY}.parquet", f"s3://shelf/seo/{DAY}.parquet"),
    ],
)  # fmt: skip
def test_where_results_go(job, path, shard, mode, own, whole):
    is_local, first = mode
    written = job([{"id": "1", "name": "a"}], name="seo", input={"shard": shard}, output={"path": path})
    loaded = read_job(written).with_limit(first)
    loaded = loaded.for_local_model() if is_local else loaded

    def shown(there):
        return str(there).removeprefix(f"{job.folder}/")

    assert shown(loaded.output_path(DAY)) == own
    assert shown(loaded.output_path(DAY, whole=True)) == whole
    assert shown(loaded.output.path) == path, "the template stays as it was written"
    assert (
        loaded.state_folder == (job.folder / "out" if "://" not in path else job.folder).joinpath(".batchgen")
        or "-2-of-3" in path
    )


def test_a_folder_of_parts_has_its_marks_at_its_end(job):
    written = job([{"id": "1", "name": "a"}], input={"shard": "1/2"}, output={"path": "out/shelf", "rows_per_file": 5})
    assert read_job(written).for_local_model().output_path(DAY).name == "shelf-1-of-2.local"


@pytest.mark.parametrize(
    ("template", "path", "days"),
    [
        ("/out/x.parquet", "/out/x.parquet", set()),
        ("/out/x.parquet", "/out/x.parquet/part-00000.parquet", set()),
        ("/out/x.parquet", "/out/x.parquets", None),
        ("/out/{date}.parquet", "/out/2026-11-28.parquet", {"2026-11-28"}),
        ("/out/{date}/{date}.parquet", "/out/2026-11-28/2026-11-27.parquet", {"2026-11-28", "2026-11-27"}),
        ("/o.t/{date}.parquet", "/out/2026-11-28.parquet", None),
        ("/out/{date}.parquet", "/out/today.parquet", None),
    ],
)
def test_the_days_in_a_path(template, path, days):
    assert DatedPath.parse(template).days(path) == days


def test_a_folder_with_braces_in_its_name_is_no_placeholder(tmp_path):
    folder = tmp_path / "{old} jobs"
    folder.mkdir()
    (folder / "rows.csv").write_text("id\n1\n", encoding="utf-8")
    (folder / "job.yaml").write_text(
        "input: {path: rows.csv}\nprompt: '{{ id }}'\nrequest: {model: m}\n"
        "output: {path: 'out/{date}.parquet', state: state}\n",
        encoding="utf-8",
    )
    job = read_job(folder / "job.yaml")
    assert str(job.output_path("2026-11-29")) == str(folder / "out" / "2026-11-29.parquet")
    assert job.state_folder == folder / "state"

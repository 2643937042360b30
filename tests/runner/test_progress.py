"""The bar on a terminal and in a notebook."""

import pytest

from batchgen.api.usage import NOTHING
from batchgen.runner.progress import NotebookWidget, ProgressBar
from batchgen.runner.remaining_time import RemainingTime
from batchgen.send.stats import Stats


@pytest.mark.parametrize("kind", [ProgressBar, NotebookWidget])
@pytest.mark.parametrize(
    ("ok", "failed", "percentage"), [(0, 0, "0 %"), (990, 6, "99 %"), (999, 0, "99 %"), (990, 10, "100 %")]
)
def test_it_says_100_percent_when_nothing_is_left(kind, ok, failed, percentage, capsys):
    stats = Stats(todo=1000)
    bar = kind("seo", stats, RemainingTime(None, None, 0.0), lambda: (NOTHING, NOTHING))
    stats.ok, stats.failed = ok, failed
    bar.close(stats)
    last = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    assert last.partition("|")[0].split() == ["seo", *percentage.split()], last
    assert f"{ok + failed:,}" in last.replace("1000", "1,000")


@pytest.mark.parametrize(("retries", "said"), [(1, "1 retry"), (2, "2 retries")])
def test_one_retry_is_one(retries, said, capsys):
    stats = Stats(todo=1000, resent=retries)
    ProgressBar("seo", stats, RemainingTime(None, None, 0.0), lambda: (NOTHING, NOTHING)).close(stats)
    assert f" {said}" in capsys.readouterr().err

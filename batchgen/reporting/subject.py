"""The subject of a report: a job, and the rows and prompts of its attempts, which are not in the checkpoint. Reads the
input alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from batchgen.input.request import PreparedRequest, Requests, RowError
from batchgen.input.source import Source
from batchgen.job.job import Job

if TYPE_CHECKING:
    from batchgen.output.publish import PublishResult


@dataclass(frozen=True)
class InputIndex:
    """The input, if it is available. `records`: the last attempt of each row, 0 for none. `prompt_tokens`: the mean of
    the prompts, None if there is no row."""

    source: Source
    requests: Requests
    records: pl.Series
    prompt_tokens: float | None

    def find(self, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Returns the number in the files and the prompt of each row whose last attempt is one of these; of rows that
        share an attempt, the first. Raises UsageError if the input has changed."""
        rows = self.records.to_frame("id").with_row_index("row").filter(pl.col("id").is_in(list(ids)))
        wanted: dict[int, int] = dict(rows.unique("id", keep="first", maintain_order=True).iter_rows())
        found: dict[int, tuple[int, str]] = {}
        start = self.source.start_of(min(wanted, default=0))
        for frame, numbers in self.source.numbered(start) if wanted else ():
            if here := [row for row in wanted if start <= row < start + frame.height]:
                made = self.requests.of(frame[[row - start for row in here]])
                found |= {
                    wanted[row]: (numbers[row - start], _prompt(one)) for row, one in zip(here, made, strict=True)
                }
            start += frame.height
            if len(found) == len(wanted):
                break
        self.source.verify()
        return found


@dataclass(frozen=True)
class Subject:
    """What a report is about. `job` has the limits in force. `endpoint`: who answers. `published`: the results of a run
    that has just ended, which know best how its rows ended."""

    job: Job
    endpoint: str
    input: InputIndex | None = None
    published: PublishResult | None = None


def mean_tokens(rows: pl.DataFrame) -> float | None:
    """Returns the mean prompt tokens of a plan's rows."""
    mean = rows["prompt_tokens"].mean()
    return float(mean) if isinstance(mean, int | float) else None


def _prompt(made: PreparedRequest | RowError) -> str:
    return made.prompt if isinstance(made, PreparedRequest) else ""

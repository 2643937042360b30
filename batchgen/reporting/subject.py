"""The subject of a report: a job, and the rows and prompts of its attempts, which are not in the checkpoint. Reads the
input alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from batchgen.input.chosen_rows import read_rows
from batchgen.input.request import Requests
from batchgen.input.source import Source
from batchgen.job.job import Job
from batchgen.storage.listing import size_of

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

    def fingerprint(self) -> tuple[object, ...]:
        """Returns a value that changes with the rows' order, and with their numbers in the files."""
        in_order = pl.DataFrame({"id": self.records}).with_row_index("row").hash_rows()
        return int(in_order.sum()), [(str(file), size_of(file)) for file in self.source.files]

    def find(self, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Returns the number in the files and the prompt of each row whose last attempt is one of these; of rows that
        share an attempt, the first. Raises UsageError if the input has changed."""
        rows = self.records.to_frame("id").with_row_index("row").filter(pl.col("id").is_in(list(ids)))
        wanted: dict[int, int] = dict(rows.unique("id", keep="first", maintain_order=True).iter_rows())
        found = (one for batch in read_rows(self.source, self.requests, list(wanted)) for one in batch)
        return {wanted[one.at]: (one.number, one.request.prompt) for one in found}


@dataclass(frozen=True)
class Subject:
    """What a report is about. `job` has the limits in force. `endpoint`: who answers. `published`: the results of a run
    that has just ended, which know best how its rows ended."""

    job: Job
    endpoint: str
    input: InputIndex | None = None
    published: PublishResult | None = None

    def fingerprint(self, of_checkpoint: str) -> str:
        """Returns a value that changes with what a page shows: `of_checkpoint` tells of the attempts, the rest is the
        job's settings, its rows in their order, and why the last results are not in their place."""
        kept_out = (self.published.partial, self.published.rejected) if self.published else (None, [])
        rows = self.input.fingerprint() if self.input else None
        shown = f"{self.job.model_dump_json(by_alias=True)} {kept_out} {rows}"
        return f"{of_checkpoint} {hashlib.blake2b(shown.encode(), digest_size=8).hexdigest()}"


def mean_tokens(rows: pl.DataFrame) -> float | None:
    """Returns the mean prompt tokens of a plan's rows."""
    mean = rows["prompt_tokens"].mean()
    return float(mean) if isinstance(mean, int | float) else None

"""Keys -> where in the input they are, and their prompts: they are not in the checkpoint. Reads the input alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from batchgen.rows.identity import KEY_BYTES
from batchgen.rows.request import Prepared, Problem, Requests
from batchgen.rows.source import Source
from batchgen.runner.index import join, split


@dataclass(frozen=True)
class Known:
    """The input, where it is there: `keys` of its rows are `hi` and `lo`; `prompt_tokens` those of a prompt in the
    mean, None where there is no row."""

    source: Source
    requests: Requests
    keys: pl.DataFrame
    prompt_tokens: float | None

    @classmethod
    def of(cls, source: Source, requests: Requests, rows: pl.DataFrame) -> Self:
        """`rows` are the plan's, of which sixteen bytes each are kept."""
        mean = rows["prompt_tokens"].mean()
        tokens = float(mean) if isinstance(mean, int | float) else None
        return cls(source, requests, rows.select("hi", "lo"), tokens)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, str]]:
        """The row (from 0) and prompt of each key that the input has. Raises UsageError where it has changed."""
        wanted = self._at(keys)
        found: dict[bytes, tuple[int, str]] = {}
        start = 0
        for frame in self.source.batches() if wanted else ():
            rows = sorted(row for row in wanted if start <= row < start + frame.height)
            made = self.requests.of(frame[[row - start for row in rows]])
            found |= {wanted[row]: (row, _prompt(one)) for row, one in zip(rows, made, strict=True)}
            start += frame.height
            if len(found) == len(wanted):
                break
        self.source.verify()
        return found

    def _at(self, keys: Sequence[bytes]) -> dict[int, bytes]:
        """The rows that have one of these keys."""
        halves = pl.DataFrame(split(b"".join(key for key in keys if len(key) == KEY_BYTES)))
        at = self.keys.with_row_index("at").join(halves, on=["hi", "lo"])
        return {row: join(hi, lo) for row, hi, lo in at.select("at", "hi", "lo").iter_rows()}


def _prompt(made: Prepared | Problem) -> str:
    return made.prompt if isinstance(made, Prepared) else ""

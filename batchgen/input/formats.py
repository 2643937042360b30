"""The formats of input files: each reads batches of rows, in bounded memory, exactly as they stand.

Each refuses what it cannot represent, with file and line; none guesses a type, skips a bad line or repairs one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from batchgen.input.csv_format import Csv
from batchgen.input.ndjson_format import Ndjson

if TYPE_CHECKING:
    from batchgen.input.parquet_format import Parquet


def _parquet() -> Parquet:
    from batchgen.input.parquet_format import Parquet  # noqa: PLC0415  it takes long, and many a job has no Parquet

    return Parquet()


Format: TypeAlias = "Csv | Ndjson | Parquet"
BY_SUFFIX: dict[str, Callable[[], Format]] = {
    ".csv": Csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".ndjson": Ndjson,
    ".jsonl": Ndjson,
}

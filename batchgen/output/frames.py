"""Loads a results file into polars frames, for notebooks. Reads the file and nothing else."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl

from batchgen.errors import NoSuchFile, UsageError
from batchgen.storage.listing import File, find
from batchgen.storage.location import is_url
from batchgen.ui.humanize import first_line

_WHERE = "a run returns where its results are (`path`)"


def load(path: str | Path) -> pl.DataFrame:
    """Returns the results, a row for each input row, in input order: of a file or a folder, local or in an object
    store. A path that exists is no pattern, whatever its name. Raises NoSuchFile, and UsageError for what is none of
    these, such as a job file."""
    try:
        return _load_objects(path) if isinstance(path, str) and is_url(path) else _load_files(path)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{path}: no results that can be read: {_WHERE} ({first_line(error):.200})") from None


def _load_files(path: str | Path) -> pl.DataFrame:
    if not Path(path).is_dir():
        try:
            return pl.read_parquet(path, glob=not Path(path).exists())
        except FileNotFoundError:
            raise NoSuchFile(f"{path}: no such file: {_WHERE}") from None
    while True:
        before = Path(path).stat().st_ino
        try:
            frame = pl.read_parquet(sorted(Path(path).glob("part-*.parquet")) or path, glob=False)
        except FileNotFoundError:
            if Path(path).stat().st_ino == before:
                raise
            continue
        if Path(path).stat().st_ino == before:  # else it was published anew while it was read
            return frame


def _load_objects(path: str) -> pl.DataFrame:
    """Loads objects, again if they were published anew meanwhile. Raises OSError if that goes on."""
    for is_last in (False, False, True):
        try:
            return pl.concat([_read(one) for one in find(path).files], rechunk=False)
        except OSError as error:
            if is_last or error.errno not in (errno.ESTALE, errno.ENOENT):
                raise
    raise AssertionError  # the last one has returned or raised


def _read(one: File) -> pl.DataFrame:
    with one.open("rb") as file:
        return pl.read_parquet(file.read())


def tokens(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns one row for each token of the answers that have log-probs.

    Columns: `row` (from 0), `position` (from 0), `token`, `logprob` (natural log), `bytes`, `top_logprobs`.
    """
    content = _content(frame)
    return (
        frame.lazy()
        .select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), content.alias("token"))
        .filter(pl.col("token").list.len() > 0)
        .with_columns(position=pl.int_ranges(0, pl.col("token").list.len(), dtype=pl.UInt32))
        .explode("token", "position")
        .select("row", "position", pl.col("token").struct.unnest())
        .collect()
    )


def confidence(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns how sure the model was: a row for each input row, in input order; null if an answer has no log-probs.

    `mean_logprob` is the mean of the tokens' natural log-probabilities, `perplexity` is exp(-mean).
    """
    logprobs = _content(frame).list.eval(pl.element().struct.field("logprob"))
    mean = logprobs.list.mean()
    return frame.select(mean.alias("mean_logprob"), (-mean).exp().alias("perplexity"))


def _content(frame: pl.DataFrame) -> pl.Expr:
    """Returns the tokens of the answers. Raises UsageError if the frame does not have them."""
    given = "give what `load` or `generate` returned"
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise UsageError(f"frame: should be a polars frame, not {type(frame).__name__}: {given}")
    schema = frame.collect_schema()
    if "log_probs" not in schema:
        raise UsageError(f"frame: has no column log_probs: {given}")
    if not isinstance(schema["log_probs"], pl.Struct):
        raise UsageError(f"frame: its column log_probs is no longer as it was ({schema['log_probs']}): {given}")
    return pl.col("log_probs").struct.field("content")

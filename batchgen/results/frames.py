"""A results file -> polars frames, for notebooks. Reads the file and nothing else."""

from __future__ import annotations

from pathlib import Path

import polars as pl


def load(path: str | Path) -> pl.DataFrame:
    """The results, a row for each input row, in input order."""
    return pl.read_parquet(path)


def tokens(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a token of the answers that have log-probs.

    Columns: `row` (from 0), `position` (from 0), `token`, `logprob` (natural log), `bytes`, `top_logprobs`.
    """
    content = pl.col("log_probs").struct.field("content")
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
    """How sure the model was, a row for each input row, in input order; null where an answer has no log-probs.

    `mean_logprob` is the mean of the tokens' natural log-probabilities, `perplexity` is exp(-mean).
    """
    logprobs = pl.col("log_probs").struct.field("content").list.eval(pl.element().struct.field("logprob"))
    mean = logprobs.list.mean()
    return frame.select(mean.alias("mean_logprob"), (-mean).exp().alias("perplexity"))

"""Log-probs of answers -> one Arrow column, by batch: flat arrays and offsets, no dictionary a token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from batchgen.api.contract import Choice, LogProbs, TokenLogProb, TopLogProb

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
CHOICES = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS)]))


def log_probs(values: Sequence[LogProbs | None]) -> pa.Array[Any]:
    """One row a value, type LOG_PROBS; nulls stay null."""
    if not any(values):
        return pa.nulls(len(values), LOG_PROBS)
    fields = [_tokens([None if v is None else getattr(v, name) for v in values]) for name in ("content", "refusal")]
    return pa.StructArray.from_arrays(fields, fields=list(LOG_PROBS), mask=_nulls(values))


def choices(values: Sequence[Sequence[Choice] | None]) -> pa.Array[Any]:
    """One row a value, type CHOICES."""
    flat = [choice for value in values if value for choice in value]
    columns = [pa.array([c.text for c in flat], pa.string()), log_probs([c.log_probs for c in flat])]
    return _lists(values, pa.StructArray.from_arrays(columns, fields=list(CHOICES.value_type)))


def _tokens(values: Sequence[Sequence[TokenLogProb] | None]) -> pa.Array[Any]:
    flat = [token for value in values if value for token in value]
    tops = [token.top_logprobs for token in flat]
    top = pa.StructArray.from_arrays(_columns([t for value in tops if value for t in value]), fields=list(TOP))
    columns = [*_columns(flat), _lists(tops, top)]
    return _lists(values, pa.StructArray.from_arrays(columns, fields=list(TOKEN)))


def _columns(tokens: Sequence[TokenLogProb] | Sequence[TopLogProb]) -> list[pa.Array[Any]]:
    spelled = [token.bytes for token in tokens]
    return [
        pa.array([token.token for token in tokens], pa.string()),
        pa.array([token.logprob for token in tokens], pa.float64()),
        _lists(spelled, pa.array([byte for value in spelled if value for byte in value], pa.int32())),
    ]


def _lists(values: Sequence[Sequence[Any] | None], flat: pa.Array[Any]) -> pa.Array[Any]:
    """The flat items again as the lists they were; None is a null list."""
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value or ()))
    mask = _nulls(values)
    lists: pa.Array[Any] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, mask=mask)
    return lists


def _nulls(values: Iterable[object]) -> pa.BooleanArray:
    return pa.array([value is None for value in values], pa.bool_())

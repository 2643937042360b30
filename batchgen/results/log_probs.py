"""Log-probs of answers -> one Arrow column, by batch: from their JSON as it came, without an object a token.

What does not have the contract's shape is null: the text that was paid for is there all the same, and the answer as
it came is in the checkpoint. Only numbers are read liberally: one in quotes is that number, a byte is its whole part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from arro3.io import read_json

from batchgen.api.contract import NULL, LogProbs, RawChoice

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
CHOICES = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS)]))
_BLANK = msgspec.Raw(b"{}")
_COLUMNS = pa.schema(list(LOG_PROBS))
BATCH_BYTES = 256 << 10
"""Of JSON that the reader takes at a time: what it notes of them stays in a core's cache."""


def log_probs(values: Sequence[msgspec.Raw]) -> pa.Array[Any]:
    """One row a value, type LOG_PROBS; nulls stay null."""
    if values.count(NULL) == len(values):
        return pa.nulls(len(values), LOG_PROBS)
    known = [_BLANK if value == NULL else value for value in values]
    try:
        columns = _read(known)
    except pa.ArrowInvalid:
        known = [value if _is_readable(value) else _BLANK for value in known]
        columns = _read(known)
    mask = pa.array([value is _BLANK for value in known], pa.bool_())
    return pa.StructArray.from_arrays(columns, fields=list(LOG_PROBS), mask=mask)


def choices(values: Sequence[Sequence[RawChoice] | None]) -> pa.Array[Any]:
    """One row a value, type CHOICES."""
    flat = [choice for value in values if value for choice in value]
    columns = [pa.array([c.text for c in flat], pa.string()), log_probs([c.log_probs for c in flat])]
    items = pa.StructArray.from_arrays(columns, fields=list(CHOICES.value_type))
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value or ()))
    mask = pa.array([value is None for value in values], pa.bool_())
    lists: pa.Array[Any] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=mask)
    return lists


def _read(values: Sequence[msgspec.Raw]) -> list[pa.Array[Any]]:
    """The fields of LOG_PROBS. Raises ArrowInvalid where a value is not of the contract's shape, or not UTF-8."""
    data = b"\n".join(values)
    if _AWKWARD.search(data):
        data = b"\n".join(map(_plain, values))
    batch = max(1, BATCH_BYTES * len(values) // len(data))
    table = pa.RecordBatchReader.from_stream(read_json(data, _COLUMNS, batch_size=batch)).read_all()
    columns = [column.combine_chunks() for column in table.columns]
    if not all(map(_is_finite, columns)):
        raise pa.ArrowInvalid("a log-prob beyond all bounds")
    return columns


_AWKWARD = re.compile(rb"\\u(?:0000|[dD](?:8[4-9a-fA-F]|[9abAB]))")
"""What arrow-rs's reader must not be handed unseen: an escaped pair of surrogates above U+1FFFF, which it joins to
another character; and a NUL, as its message about what it refuses has to be a C string, or the process is aborted."""


def _plain(value: msgspec.Raw) -> bytes | msgspec.Raw:
    """Written anew where it is awkward, as what the contract calls it. Raises ArrowInvalid where it is nothing such."""
    if not _AWKWARD.search(value):
        return value
    try:
        return msgspec.json.encode(msgspec.json.decode(value, type=LogProbs, strict=False))
    except (ValueError, RecursionError) as error:
        raise pa.ArrowInvalid(str(error)) from error


def _is_finite(lists: Any) -> bool:
    """Not so where a log-prob has more digits than a double holds: the reader makes infinity of those."""
    tokens = lists.flatten()
    tops = tokens.field("top_logprobs").flatten()
    return all(pc.all(pc.is_finite(some.field("logprob"))).as_py() is not False for some in (tokens, tops))


def _is_readable(value: msgspec.Raw) -> bool:
    try:
        _read([value])
    except pa.ArrowInvalid:
        return False
    return True

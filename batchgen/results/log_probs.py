"""Log-probs of answers -> one Arrow column, by batch: from their JSON as it came, without an object a token.

What does not have the contract's shape is null: the text that was paid for is there all the same, and the answer as
it came is in the checkpoint.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from batchgen.api.contract import NULL, RawChoice

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
CHOICES = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS)]))
_BLANK = b"{}"
BLOCK = 512 << 10
"""Bytes of JSON that one core reads while others read others."""


def log_probs(values: Sequence[msgspec.Raw]) -> pa.Array[Any]:
    """One row a value, type LOG_PROBS; nulls stay null."""
    if values.count(NULL) == len(values):
        return pa.nulls(len(values), LOG_PROBS)
    lines = [_line(value) for value in values]
    try:
        table = _read(lines)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        lines = [line if _is_readable(line) else _BLANK for line in lines]
        table = _read(lines)
    fields = [column.combine_chunks() for column in table.columns]
    mask = pa.array([line is _BLANK for line in lines], pa.bool_())
    return pa.StructArray.from_arrays(fields, fields=list(LOG_PROBS), mask=mask)


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


def _line(value: msgspec.Raw) -> bytes:
    """The JSON on a line of its own: within it, a line end can only be white space."""
    if value == NULL:
        return _BLANK
    return bytes(value).replace(b"\n", b" ").replace(b"\r", b" ")


def _read(lines: list[bytes]) -> pa.Table:
    """Raises ArrowInvalid or UnicodeDecodeError where a line is not of the contract's shape, or not UTF-8."""
    data = b"\n".join(lines)
    data.decode()
    table = pj.read_json(
        io.BytesIO(data),
        read_options=pj.ReadOptions(block_size=max(BLOCK, max(map(len, lines)) + 2)),  # no line in three blocks
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema(list(LOG_PROBS)), newlines_in_values=False, unexpected_field_behavior="ignore"
        ),
    )
    if any(_is_beyond_bounds(column) for column in table.columns):
        raise pa.ArrowInvalid("a log-prob beyond all bounds")
    return table


def _is_beyond_bounds(column: pa.ChunkedArray[Any]) -> bool:
    """Whether it has a log-prob of so many digits that no double holds it: Arrow makes infinity of those."""
    lists: Any = column.combine_chunks()
    tokens = lists.flatten()
    tops = tokens.field("top_logprobs").flatten()
    return any(pc.any(pc.is_inf(some.field("logprob"))).as_py() for some in (tokens, tops))


def _is_readable(line: bytes) -> bool:
    try:
        _read([line])
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return False
    return True

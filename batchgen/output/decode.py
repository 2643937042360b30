"""Answers -> Arrow columns, by batch: from their JSON as it came, without an object a token.

Log-probs that do not have the contract's shape are null: the text that was paid for is there all the same, and the
answer as it came is in the checkpoint. Only numbers are read liberally: one in quotes is that number, and null where
it is none ("NaN"); a byte is its whole part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from arro3.io import read_json

from batchgen.api.types import Choice, Completion, LogProbs, read_answer
from batchgen.output.schema import CHOICES

_COMPLETION = pa.schema([("choices", CHOICES), ("model", pa.string())])
_NONE = b'{"choices":[{}]}'
"""Where there is no answer: a choice without a text."""
BATCH_BYTES = 256 << 10
"""Of JSON that the reader takes at a time: what it notes of them stays in a core's cache."""

PARTS = 16
"""That answers are cut into where one of them cannot be read."""


class DecodedAnswers(NamedTuple):
    """A row an answer; nulls where there is none. `log_probs` is of type LOG_PROBS; `more`, of type CHOICES, are those
    after the first, or null."""

    text: pa.Array[Any]
    log_probs: pa.Array[Any]
    model: pa.Array[Any]
    more: pa.Array[Any]


def answers(values: Sequence[bytes | None]) -> DecodedAnswers:
    """A row a value, which is the contract's JSON; what cannot be read is as None."""
    known = [value or _NONE for value in values]
    try:
        choices, model = _read(known)
    except pa.ArrowInvalid:
        choices, model = _read(_mended(known))
    if len(choices.flatten()) == len(known):
        return DecodedAnswers(*_fields(choices.flatten()), model, pa.nulls(len(known), CHOICES))
    more: Any = pc.if_else(pc.greater(pc.list_value_length(choices), pa.scalar(1)), pc.list_slice(choices, 1), None)
    return DecodedAnswers(*_fields(pc.list_element(choices, 0)), model, more)


def _fields(choices: Any) -> tuple[Any, Any]:
    return choices.field("text"), choices.field("log_probs")


def _read(values: Sequence[bytes]) -> tuple[Any, Any]:
    """`choices`, one at least in each, and `model`. Raises ArrowInvalid where a value is no answer, or its log-probs
    are not of the contract's shape."""
    data = b"\n".join(values)
    if b"\\" in data and _AWKWARD.search(data):
        data = b"\n".join([_plain(value) if _AWKWARD.search(value) else value for value in values])
    batch = max(1, BATCH_BYTES * len(values) // max(1, len(data)))
    table = pa.RecordBatchReader.from_stream(read_json(data, _COMPLETION, batch_size=batch)).read_all()
    choices: Any
    choices, model = (column.combine_chunks() for column in table.columns)
    if len(choices) != len(values) or choices.null_count or pc.min(pc.list_value_length(choices)).as_py() == 0:
        raise pa.ArrowInvalid("an answer without choices, or two in one")
    texts, log_probs = _fields(choices.flatten())
    if texts.null_count != values.count(_NONE):
        raise pa.ArrowInvalid("a choice without a text")
    if not all(map(_is_finite, log_probs.flatten())):
        raise pa.ArrowInvalid("a log-prob beyond all bounds")
    return choices, model


_AWKWARD = re.compile(rb"\\u(?:0000|[dD](?:8[4-9a-fA-F]|[9abAB]))")
"""What arrow-rs's reader must not be handed unseen: an escaped pair of surrogates above U+1FFFF, which it joins to
another character; and a NUL, as its message about what it refuses has to be a C string, or the process is aborted."""


def _is_finite(lists: Any) -> bool:
    """Not so where a log-prob has more digits than a double holds: the reader makes infinity of those."""
    tokens = lists.flatten()
    tops = tokens.field("top_logprobs").flatten()
    return all(pc.all(pc.is_finite(some.field("logprob"))).as_py() is not False for some in (tokens, tops))


def _mended(values: Sequence[bytes]) -> list[bytes]:
    """Values that cannot be read together, with those plain that cannot be read at all. These are looked for in parts,
    and parts of parts: one of thousands is found by dozens of readings."""
    if len(values) == 1:
        return [_plain(values[0])]
    step = -(-len(values) // PARTS)
    parts = [values[start : start + step] for start in range(0, len(values), step)]
    return [value for part in parts for value in (part if _is_readable(part) else _mended(part))]


def _is_readable(values: Sequence[bytes]) -> bool:
    try:
        _read(values)
    except pa.ArrowInvalid:
        return False
    return True


def _plain(value: bytes) -> bytes:
    """Written anew, as what the contract calls it: without log-probs that are nothing such; `_NONE` if it is no answer
    at all."""
    try:
        read = read_answer(value)
    except (ValueError, RecursionError):
        return _NONE
    return msgspec.json.encode(
        Completion([Choice(one.text, _log_probs(one.log_probs)) for one in read.choices], read.model)
    )


def _log_probs(raw: msgspec.Raw) -> LogProbs | None:
    try:
        return msgspec.json.decode(raw, type=LogProbs | None, strict=False)
    except (ValueError, RecursionError):
        return None

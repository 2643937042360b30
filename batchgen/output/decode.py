"""Decodes answers into Arrow columns, in batches: from their JSON as it came, without an object per token.

Log-probs in another form than the contract's are null: the text that was paid for is kept all the same, and the
checkpoint has the answer as it came. Only numbers are read liberally: one in quotes is that number, or null ("NaN"); a
byte is its integer part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from arro3.io import read_json

from batchgen.api.sse import NULL
from batchgen.api.token_counts import token_counts
from batchgen.api.types import LogProbs, RawChoice, RawCompletion, read_answer
from batchgen.output.schema import CHOICE, CHOICES

_USAGE = pa.struct([("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())])
_READ = pa.list_(pa.struct([*CHOICE, ("reasoning", pa.string())]))
_COMPLETION = pa.schema([("choices", _READ), ("model", pa.string()), ("usage", _USAGE)])
_NONE = b'{"choices":[{}]}'
"""Stands for a missing answer: a choice without a text."""
BATCH_BYTES = 256 << 10
"""Bytes of JSON per batch: the reader's notes on them stay in a core's cache."""

PARTS = 16
"""How many parts answers are cut into to find one that cannot be read."""


class DecodedAnswers(NamedTuple):
    """The columns of decoded answers, a row for each; null if there is no answer, or no such value. `log_probs`: of
    type LOG_PROBS. `more`: of type CHOICES, the choices after the first, or null."""

    text: pa.Array[Any]
    log_probs: pa.Array[Any]
    finish_reason: pa.Array[Any]
    reasoning: pa.Array[Any]
    model: pa.Array[Any]
    prompt_tokens: pa.Array[Any]
    completion_tokens: pa.Array[Any]
    more: pa.Array[Any]


def answers(values: Sequence[bytes | None]) -> DecodedAnswers:
    """Reads a row a value, which is the contract's JSON; what cannot be read is as None."""
    known = [value or _NONE for value in values]
    try:
        choices, model, usage = _read(known)
    except pa.ArrowInvalid:
        choices, model, usage = _read(_mended(known))
    has_more = len(choices.flatten()) > len(known)
    first = pc.list_element(choices, 0) if has_more else choices.flatten()
    text, log_probs, finish_reason, reasoning = _fields(first)
    prompt, completion = _counts(usage, text)
    more = _more(choices) if has_more else pa.nulls(len(known), CHOICES)
    return DecodedAnswers(text, log_probs, finish_reason, reasoning, model, prompt, completion, more)


def _fields(choices: Any) -> list[Any]:
    return [choices.field(name) for name in ("text", "log_probs", "finish_reason", "reasoning")]


def _more(choices: Any) -> Any:
    """Returns the choices after the first, of type CHOICES; null if there are none."""
    later = pc.list_slice(choices, 1)
    fields = [later.flatten().field(name) for name in CHOICE.names]
    made = pa.ListArray.from_arrays(list_offsets(later), pa.StructArray.from_arrays(fields, fields=list(CHOICE)))
    return pc.if_else(pc.greater(pc.list_value_length(later), pa.scalar(0)), made, None)


def list_offsets(lists: Any) -> Any:
    """Returns where each list begins in the flattened values, and where the last one ends."""
    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(lists), 0))
    return pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])


def _counts(usage: Any, text: Any) -> tuple[Any, Any]:
    """Returns the tokens of prompts and answers as the service counts them. A count of 0 for an answer that has text
    becomes null, as in `token_counts`."""
    prompt, completion = usage.field("prompt_tokens"), usage.field("completion_tokens")
    none = pa.scalar(0)
    is_empty: Any = pc.equal(text, pa.scalar(""))
    is_true: Any = pc.or_(pc.greater(completion, none), pc.and_(pc.equal(completion, none), is_empty))
    return pc.if_else(pc.greater(prompt, none), prompt, None), pc.if_else(is_true, completion, None)


def _read(values: Sequence[bytes]) -> tuple[Any, Any, Any]:
    """Returns `choices`, one at least in each, `model` and `usage`. Raises ArrowInvalid if a value is no answer, or
    its log-probs are not of the contract's shape."""
    data = b"\n".join(values)
    if b"\\" in data and _AWKWARD.search(data):
        data = b"\n".join([_plain(value) if _AWKWARD.search(value) else value for value in values])
    batch = max(1, BATCH_BYTES * len(values) // max(1, len(data)))
    table = pa.RecordBatchReader.from_stream(read_json(data, _COMPLETION, batch_size=batch)).read_all()
    choices: Any
    choices, model, usage = (column.combine_chunks() for column in table.columns)
    if len(choices) != len(values) or choices.null_count or pc.min(pc.list_value_length(choices)).as_py() == 0:
        raise pa.ArrowInvalid("an answer without choices, or two in one")
    texts, log_probs, *_ = _fields(choices.flatten())
    if texts.null_count != values.count(_NONE):
        raise pa.ArrowInvalid("a choice without a text")
    if not all(map(_is_finite, log_probs.flatten())):
        raise pa.ArrowInvalid("a log-prob beyond all bounds")
    return choices, model, usage


_AWKWARD = re.compile(rb"\\u(?:0000|[dD](?:8[4-9a-fA-F]|[9abAB]))")
"""What arrow-rs's reader cannot take: an escaped surrogate pair above U+1FFFF, which it joins to another character;
and a NUL, since its error message has to be a C string, or the process is aborted."""


def _is_finite(lists: Any) -> bool:
    """Returns False if a log-prob has more digits than a double holds: the reader makes infinity of it."""
    tokens = lists.flatten()
    tops = tokens.field("top_logprobs").flatten()
    return all(pc.all(pc.is_finite(some.field("logprob"))).as_py() is not False for some in (tokens, tops))


def _mended(values: Sequence[bytes]) -> list[bytes]:
    """Returns the values, with those that cannot be read rewritten by `_plain`. It looks for them in parts, and in
    parts of parts: one of thousands is found by dozens of readings."""
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
    """Returns an answer rewritten in the contract's form, without log-probs of another form; `_NONE` if it is not an
    answer."""
    try:
        read = read_answer(value)
    except (ValueError, RecursionError):
        return _NONE
    counts = token_counts(read.usage, is_empty=not any(one.text for one in read.choices))
    usage = msgspec.json.encode({"prompt_tokens": counts.prompt, "completion_tokens": counts.completion})
    choices = [
        RawChoice(
            one.text,
            _log_probs(one.log_probs),
            one.finish_reason,
            one.reasoning if isinstance(one.reasoning, str) else None,
        )
        for one in read.choices
    ]
    return msgspec.json.encode(RawCompletion(choices, read.model, msgspec.Raw(usage)))


def _log_probs(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(raw, type=LogProbs | None, strict=False)))
    except (ValueError, RecursionError):
        return NULL

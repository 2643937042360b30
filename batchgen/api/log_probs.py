"""Reads log-probs in both shapes that servers send, and returns them in the contract's: a list of tokens. Pure.

Sources: OpenAI's completions (parallel lists by token) and chats (`content`, as writer has it).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchgen.api.sse import NULL
from batchgen.api.types import TokenLogProb, TopLogProb


class _LogProbs(msgspec.Struct, frozen=True, gc=False):
    """Reads both shapes: parallel lists by token, or `content` as in the contract."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_log_probs = msgspec.json.Decoder(_LogProbs | None)
_contents = msgspec.json.Decoder(list[msgspec.Raw])


def in_contract_shape(logprobs: msgspec.Raw) -> msgspec.Raw:
    """Returns a choice's log-probs in the contract's shape; NULL if there are none, or they cannot be read."""
    try:
        content = _content(logprobs)
    except (ValueError, RecursionError):
        return NULL
    return NULL if content is None else _wrapped(content)


def concatenated(parts: Sequence[msgspec.Raw]) -> msgspec.Raw:
    """Joins the log-probs of a stream's events; NULL if any cannot be read: the rest would look complete."""
    try:
        found = [_content(part) for part in parts]
        tokens = [token for content in found if content is not None for token in _contents.decode(content)]
    except (ValueError, RecursionError):
        return NULL
    return _wrapped(msgspec.json.encode(tokens)) if tokens else NULL


def _wrapped(content: bytes | msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(b'{"content":' + bytes(content) + b',"refusal":null}')


def _content(logprobs: msgspec.Raw) -> bytes | msgspec.Raw | None:
    """Returns the list of tokens as JSON; None if there is none. Raises ValueError or RecursionError if the shape is
    unknown."""
    if logprobs == NULL or (given := _log_probs.decode(logprobs)) is None:
        return None
    if given.content is not msgspec.UNSET:
        return None if given.content == NULL else given.content
    return msgspec.json.encode(_tokens(given))


def _tokens(given: _LogProbs) -> list[TokenLogProb]:
    """Returns parallel lists as a list of tokens. Raises ValueError if their lengths differ."""
    if given.tokens is None:
        raise ValueError("log-probs without tokens")
    none = [None] * len(given.tokens)
    return [
        TokenLogProb(token, logprob, None, None if tops is None else [TopLogProb(*top) for top in tops.items()])
        for token, logprob, tops in zip(
            given.tokens, given.token_logprobs or none, given.top_logprobs or none, strict=True
        )
    ]

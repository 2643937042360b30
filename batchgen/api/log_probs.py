"""Reads log-probs in either shape that servers send, and returns them in the contract's: a list of tokens. Pure.

Sources: OpenAI's completions (parallel lists by token) and chats (`content`, as writer has it).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchgen.api.sse import NULL
from batchgen.api.types import TokenLogProb, TopLogProb


class _LogProbs(msgspec.Struct, frozen=True, gc=False):
    """Either shape: parallel lists by token, or `content` as the contract has it."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_log_probs = msgspec.json.Decoder(_LogProbs | None)
_contents = msgspec.json.Decoder(list[msgspec.Raw])


def in_contract_shape(logprobs: msgspec.Raw) -> msgspec.Raw:
    """Returns a choice's log-probs as the contract has them; NULL where there are none, or none that can be read."""
    try:
        content = _content(logprobs)
    except (ValueError, RecursionError):
        return NULL
    return NULL if content is None else _wrapped(content)


def concatenated(pieces: Sequence[msgspec.Raw]) -> msgspec.Raw:
    """Joins the log-probs of a stream's pieces; NULL where one cannot be read: a part would pass for all."""
    try:
        found = [_content(piece) for piece in pieces]
        tokens = [token for content in found if content is not None for token in _contents.decode(content)]
    except (ValueError, RecursionError):
        return NULL
    return _wrapped(msgspec.json.encode(tokens)) if tokens else NULL


def _wrapped(content: bytes | msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(b'{"content":' + bytes(content) + b',"refusal":null}')


def _content(logprobs: msgspec.Raw) -> bytes | msgspec.Raw | None:
    """Returns the list of tokens as JSON. Raises ValueError or RecursionError where it is neither shape."""
    if logprobs == NULL or (given := _log_probs.decode(logprobs)) is None:
        return None
    if given.content is not msgspec.UNSET:
        return None if given.content == NULL else given.content
    return msgspec.json.encode(_tokens(given))


def _tokens(given: _LogProbs) -> list[TokenLogProb]:
    """Raises ValueError where the lists are not parallel."""
    if given.tokens is None:
        raise ValueError("log-probs without tokens")
    none = [None] * len(given.tokens)
    return [
        TokenLogProb(token, logprob, None, None if tops is None else [TopLogProb(*top) for top in tops.items()])
        for token, logprob, tops in zip(
            given.tokens, given.token_logprobs or none, given.top_logprobs or none, strict=True
        )
    ]

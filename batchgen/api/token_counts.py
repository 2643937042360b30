"""Reads the tokens that a service counts, of the prompt and of the answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from batchgen.api.models import estimate_tokens
from batchgen.api.sse import NULL

Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class TokenCounts(NamedTuple):
    """Holds the tokens of the prompt, and of all answers to it; None if the service does not count them."""

    prompt: int | None
    completion: int | None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


NO_COUNTS = TokenCounts(None, None)
_usage = msgspec.json.Decoder(_Usage | None)


def token_counts(usage: msgspec.Raw, *, is_empty: bool) -> TokenCounts:
    """Reads an answer's `usage`. `is_empty`: the answer has no text.

    A count of 0 beside a text is not a count: LiteLLM's proxy 1.108.7 sends 0 and 0 at the end of a stream.
    """
    try:
        counts = _usage.decode(usage)
    except ValueError:
        return NO_COUNTS
    if counts is None:
        return NO_COUNTS
    completion = counts.completion_tokens if counts.completion_tokens or is_empty else None
    return TokenCounts(counts.prompt_tokens or None, completion)


def tokens_of(texts: Sequence[str], usage: msgspec.Raw) -> tuple[int, int | None]:
    """Returns an answer's tokens and its prompt's, as the service counts them. If it does not count both, returns our
    estimate of the answer's tokens, and None."""
    counts = NO_COUNTS if usage is NULL else token_counts(usage, is_empty=not any(texts))
    if counts.prompt is None or counts.completion is None:
        return sum([estimate_tokens(text) for text in texts]), None
    return counts.completion, counts.prompt

"""What a 200 of writer's `POST /v1/completions` is worth. Pure."""

from __future__ import annotations

from batchgen.api import sse
from batchgen.api.models import estimate_tokens
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import RawCompletion, is_json, read_answer
from batchgen.api.unusable import broken_off, error_within, unreadable


def judge(body: bytes) -> Answer | Failure:
    """Log-probs are looked at when results are made (`results.answers`): a text is kept without them."""
    try:
        return _judge(read_answer(body), body) if is_json(body) else _judge_stream(sse.read(body), body)
    except (ValueError, RecursionError) as error:
        return unreadable(body, error)


def _judge(whole: RawCompletion, body: bytes) -> Answer | Failure:
    texts = [choice.text for choice in whole.choices]
    if whole.is_error():
        return error_within(body, body, had_text=any(texts))
    answer = Answer(body, len(texts), sum([estimate_tokens(text) for text in texts]))
    return broken_off(answer, [choice.finish_reason for choice in whole.choices]) or answer


def _judge_stream(read: sse.Streamed, body: bytes) -> Answer | Failure:
    if read.error is not None:
        return error_within(read.error, body, had_text=bool(read.text))
    return Answer(body, 1, estimate_tokens(read.text))

"""Decides whether answers of Writer's `POST /v1/completions` can be used. Pure."""

from __future__ import annotations

from batchgen.api import sse
from batchgen.api.models import estimate_tokens
from batchgen.api.outcome import Answer, Failure
from batchgen.api.token_counts import tokens_of
from batchgen.api.types import RawCompletion, is_cut_off, is_json, read_answer
from batchgen.api.unusable import broken_off, error_within, unreadable


def judge(body: bytes) -> Answer | Failure:
    """Returns the answer in a 200's body, or the failure if it cannot be used. Log-probs are not checked here: a text
    is kept without them."""
    try:
        return _judge(read_answer(body), body) if is_json(body) else _judge_stream(sse.read(body), body)
    except (ValueError, RecursionError) as error:
        return unreadable(body, error)


def _judge(whole: RawCompletion, body: bytes) -> Answer | Failure:
    texts = [choice.text for choice in whole.choices]
    if whole.is_error():
        return error_within(body, body, had_text=any(texts))
    tokens, prompt = tokens_of(texts, whole.usage)
    answer = Answer(body, len(texts), tokens, prompt, is_cut_off=is_cut_off(whole.choices[0].finish_reason))
    return broken_off(answer, [choice.finish_reason for choice in whole.choices]) or answer


def _judge_stream(read: sse.Streamed, body: bytes) -> Answer | Failure:
    if read.error is not None:
        return error_within(read.error, body, had_text=bool(read.text))
    return Answer(body, 1, estimate_tokens(read.text))

"""OpenAI's `POST /v1/completions` as own servers speak it (vLLM, llama.cpp, TGI, Ollama): requests, answers, streams.

Pure, as `contract`. Answers are read into the contract's own types, so that whoever makes columns of them knows one
shape: `logprobs` of parallel lists becomes a list of tokens; the newer one is the contract's already.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from batchgen.api import stream
from batchgen.api.contract import (
    NULL,
    Answer,
    Failure,
    Int32,
    Int64,
    Kind,
    RawChoice,
    RawCompletion,
    TokenLogProb,
    TopLogProb,
    estimate_tokens,
    is_json,
)

DEFAULT_TOKENS = 16
"""What OpenAI and vLLM take where a request has no `max_tokens`; others end an answer where the model does."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is sent: a field that is None is not."""

    model: str
    prompt: str
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] | str | None = None
    best_of: Int32 | None = None
    seed: Int64 | None = None
    logprobs: Int32 | None = None
    stream: bool | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    text: str
    index: int = 0
    logprobs: msgspec.Raw = NULL
    finish_reason: str | None = None


class _Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole answer, or a part of a stream: then `choices` may be empty, and an `error` may come in their place."""

    choices: list[_Choice] = []
    model: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _LogProbs(msgspec.Struct, frozen=True, gc=False):
    """Either shape: parallel lists by token, or `content` as the contract has it."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_completion = msgspec.json.Decoder(_Completion)
_usage = msgspec.json.Decoder(_Usage | None)
_log_probs = msgspec.json.Decoder(_LogProbs | None)
_contents = msgspec.json.Decoder(list[msgspec.Raw])


def judge(body: bytes) -> Answer | Failure:
    """What a 200's body is worth. Log-probs are looked at when results are made: a text is kept without them."""
    try:
        whole = _read(body)
        prompt, answer = _used(whole.usage)
        if answer is None:
            answer = sum([estimate_tokens(choice.text) for choice in whole.choices])
    except (ValueError, RecursionError) as error:
        said = "nested absurdly deep" if isinstance(error, RecursionError) else str(error)
        return Failure(Kind.UNUSABLE, f"a 200 whose body is not the contract's: {said}", 200, body=body)
    return Answer(body, len(whole.choices), answer, prompt)


def read_answer(body: bytes) -> RawCompletion:
    """The completion in a 200's body, JSON or server-sent events. Raises ValueError or RecursionError."""
    whole = _read(body)
    return RawCompletion(
        [RawChoice(choice.text, _as_contract(choice.logprobs)) for choice in whole.choices], whole.model
    )


def as_json(body: bytes) -> bytes:
    """The answer in the contract's shape. Raises as `read_answer`."""
    return msgspec.json.encode(read_answer(body))


def _read(body: bytes) -> _Completion:
    whole = _completion.decode(body) if is_json(body) else _joined(body)
    if not whole.choices:
        raise ValueError("it has no choices")
    return whole


def _joined(body: bytes) -> _Completion:
    """A stream's parts as one answer. Raises ValueError where it has no end: neither `[DONE]` nor, for each choice,
    why it finished."""
    pieces: dict[int, list[_Choice]] = {}
    model, usage, done = None, NULL, False
    for data in stream.events(body):
        if done := data.strip() == stream.DONE:
            break
        part = _completion.decode(data)
        if part.error != NULL:
            raise ValueError(f"the stream broke off: {bytes(part.error)[:300].decode(errors='replace')}")
        for choice in part.choices:
            pieces.setdefault(choice.index, []).append(choice)
        model, usage = model or part.model, part.usage if part.usage != NULL else usage
    if not done and not all(any(piece.finish_reason for piece in choice) for choice in pieces.values()):
        raise ValueError("the stream ended before its answer did")
    choices = [_one(pieces[index]) for index in sorted(pieces)]
    return _Completion(choices, model, usage)


def _one(pieces: list[_Choice]) -> _Choice:
    return _Choice("".join([piece.text for piece in pieces]), logprobs=_concatenated(pieces))


def _concatenated(pieces: list[_Choice]) -> msgspec.Raw:
    """The pieces' log-probs, in the contract's shape; NULL where one cannot be read: a part would pass for all."""
    try:
        found = [_content(piece.logprobs) for piece in pieces]
        tokens = [token for content in found if content is not None for token in _contents.decode(content)]
    except (ValueError, RecursionError):
        return NULL
    return _wrapped(msgspec.json.encode(tokens)) if tokens else NULL


def _as_contract(logprobs: msgspec.Raw) -> msgspec.Raw:
    """NULL where there are none, or none that can be read."""
    try:
        content = _content(logprobs)
    except (ValueError, RecursionError):
        return NULL
    return NULL if content is None else _wrapped(content)


def _wrapped(content: bytes | msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(b'{"content":' + bytes(content) + b',"refusal":null}')


def _content(logprobs: msgspec.Raw) -> bytes | msgspec.Raw | None:
    """The list of tokens, as JSON. Raises ValueError or RecursionError where it is neither shape."""
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


def _used(usage: msgspec.Raw) -> tuple[int | None, int | None]:
    """(tokens of the prompt, tokens of the answers), as the server counts them; None where it does not."""
    try:
        told = _usage.decode(usage)
    except ValueError:
        return None, None
    return (None, None) if told is None else (told.prompt_tokens, told.completion_tokens)

"""What the benchmarks' servers answer: constant bodies, and log-probs as a model gives them."""

from __future__ import annotations

import json
from itertools import accumulate
from random import Random
from typing import Any

ALTERNATIVES = 5
VOCABULARY = 5000
_CHANCE = Random(1)
_TOKENS = [" " + "".join(_CHANCE.choices("etaoinshrdlucmfwypvbgk", k=_CHANCE.randint(2, 7))) for _ in range(VOCABULARY)]
_OFTEN = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))
"""Few words make up most of a text (Zipf)."""


def constant(characters: int, words: str = "x") -> bytes:
    """An answer whose text is `words`, again and again."""
    return _body({"text": repeated(words, characters), "log_probs": None})


def repeated(words: str, characters: int) -> str:
    return (words * characters)[:characters]


def chat(characters: int) -> bytes:
    """The same text as chat interfaces give it, for tools that know no other."""
    message = {"role": "assistant", "content": "x" * characters}
    usage = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _json({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


def with_log_probs(tokens: int, chance: Random) -> bytes:
    """Random tokens, each with its alternatives and eight digits a number, as of single precision."""
    content = [_token(chance) for _ in range(tokens)]
    text = "".join(token["token"] for token in content)
    return _body({"text": text, "log_probs": {"content": content, "refusal": None}})


def _token(chance: Random) -> dict[str, Any]:
    spelled = chance.choices(_TOKENS, cum_weights=_OFTEN, k=ALTERNATIVES)
    likelihoods = sorted((-chance.expovariate(0.3) for _ in spelled), reverse=True)
    tops = [_likely(token, logprob) for token, logprob in zip(spelled, likelihoods, strict=True)]
    return {**tops[0], "top_logprobs": tops}


def _likely(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": float(f"{logprob:.8g}"), "bytes": list(token.encode())}


def _body(choice: dict[str, Any]) -> bytes:
    return _json({"choices": [choice], "model": "palmyra-x5"})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

"""A strict stand-in for an own server, such as vLLM's: OpenAI's `/v1/completions`, every prompt with an answer of its
own. Everything else is as with `service.Service`.
"""

import json
import random
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from support.service import Service, expected_answer

FIELDS = {
    "model": str, "prompt": str, "max_tokens": int, "temperature": (int, float), "top_p": (int, float),
    "stop": (str, list), "best_of": int, "seed": int, "logprobs": int, "stream": bool, "n": int,
}  # fmt: skip


class OwnServer(Service):
    """`key` is None for one that wants none, and takes a key that is sent all the same for a mistake."""

    def __init__(self, key: str | None = None, port: int = 0) -> None:
        super().__init__(port)
        self.key = key

    def encoded(self, body: Mapping[str, Any]) -> tuple[bytes, str]:
        if body.get("stream"):
            return events(body), "text/event-stream"
        return json.dumps(answer(body)).encode(), "application/json"

    def _valid(self, request: web.Request, data: bytes) -> dict[str, Any]:
        given = request.headers.getall("Authorization", [])
        if given != ([f"Bearer {self.key}"] if self.key else []):
            raise ValueError("Authorization is not as it should be")
        body = json.loads(data.decode("utf-8"))
        if unknown := body.keys() - FIELDS.keys():
            raise ValueError(f"fields that there are not: {unknown}")
        for name, value in body.items():
            if not isinstance(value, FIELDS[name]) or (isinstance(value, bool) and name != "stream"):
                raise ValueError(f"{name} is {value!r}")
        return body


def pieces(prompt: str) -> list[str]:
    text = expected_answer(prompt)["text"]
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def logprobs(prompt: str, number: int) -> dict[str, Any]:
    """As vLLM gives them: parallel lists, with nothing for the first token."""
    chance = random.Random(prompt)
    tokens = pieces(prompt)
    tops = [{token: -0.5, **{f"{token}{n}": -1.0 - n for n in range(1, number)}} for token in tokens]
    return {
        "tokens": tokens,
        "token_logprobs": [None, *(-chance.random() for _ in tokens[1:])],
        "top_logprobs": [None, *tops[1:]] if number else None,
        "text_offset": [3 * at for at in range(len(tokens))],
    }


def expected_column(prompt: str, number: int) -> dict[str, Any]:
    """What the results' `log_probs` hold of them."""
    given = logprobs(prompt, number)
    tops = given["top_logprobs"] or [None] * len(given["tokens"])
    content = [
        {
            "token": token,
            "logprob": logprob,
            "bytes": None,
            "top_logprobs": top and [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()],
        }
        for token, logprob, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
    ]
    return {"content": content, "refusal": None}


def usage(prompt: str) -> dict[str, int]:
    """Nothing like what an estimate would say."""
    return {"prompt_tokens": 1000, "completion_tokens": len(pieces(prompt)), "total_tokens": 1000 + len(pieces(prompt))}


def answer(body: Mapping[str, Any]) -> dict[str, Any]:
    prompt, wanted = body["prompt"], body.get("logprobs")
    choice = {
        "index": 0,
        "text": "".join(pieces(prompt)),
        "logprobs": None if wanted is None else logprobs(prompt, wanted),
        "finish_reason": "stop",
        "stop_reason": None,
        "prompt_logprobs": None,
    }
    named = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": f"served/{body['model']}"}
    return {**named, "choices": [choice], "usage": usage(prompt)}


def events(body: Mapping[str, Any]) -> bytes:
    """A piece an event; the last one says why it ended, and one more what was used."""
    whole = answer(body)
    choice = whole["choices"][0]
    texts, given = pieces(body["prompt"]), choice["logprobs"]
    chunks = []
    for at, text in enumerate(texts):
        part = given and {name: values and values[at : at + 1] for name, values in given.items()}
        ends = "stop" if at == len(texts) - 1 else None
        chunks.append(
            {**whole, "choices": [{**choice, "text": text, "logprobs": part, "finish_reason": ends}], "usage": None}
        )
    chunks.append({**whole, "choices": []})
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"

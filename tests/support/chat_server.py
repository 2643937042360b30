"""A strict stand-in for services of chats: writer's and OpenAI's, every list of messages with an answer of its own.

Answers are cut, refused, reasoned and repeated by what the last message asks for. Everything else is as with
`service.Service`.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from support.service import KEY, Service, expected_answer

ROLES = {"system", "user", "assistant"}
SHARED = {
    "model": str, "messages": list, "max_tokens": int, "temperature": (int, float), "top_p": (int, float), "n": int,
    "stop": (str, list), "logprobs": bool, "response_format": dict, "stream": bool, "stream_options": dict,
}  # fmt: skip
FIELDS = {
    "writer": SHARED,
    "openai": {**SHARED, "seed": int, "top_logprobs": int, "max_completion_tokens": int, "chat_template_kwargs": dict},
}
PATHS = {"writer": "/v1/chat", "openai": "/v1/chat/completions"}


class ChatServer(Service):
    """`api`: writer or openai; the second wants no key."""

    def __init__(self, api: str) -> None:
        super().__init__()
        self.api = api
        self.path = PATHS[api]

    def asked_for(self, body: Mapping[str, Any]) -> str:
        return asked(body)

    def encoded(self, body: Mapping[str, Any]) -> tuple[bytes, str]:
        if body.get("stream"):
            return events(body), "text/event-stream"
        return json.dumps(answer(body)).encode(), "application/json"

    def _valid(self, request: web.Request, data: bytes) -> dict[str, Any]:
        given = request.headers.getall("Authorization", [])
        if given != ([f"Bearer {KEY}"] if self.api == "writer" else []):
            raise ValueError("Authorization is not as it should be")
        body = json.loads(data.decode("utf-8"))
        fields = FIELDS[self.api]
        if unknown := body.keys() - fields.keys():
            raise ValueError(f"fields that there are not: {unknown}")
        for name, value in body.items():
            if not isinstance(value, fields[name]) or isinstance(value, bool) is not (fields[name] is bool):
                raise ValueError(f"{name} is {value!r}")
        for message in body["messages"]:
            if message.keys() != {"role", "content"} or message["role"] not in ROLES or not message["content"]:
                raise ValueError(f"a message is {message!r}")
        return body


def asked(body: Mapping[str, Any]) -> str:
    """What tells one list of messages from another."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])


def texts(body: Mapping[str, Any]) -> list[str]:
    """The answers to a list of messages, one a choice."""
    return [expected_answer(f"{asked(body)} #{at}")["text"] for at in range(body.get("n", 1))]


def tokens(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def reason(body: Mapping[str, Any]) -> str:
    return "length" if "cut me" in asked(body) else "content_filter" if "filter me" in asked(body) else "stop"


def reasoning(body: Mapping[str, Any]) -> str | None:
    return f"thinking of {len(asked(body))} characters" if "think" in asked(body) else None


def refusal(body: Mapping[str, Any]) -> str | None:
    return "I can't help with that." if "refuse me" in asked(body) else None


def logprobs(text: str, *, tops: int = 1) -> dict[str, Any]:
    content = [
        {
            "token": token,
            "logprob": -len(token) / 7,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": f"{token}{n}", "logprob": -n - 0.5, "bytes": None} for n in range(tops)],
        }
        for token in tokens(text)
    ]
    return {"content": content, "refusal": None}


def usage(body: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing like what an estimate would say; the details are spelt as one of the sources has them."""
    completion = sum(len(tokens(text)) for text in texts(body))
    return {
        "prompt_tokens": 1000 + len(body["messages"]),
        "completion_tokens": completion,
        "total_tokens": 1000 + len(body["messages"]) + completion,
        "completion_token_details": {"reasoning_tokens": 3},
    }


def choice(body: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal(body)}
    if refusal(body):
        message["content"] = None
    if reasoning(body):
        message["reasoning_content"] = reasoning(body)
    given = logprobs(text, tops=body.get("top_logprobs", 1)) if body.get("logprobs") else None
    return {"index": index, "finish_reason": reason(body), "message": message, "logprobs": given}


def answer(body: Mapping[str, Any]) -> dict[str, Any]:
    choices = [choice(body, index, text) for index, text in enumerate(texts(body))]
    named = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": f"served/{body['model']}"}
    return {**named, "choices": choices, "usage": usage(body)}


def events(body: Mapping[str, Any]) -> bytes:
    """The role, a token an event, why it ended; in the end, where it is asked for, what was used."""
    whole = {**answer(body), "object": "chat.completion.chunk", "usage": None}
    chunks = []
    for one in whole["choices"]:
        message, given = one["message"], one["logprobs"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": token} for token in tokens(message.get("reasoning_content") or "")]
        deltas += [{"refusal": token} for token in tokens(message["refusal"] or "")]
        parts = [(delta, None) for delta in deltas]
        for at, token in enumerate(tokens(message["content"] or "")):
            parts.append(({"content": token}, given and {**given, "content": given["content"][at : at + 1]}))
        chunks += [
            {"index": one["index"], "delta": delta, "logprobs": log, "finish_reason": None} for delta, log in parts
        ]
        chunks.append({"index": one["index"], "delta": {}, "logprobs": None, "finish_reason": one["finish_reason"]})
    sent = [{**whole, "choices": [chunk]} for chunk in chunks]
    if body.get("stream_options", {}).get("include_usage"):
        sent.append({**whole, "choices": [], "usage": usage(body)})
    return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in sent) + b"data: [DONE]\n\n"

"""What is said to a request, as bytes: an answer, or a refusal in the contract's shape of an error."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from batchgen.api import sse
from batchgen.api.types import Choice, Completion
from batchgen.simulator import MODEL

TPES = {
    400: "BadRequest",
    401: "Unauthorized",
    402: "PaymentRequired",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "PayloadTooLarge",
    415: "InvalidContentType",
    429: "fail.tooManyRequests",
}
SLOW_DOWN = frozenset({429, 503})
"""Statuses with a `Retry-After`."""


def tpe(status: int) -> str:
    return TPES.get(status, "BadRequest" if status < 500 else "InternalServerError")  # noqa: PLR2004  the class


class RejectedError(Exception):
    """Refuses a request with the contract's error. `key`: the field at fault. `retry_after`: whole seconds."""

    def __init__(
        self, status: int, tpe: str, description: str, key: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(description)
        self.status, self.tpe, self.description, self.key = status, tpe, description, key
        self.retry_after = retry_after

    def body(self, *, is_openai: bool = False) -> bytes:
        """Returns the error's body as JSON, in Writer's shape or in OpenAI's."""
        return msgspec.json.encode(self._as_openai() if is_openai else self._as_writer())

    def _as_writer(self) -> dict[str, object]:
        error = {"description": self.description, "key": self.key, "extras": None}
        return {"tpe": self.tpe, "errors": [error], "extras": None}

    def _as_openai(self) -> dict[str, object]:
        return {"error": {"message": self.description, "type": self.tpe, "param": self.key, "code": self.status}}


def on_demand(status: int) -> RejectedError:
    """Returns the error for a status that was ordered. Its words must not name the model: such an error stops a run."""
    retry_after = 1 if status in SLOW_DOWN else None
    return RejectedError(status, tpe(status), f"fault {status}, on demand", retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds an answer as it is sent: whole, or an event for each token. A stream has no other end mark than the end of
    its body: the contract documents none."""

    pieces: list[bytes]
    content_type: str

    @classmethod
    def for_choice(cls, choice: Choice, *, streamed: bool) -> Answer:
        if not streamed:
            whole = msgspec.json.encode(Completion(choices=[choice], model=MODEL))
            return cls([whole], "application/json")
        events = [b"data: " + msgspec.json.encode(sse.Event(value)) + b"\n\n" for value in _values(choice)]
        return cls(events, "text/event-stream")

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces)


def _values(choice: Choice) -> list[str]:
    """Returns the text by tokens. An empty text is one empty event: a stream must have one."""
    tokens = choice.log_probs.content if choice.log_probs else None
    return [t.token for t in tokens or ()] or [""]

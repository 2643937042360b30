"""Answers a valid request, whichever endpoint it came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from batchgen.api.models import estimate_tokens
from batchgen.api.types import PATH, CompletionRequest
from batchgen.simulator import chat, model, requests
from batchgen.simulator.answers import Answer, RejectedError

GUARDRAIL = "fail.guardrail.blocked"


class Exchange(Protocol):
    """Represents a valid request. `text`: by which the ledger identifies it. `prompt_tokens`: as the limits count
    them."""

    text: str
    prompt_tokens: int

    def answer(self) -> tuple[Answer, int]:
        """Generates the answer. Returns it and its tokens. Raises RejectedError if there is none."""

    def refuse(self) -> tuple[Answer, int]:
        """Returns the model's refusal, which is billed, and its tokens. Raises RejectedError if the endpoint refuses by
        a status."""


class Completion:
    """Answers `POST /v1/completions`. The limits count prompt and answer at four bytes a token."""

    def __init__(self, body: bytes) -> None:
        """Raises RejectedError."""
        self._request = requests.decode(_decoder, body)
        requests.check(self._request)
        self.text = self._request.prompt
        self.prompt_tokens = estimate_tokens(self.text)

    def answer(self) -> tuple[Answer, int]:
        """Returns the answer and its tokens."""
        choice = model.load().generate(self._request)
        return Answer.for_choice(choice, streamed=bool(self._request.stream)), estimate_tokens(choice.text)

    def refuse(self) -> tuple[Answer, int]:
        """Raises RejectedError: completions refuse by a status."""
        raise RejectedError(400, GUARDRAIL, "refused, on demand")


_decoder = msgspec.json.Decoder(CompletionRequest)

ENDPOINTS: dict[str, Callable[[bytes], Exchange]] = {
    PATH: Completion,
    chat.PATH: chat.WriterChat,
    chat.OPENAI_PATH: chat.OpenAIChat,
}
"""The class that reads the requests of each path."""

"""A request in order and what answers it, whichever endpoint it came to."""

from __future__ import annotations

from typing import Protocol

import msgspec

from batchgen.api.models import estimate_tokens
from batchgen.api.types import CompletionRequest
from batchgen.simulator import model, requests
from batchgen.simulator.responses import Answer, RejectedError

GUARDRAIL = "fail.guardrail.blocked"


class Exchange(Protocol):
    """`text` is what the ledger knows the request by, `prompt_tokens` what the limits count of it."""

    text: str
    prompt_tokens: int

    def answer(self) -> tuple[Answer, int]:
        """The answer, generated, and its tokens. Raises RejectedError where there is none."""

    def refuse(self) -> tuple[Answer, int]:
        """The model's refusal, which is billed. Raises RejectedError where the endpoint refuses by a status."""


class Completion:
    """`POST /v1/completions`. The limits count prompt and answer at four bytes a token."""

    def __init__(self, body: bytes) -> None:
        """Raises RejectedError."""
        self._asked = requests.decode(_decoder, body)
        requests.check(self._asked)
        self.text = self._asked.prompt
        self.prompt_tokens = estimate_tokens(self.text)

    def answer(self) -> tuple[Answer, int]:
        choice = model.load().generate(self._asked)
        return Answer.of(choice, streamed=bool(self._asked.stream)), estimate_tokens(choice.text)

    def refuse(self) -> tuple[Answer, int]:
        raise RejectedError(400, GUARDRAIL, "refused, on demand")


_decoder = msgspec.json.Decoder(CompletionRequest)

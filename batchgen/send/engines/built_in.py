"""The built-in model as an engine: it answers in this process. `batchgen serve` serves the same model over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Self

from batchgen.api.connection import Connection
from batchgen.api.error_responses import classify
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.simulator.answers import RejectedError
from batchgen.simulator.chat import OPENAI_PATH
from batchgen.simulator.exchange import ENDPOINTS


class BuiltInModel:
    """Makes attempts as a Client does, as an asynchronous context. What is asked and answered are the bodies that go
    over the wire elsewhere."""

    def __init__(self, connection: Connection) -> None:
        self._dialect = connection.dialect
        self._read = ENDPOINTS[self._dialect.path]
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def attempt(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:  # noqa: ARG002
        """Answers one request at a time: between two, the loop does what else is due. Raises NeverSent if it is
        cancelled before its turn."""
        try:
            async with self._turn:
                await asyncio.sleep(0)
                return self._outcome(body, model)
        except asyncio.CancelledError:
            raise NeverSent from None

    def _outcome(self, body: bytes, model: str) -> Answer | Failure:
        try:
            answer, _ = self._read(body).answer()
        except RejectedError as rejected:
            error = rejected.body(is_openai=self._dialect.path == OPENAI_PATH)
            return classify(rejected.status, {}, error, model, datetime.now(UTC), body)
        return self._dialect.judge(answer.whole)

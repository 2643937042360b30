"""Makes one attempt at a request: bytes out, an Answer or a Failure back.

It never retries, never follows a redirect and never raises for a row. The key goes into the header and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Self

import aiohttp

from batchgen import __version__
from batchgen.api import sse
from batchgen.api.connection import Connection
from batchgen.api.connection_errors import failure_of
from batchgen.api.credentials import Redactor
from batchgen.api.encodings import decompressed
from batchgen.api.error_responses import classify
from batchgen.api.exchange import Sendings
from batchgen.api.failure_kinds import Kind
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.api.pool import pool_of
from batchgen.api.timeouts import Deadlines
from batchgen.api.tls import trust
from batchgen.api.types import is_json
from batchgen.api.unusable import unusable

ANSWERED = frozenset({200, 201, 202, 203})
"""Statuses of answers. Gateways and caches are careless with them."""
MAX_ANSWER = 64 << 20
LARGE_AT_ONCE = 4
"""How many answers may be read at the same time that are larger than a slot's share of memory."""
TIME_TO_END = 0.1
"""Seconds in which the body of a stream ends after its end mark, so that the connection may be used again."""
MAX_SHARED, MAX_SMALL, MIN_SMALL = 256 << 20, 2 << 20, 256 << 10


class Client:
    """Sends requests to one server, as an asynchronous context. `connection` has one address."""

    def __init__(self, connection: Connection) -> None:
        (url,) = connection.urls
        key, proxy = connection.key, connection.proxy
        headers = {
            **({"Authorization": f"Bearer {key}"} if key else {}),
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": f"batchgen/{__version__}",
        }
        self._dialect = connection.dialect
        self._url = url + self._dialect.path
        trusted = trust(connection.ca_file)
        self._open = partial(pool_of, self._url, headers, connect=connection.connect, trust=trusted, proxy=proxy)
        self._marks_ends = False
        self._resent: set[int] = set()
        """Hashes of requests that ended a kept connection. They may be the cause: from then on they get new ones."""
        login = [proxy.login] if proxy is not None and proxy.login is not None else []
        self._redactors = [Redactor(secret) for secret in [key, *login]]
        self._small = max(MIN_SMALL, min(MAX_SMALL, MAX_SHARED // connection.slots))
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._total = connection.total

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    async def __aenter__(self) -> Self:
        self._pool = await (await self._open()).__aenter__()
        self._deadlines = Deadlines(self._total)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._deadlines.close()
        await self._pool.__aexit__()

    async def attempt(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:
        """Makes the attempt. `model` is the one that the body names. `new_connection`: over a connection of its own.
        Every way in which it can end is a value. Raises NeverSent if it is cancelled before any of it left."""
        sendings = Sendings()
        chunks: list[bytes] = []
        task = self._deadlines.begin()
        try:
            outcome = await self._pool.post(
                body,
                lambda status, headers, payload: self._read_outcome(status, headers, payload, body, model, chunks),
                sendings,
                new_connection=new_connection or (bool(self._resent) and hash(body) in self._resent),
            )
        except asyncio.CancelledError:
            if self._deadlines.missed(task):
                outcome = self._whole(chunks) or self._late(sendings)
            elif sendings.sent:
                raise
            else:
                raise NeverSent from None
        except (aiohttp.ClientError, OSError) as error:
            outcome = self._whole(chunks) or failure_of(error, sendings)
        finally:
            self._deadlines.end(task)
        resent = sendings.sent - 1
        if isinstance(outcome, Failure):
            outcome = self._all_redacted(outcome)
            resent += outcome.kind is Kind.UNSENT
        if resent <= 0:
            return outcome
        self._resent.add(hash(body))
        return outcome.after(resent, sendings.lost)

    def _late(self, sendings: Sendings) -> Failure:
        """Returns the failure of an attempt that ran out of time."""
        if sendings.sent > sendings.lost:
            return Failure(Kind.UNANSWERED, f"no answer within {self._total:g} s", is_late=True)
        return Failure(Kind.UNSENT, f"no connection within {self._total:g} s")

    async def _read_outcome(
        self,
        status: int,
        headers: Mapping[str, str],
        payload: aiohttp.StreamReader,
        request: bytes,
        model: str,
        chunks: list[bytes],
    ) -> Answer | Failure:
        """Reads the body of an answer, and returns the outcome. If the connection breaks, or time is over, `chunks`
        holds what has come of a 200's body, unless that is compressed."""
        answer: bytes | None
        answered = status in ANSWERED
        if payload.is_eof() and int(headers.get("Content-Length", MAX_ANSWER)) < self._small:
            answer = payload.read_nowait()
        else:
            answer = await self._read(payload, chunks if answered and "Content-Encoding" not in headers else [])
        if answer is not None and "Content-Encoding" in headers:
            answer = decompressed(answer, headers["Content-Encoding"], MAX_ANSWER)
        if answer is None:
            kind = Kind.UNUSABLE if answered else Kind.TRANSIENT
            return Failure(kind, f"an answer of more than {MAX_ANSWER >> 20} MiB", status)
        if answered:
            outcome = self._outcome_of_200(self._redacted(answer))
            if isinstance(outcome, Answer):
                return outcome
            return _as_encoded(outcome, headers.get("Content-Encoding"))
        for redactor in self._redactors:
            answer = redactor.all(answer)  # before it is cut into lines and words
        return classify(status, headers, answer, model, datetime.now(UTC), request)

    def _outcome_of_200(self, answer: bytes) -> Answer | Failure:
        outcome = self._dialect.judge(answer)
        return outcome if isinstance(outcome, Failure) else self._cut_off(answer) or outcome

    def _whole(self, chunks: list[bytes]) -> Answer | Failure | None:
        """Returns the answer, or the refusal that was billed, in what has come of a body, if that is whole by its own
        marks, whatever became of the connection: it is complete JSON, or a stream to `[DONE]`."""
        body = b"".join(chunks)
        if not body or not (is_json(body) or sse.is_done(body)):
            return None
        outcome = self._outcome_of_200(self._redacted(body))
        return outcome if isinstance(outcome, Answer) or outcome.answer is not None else None

    def _redacted(self, answer: bytes) -> bytes:
        for redactor in self._redactors:
            answer = redactor.answer(answer)
        return answer

    def _all_redacted(self, failure: Failure) -> Failure:
        for redactor in self._redactors:
            failure = redactor.failure(failure)
        return failure

    def _cut_off(self, answer: bytes) -> Failure | None:
        """Returns the failure of a stream without its end mark, if the service has been seen to send one."""
        if self._dialect.is_done is None or is_json(answer):
            return None
        if self._dialect.is_done(answer):
            self._marks_ends = True
        elif self._marks_ends:
            return unusable(answer, "the answer broke off: [DONE], which ended others, is missing")
        return None

    async def _read(self, payload: aiohttp.StreamReader, chunks: list[bytes]) -> bytes | None:
        """Returns the body; None if it is larger than MAX_ANSWER. Few large ones are read at a time. If an error ends
        it, `chunks` holds what has come. After a stream's end mark nothing is waited for: some servers leave the body
        open. The pool keeps no connection whose body has not ended."""
        size, mark = 0, None
        async with AsyncExitStack() as permits:
            try:
                async for chunk in payload.iter_any():
                    if size < self._small <= size + len(chunk):
                        await permits.enter_async_context(self._large)
                    if not chunks and not chunk.startswith(b"{"):
                        mark = sse.EndMark()
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_ANSWER:
                        return None
                    if mark is not None and mark.comes_with(chunk) and not await _ends(payload):
                        break
            except BaseException:
                payload.set_exception(None)  # type: ignore[arg-type]  # with one, it hands out nothing more
                chunks.append(payload.read_nowait())
                raise
            body = b"".join(chunks)
            chunks.clear()  # large ones would be held twice
            return body


def _as_encoded(failure: Failure, encoding: str | None) -> Failure:
    """Returns the failure, with the encoding that may be why its body cannot be read: nobody asked for one."""
    if encoding is None or failure.kind is not Kind.UNUSABLE:
        return failure
    return replace(failure, message=f"{failure.message} (Content-Encoding: {encoding:.40})")


async def _ends(payload: aiohttp.StreamReader) -> bool:
    """Returns whether a body ends within a moment."""
    if not payload.is_eof():
        with suppress(TimeoutError):
            async with asyncio.timeout(TIME_TO_END):
                await payload.wait_eof()
    return payload.is_eof()

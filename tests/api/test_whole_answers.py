"""An answer that says itself that it is whole is one, whatever became of its connection: it is paid for by then."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from support.connections import connection
from support.service import PATIENCE
from support.wire import CHUNKED, EVENTS, Wire, Writer, chunk, completion, endless, http, says

from batchgen.api.client import Client
from batchgen.api.dialects import OPENAI, OPENAI_CHAT, WRITER, Dialect
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer

pytestmark = pytest.mark.usefixtures("each_pool")
LONG = "Content-Length: 99999"


def event(text: str = "", reason: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


TEXT, STOP, DONE = event("Hello ") + event("world."), event(reason="stop"), b"data: [DONE]\n\n"
WRITERS = b'data: {"value": "Hello "}\n\ndata: {"value": "world."}\n\n'
WHOLE = json.dumps({"choices": [{"text": "Hello world.", "finish_reason": "stop"}]}).encode()
REFUSED = json.dumps({"choices": [{"message": {"refusal": "I will not."}, "finish_reason": "stop"}]}).encode()


def streamed(events: bytes) -> list[bytes]:
    """A stream whose last chunk never comes."""
    return [CHUNKED, *(chunk(one + b"\n\n") for one in events.split(b"\n\n") if one)]


def longer(body: bytes, *headers: str) -> list[bytes]:
    return [http(body, LONG, *headers, length=False)]


# the dialect, and what comes before the connection breaks, or stays open without a word -> whether it is an answer
CASES: dict[str, tuple[Dialect, list[bytes], bool]] = {
    "a stream to its end mark": (OPENAI_CHAT, streamed(TEXT + STOP + DONE), True),
    "one whose length says more": (OPENAI_CHAT, longer(TEXT + STOP + DONE, EVENTS), True),
    "one with two choices": (OPENAI_CHAT, streamed(TEXT + event("Hi", "stop", 1) + STOP + DONE), True),
    "one before its end mark: a choice may be missing": (OPENAI_CHAT, streamed(TEXT + STOP), False),
    "one before its choice has ended": (OPENAI_CHAT, streamed(TEXT), False),
    "an end mark, and no reason": (OPENAI_CHAT, streamed(TEXT + DONE), False),
    "one choice of two ended": (OPENAI_CHAT, streamed(TEXT + event("Hi", None, 1) + STOP + DONE), False),
    "one that ends with an error": (OPENAI_CHAT, streamed(TEXT + b'data: {"error": {"message": "no"}}\n\n' + DONE), False),
    "JSON": (OPENAI, longer(WHOLE), True),
    "JSON in chunks": (OPENAI, [CHUNKED + chunk(WHOLE[:20]), chunk(WHOLE[20:])], True),
    "JSON, cut": (OPENAI, longer(WHOLE[:-1]), False),
    "JSON without a reason": (OPENAI, longer(completion("Hello world.")), False),
    "JSON, compressed": (OPENAI, longer(gzip.compress(WHOLE), "Content-Encoding: gzip"), False),
    "JSON that is an error": (OPENAI, longer(b'{"error": {"message": "no"}}'), False),
    "JSON under another status": (OPENAI, [http(WHOLE, LONG, length=False, status="500 No")], False),
    "Writer's JSON": (WRITER, longer(completion("Hello world.")), True),
    "Writer's JSON, cut": (WRITER, longer(completion("Hello world.")[:-1]), False),
    "a stream of Writer's, which marks no end": (WRITER, streamed(WRITERS), False),
    "one with the end mark": (WRITER, streamed(WRITERS + DONE), True),
    "nothing": (OPENAI, [CHUNKED], False),
}  # fmt: skip


@pytest.mark.parametrize("closes", [True, False], ids=["broken", "silent"])
@pytest.mark.parametrize("case", CASES)
async def test_an_answer_is_whole_by_its_own_marks(case, closes, monkeypatch):
    dialect, pieces, is_answer = CASES[case]
    if closes:  # on a busy machine, its end may come long after its end mark
        monkeypatch.setattr("batchgen.api.client.TIME_TO_END", PATIENCE)
    with Wire() as wire:
        wire.default = says(*pieces, close=closes)
        patience = {} if closes else {"patience": 1.0}
        async with Client(connection(wire.url, dialect=dialect, **patience)) as client:
            outcome = await client.attempt(b'{"prompt": "x"}', "m")
    if is_answer:
        assert isinstance(outcome, Answer), outcome
        assert dialect.read_answer(outcome.body).choices[0].text == "Hello world."
    else:
        assert not isinstance(outcome, Answer)
        ended = not closes and DONE.strip() in b"".join(pieces)
        assert outcome.kind is (Kind.UNUSABLE if ended else Kind.UNANSWERED), "it is judged as it is, once it has ended"


def split(events: bytes) -> list[bytes]:
    """A stream that is cut anywhere, the end mark too; its last chunk never comes."""
    return [CHUNKED, *(chunk(events[at : at + 7]) for at in range(0, len(events), 7))]


KEPT = CHUNKED.replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("dialect", [WRITER, OPENAI_CHAT], ids=lambda one: one.name)
@pytest.mark.parametrize("cut", [streamed, split])
@pytest.mark.parametrize(
    "behind", [b"", b": ping\n\n", b'data: {"value": "no"}\n\n'], ids=["nothing", "a ping", "more"]
)
async def test_a_stream_has_ended_with_its_end_mark(dialect, cut, behind):
    """The server leaves the body open, and says nothing more: no answer waits for the time-out."""
    events = (WRITERS if dialect is WRITER else TEXT + STOP) + DONE + behind
    with Wire() as wire:
        wire.default = says(*cut(events), close=False)
        async with Client(connection(wire.url, dialect=dialect, patience=3600)) as client, asyncio.timeout(PATIENCE):
            outcomes = [await client.attempt(b'{"prompt": "x"}', "m") for _ in range(3)]
        assert wire.opened == 3, "a connection whose answer has not ended serves no other"
    for outcome in outcomes:
        assert isinstance(outcome, Answer), outcome
        assert dialect.read_answer(outcome.body).choices[0].text == "Hello world."


async def test_pings_behind_the_end_mark_hold_nothing_up():
    with Wire() as wire:
        wire.default = endless(CHUNKED + chunk(TEXT + STOP + DONE), chunk(b": ping\n\n"), every=0.02)
        async with (
            Client(connection(wire.url, dialect=OPENAI_CHAT, patience=3600)) as client,
            asyncio.timeout(PATIENCE),
        ):
            assert isinstance(await client.attempt(b'{"prompt": "x"}', "m"), Answer)


@pytest.mark.usefixtures("keeping_pool")
async def test_a_body_that_ends_a_moment_later_leaves_the_connection():
    async def late_end(_: object, writer: Writer) -> None:
        for piece in (KEPT + chunk(TEXT + STOP + DONE), b"0\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    with Wire() as wire:
        wire.default = late_end
        async with Client(connection(wire.url, dialect=OPENAI_CHAT)) as client:
            for _ in range(5):
                assert isinstance(await client.attempt(b'{"prompt": "x"}', "m"), Answer)
        assert wire.opened == 1


async def test_a_refusal_that_is_whole_was_billed_and_is_kept():
    with Wire() as wire:
        wire.default = says(*longer(REFUSED))
        async with Client(connection(wire.url, dialect=OPENAI_CHAT)) as client:
            outcome = await client.attempt(b'{"prompt": "x"}', "m")
    assert not isinstance(outcome, Answer)
    assert (outcome.kind, outcome.body) == (Kind.REFUSED, REFUSED)

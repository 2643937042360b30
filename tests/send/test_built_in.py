"""The built-in model as an engine, beside the same model behind HTTP."""

import asyncio
import json
import re

import pytest
from aiohttp.test_utils import TestServer
from msgspec import structs
from support.connections import connection

from batchgen.api.dialects import OPENAI_CHAT, WRITER, WRITER_CHAT
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.send.engines.local import client_of
from batchgen.simulator.server import make_app

TEXT = "Write a short article about the Alder Peak stove. Möwe 🏕️"
COMPLETION = {"model": "m", "prompt": TEXT}
CHAT = {"model": "m", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20}


def without_time(outcome: Answer | Failure) -> Answer | Failure:
    """A chat says when it was made."""
    if isinstance(outcome, Failure):
        return outcome
    return structs.replace(outcome, body=re.sub(rb'"created":\d+', b"", outcome.body))


@pytest.mark.parametrize(
    ("dialect", "fields", "ends_as"),
    [
        pytest.param(WRITER, COMPLETION, Answer, id="a completion"),
        pytest.param(WRITER, {**COMPLETION, "stream": True}, Answer, id="a stream"),
        pytest.param(WRITER, {**COMPLETION, "top_p": 7}, Failure, id="a refusal"),
        pytest.param(WRITER_CHAT, {**CHAT, "logprobs": True, "n": 2}, Answer, id="a chat"),
        pytest.param(OPENAI_CHAT, {**CHAT, "stream": True}, Answer, id="a chat's stream"),
        pytest.param(OPENAI_CHAT, {**CHAT, "top_logprobs": 3}, Failure, id="a chat's refusal"),
    ],
)
async def test_what_it_answers_and_refuses_is_what_it_would_over_http(dialect, fields, ends_as):
    body = json.dumps(fields).encode()
    async with TestServer(make_app()) as server:
        url = str(server.make_url("")).rstrip("/")
        async with client_of(connection(url, dialect=dialect)) as over_http:
            expected = await over_http.attempt(body, "m")
    async with client_of(connection(dialect=dialect, is_local=True)) as here:
        outcome = await here.attempt(body, "m")
    assert type(outcome) is ends_as
    assert without_time(outcome) == without_time(expected)


async def test_between_two_answers_the_loop_does_what_else_is_due():
    """Signals, progress and commits do not wait until all that is in flight has its answer."""
    async with client_of(connection(is_local=True)) as here:
        asked = [asyncio.create_task(here.attempt(json.dumps(COMPLETION).encode(), "m")) for _ in range(8)]
        answered = []
        while not all(task.done() for task in asked):
            await asyncio.sleep(0)
            answered.append(sum(task.done() for task in asked))
    assert set(range(1, 9)) <= set(answered)


async def test_a_request_that_is_cancelled_before_its_turn_costs_nothing():
    async with client_of(connection(is_local=True)) as here:
        asked = [asyncio.create_task(here.attempt(json.dumps(COMPLETION).encode(), "m")) for _ in range(3)]
        await asyncio.sleep(0)
        asked[2].cancel()
        with pytest.raises(NeverSent):
            await asked[2]
        assert [type(await task) for task in asked[:2]] == [Answer, Answer]

"""The built-in server against the service's own OpenAPI document, and its process's manners."""

import asyncio
import hashlib
import io
import json
import re
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

from batchgen.api import sse
from batchgen.api.types import read_answer
from batchgen.simulator.server import make_app

DOCUMENT = yaml.safe_load((Path(__file__).parents[1] / "support" / "writer_completions_openapi.yaml").read_text())
REGISTRY = Registry().with_resource("urn:api", DRAFT4.create_resource(DOCUMENT))
COMMAND = str(Path(sys.executable).with_name("batchgen"))
KEY = {"Authorization": "Bearer any"}
ASK = {"model": "palmyra-x5", "prompt": "Write about the Alder Peak stove.", "random_seed": 1}


def validate(instance, schema: str) -> None:
    OAS30Validator({"$ref": f"urn:api#/components/schemas/{schema}"}, registry=REGISTRY).validate(instance)


@pytest.fixture
async def client():
    async with TestClient(TestServer(make_app())) as client:
        yield client


async def ask(client, **fields):
    async with client.post("/v1/completions", json={**ASK, **fields}, headers=KEY) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


async def refusal(client, status, **request):
    async with client.post("/v1/completions", **{"headers": KEY, **request}) as response:
        assert response.status == status
        body = await response.json()
    assert set(body) == {"tpe", "errors", "extras"}
    [error] = body["errors"]
    assert set(error) == {"description", "key", "extras"}
    return body["tpe"], error["key"]


FIELDS = {
    "max_tokens": [1, 40, 2**63 - 1],
    "temperature": [0, 0.7, 2],
    "top_p": [0.01, 1],
    "stop": ["the", [], [".", "\n"]],
    "best_of": [1, 3],
    "random_seed": [-(2**31), 2**31 - 1],
    "stream": [False],
    "prompt": ["", "Möwe 🏕️\n", "\x00"],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values])
async def test_answers_are_the_contracts(client, field, value):
    validate({**ASK, field: value}, "completions_request")
    answer = await ask(client, **{field: value})
    validate(answer, "completions_response")
    assert answer["model"] == "local-ngram"
    [choice] = answer["choices"]
    assert choice["log_probs"]["refusal"] is None
    assert choice["text"] == "".join(t["token"] for t in choice["log_probs"]["content"])
    for token in choice["log_probs"]["content"]:
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == 5


def test_the_validator_can_fail():
    with pytest.raises(Exception, match="non-empty"):
        validate({"choices": []}, "completions_response")
    with pytest.raises(Exception, match="logprob"):
        validate(
            {"choices": [{"text": "", "log_probs": {"content": [{"token": 1}], "refusal": None}}]},
            "completions_response",
        )
    validate({"choices": [{"text": "", "log_probs": None}]}, "completions_response")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"colour": "red"}, "colour"),
        ({"stop": [1]}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"best_of": 0}, "best_of"),
        ({"best_of": 21}, "best_of"),
        ({"random_seed": 2**31}, "random_seed"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": None}, "temperature"),
        ({"stop": None, "prompt": "null"}, "stop"),
    ],
)
async def test_a_wrong_field_is_named(client, change, key):
    assert await refusal(client, 400, json={**ASK, **change}) == ("InvalidInputParameters", key)


async def test_a_missing_field_is_named(client):
    assert await refusal(client, 400, json={"model": "palmyra-x5"}) == ("InvalidInputParameters", "prompt")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": "\xff"}', b'{"a":' * 100_000, b'"\\ud800"'])
async def test_a_body_that_is_no_request_is_refused(client, body):
    headers = {**KEY, "Content-Type": "application/json"}
    tpe, _ = await refusal(client, 400, data=body, headers=headers)
    assert tpe == "InvalidInputParameters"


async def test_a_body_that_is_not_encoded_as_it_says_is_refused(client):
    headers = {**KEY, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert await refusal(client, 400, data=b"no gzip", headers=headers) == ("BadRequest", "body")


async def test_a_null_in_a_text_is_none(client):
    await ask(client, prompt="null", stop=["null", "a null"])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic abc"}])
async def test_a_key_is_required(client, headers):
    assert await refusal(client, 401, json=ASK, headers=headers) == ("Unauthorized", "Authorization")


async def test_only_json_is_taken(client):
    assert await refusal(client, 415, data=b"{}") == ("InvalidContentType", "Content-Type")


async def test_a_stream_is_the_same_text_in_events(client):
    whole = await ask(client)
    async with client.post("/v1/completions", json={**ASK, "stream": True}, headers=KEY) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        body = await response.read()
    events = [sse._event.decode(event) for _, event in sse.events(body)]
    for event in events:
        validate({"value": event.value}, "streaming_data")
    assert [e.value for e in events] == [t["token"] for t in whole["choices"][0]["log_probs"]["content"]]
    assert body.endswith(b"}\n\n")
    assert read_answer(body).choices[0].text == whole["choices"][0]["text"]


async def test_an_empty_text_is_still_a_stream(client):
    text = (await ask(client))["choices"][0]["text"]
    async with client.post("/v1/completions", json={**ASK, "stop": text[0], "stream": True}, headers=KEY) as response:
        assert await response.read() == b'data: {"value":""}\n\n'


async def test_a_prompt_of_megabytes_is_served(client):
    body = io.BytesIO(json.dumps({**ASK, "prompt": "Camping gear, " * 400_000}).encode())
    headers = {**KEY, "Content-Type": "application/json"}
    async with client.post("/v1/completions", data=body, headers=headers) as response:
        assert response.status == 200
        validate(await response.json(), "completions_response")


@pytest.mark.parametrize(
    ("method", "path", "status", "tpe", "allow"),
    [("GET", "/v1/completions", 405, "MethodNotAllowed", "POST"), ("POST", "/v1/chats", 404, "NotFound", None)],
)
async def test_other_paths_and_methods_are_refused_in_the_contracts_words(client, method, path, status, tpe, allow):
    async with client.request(method, path) as response:
        assert (response.status, response.headers.get("Allow")) == (status, allow)
        assert (await response.json())["tpe"] == tpe


async def test_models(client):
    async with client.get("/v1/models") as response:
        assert [m["id"] for m in (await response.json())["models"]] == ["local-ngram"]


async def test_the_ledger_counts_what_is_billed(client):
    for n in range(3):
        await ask(client, random_seed=n)
    await ask(client, prompt="another")
    await refusal(client, 400, json={**ASK, "top_p": 2})
    async with client.get("/ledger") as response:
        ledger = await response.json()
    digests = {p: hashlib.sha256(p.encode()).hexdigest() for p in (ASK["prompt"], "another")}
    assert ledger["prompts"] == {digests[ASK["prompt"]]: 3, digests["another"]: 1}
    assert (ledger["requests"], ledger["billed"], ledger["in_flight"], ledger["in_flight_max"]) == (4, 4, 0, 1)
    assert (ledger["refusals"], ledger["faults"]) == (0, {})


async def started(*command: str, stdin: int) -> tuple[asyncio.subprocess.Process, str]:
    """The process, and the first line that it says."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=pipe, stderr=pipe)
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    assert "http://127.0.0.1:" in line, (await process.stderr.read()).decode()
    return process, line.rstrip("\n")


async def serve() -> tuple[asyncio.subprocess.Process, str]:
    """`batchgen serve`, whose standard input is closed as a service manager's is, and its URL."""
    process, line = await started(COMMAND, "serve", "--port", "0", stdin=asyncio.subprocess.DEVNULL)
    said = re.fullmatch(r"serving local-ngram at (http://127\.0\.0\.1:\d+)/v1/completions; Ctrl-C ends it", line)
    assert said, line
    return process, said[1]


async def ended(process) -> tuple[int, bytes, bytes]:
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out, err


async def answers(url: str) -> bool:
    async with (
        aiohttp.ClientSession(url, headers=KEY) as session,
        session.post("/v1/completions", json=ASK) as response,
    ):
        return response.status == 200


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_serve_serves_until_a_signal(sent):
    process, url = await serve()
    assert await answers(url)
    process.send_signal(sent)
    assert await ended(process) == (0, b"", b"")


NOT_HTTP = {
    "a wrong chunk": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header of bytes": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "a length below nothing": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    "a body that is no gzip": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer any\r\n"
    b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


async def test_what_clients_do_wrong_is_no_trouble_of_the_servers():
    process, url = await serve()
    for sent in NOT_HTTP.values():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(sent)
        assert (await asyncio.wait_for(reader.read(), 30)).split()[1] == b"400"
        writer.close()
    await gone_in_the_middle_of_a_stream(url)
    assert await answers(url)
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == (0, b"", b"")


async def gone_in_the_middle_of_a_stream(url: str) -> None:
    body = {**ASK, "stream": True, "max_tokens": 4000, "temperature": 2}
    async with aiohttp.ClientSession(url, headers=KEY) as session:
        response = await session.post("/v1/completions", json=body)
        await response.content.readany()
        response.close()


async def test_serve_says_when_the_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            COMMAND, "serve", "--port", port, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        code, out, err = await ended(process)
    assert code != 0
    assert out == b""
    assert b"error: " in err
    assert port.encode() in err
    assert b"Traceback" not in err

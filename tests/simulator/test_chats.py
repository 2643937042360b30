"""The built-in server's chats: every request and every answer is what our documents of them say."""

import hashlib
import json
from collections import defaultdict

import jsonschema_rs
import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.chat_contracts import OPENAI, WRITER, events, validate

from batchgen.simulator.ngram import tokenize
from batchgen.simulator.options import ServerOptions
from batchgen.simulator.server import make_app

KEY = {"Authorization": "Bearer any"}
PROMPT = "Write about the Alder Peak stove."
BOTH = pytest.mark.parametrize("path", [WRITER, OPENAI])


def conversation(*contents) -> list[dict]:
    """Of the user, or of another where it is a pair."""
    pairs = [content if isinstance(content, tuple) else ("user", content) for content in contents]
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.fixture
async def client():
    async with TestClient(TestServer(make_app())) as client:
        yield client


async def post(client, path, **fields):
    body = {"model": "palmyra-x5", "messages": conversation(PROMPT), "max_tokens": 30, **fields}
    async with client.post(path, json=body, headers=KEY) as response:
        return body, response.status, await response.read()


async def ask(client, path, **fields) -> dict:
    asked, status, body = await post(client, path, **fields)
    validate(path, asked, "chat_request")
    assert status == 200, body
    answer = json.loads(body)
    validate(path, answer, "chat_completion")
    return answer


async def stream(client, path, **fields) -> list[dict]:
    asked, status, body = await post(client, path, stream=True, **fields)
    validate(path, asked, "chat_request")
    assert status == 200, body
    return events(path, body)


async def refused(client, path, **fields) -> tuple[str, str]:
    """The field that is named, and what is said of it."""
    _, status, body = await post(client, path, **fields)
    error = json.loads(body)
    validate(path, error, "error")
    assert status == 400
    if path == OPENAI:
        return error["error"]["param"], error["error"]["message"]
    return error["errors"][0]["key"], error["errors"][0]["description"]


@BOTH
async def test_an_answer_is_a_message(client, path):
    answer = await ask(client, path)
    [choice] = answer["choices"]
    assert (answer["object"], answer["model"], choice["index"]) == ("chat.completion", "local-ngram", 0)
    assert (choice["message"]["role"], choice["message"]["refusal"], choice["logprobs"]) == ("assistant", None, None)
    assert choice["message"]["content"] == (await ask(client, path))["choices"][0]["message"]["content"] != ""


@BOTH
async def test_why_it_ends_and_what_it_took(client, path):
    cut = await ask(client, path, max_tokens=7)
    whole = await ask(client, path, max_tokens=4000)
    stopped = await ask(client, path, max_tokens=4000, stop=["."])
    assert [a["choices"][0]["finish_reason"] for a in (cut, whole, stopped)] == ["length", "stop", "stop"]
    assert cut["usage"] == {
        "prompt_tokens": len(tokenize(PROMPT)),
        "completion_tokens": 7,
        "total_tokens": len(tokenize(PROMPT)) + 7,
    }
    assert whole["usage"]["completion_tokens"] > 40
    assert whole["choices"][0]["message"]["content"].startswith(stopped["choices"][0]["message"]["content"] + ".")


@BOTH
async def test_choices_are_several_and_are_counted(client, path):
    answer = await ask(client, path, n=4)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert len(set(texts)) > 1
    assert answer["usage"]["completion_tokens"] == sum(len(tokenize(text)) for text in texts) == 120


@BOTH
async def test_log_probs_come_where_they_are_asked_for(client, path):
    fields = {} if path == WRITER else {"top_logprobs": 3}
    answer = await ask(client, path, logprobs=True, **fields)
    [choice] = answer["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(t["token"] for t in tokens) == choice["message"]["content"]
    assert {len(t["top_logprobs"]) for t in tokens} == {5 if path == WRITER else 3}
    assert all(t["bytes"] == list(t["token"].encode()) and t["logprob"] <= 0 for t in tokens)
    assert choice["message"] == (await ask(client, path))["choices"][0]["message"]


async def test_without_a_number_there_are_no_alternatives(client):
    answer = await ask(client, OPENAI, logprobs=True)
    assert {len(t["top_logprobs"]) for t in answer["choices"][0]["logprobs"]["content"]} == {0}
    answer = await ask(client, OPENAI, logprobs=True, top_logprobs=20)
    assert {len(t["top_logprobs"]) for t in answer["choices"][0]["logprobs"]["content"]} == {20}


@BOTH
@pytest.mark.parametrize(
    "fields", [{}, {"n": 3}, {"logprobs": True}, {"n": 2, "stream_options": {"include_usage": True}}]
)
async def test_a_stream_says_the_same(client, path, fields):
    whole = await ask(client, path, **fields)
    chunks = await stream(client, path, **fields)
    texts, reasons, tokens = defaultdict(str), {}, defaultdict(list)
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        assert choice["index"] not in reasons, "the finish reason comes last"
        texts[choice["index"]] += choice["delta"].get("content", "")
        tokens[choice["index"]] += (choice["logprobs"] or {"content": []})["content"]
        if choice["finish_reason"] is not None:
            reasons[choice["index"]] = choice["finish_reason"]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks[: fields.get("n", 1)]] == [
        "assistant"
    ] * fields.get("n", 1)
    for choice in whole["choices"]:
        assert texts[choice["index"]] == choice["message"]["content"]
        assert reasons[choice["index"]] == choice["finish_reason"]
        assert tokens[choice["index"]] == (choice["logprobs"] or {"content": []})["content"]
    has_usage = "stream_options" in fields
    assert [chunk.get("usage") for chunk in chunks if "usage" in chunk] == ([whole["usage"]] if has_usage else [])
    assert [bool(chunk["choices"]) for chunk in chunks] == [True] * (len(chunks) - has_usage) + [False] * has_usage


async def test_the_seed_is_openais(client):
    texts = [(await ask(client, OPENAI, seed=seed))["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert (await refused(client, WRITER, seed=1))[0] == "seed"


async def test_an_answer_without_a_limit(client):
    """Writer's documented 100 tokens are of completions, and are taken for chats, too; own servers have no limit."""

    async def length(path):
        body = {"model": "m", "messages": conversation(PROMPT)}
        async with client.post(path, json=body, headers=KEY) as response:
            return (await response.json())["choices"][0]["finish_reason"]

    assert (await length(WRITER), await length(OPENAI)) == ("length", "stop")


@BOTH
async def test_roles_and_parts(client, path):
    system, parts = (
        ("system", "You write for hikers."),
        [{"type": "text", "text": "Write about "}, {"type": "text", "text": "the Alder Peak."}],
    )
    answer = await ask(
        client, path, messages=conversation(system, "Hello", ("assistant", "Hi!"), parts), temperature=0, max_tokens=90
    )
    assert "Alder Peak" in answer["choices"][0]["message"]["content"]
    texts = ["You write for hikers.", "Hello", "Hi!", "Write about the Alder Peak."]
    async with client.get("/ledger") as response:
        assert list((await response.json())["prompts"]) == [hashlib.sha256("\n\n".join(texts).encode()).hexdigest()]


@BOTH
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"prompt": "x"}, "prompt"),
        ({"best_of": 2}, "best_of"),
        ({"random_seed": 2}, "random_seed"),
        ({"n": 0}, "n"),
        ({"n": 21}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"logprobs": 3}, "logprobs"),
        ({"tools": []}, "tools"),
        ({"stream_options": {"all": True}}, "stream_options"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"type": "string", "pattern": "x"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"minimum": 3, "maximum": 2}}}, "response_format"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(client, path, fields, field):
    assert (await refused(client, path, **fields))[0] == field


async def test_what_only_one_of_them_has(client):
    assert (await refused(client, WRITER, top_logprobs=3))[0] == "top_logprobs"
    assert (await refused(client, WRITER, response_format={"type": "json_object"}))[0] == "response_format"
    assert (await refused(client, OPENAI, top_logprobs=3))[0] == "top_logprobs"
    assert (await refused(client, OPENAI, logprobs=True, top_logprobs=21))[0] == "top_logprobs"
    own = {"chat_template_kwargs": {"a": 1}, "min_p": 0.1, "top_k": 4, "repetition_penalty": 1.1, "cache_prompt": True}
    await ask(client, OPENAI, **own, max_completion_tokens=3)
    for field, value in own.items():
        assert (await refused(client, WRITER, **{field: value}))[0] == field


async def test_a_key_is_writers(client):
    body = {"model": "m", "messages": conversation(PROMPT)}
    for path, status in ((WRITER, 401), (OPENAI, 200)):
        async with client.post(path, json=body) as response:
            assert response.status == status


SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["title", "stars"],
    "additionalProperties": False,
}


@BOTH
@pytest.mark.parametrize("given", [SCHEMA, {"name": "review", "schema": SCHEMA, "strict": True}])
async def test_an_answer_by_a_schema(client, path, given):
    wanted = {"type": "json_schema", "json_schema": given}
    answer = await ask(client, path, response_format=wanted, n=5, max_tokens=200, logprobs=True)
    for choice in answer["choices"]:
        text = choice["message"]["content"]
        assert jsonschema_rs.is_valid(SCHEMA, json.loads(text))
        assert "".join(t["token"] for t in choice["logprobs"]["content"]) == text
    cut = (await ask(client, path, response_format=wanted, max_tokens=4))["choices"][0]
    assert cut["finish_reason"] == "length"
    assert cut["message"]["content"].startswith("{")


async def test_json_is_about_what_the_user_says(client):
    system = ("system", "You read reviews for a shop. Answer in JSON only: tags, one to three topics.")
    tags = {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3}
    wanted = {
        "type": "json_schema",
        "json_schema": {"type": "object", "properties": {"tags": tags}, "required": ["tags"]},
    }
    said = conversation(system, "Product: Umbrella\nReview: Turned inside out, popped back.")
    answer = await ask(client, WRITER, messages=said, response_format=wanted, n=8)
    found = {tag for choice in answer["choices"] for tag in json.loads(choice["message"]["content"])["tags"]}
    assert found <= {"Umbrella", "Turned", "inside", "popped", "back"}


async def test_json_by_openais_other_ways(client):
    answer = await ask(client, OPENAI, response_format={"type": "json_object"}, max_tokens=400)
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)
    answer = await ask(client, OPENAI, guided_json=SCHEMA, max_tokens=400)
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(answer["choices"][0]["message"]["content"]))


@BOTH
async def test_a_refusal_is_an_answer_and_billed(path):
    async with TestClient(TestServer(make_app(ServerOptions(shares=(("refusal", 1.0),))))) as client:
        answer = await ask(client, path, n=2)
        [choice, _] = answer["choices"]
        content = "" if path == WRITER else None
        assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", content)
        assert choice["message"]["refusal"]
        chunks = await stream(client, path)
        assert [c["choices"][0]["delta"].get("refusal") for c in chunks] == [None, choice["message"]["refusal"], None]
        assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"
        async with client.get("/ledger") as response:
            ledger = await response.json()
    assert (ledger["billed"], ledger["faults"]) == (2, {"refusal": 2})


async def test_a_completion_is_refused_by_the_services_code():
    async with TestClient(TestServer(make_app(ServerOptions(shares=(("refusal", 1.0),))))) as client:
        async with client.post("/v1/completions", json={"model": "m", "prompt": "x"}, headers=KEY) as response:
            assert (response.status, (await response.json())["tpe"]) == (400, "fail.guardrail.blocked")
        async with client.get("/ledger") as response:
            assert (await response.json())["billed"] == 0


@BOTH
@pytest.mark.parametrize(("fault", "status"), [("503", 503), ("429", 429), ("422", 422), ("garbage", 200)])
async def test_faults_strike_chats_as_completions(path, fault, status):
    async with TestClient(TestServer(make_app(ServerOptions(shares=((fault, 1.0),))))) as client:
        _, met, body = await post(client, path)
    assert met == status
    if status != 200:
        validate(path, json.loads(body), "error")


@BOTH
async def test_the_limits_count_what_usage_counts(path):
    async with TestClient(TestServer(make_app(ServerOptions(tokens_per_minute=400, burst=100)))) as client:
        took = 0
        while (met := await post(client, path))[1] == 200:
            took += json.loads(met[2])["usage"]["total_tokens"]
    assert met[1] == 429
    assert 100 < took < 100 + 37 + 7, "the bucket holds 100, and what was not known is paid by the next"

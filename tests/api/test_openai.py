"""Own servers: OpenAI's `/v1/completions` read into the contract's types, its errors, and whole jobs against a strict
server that answers as vLLM does."""

import asyncio
import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from support.own_server import OwnServer, answer, events, expected_column, pieces, usage
from support.service import Reset, Status

from batchgen.api import chat, openai
from batchgen.api.dialects import OPENAI, OPENAI_CHAT, WRITER_CHAT
from batchgen.api.error_responses import classify
from batchgen.api.failure_kinds import Kind
from batchgen.api.openai import judge, read_answer
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import NULL
from batchgen.output.decode import answers

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
BODY = {"model": "m", "prompt": "Write about tents.", "logprobs": 2}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def column(body: bytes) -> object:
    """The first choice's log-probs, as the results hold them."""
    return answers([OPENAI.as_json(body)]).log_probs.to_pylist()[0]


def with_log_probs(logprobs: object) -> bytes:
    return encoded({"choices": [{"text": "ab", "logprobs": logprobs, "finish_reason": "stop"}]})


# answers


@pytest.mark.parametrize("body", [encoded(answer(BODY)), events(BODY)], ids=["whole", "streamed"])
def test_an_answer_has_text_model_log_probs_and_the_servers_own_count(body):
    told = judge(body)
    prompt, used = BODY["prompt"], usage(BODY["prompt"])
    assert told == Answer(body, 1, used["completion_tokens"], used["prompt_tokens"])
    read = read_answer(body)
    assert (read.choices[0].text, read.model) == ("".join(pieces(prompt)), "served/m")
    assert column(body) == expected_column(prompt, 2)


@pytest.mark.parametrize(
    "used",
    [None, {}, 7, "x", {"completion_tokens": -1}, {"completion_tokens": 1e99}, {"completion_tokens": None}],
    ids=repr,
)
def test_without_a_count_that_can_be_used_tokens_are_estimated(used):
    told = judge(
        encoded({"choices": [{"text": text, "finish_reason": "stop"} for text in ("12345678", "1")], "usage": used})
    )
    assert (told.choices, told.tokens, told.prompt_tokens) == (2, 3, None)


def test_log_probs_in_the_shape_of_chats_are_taken_as_they_are():
    """As llama.cpp gives them, with an id that the contract has not."""
    token = {
        "id": 7,
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"id": 7, "token": "a", "logprob": -0.5, "bytes": [97]}],
    }
    top = {"token": "a", "logprob": -0.5, "bytes": [97]}
    assert column(with_log_probs({"content": [token]})) == {
        "content": [{**top, "top_logprobs": [top]}],
        "refusal": None,
    }


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        5,
        {"content": None},
        {"tokens": ["a"], "token_logprobs": [-1, -2]},
        {"tokens": ["a", "b"], "token_logprobs": [-1, -2], "top_logprobs": [{}]},
        {"tokens": [1], "token_logprobs": [-1]},
        {"tokens": ["a"], "token_logprobs": ["x"]},
        {"content": [{"token": 5}]},
    ],
    ids=json.dumps,
)
def test_log_probs_that_cannot_be_read_cost_no_text(given):
    body = with_log_probs(given)
    assert isinstance(judge(body), Answer)
    assert read_answer(body).choices[0].text == "ab"
    assert column(body) is None


LOGPROB = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TOKENS = st.lists(st.tuples(st.text(max_size=3), LOGPROB, st.none() | st.dictionaries(st.text(max_size=3), LOGPROB, max_size=3)), min_size=1, max_size=5)  # fmt: skip


@given(TOKENS, st.integers(1, 4))
@settings(deadline=None)
def test_log_probs_come_out_as_they_went_in_streamed_or_not(tokens, size):
    def lists(some):
        return {
            "tokens": [t for t, _, _ in some],
            "token_logprobs": [p for _, p, _ in some],
            "top_logprobs": [d for _, _, d in some],
        }

    wanted = [
        {
            "token": t,
            "logprob": p,
            "bytes": None,
            "top_logprobs": None if d is None else [{"token": k, "logprob": v, "bytes": None} for k, v in d.items()],
        }
        for t, p, d in tokens
    ]
    parts = [tokens[at : at + size] for at in range(0, len(tokens), size)]
    chunks = [{"choices": [{"text": "x", "logprobs": lists(part)}]} for part in parts]
    streamed = b"".join(b"data: " + encoded(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]"
    for body in (with_log_probs(lists(tokens)), streamed):
        assert column(body) == {"content": wanted, "refusal": None}


LITELLM_TWO_CHOICES = b"".join(
    b'data: {"id":"chatcmpl-E","created":1795936272,"model":"tiny","object":"chat.completion.chunk","choices":[%b]}\n\n' % choice
    for choice in (
        b'{"index":1,"delta":{"role":"assistant"}}',
        b'{"index":1,"delta":{"content":"ir"}}',
        b'{"index":0,"delta":{"content":"ir"}}',
        b'{"index":1,"delta":{"content":"ng"}}',
        b'{"finish_reason":"length","index":0,"delta":{}}',
        b'{"index":0,"delta":{"content":"ng"}}',
    )
) + b"data: [DONE]\n\n"  # fmt: skip
"""What LiteLLM's proxy 1.108.7 makes of a stream of llama.cpp's with `n: 2`: the second choice's end, told of the first."""


def test_a_stream_that_tells_the_end_of_one_choice_alone_is_not_kept_and_says_what_to_leave_out():
    told = chat.judge(LITELLM_TWO_CHOICES)
    assert isinstance(told, Failure)
    assert (told.kind, "of its 2 choices only 1 said why it ended" in told.message) == (Kind.UNUSABLE, True)
    assert "leave out stream, or n" in told.message
    assert told.is_systematic, "it is so for every row"


def test_a_completion_that_comes_as_a_chat_has_its_text():
    """As a streamed one comes out of the cache of LiteLLM's proxy 1.108.7 (findings/litellm_cache.sh)."""
    choices = [
        {"index": 0, "delta": {"role": "assistant", "content": "One "}},
        {"index": 0, "delta": {"content": "bird."}},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [encoded({"object": "chat.completion.chunk", "choices": [choice]}) for choice in choices]
    body = b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    assert isinstance(judge(body), Answer)
    assert [(choice.text, choice.finish_reason) for choice in read_answer(body).choices] == [("One bird.", "stop")]


@pytest.mark.parametrize("dialect", [OPENAI, OPENAI_CHAT, WRITER_CHAT], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "reason", [{}, {"finish_reason": None}, {"finish_reason": ""}], ids=["absent", "null", "empty"]
)
def test_an_answer_that_never_says_why_it_ended_is_not_whole(dialect, reason):
    """As LocalAI 1.21.0 has it."""
    part = {"message": {"content": "half"}} if dialect.is_chat else {"text": "half"}
    told = dialect.judge(encoded({"choices": [{**part, **reason}]}))
    assert isinstance(told, Failure)
    assert (told.kind, told.is_systematic, "no finish_reason" in told.message) == (Kind.UNUSABLE, True, True)


@pytest.mark.parametrize(
    ("said_behind", "is_kept"),
    [
        pytest.param({"native_finish_reason": "abort"}, False, id="vLLM was stopped amid it"),
        pytest.param({"native_finish_reason": "repetition"}, False, id="vLLM cut a text that went in circles"),
        pytest.param({"native_finish_reason": "end_turn"}, True, id="another name for a good end"),
        pytest.param({"native_finish_reason": 7, "other": []}, True, id="no word"),
        pytest.param({"refusal": None}, True, id="nothing of it"),
        pytest.param(["abort"], True, id="something else in its place"),
        pytest.param(None, True, id="null"),
    ],
)
def test_a_stop_of_a_gateway_is_not_believed_against_the_server_behind_it(said_behind, is_kept):
    """As LiteLLM's proxy 1.108.7 has it (findings/litellm_finish_reason.sh)."""
    choice = {"message": {"content": "half"}, "finish_reason": "stop", "provider_specific_fields": said_behind}
    told = chat.judge(encoded({"choices": [choice]}))
    assert isinstance(told, Answer) == is_kept
    if isinstance(told, Failure):
        assert told.kind is Kind.UNUSABLE
        assert said_behind["native_finish_reason"] in told.message


def test_a_stream_that_never_says_why_it_ended_may_have_been_cut():
    told = judge(b'data: {"choices":[{"text":"half"}]}\n\ndata: [DONE]\n\n')
    assert isinstance(told, Failure)
    assert (told.kind, told.is_systematic) == (Kind.UNUSABLE, False)


def test_several_choices_of_a_stream_are_put_together_by_their_index():
    said = [(1, "c"), (0, "a"), (1, "d"), (0, "b")]
    chunks = [encoded({"choices": [{"index": index, "text": text}]}) for index, text in said]
    body = b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    assert [choice.text for choice in read_answer(body).choices] == ["ab", "cd"]
    assert all(choice.log_probs == NULL for choice in read_answer(body).choices)


def test_several_choices_of_a_whole_answer_stand_by_their_index_too():
    """mistral.rs has them in the order in which they ended: the first in place is the shortest."""
    said = {1: "a", 2: "bb", 0: "cccc"}
    texts = [{"index": index, "text": text, "finish_reason": "stop"} for index, text in said.items()]
    assert [choice.text for choice in read_answer(encoded({"choices": texts})).choices] == ["cccc", "a", "bb"]
    messages = [{"index": index, "message": {"content": text}} for index, text in said.items()]
    assert [choice.text for choice in chat.read_answer(encoded({"choices": messages})).choices] == ["cccc", "a", "bb"]
    alike = [{"text": text} for text in said.values()]
    assert [choice.text for choice in read_answer(encoded({"choices": alike})).choices] == ["a", "bb", "cccc"]


CHUNK = b'data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"choices":[]}', id="no choices"),
        pytest.param(b'{"choices":[{"message":{"content":"a"}}]}', id="a chat"),
        pytest.param(b'{"error":{"message":"x"}}', id="an error with 200"),
        pytest.param(b'{"choices":' + b"[" * 100_000, id="nested absurdly deep"),
        pytest.param(CHUNK[:-10], id="a stream cut in an event"),
        pytest.param(b"data: [DONE]\n\n", id="a stream of nothing"),
    ],
)
def test_a_body_that_is_no_answer(body):
    told = judge(body)
    assert isinstance(told, Failure)
    assert (told.kind, told.status, told.body) == (Kind.UNUSABLE, 200, body)
    with pytest.raises((ValueError, RecursionError)):
        read_answer(body)


def test_a_stream_may_end_without_done_where_it_says_why():
    ends = CHUNK.replace(b"null", b'"length"')
    assert read_answer(CHUNK + ends).choices[0].text == "aa"


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda tail: CHUNK + tail))
@settings(deadline=None)
def test_any_bytes_are_an_answer_or_a_failure(body):
    told = judge(body)
    assert told.body == body
    if isinstance(told, Answer):
        assert len(read_answer(body).choices) == told.choices


# errors, as the servers spell them

LONG = "This model's maximum context length is 16 tokens. However, you requested 50 tokens."


def tensorzero(words: str) -> dict[str, object]:
    """The body by which TensorZero's gateway 2026.6.0 says that its server refused (findings/tensorzero_gateway.sh)."""
    said = f'{words}: {{"error": {{"message": "no", "type": "no", "code": "no"}}}}'
    return {
        "error": {
            "message": f"All variants failed with errors: m: All model providers failed to infer with errors: p: {said}"
        }
    }


ERRORS = [
    ("vLLM: no such model", 404, {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}}, Kind.MODEL),
    ("vLLM before 0.10: no such model", 404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "param": None, "code": 404}, Kind.MODEL),
    ("OpenAI: no such model", 404, {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}, Kind.MODEL),
    ("Ollama: no such model", 404, {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error", "param": None, "code": None}}, Kind.MODEL),
    ("Ollama's own API: no such model", 404, {"error": "model 'm' not found"}, Kind.MODEL),
    ("FastAPI: no such path", 404, {"detail": "Not Found"}, Kind.MISDIRECTED),
    ("llama.cpp: no such path", 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, Kind.MISDIRECTED),
    ("vLLM: too long", 400, {"error": {"message": LONG, "type": "BadRequestError", "param": None, "code": 400}}, Kind.INVALID),
    ("llama.cpp: too long", 400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, Kind.INVALID),
    ("OpenAI: too long", 400, {"error": {"message": LONG, "type": "invalid_request_error", "param": "prompt", "code": "context_length_exceeded"}}, Kind.INVALID),
    ("FastAPI: a wrong field", 422, {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]}, Kind.INVALID),
    ("TGI: a wrong field", 422, {"error": "Input validation error: `best_of` must be > 0", "error_type": "validation"}, Kind.INVALID),
    ("TGI: generation failed", 424, {"error": "Request failed during generation", "error_type": "generation"}, Kind.TRANSIENT),
    ("TGI: overloaded", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, Kind.BUSY),
    ("llama.cpp: loading", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, Kind.TRANSIENT),
    ("vLLM: the engine died", 500, {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}}, Kind.TRANSIENT),
    ("OpenAI: a bad key", 401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}, Kind.KEY),
    ("vLLM: a bad key", 401, {"error": "Unauthorized"}, Kind.KEY),
    ("OpenAI: no permission", 403, {"error": {"message": "no", "type": "forbidden", "param": None, "code": None}}, Kind.KEY),
    ("OpenAI: nothing paid", 429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}, Kind.QUOTA),
    ("OpenAI: too fast", 429, {"error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}, Kind.BUSY),
    ("Azure: a filter", 400, {"error": {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter"}}, Kind.REFUSED),
    ("LiteLLM's completions: no such model", 400, {"error": {"message": "400: {'error': '/completions: Invalid model name passed in model=m. Call `/v1/models` to view available models for your key.'}", "type": "None", "param": "None", "code": "400"}}, Kind.MODEL),
    ("LiteLLM without its database: a wrong key", 400, {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}}, Kind.KEY),
    ("an error that is a list", 400, {"error": ["x"]}, Kind.INVALID),
    ("TensorZero: a limit", 502, tensorzero("Error 429 Too Many Requests from vllm client"), Kind.BUSY),
    ("TensorZero: a limit, of a stream", 502, tensorzero("Inference stream closed due to error from openai server: Invalid status code: 429 Too Many Requests"), Kind.BUSY),
    ("TensorZero: a bad key", 502, tensorzero("Error 401 Unauthorized from vllm client"), Kind.KEY),
    ("TensorZero: too long", 502, tensorzero("Error 400 Bad Request from vllm client"), Kind.INVALID),
    ("TensorZero: two servers, two refusals", 502, tensorzero("Error 400 Bad Request from vllm client; q: Error 429 Too Many Requests from vllm client"), Kind.TRANSIENT),
    ("TensorZero: a server that fails", 502, tensorzero("Error from vllm server"), Kind.TRANSIENT),
    ("llama.cpp: the context that all share is full", 500, {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}, Kind.BUSY),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [pytest.param(s, b, k, id=said) for said, s, b, k in ERRORS])
def test_what_an_error_means(status, body, kind):
    assert classify(status, {}, encoded(body), "m", NOW).kind is kind


def test_an_error_says_what_the_server_said():
    told = classify(400, {}, encoded(ERRORS[7][2]), "m", NOW)
    assert told.message == f"400 BadRequestError {LONG}"


# whole jobs


@pytest.fixture
def own():
    with OwnServer() as server:
        yield server


def rows(count: int) -> list[dict[str, str]]:
    return [{"id": f"r{n}", "name": f"product {n}", "s": str(n), "k": str(n % 4)} for n in range(count)]


def endpoint(server: OwnServer, **more: object) -> dict[str, object]:
    return {"api": "openai", "url": server.url, **more}


def prompt_of(row) -> str:
    return f"Write about {row['name']}."


def test_a_job_on_an_own_server(job, own, called):
    request = {"model": "m", "max_tokens": 20, "temperature": 0.5, "top_p": 0.9, "stop": ["\n\n"], "best_of": 1}
    columns = {"seed": "s", "logprobs": "k"}
    own.script = lambda n, _: {3: Reset(), 5: Status(503, ERRORS[14][2])}.get(n)
    path = job(rows(60), request=request, columns=columns, endpoint=endpoint(own))
    ended = called("run", path, "--json", env={"WRITER_API_KEY": None})
    assert (ended.returncode, own.violations, own.strays) == (0, [], [])
    assert own.served == Counter(map(prompt_of, rows(60)))
    body = next(body for body in own.bodies if body["prompt"] == "Write about product 7.")
    assert body == {**request, "prompt": "Write about product 7.", "seed": 7, "logprobs": 3}
    for row in job.rows():
        prompt = prompt_of(row)
        assert (row["text"], row["model"]) == ("".join(pieces(prompt)), "served/m")
        assert row["log_probs"] == expected_column(prompt, int(row["k"]))
    assert called("run", path, "--json").json["sent"] == 0


def test_a_job_that_streams(job, own, called):
    path = job(
        rows(12),
        request={"stream": True, "logprobs": 1},
        endpoint=endpoint(own, url=f"{own.url}/v1"),
        check={"min_chars": 1},
    )
    assert called("run", path).returncode == 0
    assert own.violations == []
    for row in job.rows():
        assert (row["text"], row["model"]) == ("".join(pieces(prompt_of(row))), "served/palmyra-x5")
        assert row["log_probs"] == expected_column(prompt_of(row), 1)
    assert called("report", path).returncode == 0
    assert "product" in (job.folder / "out" / "job.report.html").read_text(encoding="utf-8")


@dataclass
class SharedContext:
    """llama.cpp's server (xllamacpp 2026.10.11549), whose slots share one context: what fills it ends all that is at
    work, by a 500 or within the stream."""

    room: int
    at_work: list[asyncio.Event] = field(default_factory=list)

    async def __call__(self, exchange):
        given_up = asyncio.Event()
        self.at_work.append(given_up)
        if len(self.at_work) > self.room:
            for one in self.at_work:
                one.set()
        try:
            async with asyncio.timeout(0.02):
                await given_up.wait()
        except TimeoutError:
            return await exchange.answer()
        finally:
            self.at_work.remove(given_up)
        if not exchange.body.get("stream"):
            return web.json_response(ERRORS[-1][2], status=500)
        first = events(exchange.body).partition(b"\n\n")[0]
        body = first + b"\n\ndata: " + encoded(ERRORS[-1][2]) + b"\n\n"
        return web.Response(body=body, content_type="text/event-stream")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_row_fails_since_others_filled_the_context(job, own, called, stream):
    context = SharedContext(room=2)
    own.script = lambda *_: context
    path = job(rows(40), request={"stream": stream}, endpoint=endpoint(own), limits={"concurrency": 4})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], len(own.bodies) > 40) == (0, 40, True)


def test_the_servers_own_count_settles_the_limits(job, own, called):
    """At a thousand tokens each by its count, a budget is used up that estimates would hardly touch."""
    path = job(rows(20), endpoint=endpoint(own), limits={"concurrency": 1}, until={"tokens": 5000})
    ended = called("run", path, "--json")
    assert (ended.returncode, len(own.bodies)) == (3, 5)


def test_an_unknown_model_ends_the_run(job, own, called):
    own.script = lambda *_: Status(404, ERRORS[0][2])
    ended = called("run", job(rows(3), endpoint=endpoint(own)))
    assert ended.returncode == 4
    assert "The model `m` does not exist" in ended.stdout
    assert "request.model" in ended.stdout


def test_no_key_is_sent_unless_the_job_names_one(job, called):
    """Writer's key, above all, is no other server's."""
    variables = {"WRITER_API_KEY": "writers-own-key-0815", "OWN_KEY": "key-of-our-own-server"}
    with OwnServer() as open_to_all, OwnServer("key-of-our-own-server") as closed:
        assert called("run", job(rows(2), endpoint=endpoint(open_to_all)), env=variables).returncode == 0
        path = job(rows(2), endpoint=endpoint(closed, key_env="OWN_KEY"))
        assert called("run", path, env=variables).returncode == 0
        assert open_to_all.violations == closed.violations == []
        ended = called("run", path)
        assert (ended.returncode, "OWN_KEY: no key" in ended.stderr) == (2, True)


def test_the_same_request_to_writer_is_another(job, service, own, called):
    """And an answer in one dialect is never taken for one in the other, even under one name."""
    assert called("run", job(rows(4), endpoint={"name": "x", "url": service.url})).returncode == 0
    ended = called("run", job(rows(4), endpoint=endpoint(own, name="x")), "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 4)
    assert [row["model"] for row in job.rows()] == ["served/palmyra-x5"] * 4
    ended = called("run", job(rows(4), endpoint={"name": "x", "url": service.url}), "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 0)


def test_a_trial_on_the_built_in_model_leaves_the_dialect_behind(job, called):
    request = {"model": "m", "max_tokens": 5, "seed": 2**40, "logprobs": 3}
    path = job(rows(5), request=request, columns={"seed": "s"}, endpoint={"api": "openai", "url": "http://10.1.1.1:1"})
    ended = called("run", path, "--local", env={"WRITER_API_KEY": None})
    assert ended.returncode == 0, ended.stderr
    local = job.rows(job.output.with_suffix(".local.parquet"))
    assert {row["model"] for row in local} == {"local-ngram"}
    assert all(row["log_probs"]["content"] for row in local)


HOLES = [
    ({"request": {"seed": 1}}, "request.seed: the service that endpoint.api names has no such field; writer's name for it is random_seed"),
    ({"columns": {"logprobs": "k"}}, "columns.logprobs: the service that endpoint.api names has no such field; writer sends log-probs unasked"),
    ({"request": {"random_seed": 1}, "endpoint": {"api": "openai", "url": "http://10.0.0.1"}}, "request.random_seed: the service that endpoint.api names has no such field; OpenAI's name for it is seed"),
    ({"endpoint": {"api": "openai"}}, "endpoint: url is missing"),
    ({"endpoint": {"api": "openai", "url": "http://10.0.0.1", "key_env": "K"}}, "endpoint.url: should be https: the key would cross the network in the clear"),
    ({"endpoint": {"api": "openai", "url": "http://10.0.0.1", "key_file": "k"}}, "endpoint.url: should be https"),
    ({"endpoint": {"api": "openai", "url": ["https://a", "http://10.0.0.1"], "name": "n", "key_env": "K"}}, "endpoint.url: should be https"),
    ({"endpoint": {"url": ["https://a", "https://b"]}}, "endpoint: name is missing: several servers"),
    ({"endpoint": {"url": ["https://a", "https://a/"], "name": "n"}}, "endpoint.url: holds an address twice"),
    ({"endpoint": {"url": ["https://a", "b"], "name": "n"}}, "endpoint.url.1: should be an address"),
    ({"endpoint": {"url": []}}, "endpoint.url: "),
    ({"endpoint": {"api": "open"}}, "endpoint.api: should be 'writer' or 'openai'"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "said"), HOLES, ids=[said for _, said in HOLES])
def test_a_job_file_that_does_not_agree_with_itself(job, called, sections, said):
    ended = called("plan", job(rows(1), **sections))
    assert ended.returncode == 2
    assert said in ended.stderr


def test_without_max_tokens_the_servers_own_default_is_told(job, called):
    ended = called(
        "plan", job(rows(1), request={"max_tokens": None}, endpoint={"api": "openai", "url": "http://10.0.0.1"})
    )
    assert ended.returncode == 0
    assert f"many a server cuts each answer at {openai.DEFAULT_TOKENS} tokens" in ended.stdout


def test_what_is_sent_is_in_the_dialects_own_words():
    sent = openai.Request("m", "p", seed=1, logprobs=0)
    assert msgspec.json.decode(msgspec.json.encode(sent)) == {"model": "m", "prompt": "p", "seed": 1, "logprobs": 0}

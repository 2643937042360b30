"""The wire's contract: what each answer means, what a 200's body is worth, and the fields of the OpenAPI document."""

import json
import types
import typing
from datetime import UTC, datetime
from pathlib import Path

import annotated_types
import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from support.pythons import READS_DEEP

from batchgen.api.dialects import WRITER
from batchgen.api.error_responses import classify, retry_after
from batchgen.api.failure_kinds import Kind
from batchgen.api.models import DEPRECATED, estimate_all, estimate_tokens
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import PATH, VENDOR_URL, CompletionRequest, read_answer
from batchgen.api.writer import judge
from batchgen.job import job

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OPENAPI = yaml.safe_load(
    (Path(__file__).parents[1] / "support" / "writer_completions_openapi.yaml").read_text(encoding="utf-8")
)
SCHEMAS = OPENAPI["components"]["schemas"]
HTML = b"<html><body><h1>Bad Gateway</h1></body></html>"


def told(tpe: str | None = None, description: str | None = None, key: str | None = None) -> bytes:
    detail = {"description": description, "key": key, "extras": None}
    return json.dumps({"tpe": tpe, "errors": [detail] if description or key else [], "extras": None}).encode()


def classified(status: int, body: bytes = b"", headers: typing.Mapping[str, str] | None = None) -> Failure:
    return classify(status, headers or {}, body, "palmyra-x4", NOW)


ANSWERS = [
    # this row cannot be served
    ("a bad request", 400, told("BadRequest", "prompt is required"), Kind.INVALID),
    ("a parameter that is no good", 400, told("InvalidInputParameters", "temperature is negative"), Kind.INVALID),
    ("a content type that is no good", 400, told("InvalidContentType"), Kind.INVALID),
    ("a 400 of a proxy, in HTML", 400, HTML, Kind.INVALID),
    ("a 400 with nothing in it", 400, b"", Kind.INVALID),
    ("a 400 that is no object", 400, b"[1, 2]", Kind.INVALID),
    ("a 400 in broken UTF-8", 400, b'{"tpe": "\xff\xfe"}', Kind.INVALID),
    ("a 400 nested absurdly deep", 400, b'{"extras":' * 50_000, Kind.INVALID),
    ("too large a body", 413, told("PayloadTooLarge"), Kind.INVALID),
    ("too large a body, said by a proxy", 413, HTML, Kind.INVALID),
    ("an unprocessable body", 422, told("Unprocessable", "best_of must be positive"), Kind.INVALID),
    ("an unknown 4xx", 418, b"", Kind.INVALID),
    ("another unknown 4xx, in HTML", 431, HTML, Kind.INVALID),
    ("a prompt beyond the context", 400, told("BadRequest", "This model's maximum context length is 128000"), Kind.INVALID),
    ("a prompt too long for the model", 400, told(None, "The prompt is too long for model palmyra-x4"), Kind.INVALID),
    ("a context length exceeded", 400, told(None, "palmyra-x4: context length exceeded, not supported"), Kind.INVALID),
    ("more tokens than the model allows", 400, told(None, "max_tokens exceeds what model palmyra-x4 supports"), Kind.INVALID),
    ("a model praised in passing", 400, told("BadRequest", "palmyra-x4 could not parse the stop field"), Kind.INVALID),
    # this row is refused
    ("a guardrail", 400, told("fail.guardrail.blocked", "blocked"), Kind.REFUSED),
    ("a guardrail, named in the details", 400, told("BadRequest", "blocked", "fail.guardrail.blocked"), Kind.REFUSED),
    ("an unsafe request", 400, told("CompletionModelUnsafeRequestError", "unsafe"), Kind.REFUSED),
    ("an unsafe request, by another status", 422, told("CompletionModelUnsafeRequestError"), Kind.REFUSED),
    ("a guardrail that names the model", 400, told("fail.guardrail.blocked", "model palmyra-x4 not allowed"), Kind.REFUSED),
    # no row can be served
    ("a model not found", 404, told("fail.notFound", "Model palmyra-x4 not found"), Kind.MODEL),
    ("a model that does not exist", 400, told("BadRequest", "The model `palmyra-x4` does not exist"), Kind.MODEL),
    ("a model removed", 410, told("Gone", "palmyra-x4 was removed on 2026-07-13"), Kind.MODEL),
    ("a model no longer available", 410, told("Gone", "This model is no longer available"), Kind.MODEL),
    ("a model by the key of the detail", 400, told("InvalidInputParameters", "not one of the known", "model"), Kind.MODEL),
    ("a model by the code", 404, told("model_not_found"), Kind.MODEL),
    ("a path that is not there", 404, HTML, Kind.MISDIRECTED),
    ("a path that is not there, silently", 404, b"", Kind.MISDIRECTED),
    ("a method not allowed", 405, b"", Kind.MISDIRECTED),
    ("something gone that is no model", 410, told("Gone", "this endpoint was removed"), Kind.MISDIRECTED),
    ("a redirect", 302, b"", Kind.MISDIRECTED),
    ("a permanent redirect, in HTML", 308, HTML, Kind.MISDIRECTED),
    ("no content", 204, b"", Kind.UNUSABLE),
    ("a part of an answer", 206, b"{}", Kind.UNUSABLE),
    ("a cache's word that nothing changed", 304, b"", Kind.TRANSIENT),
    ("a proxy that wants a password", 407, HTML, Kind.PROXY),
    ("a field that the model does not have", 400, told("BadRequest", "'temperature' is not supported with this model"), Kind.INVALID),
    ("a field that is not supported, of OpenAI's", 400, b'{"error":{"message":"Unsupported value: model x wants 1","param":"temperature"}}', Kind.INVALID),
    ("a bad key", 401, told("fail.unauthorized", "Invalid API key"), Kind.KEY),
    ("a bad key, silently", 401, b"", Kind.KEY),
    ("a payment due", 402, told("PaymentRequired"), Kind.KEY),
    ("no permission", 403, told("fail.forbidden", "no access to model palmyra-x4"), Kind.KEY),
    ("no permission, said by a proxy", 403, HTML, Kind.KEY),
    ("the month's quota", 429, told("CompletionModelQuotaError", "quota"), Kind.QUOTA),
    ("the month's quota, newer code", 429, told("fail.model.quotaExceeded"), Kind.QUOTA),
    ("the month's quota, in the details", 429, told("TooManyRequests", "x", "fail.model.quotaExceeded"), Kind.QUOTA),
    ("the month's quota, details null", 429, b'{"tpe":"fail.model.quotaExceeded","errors":null,"extras":null}', Kind.QUOTA),
    ("the month's quota, odd details", 429, b'{"tpe":"CompletionModelQuotaError","errors":["no more"]}', Kind.QUOTA),
    ("a guardrail, after a byte order mark", 400, b'\xef\xbb\xbf{"tpe":"fail.guardrail.blocked"}', Kind.REFUSED),
    ("a guardrail, odd description", 400, b'{"tpe":"fail.guardrail.blocked","errors":[{"description":{"en":"x"}}]}', Kind.REFUSED),
    # everyone slows down
    ("too many a minute", 429, told("fail.tooManyRequests.perMinute", "slow down"), Kind.BUSY),
    ("too many a minute, older code", 429, told("TooManyRequests"), Kind.BUSY),
    ("the minute's quota", 429, told("QuotaExceeded", "tokens per minute exceeded"), Kind.BUSY),
    ("too many, said by a proxy", 429, HTML, Kind.BUSY),
    ("too many, silently", 429, b"", Kind.BUSY),
    ("too many of a month, by words alone", 429, told("QuotaExceeded", "monthly quota of model used up"), Kind.BUSY),
    # transient
    *((f"a {status}", status, b"", Kind.TRANSIENT) for status in (408, 409, 500, 502, 503, 507, 529)),
    *((f"a {status} in HTML", status, HTML, Kind.TRANSIENT) for status in (500, 502, 503)),
    *((f"a gateway that lost patience: {status}", status, HTML, Kind.UNANSWERED) for status in (504, 524)),
    ("jupyter-server-proxy, whose server broke off", 599, HTML, Kind.UNANSWERED),
    ("a server of Dynamo's that is stopped", 499, b'{"message":"Request cancelled","type":"Client Closed Request","code":499}', Kind.UNANSWERED),
    ("a 500 that names the model", 500, told("InternalError", "model palmyra-x4 unavailable"), Kind.TRANSIENT),
    ("a 503 that names the model", 503, told("Unavailable", "model not available"), Kind.TRANSIENT),
    ("an unknown 5xx", 520, HTML, Kind.TRANSIENT),
    ("another unknown 5xx", 598, b"", Kind.TRANSIENT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind"), [pytest.param(s, b, k, id=f"{said}: {k}") for said, s, b, k in ANSWERS]
)
def test_what_an_answer_means(status, body, kind):
    failure = classified(status, body)
    assert failure.kind is kind
    assert failure.status == status
    assert failure.body == body


@given(st.integers(100, 999).filter(lambda status: status != 200), st.binary(max_size=200))
@settings(deadline=None)
def test_every_answer_means_something(status, body):
    failure = classified(status, body)
    assert isinstance(failure.kind, Kind)
    assert failure.message.startswith(str(status))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(told("BadRequest", "prompt is required"), "400 BadRequest prompt is required", id="what it says"),
        pytest.param(b"", "400", id="nothing said: the status alone"),
        pytest.param(b"a\x1b[31mb\r\nc\x00", "400 a [31mb c", id="control characters are taken out"),
        pytest.param(b"\xff", "400 \ufffd", id="bytes that are no text are marked"),
    ],
)
def test_what_a_failure_says(body, said):
    assert classified(400, body).message == said


def test_a_failure_says_no_more_than_a_line():
    assert len(classified(400, told("BadRequest", "x" * 100_000)).message) <= 500
    assert len(classified(502, b"x" * 100_000).message) <= 500


# Retry-After

FRACTION_OF_A_SECOND = 1e-9


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"Retry-After": "7"}, 7, id="seconds"),
        pytest.param({"Retry-After": "0"}, 0, id="none at all"),
        pytest.param({"Retry-After": "1.5"}, 1.5, id="a fraction"),
        pytest.param({"Retry-After": " 7 "}, 7, id="white space around it"),
        pytest.param({"Retry-After": "1000000000"}, 1e9, id="an absurd number is told as it is: the caller caps it"),
        pytest.param({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30, id="a date to come"),
        pytest.param({"Retry-After": "Sun, 22 Nov 2026 11:59:00 GMT"}, 0, id="a date gone by"),
        pytest.param({"Retry-After": "Sun, 22 Nov 2026 13:01:00 +0100"}, 60, id="a date of another zone"),
        pytest.param({"Retry-After": "Sunday, 22-Nov-26 12:00:30 GMT"}, 30, id="a date in RFC 850's form"),
        pytest.param({"Retry-After": "Sun Nov 22 12:00:30 2026"}, 30, id="a date in asctime's form"),
        pytest.param({"retry-after-ms": "250"}, 0.25, id="milliseconds"),
        pytest.param({"retry-after-ms": "250", "Retry-After": "7"}, 0.25, id="milliseconds are the finer"),
        pytest.param({"retry-after-ms": "soon", "Retry-After": "7"}, 7, id="milliseconds that are none"),
        pytest.param({"retry-after-ms": "-1", "Retry-After": "x"}, None, id="nothing usable in either"),
        pytest.param({"Retry-After": "-5"}, None, id="negative"),
        pytest.param({"Retry-After": "+5"}, None, id="signed"),
        pytest.param({"Retry-After": "1e9"}, None, id="with an exponent"),
        pytest.param({"Retry-After": "inf"}, None, id="infinite"),
        pytest.param({"Retry-After": "nan"}, None, id="not a number"),
        pytest.param({"Retry-After": "."}, None, id="a dot"),
        pytest.param({"Retry-After": ""}, None, id="empty"),
        pytest.param({"Retry-After": "soon"}, None, id="a word"),
        pytest.param({"Retry-After": "7, 8"}, None, id="two of them"),
        pytest.param({"Retry-After": "0x10"}, None, id="hexadecimal"),
        pytest.param({"Retry-After": "\u0665"}, None, id="an Arabic digit"),
        pytest.param({"Retry-After": "\uff15"}, None, id="a full-width digit"),
        pytest.param({"Retry-After": "9" * 5000}, None, id="thousands of digits"),
        pytest.param({"Retry-After": "Sun, 99 Nov 2026 12:00:30 GMT"}, None, id="a day that no month has"),
        pytest.param({"Retry-After": "Sun, 22 Nov 2026 12:00:30 +9999"}, None, id="a zone that no place has"),
    ],
)
def test_retry_after(headers, seconds):
    waited = retry_after(headers, NOW)
    assert waited == (None if seconds is None else pytest.approx(seconds, abs=FRACTION_OF_A_SECOND))
    assert retry_after(CIMultiDict(headers), NOW) == waited
    assert classified(429, b"", headers).retry_after == waited


DATE_LIKE = st.from_regex(r"\w{0,4},? ?\d{0,6}[ -]\w{3}[ -]\d{0,12} \d{0,12}:\d{0,9}(:\d{0,9})? ?([+-]\d{0,12}|GMT|\w{0,3})", fullmatch=True)  # fmt: skip


@given(st.one_of(st.text(max_size=60), DATE_LIKE, st.floats().map(str)), st.text(max_size=10))
@settings(deadline=None)
def test_retry_after_is_never_negative_and_never_fails(value, milliseconds):
    for headers in ({"Retry-After": value}, {"Retry-After": value, "retry-after-ms": milliseconds}):
        seconds = retry_after(headers, NOW)
        assert seconds is None or 0 <= seconds < float("inf")


# A 200's body

FULL = {
    "choices": [
        {
            "text": "Zürich 🏕️\n\x00",
            "log_probs": {
                "content": [
                    {
                        "token": " Z",
                        "logprob": -0.1234567890123456,
                        "bytes": [32, 90],
                        "top_logprobs": [
                            {"token": " Z", "logprob": -0.1234567890123456, "bytes": [32, 90]},
                            {"token": "\ufffd", "logprob": -9999.0, "bytes": [240, 159]},
                            {"token": "", "logprob": -5e-324, "bytes": []},
                            {"token": "no bytes", "logprob": 0.0, "bytes": None},
                        ],
                    },
                    {"token": "ürich", "logprob": -1.0, "bytes": None, "top_logprobs": []},
                    {"token": "!", "logprob": -2.0, "bytes": [33], "top_logprobs": None},
                ],
                "refusal": None,
            },
        },
        {"text": "", "log_probs": {"content": None, "refusal": [{"token": "I", "logprob": -1.5, "bytes": [73], "top_logprobs": []}]}},
        {"text": "plain", "log_probs": None},
    ],
    "model": "palmyra-x5",
}  # fmt: skip


def test_an_answer_is_read_to_its_full_depth():
    for body in (json.dumps(FULL), json.dumps(FULL, ensure_ascii=False, indent=2)):
        read = read_answer(body.encode())
        found = [{"text": choice.text, "log_probs": json.loads(bytes(choice.log_probs))} for choice in read.choices]
        assert {"choices": found, "model": read.model} == FULL


def test_an_answer_is_judged_by_its_texts():
    body = json.dumps(FULL).encode()
    tokens = sum(estimate_tokens(choice["text"]) for choice in FULL["choices"])
    assert judge(body) == Answer(body, choices=3, tokens=tokens)


USABLE = [
    ("the official example", b'{"choices":[{"text":"a","log_probs":null}],"model":"m"}'),
    ("no model", b'{"choices":[{"text":"a"}]}'),
    ("a null model", b'{"choices":[{"text":"a"}],"model":null}'),
    ("white space around it", b'\r\n\t {"choices":[{"text":"a"}]} \n'),
    ("a byte order mark before it", b'\xef\xbb\xbf{"choices":[{"text":"a"}]}'),
    ("log-probs without a list", b'{"choices":[{"text":"a","log_probs":{}}]}'),
    ("log-probs without a number", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":null}]}}]}'),
    ("unknown properties everywhere", b'{"id":1,"usage":{"n":[{}]},"choices":[{"text":"a","index":0,"log_probs":{"x":1,"content":[{"token":"a","logprob":-1,"top_logprobs":[{"token":"a","logprob":-1,"id":7}],"id":7}]}}]}'),
    ("a huge number in an unknown property", b'{"created":' + b"9" * 400 + b',"choices":[{"text":"a"}]}'),
    ("a stream", b'data: {"value": "a"}\n\n'),
    ("a log-prob that is no number", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":NaN}]}}]}'),
    ("an infinite log-prob", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":-Infinity}]}}]}'),
    ("one beyond floats", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":-1e999}]}}]}'),
    ("a byte beyond 32 bits", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":-1,"bytes":[2147483648]}]}}]}'),
    ("a byte of 400 digits", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"a","logprob":-1,"bytes":[' + b"9" * 400 + b"]}]}}]}"),
    ("half a character for a token", b'{"choices":[{"text":"a","log_probs":{"content":[{"token":"\\ud83d","logprob":-1}]}}]}'),
]  # fmt: skip


@pytest.mark.parametrize("body", [pytest.param(body, id=said) for said, body in USABLE])
def test_bodies_whose_text_is_kept(body):
    assert read_answer(body).choices[0].text == "a"
    assert judge(body) == Answer(body, choices=1, tokens=1)


UNUSABLE = [
    ("nothing", b""),
    ("white space", b" \n"),
    ("null", b"null"),
    ("a text", b'"a"'),
    ("a list", b'[{"choices":[{"text":"a"}]}]'),
    ("a page of a proxy", HTML),
    ("a page of a proxy after white space", b"\n\n" + HTML),
    ("no choices", b'{"model":"m"}'),
    ("null choices", b'{"choices":null}'),
    ("empty choices", b'{"choices":[]}'),
    ("a choice without a text", b'{"choices":[{"log_probs":null}]}'),
    ("a null text", b'{"choices":[{"text":null}]}'),
    ("a number as text", b'{"choices":[{"text":5}]}'),
    ("a second choice without a text", b'{"choices":[{"text":"a"},{}]}'),
    ("invalid UTF-8", b'{"choices":[{"text":"\xff\xfe"}]}'),
    ("a surrogate in UTF-8", b'{"choices":[{"text":"\xed\xa0\x80"}]}'),
    ("half a character", b'{"choices":[{"text":"\xf0\x9f"}]}'),
    ("a raw control character", b'{"choices":[{"text":"a\x00"}]}'),
    ("nested absurdly deep", b'{"x":' + b"[" * 100_000),
    ("more after its end", b'{"choices":[{"text":"a"}]}{}'),
    ("gzip that was not asked for", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
]  # fmt: skip


@pytest.mark.parametrize("body", [pytest.param(body, id=said) for said, body in UNUSABLE])
def test_bodies_that_are_billed_and_unusable(body):
    failure = judge(body)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.UNUSABLE
    assert failure.status == 200
    assert failure.body == body
    assert len(failure.message) < 500


def test_an_answer_that_holds_what_is_nested_absurdly_deep():
    judged = judge(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"choices":[{"text":"a"}]}')
    assert isinstance(judged, Answer if READS_DEEP else Failure)
    assert READS_DEEP or judged.message.endswith("nested absurdly deep")


@given(st.data())
@settings(deadline=None)
def test_an_answer_cut_anywhere_is_unusable(data):
    body = json.dumps(FULL).encode()
    cut = data.draw(st.integers(0, len(body) - 1))
    assert isinstance(judge(body[:cut]), Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["choices", "text", "log_probs", "content", "value", "bytes"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=300), JSON.map(lambda value: json.dumps(value).encode())))
@settings(deadline=None, max_examples=150)
def test_any_body_is_an_answer_or_unusable(body):
    judged = judge(body)
    assert judged.body == body
    assert isinstance(judged, Answer) or judged.kind is Kind.UNUSABLE


# The OpenAPI document

TYPES = {"string": {str}, "integer": {int}, "number": {float}, "boolean": {bool}, "array": {list}}
BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
REQUEST = SCHEMAS["completions_request"]


def plain_types(annotation: object) -> set[object]:
    """The plain types in an annotation, without None."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return plain_types(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(plain_types, typing.get_args(annotation))) - {type(None)}
    return {origin or annotation}


def documented_types(schema: dict) -> set[object]:
    if "oneOf" in schema:
        return set().union(*map(documented_types, schema["oneOf"]))
    return TYPES[schema["type"]]


def test_a_request_has_the_documented_fields_and_no_other():
    fields = {field.name: field for field in msgspec.structs.fields(CompletionRequest)}
    assert set(fields) == set(REQUEST["properties"])
    assert {name for name, field in fields.items() if field.required} == set(REQUEST["required"])


def test_a_request_with_an_unknown_field_is_none():
    with pytest.raises(msgspec.ValidationError, match="logprobs"):
        msgspec.json.decode(b'{"model":"m","prompt":"p","logprobs":5}', type=CompletionRequest)


@pytest.mark.parametrize("name", REQUEST["properties"])
def test_a_request_field_is_of_the_documented_type(name):
    field = next(field for field in msgspec.structs.fields(CompletionRequest) if field.name == name)
    assert plain_types(field.type) == documented_types(REQUEST["properties"][name])


@pytest.mark.parametrize("name", [n for n, s in REQUEST["properties"].items() if s.get("format") in BOUNDS])
def test_a_request_integer_has_the_documented_bounds(name):
    low, high = BOUNDS[REQUEST["properties"][name]["format"]]
    for fits in (low, high):
        msgspec.convert({"model": "m", "prompt": "p", name: fits}, CompletionRequest)
    for beyond in (low - 1, high + 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"model": "m", "prompt": "p", name: beyond}, CompletionRequest)
    own = job.Request.model_fields[name].metadata
    assert min(m.le for m in own if isinstance(m, annotated_types.Le)) == high
    assert max(m.ge for m in own if isinstance(m, annotated_types.Ge)) in (low, 1)


def test_a_jobs_request_has_the_documented_fields_but_the_prompt():
    assert {name for name in job.Request.model_fields if WRITER.has(name)} == set(REQUEST["properties"]) - {"prompt"}


@pytest.mark.parametrize("name", sorted(set(REQUEST["properties"]) - {"prompt"}))
def test_a_jobs_request_field_is_of_the_documented_type(name):
    assert plain_types(job.Request.model_fields[name].annotation) == documented_types(REQUEST["properties"][name])


def test_columns_may_set_each_field_but_the_prompt():
    assert {name for name in typing.get_args(job.RequestField) if WRITER.has(name)} == set(REQUEST["properties"]) - {
        "prompt"
    }


def test_the_path_is_the_documented_one():
    assert list(OPENAPI["paths"]) == [PATH]
    assert [server["url"] for server in OPENAPI["servers"]] == [VENDOR_URL]


def test_each_deprecated_model_has_a_replacement_that_is_none():
    assert set(DEPRECATED) == {
        "palmyra-x-003-instruct", "palmyra-vision", "palmyra-med", "palmyra-fin", "palmyra-creative",
    }  # fmt: skip
    for model in DEPRECATED.values():
        assert model.replacement not in DEPRECATED
        assert model.removed_on == "2026-07-13"


@given(st.text())
@settings(deadline=None)
def test_tokens_are_estimated_from_bytes(text):
    assert (estimate_tokens(text) - 1) * 4 < len(text.encode()) <= estimate_tokens(text) * 4
    assert estimate_all([text, "", text]) == [estimate_tokens(text), 0, estimate_tokens(text)]

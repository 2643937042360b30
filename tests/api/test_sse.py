"""Server-sent events -> text: every form that the service may use, and no text of a stream that was cut."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api import sse
from batchgen.api.dialects import WRITER_CHAT
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import read_answer
from batchgen.api.writer import judge

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
OTHER_LINES = st.lists(
    st.sampled_from([b": ping", b":", b"event: message", b"id: 7", b"id", b"retry: 3000", b"unknown: x", b"datax: y"]),
    max_size=3,
)


def encoded(value: str, *, raw: bool, indent: int | None) -> bytes:
    return json.dumps({"value": value}, ensure_ascii=not raw, indent=indent).encode()


@st.composite
def events(draw) -> tuple[str, list[bytes]]:
    """A value, and the lines of an event that carries it."""
    value = draw(st.text(max_size=12))
    data = encoded(value, raw=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1])))
    space = draw(st.sampled_from([b"", b" "]))
    lines = draw(OTHER_LINES) + [b"data:" + space + line for line in data.split(b"\n")] + draw(OTHER_LINES)
    return value, lines


def body_of(parts: list[list[bytes]], end: bytes) -> bytes:
    return b"".join(end.join(lines) + end + end for lines in parts)


@given(
    st.lists(events(), max_size=6),
    LINE_ENDS,
    st.booleans(),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
@settings(deadline=None, max_examples=150)
def test_what_is_encoded_is_decoded(told, end, done, missing_ends, mark):
    parts = [lines for _, lines in told] + ([[b"data: [DONE]"]] if done else [])
    body = body_of(parts, end)
    for _ in range(missing_ends):
        body = body.removesuffix(end)
    if not parts:
        with pytest.raises(ValueError, match="without a single event"):
            sse.read(mark + body)
        return
    expected = "".join(value for value, _ in told)
    assert sse.read(mark + body).text == expected
    assert read_answer(mark + body).choices[0].text == expected


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), LINE_ENDS, st.booleans(), st.data())
@settings(deadline=None, max_examples=200)
def test_a_cut_stream_is_refused_or_ends_between_events(values, end, done, data):
    parts = [[b"data: " + encoded(value, raw=True, indent=None)] for value in values]
    body = body_of(parts + ([[b"data: [DONE]"]] if done else []), end)
    cut = data.draw(st.integers(0, len(body)))
    inside = any(start < cut < stop for start, stop in json_spans(parts, end))
    try:
        text = sse.read(body[:cut]).text
    except ValueError:
        return
    assert not inside, "a value was made of half an event"
    assert text in ["".join(values[:count]) for count in range(1, len(values) + 1)]


def json_spans(parts: list[list[bytes]], end: bytes) -> list[tuple[int, int]]:
    """Where the events' JSON begins and ends in the body."""
    spans, at = [], 0
    for (line,) in parts:
        spans.append((at + len(b"data: "), at + len(line)))
        at += len(line) + 2 * len(end)
    return spans


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_text_or_refused(body):
    with contextlib.suppress(ValueError):
        assert isinstance(sse.read(body).text, str)


GOOD = b'data: {"value": "a"}\n\n'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD + b"data: internal server error\n\n", id="an event that is no JSON"),
        pytest.param(GOOD + b"data:\n\n", id="an event without data"),
        pytest.param(GOOD + b"data: null\n\n", id="a null event"),
        pytest.param(GOOD + b'data: "a"\n\n', id="an event that is a bare text"),
        pytest.param(GOOD + b'data: {"value": 5}\n\n', id="a number as value"),
        pytest.param(GOOD + b'data: {"value": "\xff"}\n\n', id="invalid UTF-8"),
        pytest.param(GOOD + b'data: {"value": "a"}{"value": "b"}\n\n', id="two values in one event"),
        pytest.param(GOOD + b'data: {"value": "a"}\ndata: {"value": "b"}\n\n', id="two values without a blank line between"),
        pytest.param(GOOD + b'data: {"value": "a', id="cut within a value"),
        pytest.param(GOOD + b'data: {"value": "a"}\n\ndata: [DO', id="cut within the end mark"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n\n\n", id="blank lines"),
        pytest.param(b": ping\n\n: ping\n\n", id="comments alone"),
        pytest.param(b"event: message\nid: 1\n\n", id="an event of other fields alone"),
        pytest.param(b"<html>502</html>", id="a page of a proxy"),
    ],
)  # fmt: skip
def test_streams_that_carry_no_text(body):
    with pytest.raises(ValueError, match=r"."):
        sse.read(body)
    assert_unusable(body)


BROKEN = [
    ("an error event after a text", b'data: {"error": {"message": "overloaded"}}'),
    ("one with the text's last piece", b'data: {"value": "b", "error": {"message": "overloaded"}}'),
    ("writer's own errors", b'data: {"value": "b", "errors": [{"description": "overloaded"}]}'),
    ("FastAPI's detail", b'data: {"detail": "overloaded"}'),
    ("an object that is an error, as SGLang's", b'data: {"object": "error", "message": "overloaded", "code": 500}'),
    ("a message in place of a value", b'data: {"message": "overloaded"}'),
    ("a named event", b'event: error\ndata: {"tpe": "InternalError", "errors": []}'),
    ("a named event with a value", b'event: error\ndata: {"value": "overloaded"}'),
    ("an event that is named after its data", b'data: {"value": "overloaded"}\nevent: error'),
    ("a field of its own, as llama.cpp's", b'error: {"message": "overloaded"}'),
]


@pytest.mark.parametrize("done", [b"", b"\n\ndata: [DONE]\n\n"], ids=["ends", "says DONE"])
@pytest.mark.parametrize("event", [pytest.param(event, id=said) for said, event in BROKEN])
def test_half_a_text_is_no_answer(event, done):
    failure = assert_unusable(GOOD + event + done)
    assert "broke off" in failure.message


WHOLE = [
    ("a null error", b'data: {"value": "b", "error": null}', "ab"),
    ("no errors", b'data: {"value": "b", "errors": []}', "ab"),
    ("a null value", b'data: {"value": null}', "a"),
    ("a gateway's last event", b'data: {"usage": {"total_tokens": 3}}', "a"),
    ("a heartbeat of another name", b"event: ping\ndata: keep-alive", "a"),
    ("an error that is zero", b'data: {"value": "b", "error": 0}', "ab"),
    ("another event's name", b'event: message\ndata: {"value": "b"}', "ab"),
    ("half a character", b'data: {"value": "\\ud800"}', "a\ufffd"),
]


@pytest.mark.parametrize(("event", "text"), [pytest.param(event, text, id=said) for said, event, text in WHOLE])
def test_what_breaks_nothing_off(event, text):
    body = GOOD + event + b"\n\ndata: [DONE]\n\n"
    assert isinstance(judge(body), Answer)
    assert read_answer(body).choices[0].text == text


def assert_unusable(body: bytes) -> Failure:
    failure = judge(body)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.UNUSABLE
    assert failure.body == body
    return failure


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(
            GOOD + b"data: [DONE]\n\n" + b"data: garbage\n\n", "a", id="what follows the end mark is not read"
        ),
        pytest.param(GOOD + b"data:[DONE]", "a", id="an end mark without space or line end"),
        pytest.param(b"data: [DONE]\n\n", "", id="an end mark alone: an empty text"),
        pytest.param(b'data: {"value": ""}\n\n', "", id="an empty value: an empty text"),
        pytest.param(b'data: {"value": "a", "model": "m", "x": {}}\n\n', "a", id="unknown properties"),
        pytest.param(
            'data: {"value": "a\u2028\u0085b"}\n\n'.encode(), "a\u2028\u0085b", id="other separators end no line"
        ),
        pytest.param(b'data: {"value": "a\\r\\nb"}\r\n\r\n', "a\r\nb", id="line ends within a value"),
        pytest.param(
            b'\n\n: hello\n\ndata: {"value": "a"}\n\n\n\ndata: {"value": "b"}\n\n', "ab", id="blank lines between"
        ),
    ],
)
def test_streams_that_carry_a_text(body, text):
    assert sse.read(body).text == text


@given(st.lists(st.binary(max_size=20).filter(lambda data: not set(data) & set(b"\r\n")), max_size=5), LINE_ENDS)
@settings(deadline=None)
def test_events_are_the_data_as_they_came(datas, end):
    assert [data for _, data in sse.events(b"".join(b"data: " + data + end + end for data in datas))] == datas


def test_writers_older_chat_streams_have_message_in_place_of_delta():
    def chunk(message: dict, reason: str | None = None) -> bytes:
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"

    begun = chunk({"role": "assistant", "content": "Hel"}) + chunk({"content": "lo \u00e9"})
    answer = WRITER_CHAT.read_answer(begun + chunk({}, "stop") + b"data: [DONE]\n\n")
    assert [(one.text, one.finish_reason) for one in answer.choices] == [("Hello \u00e9", "stop")]
    assert isinstance(WRITER_CHAT.judge(begun), Failure), "half of it is no answer"

"""Answers as Arrow columns: what comes out is what went in, to every depth, with every null."""

import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.types import Choice, Completion, LogProbs, TokenLogProb, TopLogProb
from batchgen.output import decode
from batchgen.output.decode import _AWKWARD, answers
from batchgen.output.schema import CHOICES, LOG_PROBS

GOOD = b'{"content":[{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[]}],"refusal":null}'
TEXT = st.text(max_size=4)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
BYTES = st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)


def lists(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | st.lists(items, max_size=3)


TOPS = st.builds(TopLogProb, TEXT, NUMBER, BYTES)
TOKENS = lists(st.builds(TokenLogProb, TEXT, NUMBER, BYTES, lists(TOPS)))
LOGS = st.none() | st.builds(LogProbs, TOKENS, TOKENS)


def log_probs(values: list[LogProbs | None]) -> pa.Array:
    return read([msgspec.json.encode(value) for value in values])


def read(values: list[bytes]) -> pa.Array:
    """Log-probs, each of an answer of its own."""
    return answers([b'{"choices":[{"text":"","log_probs":%s}]}' % value for value in values]).log_probs


def plain(values: list) -> list:
    return [msgspec.to_builtins(value) for value in values]


@given(st.lists(LOGS, max_size=6))
@settings(deadline=None, max_examples=150)
def test_log_probs_come_out_as_they_went_in(values):
    column = log_probs(values)
    column.validate(full=True)
    assert column.type == LOG_PROBS
    assert column.to_pylist() == plain(values)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 400))
@settings(deadline=None, max_examples=50)
def test_answers_of_all_lengths_come_out_whatever_a_block_holds(lengths, block):
    values = [
        LogProbs([TokenLogProb("x" * (at % 7), -at / 3, None, [TopLogProb("\n", 0.0, [10])]) for at in range(length)])
        for length in lengths
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchgen.output.decode.BATCH_BYTES", block)
        assert log_probs(values).to_pylist() == plain(values)


ANSWER = st.none() | st.builds(
    Completion, st.lists(st.builds(Choice, TEXT, LOGS), min_size=1, max_size=3), st.none() | TEXT
)


@given(st.lists(ANSWER, max_size=5))
@settings(deadline=None, max_examples=150)
def test_answers_come_out_as_they_went_in(values):
    found = answers([value and msgspec.json.encode(value) for value in values])
    for column in found:
        column.validate(full=True)
    firsts = [value and value.choices[0] for value in values]
    assert found.text.to_pylist() == [first and first.text for first in firsts]
    assert found.log_probs.to_pylist() == plain([first and first.log_probs for first in firsts])
    assert found.model.to_pylist() == [value and value.model for value in values]
    later = [value and [{**plain([one])[0], "finish_reason": None} for one in value.choices[1:]] for value in values]
    assert found.more.to_pylist() == [one or None for one in later]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="an object of nothing"),
        pytest.param(b'{"choices":null}', id="null for the choices"),
        pytest.param(b'{"choices":[]}', id="no choices"),
        pytest.param(b'{"choices":[null]}', id="null for a choice"),
        pytest.param(b'{"choices":[{}]}', id="no text"),
        pytest.param(b'{"choices":[{"text":null}]}', id="null for a text"),
        pytest.param(b'{"choices":[{"text":"a"},{"text":null}]}', id="null for the second text"),
        pytest.param(b'{"choices":[{"text":5}]}', id="a number for a text"),
        pytest.param(b'{"choices":[{"text":"a"}],"model":5}', id="a number for a model"),
        pytest.param(b'{"choices":[{"text":"\xff"}]}', id="not UTF-8"),
        pytest.param(b'{"choices":[{"text":"a"}]', id="half an answer"),
        pytest.param(b'{"choices":[{"text":"a"}]}{"choices":[{"text":"b"}]}', id="two answers in one"),
        pytest.param(b'{"choices":%s1%s}' % (b"[" * 100_000, b"]" * 100_000), id="absurdly deep"),
    ],
)
def test_what_is_no_answer_is_null_and_nothing_else_is(said):
    good = b'{"choices":[{"text":"a","log_probs":%s}],"model":"m"}' % GOOD
    found = answers([good, said, good])
    for column in (found.text, found.log_probs, found.model):
        assert [value is None for value in column.to_pylist()] == [False, True, False]


def test_a_choice_whose_log_probs_cannot_be_read_costs_no_other_its_own():
    said = b'{"choices":[{"text":"a","log_probs":%s},{"text":"b","log_probs":7},{"text":"\\u0000","log_probs":%s}]}'
    found = answers([said % (GOOD, GOOD)])
    assert found.text.to_pylist() == ["a"]
    good = found.log_probs[0].as_py()
    assert good == msgspec.json.decode(GOOD)
    assert found.more[0].as_py() == [
        {"text": "b", "log_probs": None, "finish_reason": None},
        {"text": "\0", "log_probs": good, "finish_reason": None},
    ]


@given(st.integers(2, 1200), st.sets(st.integers(0, 1199), max_size=40))
@settings(deadline=None, max_examples=30)
def test_those_that_cannot_be_read_are_found_among_many(rows, odd):
    said = b'{"choices":[{"text":"%d","log_probs":%s}]}'
    found = answers([said % (row, b"[7]" if row in odd else GOOD) for row in range(rows)])
    assert found.text.to_pylist() == [str(row) for row in range(rows)]
    assert found.log_probs.is_null().to_pylist() == [row in odd for row in range(rows)]


def test_one_among_thousands_is_found_by_dozens_of_readings(monkeypatch):
    readings = []
    read_json = decode.read_json
    monkeypatch.setattr(decode, "read_json", lambda *said, **how: readings.append(1) or read_json(*said, **how))
    read([b"[7]" if row == 1234 else GOOD for row in range(4096)])
    assert len(readings) < 60


@given(st.lists(LOGS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_a_file_keeps_them(values):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"log_probs": log_probs(values)}), sink, compression="zstd")
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert table.schema.field("log_probs").type == LOG_PROBS
    assert table["log_probs"].to_pylist() == plain(values)


@given(st.lists(LOGS, min_size=1, max_size=3))
@settings(deadline=None)
def test_an_answers_own_json_comes_out(values):
    said = {"choices": [{"text": "x", "log_probs": value} for value in plain(values)]}
    for body in (json.dumps(said), json.dumps(said, indent=2), json.dumps(said, ensure_ascii=False, indent="\r\n\t")):
        found = answers([body.encode()])
        others = found.more.to_pylist()[0] or []
        assert found.log_probs.to_pylist() + [other["log_probs"] for other in others] == plain(values)


def test_each_null_is_its_own():
    token = TokenLogProb("a", None, None, None)
    values = [
        None,
        LogProbs(None, None),
        LogProbs([], None),
        LogProbs([token], []),
        LogProbs([TokenLogProb("b", -0.0, [], [])], [TokenLogProb("c", -5e-324, [0, 255], [TopLogProb("", None, None)])]),
        None,
    ]  # fmt: skip
    column = log_probs(values)
    assert column.to_pylist() == plain(values)
    assert column.null_count == 2
    assert column.slice(3, 2).to_pylist() == plain(values[3:5])


def test_no_rows():
    of = answers([])._asdict()
    assert {name: column.type for name, column in of.items()} == {
        **dict.fromkeys(("text", "model", "finish_reason", "reasoning"), pa.string()),
        **dict.fromkeys(("prompt_tokens", "completion_tokens"), pa.int64()),
        "log_probs": LOG_PROBS,
        "more": CHOICES,
    }


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"x"', id="a text"),
        pytest.param(b"5", id="a number"),
        pytest.param(GOOD.replace(b'"a"', b"5"), id="a token that is a number"),
        pytest.param(GOOD.replace(b'"a"', b'"\xff"'), id="a token that is not UTF-8"),
        pytest.param(GOOD.replace(b"-1.5", b'"low"'), id="a log-prob that is a text"),
        pytest.param(GOOD.replace(b"-1.5", b"1e999"), id="a number beyond all"),
        pytest.param(GOOD.replace(b"97", b"3000000000"), id="a byte of three thousand million"),
    ],
)
def test_what_has_another_shape_is_null_and_nothing_else_is(said):
    column = read([GOOD, said, b"null", GOOD])
    column.validate(full=True)
    assert [value is None for value in column.to_pylist()] == [False, True, True, False]
    assert column[0] == column[3]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(GOOD.replace(b"-1.5", b'"-1.5"'), id="a log-prob in quotes"),
        pytest.param(GOOD.replace(b"97", b"97.5"), id="a byte and a half"),
        pytest.param(GOOD.replace(b"97", b"0.97e2"), id="a byte as a power of ten"),
        pytest.param(GOOD.replace(b'{"content"', b'{"content":[],"content"'), id="content twice: the last"),
    ],
)
def test_numbers_are_read_liberally(said):
    column = read([GOOD, said])
    assert column[0] == column[1]


@pytest.mark.parametrize("said", [b'"NaN"', b'"-Infinity"', b'"inf"'])
def test_a_number_that_is_none_is_null_and_no_other_is(said):
    column = read([GOOD.replace(b"-1.5", said), GOOD])
    assert [value["content"][0]["logprob"] for value in column.to_pylist()] == [None, -1.5]


CHARACTERS = "a\u00e9\uffff\U00010000\U0001f600\U0001ffff\U00020000\U0002fa1d\U000e0001\U0010ffff"


@pytest.mark.parametrize("character", CHARACTERS)
def test_characters_of_all_planes_come_out_however_they_are_written(character):
    for escaped in (json.dumps(character), json.dumps(character).upper().replace("\\U", "\\u"), f'"{character}"'):
        said = GOOD.replace(b'"a"', escaped.encode())
        tokens = [value["content"][0]["token"] for value in read([GOOD, said]).to_pylist()]
        assert tokens == ["a", json.loads(escaped)]


def test_a_token_that_is_a_nul_comes_out():
    said = GOOD.replace(b'"a"', b'"\\u0000"')
    assert [token["token"] for token in read([said])[0].as_py()["content"]] == ["\0"]


def test_fields_that_came_later_are_passed_over():
    later = GOOD.replace(b'"token"', b'"id":[{"x":1}],"token"').replace(b'"refusal"', b'"more":{},"refusal"')
    column = read([GOOD, later])
    assert column[0] == column[1]


@pytest.mark.parametrize(
    ("value", "is_awkward"),
    [
        pytest.param(b'{"choices":[{"text":"a\\u0000b"}]}', True, id="an escaped NUL"),
        pytest.param(
            b'{"choices":[{"text":"\\ud840\\udc00"}]}', True, id="an escaped pair of surrogates above U+1FFFF"
        ),
        pytest.param(b'{"choices":[{"text":"a\\nb \\u00e9"}]}', False, id="other escapes"),
    ],
)
def test_what_arrow_must_not_be_handed_unseen_is_known_by_its_escapes(value, is_awkward):
    """Of what it refuses it makes a message that cannot hold a NUL, and ends the process: such values are written anew
    before it sees them."""
    assert bool(_AWKWARD.search(value)) is is_awkward

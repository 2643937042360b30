"""Log-probs as Arrow columns: what comes out is what went in, to every depth, with every null."""

import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.contract import NULL, Choice, LogProbs, RawChoice, TokenLogProb, TopLogProb, read_answer
from batchgen.results.log_probs import CHOICES, LOG_PROBS, choices, log_probs

TEXT = st.text(max_size=4)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
BYTES = st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)


def lists(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | st.lists(items, max_size=3)


TOPS = st.builds(TopLogProb, TEXT, NUMBER, BYTES)
TOKENS = lists(st.builds(TokenLogProb, TEXT, NUMBER, BYTES, lists(TOPS)))
LOGS = st.none() | st.builds(LogProbs, TOKENS, TOKENS)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def read(value: list[Choice] | None) -> list[RawChoice] | None:
    return None if value is None else [RawChoice(choice.text, raw(choice.log_probs)) for choice in value]


def plain(values: list) -> list:
    return [msgspec.to_builtins(value) for value in values]


@given(st.lists(LOGS, max_size=6))
@settings(deadline=None, max_examples=300)
def test_log_probs_come_out_as_they_went_in(values):
    column = log_probs([raw(value) for value in values])
    column.validate(full=True)
    assert column.type == LOG_PROBS
    assert column.to_pylist() == plain(values)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 400))
@settings(deadline=None, max_examples=100)
def test_answers_of_all_lengths_come_out_whatever_a_block_holds(lengths, block):
    values = [
        LogProbs([TokenLogProb("x" * (at % 7), -at / 3, None, [TopLogProb("\n", 0.0, [10])]) for at in range(length)])
        for length in lengths
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchgen.results.log_probs.BATCH_BYTES", block)
        assert log_probs([raw(value) for value in values]).to_pylist() == plain(values)


@given(st.lists(lists(st.builds(Choice, TEXT, LOGS)), max_size=5))
@settings(deadline=None, max_examples=200)
def test_choices_come_out_as_they_went_in(values):
    column = choices([read(value) for value in values])
    column.validate(full=True)
    assert column.type == CHOICES
    assert column.to_pylist() == plain(values)


@given(st.lists(LOGS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_a_file_keeps_them(values):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"log_probs": log_probs([raw(value) for value in values])}), sink, compression="zstd")
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert table.schema.field("log_probs").type == LOG_PROBS
    assert table["log_probs"].to_pylist() == plain(values)


@given(st.lists(LOGS, min_size=1, max_size=3))
@settings(deadline=None)
def test_an_answers_own_json_comes_out(values):
    said = {"choices": [{"text": "x", "log_probs": value} for value in plain(values)]}
    for body in (json.dumps(said), json.dumps(said, indent=2), json.dumps(said, ensure_ascii=False, indent="\r\n\t")):
        found = [choice.log_probs for choice in read_answer(body.encode()).choices]
        assert log_probs(found).to_pylist() == plain(values)


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
    column = log_probs([raw(value) for value in values])
    assert column.to_pylist() == plain(values)
    assert column.null_count == 2
    assert column.slice(3, 2).to_pylist() == plain(values[3:5])


def test_no_rows():
    assert log_probs([]).type == LOG_PROBS
    assert choices([]).type == CHOICES


GOOD = b'{"content":[{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[]}],"refusal":null}'


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"x"', id="a text"),
        pytest.param(b"5", id="a number"),
        pytest.param(GOOD.replace(b'"a"', b"5"), id="a token that is a number"),
        pytest.param(GOOD.replace(b'"a"', b'"\xff"'), id="a token that is not UTF-8"),
        pytest.param(GOOD.replace(b'"a"', b'"\\ud800"'), id="half a surrogate pair"),
        pytest.param(GOOD.replace(b'"a"', b'"\\ud880\\ud880"'), id="two first halves of surrogate pairs"),
        pytest.param(GOOD.replace(b"-1.5", b'"low"'), id="a log-prob that is a text"),
        pytest.param(GOOD.replace(b"-1.5", b'"NaN"'), id="a log-prob that is the text of no number"),
        pytest.param(GOOD.replace(b"-1.5", b"1e999"), id="a number beyond all"),
        pytest.param(GOOD.replace(b"97", b"3000000000"), id="a byte of three thousand million"),
        pytest.param(GOOD.replace(b'"a"', b'{"\\u0000":1}'), id="an object with a NUL for a token"),
        pytest.param(b'{"content":"\\u0000"}', id="a NUL for the tokens"),
        pytest.param(b'["\\u0000"]', id="a list of a NUL"),
    ],
)
def test_what_has_another_shape_is_null_and_nothing_else_is(said):
    column = log_probs([msgspec.Raw(GOOD), msgspec.Raw(said), NULL, msgspec.Raw(GOOD)])
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
    column = log_probs([msgspec.Raw(GOOD), msgspec.Raw(said)])
    assert column[0] == column[1]


CHARACTERS = "a\u00e9\uffff\U00010000\U0001f600\U0001ffff\U00020000\U0002fa1d\U000e0001\U0010ffff"


@pytest.mark.parametrize("character", CHARACTERS)
def test_characters_of_all_planes_come_out_however_they_are_written(character):
    for escaped in (json.dumps(character), json.dumps(character).upper().replace("\\U", "\\u"), f'"{character}"'):
        said = GOOD.replace(b'"a"', escaped.encode())
        tokens = [
            value["content"][0]["token"] for value in log_probs([msgspec.Raw(GOOD), msgspec.Raw(said)]).to_pylist()
        ]
        assert tokens == ["a", json.loads(escaped)]


def test_a_token_that_is_a_nul_comes_out():
    said = msgspec.Raw(GOOD.replace(b'"a"', b'"\\u0000"'))
    assert [token["token"] for token in log_probs([said])[0].as_py()["content"]] == ["\0"]


def test_fields_that_came_later_are_passed_over():
    later = GOOD.replace(b'"token"', b'"id":[{"x":1}],"token"').replace(b'"refusal"', b'"more":{},"refusal"')
    column = log_probs([msgspec.Raw(GOOD), msgspec.Raw(later)])
    assert column[0] == column[1]

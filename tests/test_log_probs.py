"""Log-probs as Arrow columns: what comes out is what went in, to every depth, with every null."""

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.contract import Choice, LogProbs, TokenLogProb, TopLogProb, read_answer
from batchgen.results.log_probs import CHOICES, LOG_PROBS, choices, log_probs

TEXT = st.text(max_size=4)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
BYTES = st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)


def lists(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | st.lists(items, max_size=3)


TOPS = st.builds(TopLogProb, TEXT, NUMBER, BYTES)
TOKENS = lists(st.builds(TokenLogProb, TEXT, NUMBER, BYTES, lists(TOPS)))
LOGS = st.none() | st.builds(LogProbs, TOKENS, TOKENS)


def plain(values: list) -> list:
    return [msgspec.to_builtins(value) for value in values]


@given(st.lists(LOGS, max_size=6))
@settings(deadline=None, max_examples=300)
def test_log_probs_come_out_as_they_went_in(values):
    column = log_probs(values)
    column.validate(full=True)
    assert column.type == LOG_PROBS
    assert column.to_pylist() == plain(values)


@given(st.lists(lists(st.builds(Choice, TEXT, LOGS)), max_size=5))
@settings(deadline=None, max_examples=200)
def test_choices_come_out_as_they_went_in(values):
    column = choices(values)
    column.validate(full=True)
    assert column.type == CHOICES
    assert column.to_pylist() == plain(values)


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
    body = msgspec.json.encode({"choices": [{"text": "x", "log_probs": value} for value in plain(values)]})
    read = [choice.log_probs for choice in read_answer(body).choices]
    assert log_probs(read).to_pylist() == plain(values)


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
    assert log_probs([]).type == LOG_PROBS
    assert choices([]).type == CHOICES

"""Measures of answers: what a report tells of texts, taken while they are published."""

from __future__ import annotations

import json
import math
from statistics import fmean

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.models import estimate_tokens
from batchgen.output import answer_sample
from batchgen.output.answer_sample import AnswerMeter, measured
from batchgen.output.decode import answers

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
LOG_PROBS = st.none() | st.lists(st.floats(-20, 0) | st.none(), max_size=4)


def answer(texts: list[str], log_probs: list[float | None] | None = None, model: str | None = None) -> bytes:
    tokens = None if log_probs is None else {"content": [{"token": "t", "logprob": one} for one in log_probs]}
    choices = [{"text": text, "log_probs": tokens} for text in texts]
    return json.dumps({"choices": choices, "model": model}).encode()


@given(st.lists(st.none() | st.tuples(st.lists(TEXTS, min_size=1, max_size=3), LOG_PROBS), max_size=12))
def test_measures_are_those_of_each_text(given_answers):
    """A row without an answer has none; a mean is that of the tokens with a number."""
    bodies = [None if one is None else answer(*one) for one in given_answers]
    found = measured(pl.Series(range(len(bodies)), dtype=pl.Int64), answers(bodies)).to_dicts()
    wanted = [(at, *one) for at, one in enumerate(given_answers) if one is not None]
    assert [row["id"] for row in found] == [at for at, *_ in wanted]
    for row, (_, texts, log_probs) in zip(found, wanted, strict=True):
        assert (row["chars"], row["digest"]) == (len(texts[0]), hash(texts[0]))
        assert row["tokens"] == sum(map(estimate_tokens, texts))
        numbers = [one for one in log_probs or () if one is not None]
        assert (row["mean_logprob"] is None) == (not numbers)
        assert not numbers or math.isclose(row["mean_logprob"], fmean(numbers), abs_tol=1e-12)


def test_a_long_name_of_a_model_is_cut():
    found = measured(pl.Series([1]), answers([answer(["a"], model="m" * 1000)]))
    assert found["model"].to_list() == ["m" * answer_sample.MODEL_CHARS]


@pytest.mark.parametrize(
    ("rows", "ids", "measured_ids", "of"),
    [
        pytest.param(4, [1, 2, None, 4], [1, 2, 4], 3, id="a row without an answer does not count"),
        pytest.param(4, [7, 8, 7, 8], [7, 8], 2, id="an answer that rows share counts once"),
        pytest.param(21, list(range(1, 22)), [4, 8, 12, 16, 20], 21, id="of many, one of each four"),
        pytest.param(40, [one for one in range(1, 21) for _ in range(2)], [8, 16], 20, id="of many that two rows share each"),
        pytest.param(4, [None] * 4, [], 0, id="no answer at all"),
    ],
)  # fmt: skip
def test_answers_are_all_measured_or_an_even_sample(monkeypatch, rows, ids, measured_ids, of):
    monkeypatch.setattr(answer_sample, "ALL_UP_TO", 20)
    monkeypatch.setattr(answer_sample, "SAMPLE", 5)
    meter = AnswerMeter(rows)
    for start in range(0, rows, 2):  # in pieces
        piece = ids[start : start + 2]
        meter.add(pl.Series(piece, dtype=pl.Int64), answers([answer([f"text {id_}"]) for id_ in piece]))
    sample = meter.sample()
    assert (sample.answers["id"].to_list(), sample.of) == (measured_ids, of)
    assert sample.is_sample == (of > len(measured_ids))

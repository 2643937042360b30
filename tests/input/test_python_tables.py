"""Tables that Python has: a list of dicts keeps its values, or is refused by row and column."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batchgen
from batchgen.input.python_tables import as_polars

CHANGED = [
    pytest.param(
        [0.5, 9007199254740993], "9007199254740993, which would become 9007199254740992.0", id="a long number"
    ),
    pytest.param(["a", 1.0], "1.0, which would become '1'", id="a fraction among texts"),
    pytest.param([2, True], "True, which would become 1", id="a truth among numbers"),
    pytest.param([5, dt.timedelta(days=1)], "which would become 86400000000", id="a duration among numbers"),
    pytest.param(["b", b"a"], "'b', which would become b'b'", id="bytes among texts"),
    pytest.param([0.5, Decimal("0.1")], "Decimal('0.1'), which would become 0.1", id="a decimal among fractions"),
    pytest.param([{"n": 0.5}, {"n": True}], "{'n': True}, which would become {'n': 1.0}", id="within objects"),
    pytest.param([[{"n": 2}], [{"n": True}]], "[{'n': True}], which would become [{'n': 1}]", id="within lists"),
]


@pytest.mark.parametrize(("values", "said"), CHANGED)
def test_what_a_type_would_change_is_refused_by_row_and_column(values, said):
    row = 1 if said.startswith("'b'") else 2
    with pytest.raises(batchgen.UsageError) as refused:
        as_polars([{"it": value} for value in values])
    assert f"frame: row {row}: column 'it' holds " in str(refused.value)
    assert said in str(refused.value)


KEPT = [
    pytest.param([1, 0.5, None], [1.0, 0.5, None], id="numbers that a float holds"),
    pytest.param([1, "a", True], ["1", "a", "true"], id="texts, and what has its text"),
    pytest.param(["a", 0.25], ["a", "0.25"], id="a fraction that has its text"),
    pytest.param([float("nan"), 0.5], None, id="no number"),
    pytest.param([float("nan"), "a"], [None, "a"], id="a missing text, as pandas has it"),
    pytest.param([{"a": "x"}, {"a": np.float64("nan")}], [{"a": "x"}, {"a": None}], id="within others, too"),
    pytest.param(pd.DataFrame({"a": ["NaN", None]}).to_dict("records"), [{"a": "NaN"}, {"a": None}], id="as records"),
    pytest.param([2**63, 1], [2**63, 1], id="large numbers"),
    pytest.param([{"a": 1}, {"b": (1, 2)}], [{"a": 1, "b": None}, {"a": None, "b": [1, 2]}], id="objects, unlike"),
    pytest.param([np.float64(1), 0.5, np.int64(3)], [1.0, 0.5, 3.0], id="NumPy's numbers"),
    pytest.param([np.array([1, 2]), [3]], [[1, 2], [3]], id="NumPy's lists"),
    pytest.param([pd.Timestamp("2026-01-01"), dt.datetime(2026, 1, 2)], None, id="times of pandas"),  # noqa: DTZ001
    pytest.param([{}, None], ["{}", None], id="dicts without keys are text"),
    pytest.param([{"a": {}, "b": 1}], ['{"a":{},"b":1}'], id="within others, too"),
]


@pytest.mark.parametrize(("values", "kept"), KEPT)
def test_values_that_stay_what_they_are(values, kept):
    made = as_polars([{"it": value} for value in values])["it"].to_list()
    assert made == kept if kept is not None else len(made) == len(values)


@pytest.mark.parametrize(
    ("given", "kept"),
    [([2**63, 1], pl.UInt64), ([2**70, -5, None], pl.Decimal(38, 0)), (pl.Series([7], dtype=pl.Int128), pl.Int64)],
)
def test_long_whole_numbers_are_of_a_type_that_is_read_again(given, kept):
    column = as_polars([{"it": value} for value in given] if isinstance(given, list) else given.to_frame("it"))["it"]
    assert (column.dtype, column.to_list()) == (kept, list(given))


def test_a_column_alone():
    assert as_polars(pl.Series("name", ["a"])).to_dicts() == [{"name": "a"}]


D = Decimal("1.5")
OF_ARROW = [
    pytest.param(pa.array([D, None], pa.decimal32(5, 1)), [D, None], id="decimals of 32 bits"),
    pytest.param(pa.array([D, None], pa.decimal64(12, 1)), [D, None], id="of 64 bits"),
    pytest.param(pa.array([D], pa.decimal256(20, 1)), [D], id="of 256 bits"),
    pytest.param(pa.array([Decimal(1200)], pa.decimal128(3, -2)), [Decimal(1200)], id="of hundreds"),
    pytest.param(pa.array([[D], None], pa.list_(pa.decimal32(5, 1))), [[D], None], id="within lists"),
    pytest.param(pa.array([0], pa.timestamp("us", "+05:30")), ["1970-01-01 05:30:00+05:30"], id="of an offset"),
    pytest.param(pa.array([0], pa.date64()), [dt.datetime(1970, 1, 1)], id="days in milliseconds"),  # noqa: DTZ001
    pytest.param(pa.array(["a", "b"]).dictionary_encode(), ["a", "b"], id="a dictionary"),
]


@pytest.mark.parametrize(("column", "kept"), OF_ARROW)
def test_columns_of_an_arrow_table_are_read_as_those_of_a_file_and_can_be_stored(tmp_path, column, kept):
    as_polars(pa.table({"it": column}).to_reader()).write_parquet(tmp_path / "kept.parquet")
    assert pl.read_parquet(tmp_path / "kept.parquet")["it"].to_list() == kept


@pytest.mark.parametrize("seconds", [pa.timestamp("s"), pa.duration("s")])
def test_seconds_that_are_too_many_milliseconds_are_refused_by_column(seconds):
    with pytest.raises(batchgen.UsageError, match=r"frame: column 'it' holds .*out of bounds"):
        as_polars(pa.table({"id": [1], "it": pa.array([2**55], seconds)}))

"""Tables that Python has: made frames that Parquet holds."""

import polars as pl
import pytest

from batchgen.input.python_tables import as_polars

KEYLESS = [
    pytest.param([{}, None], ["{}", None], id="dicts without keys are text"),
    pytest.param([{"a": {}, "b": 1}], ['{"a":{},"b":1}'], id="within others, too"),
]


@pytest.mark.parametrize(("values", "kept"), KEYLESS)
def test_what_parquet_cannot_hold(values, kept):
    assert as_polars([{"it": value} for value in values])["it"].to_list() == kept


def test_a_column_alone():
    assert as_polars(pl.Series("name", ["a"])).to_dicts() == [{"name": "a"}]

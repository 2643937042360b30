#!/bin/sh
# Scores that are NaN (an average of nothing) in a Parquet file by pyarrow 26.0.1 or polars 2.1.0, and which rows DuckDB
# 2.0.1, DataFusion 55.0.0 and ClickHouse 26.9 (chdb 4.4.0) find.
#
# Guess: NaN is greater than every number in DuckDB and DataFusion, and equal to NaN; in all of them one finds it by isnan().
#        What SELECT says of a row is what WHERE goes by, and a file is read like a table.
# Seen:  the least and greatest value of a row group leave NaN out, as the format has it, and are believed. In DuckDB
#        `isnan(score)` is true of the row in SELECT, and `WHERE isnan(score)` finds no row: count(*) is 0. `score > 1` is
#        true of it in a table, and in a file whose other scores are below 1 it is false, in SELECT, too. DataFusion finds
#        it by isnan(), but not by `score > 1` or `score = 'NaN'`, which are true in SELECT; ClickHouse not by
#        `NOT score <= 1`. A NaN in a row group with a 2.0 is found by `score > 1`, the same in one without is not: it
#        depends on how a file is cut. polars finds it by all of these.
# So:    write null for what is no number. DuckDB: `read_parquet(..., can_have_nan = true)`. DataFusion: isnan(). It is known
#        in part: issue 25521 of duckdb and 118110 of ClickHouse, open since September 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'duckdb==2.0.1' 'datafusion==55.0.0' 'chdb==4.4.0' 'pyarrow==26.0.1' \
    'polars==2.1.0'
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import math
import os
from importlib.metadata import version

import chdb
import datafusion
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

rows = pa.table({"row": range(4), "score": [0.25, math.nan, 0.5, None]})
pq.write_table(rows, "pyarrow.parquet")
pl.from_arrow(rows).write_parquet("polars.parquet")
print({name: version(name) for name in ("pyarrow", "polars", "duckdb", "datafusion", "chdb")})


def by_duckdb(file, query, options=""):
    return duckdb.sql(query.replace("FILE", f"read_parquet('{file}'{options})")).fetchall()


def by_datafusion(file, query):
    context = datafusion.SessionContext()
    context.register_parquet("file", file)
    return [tuple(row.values()) for row in context.sql(query.replace("FILE", "file")).to_arrow_table().to_pylist()]


def by_clickhouse(file, query):
    query = query.replace("FILE", f"file('{os.path.abspath(file)}')")
    return [tuple(json.loads(line)) for line in str(chdb.query(query, "JSONCompactEachRow")).splitlines()]


def by_polars(file, query):
    return pl.SQLContext(file=pl.scan_parquet(file)).execute(query.replace("FILE", "file")).collect().rows()


def found(reader, file, condition, *options):
    """The rows of which SELECT says that it is so, and those that WHERE finds."""
    said = reader(file, f"SELECT row, {condition} AS so FROM FILE ORDER BY row", *options)
    where = reader(file, f"SELECT row FROM FILE WHERE {condition} ORDER BY row", *options)
    answer = [int(row) for row, so in said if so], [int(row) for (row,) in where]
    print(f"{reader.__name__} {condition} {''.join(options)}: SELECT {answer[0]}, WHERE {answer[1]}")
    return answer


NAN = "CAST('NaN' AS DOUBLE)"
duckdb.sql("CREATE TABLE scores AS SELECT * FROM rows")
table = duckdb.sql("SELECT row FROM scores WHERE score > 1 AND isnan(score)").fetchall()
assert table == [(1,)], "a table of DuckDB's has another order of numbers now"
for file in ("pyarrow.parquet", "polars.parquet"):
    print(file)
    assert found(by_duckdb, file, "isnan(score)") == ([1], []), "DuckDB finds it by isnan() now"
    assert by_duckdb(file, "SELECT count(*) FROM FILE WHERE isnan(score)") == [(0,)]
    assert found(by_duckdb, file, "score > 1") == ([], []), "DuckDB reads a file like a table now"
    assert found(by_duckdb, file, "isnan(score)", ", can_have_nan = true") == ([1], [1])
    assert found(by_duckdb, file, "score > 1", ", can_have_nan = true") == ([1], [1])
    assert found(by_datafusion, file, "isnan(score)") == ([1], [1])
    for condition in ("score > 1", f"score = {NAN}"):
        assert found(by_datafusion, file, condition) == ([1], []), "DataFusion finds it now"
    assert found(by_clickhouse, file, "isNaN(score)") == ([1], [1])
    assert found(by_clickhouse, file, "NOT score <= 1") == ([1], []), "ClickHouse finds it now"
    for condition in ("score > 1", f"score = {NAN}", "NOT score <= 1"):
        assert found(by_polars, file, condition) == ([1], [1]), "polars does not find it any more"
more = pa.table({"row": range(3), "score": [0.25, math.nan, 2.0]})
for name, size in (("together", 3), ("apart", 2)):
    pq.write_table(more, f"{name}.parquet", row_group_size=size)
    print(f"NaN and 2.0 {name}, in row groups of {size}:")
    expected = [1, 2] if name == "together" else [2]
    for reader in (by_duckdb, by_datafusion):
        assert found(reader, f"{name}.parquet", "score > 1")[1] == expected, "row groups count otherwise now"
PYTHON

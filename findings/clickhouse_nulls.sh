#!/bin/sh
# Nulls of lists, maps and structs in a Parquet file, and times of day, as ClickHouse 26.9 reads them (chdb 4.4.0; file by
# pyarrow 26.0.1).
#
# Guess: a null is a null in every column, as it is for texts and numbers there, and for all columns in DuckDB, Spark and
#        polars.
# Seen:  lists, maps and structs have none in ClickHouse: a null list or map is an empty one, a null struct one of nulls and
#        empty lists, at any depth. `log_probs IS NULL` is 0 for every row, `length(more)` 0 where nothing was there,
#        and to ask for Nullable(Tuple(...)) is refused. A time of day is a time on 1 January 1970.
# So:    ask a column of plain values (`status = 'ok'`) whether a row has an answer, and `notEmpty(log_probs.content)`
#        whether it has log-probs; an average over rows without any must leave them out by that.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'chdb==4.4.0' 'chdb-core==26.9.0' 'pyarrow==26.0.1' 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import datetime as dt
import json

import chdb
import pyarrow as pa
import pyarrow.parquet as pq

token = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int64()))])
log_probs = pa.struct([("content", pa.list_(token)), ("refusal", pa.list_(token))])
one = {"content": [{"token": "a", "logprob": -0.5, "bytes": None}], "refusal": None}
table = pa.table({
    "row": pa.array([0, 1, 2]),
    "text": pa.array([None, "", "a"]),
    "log_probs": pa.array([None, {"content": None, "refusal": []}, one], log_probs),
    "more": pa.array([None, [], [{"text": None}]], pa.list_(pa.struct([("text", pa.string())]))),
    "tags": pa.array([None, [], [("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "at": pa.array([None, dt.time(0), dt.time(12, 30)], pa.time64("us")),
})
pq.write_table(table, "results.parquet")
nulls = {name: column.null_count for name, column in zip(table.column_names, table.columns)}


def asked(query):
    return [json.loads(line) for line in str(chdb.query(query, "JSONEachRow")).splitlines()]


(version,) = asked("SELECT version() AS v")
print("chdb", chdb.__version__, "clickhouse", version["v"])
columns = ", ".join(f"countIf({name} IS NULL) AS {name}" for name in table.column_names)
(seen,) = asked(f"SELECT {columns} FROM (SELECT * FROM file('results.parquet'))")
seen = {name: int(count) for name, count in seen.items()}
rows = asked("SELECT * FROM file('results.parquet') ORDER BY row")
print("nulls, by pyarrow:   ", nulls)
print("nulls, by ClickHouse:", seen)
for row in rows:
    print(row)
assert version["v"].startswith("26.9."), version
assert nulls == {"row": 0, "text": 1, "log_probs": 1, "more": 1, "tags": 1, "at": 1}
assert seen == {**nulls, "log_probs": 0, "more": 0, "tags": 0}, "nulls are read otherwise now"
assert rows[0]["log_probs"] == rows[1]["log_probs"] == {"content": [], "refusal": []}
assert rows[0]["more"] == rows[1]["more"] == [] and rows[0]["tags"] == rows[1]["tags"] == {}
assert rows[2]["log_probs"]["content"] == [{"token": "a", "logprob": -0.5, "bytes": []}]
assert [row["at"] for row in rows] == [None, "1970-01-01 00:00:00.000000", "1970-01-01 12:30:00.000000"], "times are read otherwise"
asked_for = "row Int64, log_probs Nullable(Tuple(content Array(Tuple(token Nullable(String)))))"
try:
    asked(f"SELECT * FROM file('results.parquet', 'Parquet', '{asked_for}') SETTINGS allow_experimental_nullable_tuple_type = 1")
except RuntimeError as error:
    assert "TYPE_MISMATCH" in str(error), error
    print("asked for Nullable(Tuple(...)): TYPE_MISMATCH")
else:
    raise AssertionError("a null struct can be asked for now")
PYTHON

#!/bin/sh
# JSON lines of which only later ones have a key, such as `error`, or something in a list, in polars 2.1.0, DataFusion
# 55.0.0 and ClickHouse 26.9 (chdb 4.4.0), beside pandas 3.1.1, pyarrow 26.0.1 and DuckDB 2.0.1.
#
# Guess: what was not foreseen by the first lines is an error, as a text in a column of whole numbers is in all three;
#        or a column more, with nulls above it, as pandas and pyarrow make it. DuckDB refuses the line.
# Seen:  the key is left out, and with it all its values: polars looks at 100 lines, DataFusion at 1,000, ClickHouse at
#        25,000. There is no column, be it so in half of all rows; within an object there is no field. No error, no
#        warning, and all rows are counted. In polars a list that is empty in the first 100 lines is one of nulls
#        afterwards: ["late", "short"] is [null, null]. In DataFusion a fraction behind 1,000 whole numbers loses what
#        follows the point: -0.75 is 0. Programs in JavaScript leave a key out where it has no value, and errors come
#        late.
# So:    polars: `infer_schema_length=None`; DataFusion: `schema_infer_max_records` as large as the file has lines;
#        ClickHouse: name the columns, `file('rows.jsonl', JSONEachRow, 'row Int64, error Nullable(String)')`. Or write
#        all keys into each line, at least into the first. Of keys it is known: issue 29330 of polars and 120348 of
#        ClickHouse, open since September 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet polars==2.1.0 datafusion==55.0.0 chdb==4.4.0 pandas==3.1.1 \
    pyarrow==26.0.1 duckdb==2.0.1 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from importlib.metadata import version

import chdb
import datafusion
import duckdb
import pandas as pd
import polars as pl
import pyarrow.json

FILE = "rows.jsonl"


def write(lines, first, last):
    """`lines` rows with `first`, and as many with `last` behind them."""
    with open(FILE, "w") as file:
        for at in range(2 * lines):
            file.write(json.dumps({"row": at, **(first if at < lines else last)}) + "\n")


def by_polars(**settings):
    rows = pl.read_ndjson(FILE, **settings).to_dicts()
    assert rows == pl.scan_ndjson(FILE, **settings).collect().to_dicts()
    return len(rows), rows[-1]


def by_datafusion(**settings):
    context = datafusion.SessionContext()
    context.register_json("rows", FILE, file_extension=".jsonl", **settings)
    rows = context.sql('SELECT * FROM "rows" ORDER BY "row"').to_pylist()
    return len(rows), rows[-1]


def by_clickhouse(columns=""):
    query = f"SELECT * FROM file('{FILE}', JSONEachRow{columns}) ORDER BY row"
    rows = json.loads(str(chdb.query(query, "JSON")))["data"]
    return len(rows), rows[-1]


def by_pandas():
    frame = pd.read_json(FILE, lines=True)
    return len(frame), frame.iloc[-1].to_dict()


def by_pyarrow():
    rows = pyarrow.json.read_json(FILE).to_pylist()
    return len(rows), rows[-1]


for name in ("polars", "datafusion", "chdb", "pandas", "pyarrow", "duckdb"):
    print(name, version(name))
READERS = {"polars": (by_polars, 100), "DataFusion": (by_datafusion, 1_000), "ClickHouse": (by_clickhouse, 25_000)}
LATE = {  # what the first lines have, and the later ones, and the last row without what is lost
    "a key": ({}, {"error": "timeout"}, {}),
    "a key of an object": ({"more": {"tries": 1}}, {"more": {"tries": 3, "error": "timeout"}}, {"more": {"tries": 3}}),
}
for name, (read, lines) in READERS.items():
    for what, (first, last, left) in LATE.items():
        write(lines, first, last)
        count, row = read()
        print(f"{name}, {what} in the later {lines} of {count} lines: {row}")
        assert (count, row) == (2 * lines, {"row": 2 * lines - 1, **left}), "late keys are seen now"
        for other in (by_pandas, by_pyarrow):
            assert other() == (2 * lines, {"row": 2 * lines - 1, **last}), "and those lose them now"
    write(lines - 1, {}, {"error": "timeout"})
    assert read()[1]["error"] == "timeout", f"{name} looks at fewer lines now"
    write(lines, {"score": 0}, {"score": "many"})
    try:
        read()
    except Exception as error:  # each has its own
        print(f"{name}, a text behind {lines} whole numbers: {type(error).__name__}")
    else:
        raise AssertionError("a text is no error any more in a column of numbers")

write(20_480, {}, {"error": "timeout"})
try:
    duckdb.sql(f"SELECT * FROM '{FILE}'").fetchall()
except duckdb.InvalidInputException:
    print("DuckDB, a key in the later 20,480 of 40,960 lines: an error")
else:
    raise AssertionError("DuckDB refuses no late key any more")

write(100, {"faults": []}, {"faults": ["late", "short"]})
_, row = by_polars()
print("polars, empty lists in 100 lines, and then ['late', 'short']:", row)
assert row["faults"] == [None, None], "polars sees late entries now"
assert by_polars(infer_schema_length=None)[1]["faults"] == ["late", "short"], "not even all lines are enough now"
write(1_000, {"score": 0}, {"score": -0.75})
_, row = by_datafusion()
print("DataFusion, 0 in 1,000 lines, and then -0.75:", row)
assert row["score"] == 0, "DataFusion keeps fractions now"
assert by_datafusion(schema_infer_max_records=2_000)[1]["score"] == -0.75, "not even all lines are enough now"

write(25_000, {}, {"error": "timeout"})
for read in (
    lambda: by_polars(infer_schema_length=None),
    lambda: by_datafusion(schema_infer_max_records=50_000),
    lambda: by_clickhouse(", 'row Int64, error Nullable(String)'"),
):
    assert read()[1]["error"] == "timeout", "what helped helps no more"
PYTHON

#!/bin/sh
# A folder of Parquet files of which one has another type for a column: whole numbers, since it had no fraction, or a
# struct with a field more. Read by DuckDB 2.0.1, pandas 3.1.1 (pyarrow 26.0.1) and ClickHouse 26.9 (chdb 4.4.0).
#
# Guess: what the types of the first file cannot hold is an error, or gets a type that holds both: Parquet knows its types.
#        polars refuses such a folder, and so does pyarrow where a fraction would become a whole number.
# Seen:  DuckDB makes the first file's type of everything that it can: scores of 0.4, 0.75 and -0.75 behind a file of whole
#        scores are 0, 1 and -1, in lists too, and so in sums. With the files the other way round all are
#        right. ClickHouse cuts fractions off (0, 0, 0), and makes 0 of 2**40 beside 32 bits; the type is that of the file
#        which the folder happens to list first, so a copy of the same files can be read otherwise. pandas is strict with
#        numbers alone: "007" behind whole numbers is 7, 5 behind truth values is True, a time behind days loses its
#        hours, as in DuckDB. Of a struct's fields those that the first file lacks are gone in both.
# So:    DuckDB: `union_by_name = true`; ClickHouse: `schema_inference_mode = 'union'`, which refuses fractions beside whole
#        numbers; pandas: read file by file, and compare the schemas. Better: write all parts with one schema, which is
#        known before the first answer is there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'duckdb==2.0.1' 'pandas==3.1.1' 'pyarrow==26.0.1' 'chdb==4.4.0' \
    'polars==2.1.0'
cd "$folder"
venv/bin/python - <<'PYTHON'
import datetime as dt
import json
import os
from pathlib import Path

import chdb
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

NOON = pa.array([dt.datetime(2026, 1, 31, 12)])
CASES = {  # the column in the first file, and in the second
    "whole, fractions": (pa.array([1, 2]), pa.array([0.4, 0.75, -0.75])),
    "lists of these": (pa.array([[1, 2]]), pa.array([[0.4, 0.75, -0.75]])),
    "32 bits, 64 bits": (pa.array([1], pa.int32()), pa.array([2**40])),
    "whole, text": (pa.array([1]), pa.array(["007"])),
    "truth, whole": (pa.array([True]), pa.array([5])),
    "day, time": (pa.array([dt.date(2026, 1, 31)]), NOON),
    "a field more": (pa.array([{"label": "a"}]), pa.array([{"label": "b", "score": 0.5}])),
}
print("duckdb", duckdb.__version__, "pandas", pd.__version__, "pyarrow", pa.__version__, "chdb", chdb.__version__)


def write(name, columns):
    """A new folder of two files; the first column goes to the file that comes first by its name."""
    folder = Path(name)
    folder.mkdir()
    for number, column in enumerate(columns):
        pq.write_table(pa.table({"file": [number] * len(column), "x": column}), folder / f"{number}.parquet")
    return folder


def attempt(read):
    try:
        return read()
    except Exception:  # each has errors of its own
        return "refused"


def second(rows):
    return [value for file, value in rows if file == 1]


def by_duckdb(folder, **options):
    return second(duckdb.read_parquet(f"{folder}/*.parquet", **options).select("file", "x").fetchall())


def by_pandas(folder):
    frame = pd.read_parquet(folder)
    return second(zip(frame["file"], frame["x"]))


def by_clickhouse(folder, more=""):
    query = f"SELECT file, x FROM file('{folder.absolute()}/*.parquet') ORDER BY file {more}"
    return second(json.loads(line) for line in str(chdb.query(query, "JSONCompactEachRow")).splitlines())


read = {}
for name, columns in CASES.items():
    folder = write(name, columns)
    read[name] = {
        "DuckDB": attempt(lambda: by_duckdb(folder)),
        "DuckDB by union": attempt(lambda: by_duckdb(folder, union_by_name=True)),
        "pandas": attempt(lambda: by_pandas(folder)),
        "polars": attempt(lambda: pl.read_parquet(folder)),
    }
    print(f"{name}: {columns[1].to_pylist()}", *map(": ".join, ((k, str(v)) for k, v in read[name].items())), sep="\n    ")


def said(name):
    return read[name]["DuckDB"], read[name]["pandas"]


assert said("whole, fractions") == ([0, 1, -1], "refused"), "fractions are read otherwise now"
assert said("lists of these") == ([[0, 1, -1]], "refused"), "fractions in lists are read otherwise now"
assert said("32 bits, 64 bits") == ("refused", "refused")
assert said("whole, text") == ([7], [7]) and said("truth, whole") == ([True], [True])
assert said("day, time") == ([dt.date(2026, 1, 31)], [dt.date(2026, 1, 31)])
assert said("a field more") == ([{"label": "b"}], [{"label": "b"}])
assert all(value["polars"] == "refused" for value in read.values()), "polars reads such a folder now"
assert all(read[name]["DuckDB by union"] == CASES[name][1].to_pylist() for name in ("whole, fractions", "lists of these"))
assert duckdb.sql("SELECT sum(abs(x)) FROM 'whole, fractions/*.parquet' WHERE file = 1").fetchall() == [(2,)]  # 1.9

for name in ("whole, fractions", "32 bits, 64 bits"):
    for decides in (True, False):
        folder = write(f"{name}, listed {'first' if decides else 'last'}", CASES[name])
        first = os.listdir(folder)[0]
        for number in (0, 1):  # the narrow type goes to the file that is listed first, or to the other one
            file = f"{number}.parquet"
            narrow = (file == first) is decides
            column = CASES[name][0 if narrow else 1]
            pq.write_table(pa.table({"file": [0 if narrow else 1] * len(column), "x": column}), folder / file)
        given = by_clickhouse(folder)
        union = attempt(lambda: by_clickhouse(folder, "SETTINGS schema_inference_mode = 'union'"))
        print(f"ClickHouse, {folder}: {given}, by union: {union}")
        written = CASES[name][1].to_pylist()
        read = [float(value) for value in given]  # whole numbers of 64 bits come as text
        assert read == ([0] * len(written) if decides else written), "ClickHouse reads it otherwise now"
        assert union == ("refused" if "fractions" in name else written), "the union is another now"
PYTHON

#!/bin/sh
# A column of arrays of fixed length, such as embeddings (FLOAT[768]), with a null, in a Parquet file of DuckDB 2.0.1: as
# pyarrow 26.0.1, polars 2.1.0 and hyparquet 1.33.0 (JavaScript) read it.
#
# Guess: Parquet has no such arrays, so they are written as lists, as everyone writes them; a null is one null.
# Seen:  for a null array of n numbers there are n entries in the file, which no list can have. DuckDB reads its own file
#        and sees nothing, nor does polars. pyarrow, and so pandas, refuses the whole column, by words that sound like a
#        damaged disk: "Length spanned by list offsets (10) larger than values array (length 8)". hyparquet reads it
#        without a word, and hands the rows behind a null the arrays of rows before them: the embedding of another text.
#        A list of the same values (FLOAT[]) is right in all of them.
# So:    `COPY (SELECT * REPLACE (v::FLOAT[] AS v) FROM t) TO ...`. It is known: issue 24731 of duckdb, open since August 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'duckdb==2.0.1' 'pyarrow==26.0.1' 'polars==2.1.0' 2>/dev/null
npm install --silent --no-fund --no-audit --prefix "$folder" hyparquet@1.33.0 >/dev/null
cd "$folder"
cat >read.mjs <<'NODE'
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";

const rows = await parquetReadObjects({ file: await asyncBufferFromFile(process.argv[2]), columns: ["v"] });
console.log(JSON.stringify(rows.map((row) => row.v)));
NODE
venv/bin/python - <<'PYTHON'
import json
import subprocess

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

RIGHT = [[0, 0.5], None, [2, 2.5], [3, 3.5], None, [5, 5.5]]
OTHERS = [[0, 0.5], None, None, [2, 2.5], [3, 3.5], None]
print("duckdb", duckdb.__version__, "pyarrow", pa.__version__, "polars", pl.__version__)


def write(kind):
    """Six rows, of which the second and the fifth have no array; the number of entries in the file."""
    rows = "SELECT i, CASE WHEN i % 3 = 1 THEN NULL ELSE [i, i + 0.5] END AS v FROM range(6) t(i)"
    duckdb.sql(f"COPY (SELECT i, v::{kind} AS v FROM ({rows})) TO '{kind}.parquet'")
    return pq.ParquetFile(f"{kind}.parquet").metadata.row_group(0).column(1).num_values


def by_pyarrow(path):
    try:
        return pq.read_table(path)["v"].to_pylist()
    except pa.ArrowInvalid as error:
        return str(error)


def by_hyparquet(path):
    return json.loads(subprocess.run(["node", "read.mjs", path], capture_output=True, check=True, text=True).stdout)


seen = {}
for kind in ("FLOAT[2]", "FLOAT[]"):
    entries, path = write(kind), f"{kind}.parquet"
    own = [list(v) if v else None for (v,) in duckdb.sql(f"SELECT v FROM '{path}' ORDER BY i").fetchall()]
    frame = pl.read_parquet(path, glob=False)["v"].to_list()
    seen[kind] = entries, by_pyarrow(path), by_hyparquet(path)
    print(f"{kind}: {entries} entries; by pyarrow {seen[kind][1]}; by hyparquet {seen[kind][2]}")
    assert own == frame == RIGHT, "DuckDB or polars read it otherwise now"
refusal = "Length spanned by list offsets (10) larger than values array (length 8)"
assert seen["FLOAT[2]"] == (12, refusal, OTHERS), "arrays are written or read otherwise now"
assert seen["FLOAT[]"] == (10, RIGHT, RIGHT), "lists are not right any more"
PYTHON

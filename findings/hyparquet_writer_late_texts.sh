#!/bin/sh
# A column whose first 1,000 values are null, in a Parquet file of hyparquet-writer 0.17.0 (JavaScript, by Node.js), as pandas
# 3.1.1 (pyarrow 26.0.1), polars 2.1.0 and DuckDB 2.0.1 read it.
#
# Guess: the type of a column is that of its values, of which all were handed over: its documentation says of a column without
#        a type that it "will be guessed from the data". A text is a text wherever the first one stands.
# Seen:  the first 1,000 values decide, and where all of these are null the column is one of bytes. A text in the 1,001st
#        row is b'timeout' for pandas, polars and DuckDB, and `frame["error"] == "timeout"` is true of no row, without an
#        error. So of two files of one program one has texts and the other bytes. Numbers, truth values and objects that
#        come so late are refused, by words that name none of it: "parquet expected Uint8Array value, got number".
#        Errors come late, and there are few.
# So:    give each column its type, `{name: "error", data, type: "STRING"}`, `"JSON"` for objects; behind it
#        `frame["error"].str.decode("utf-8")` in pandas.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 2>/dev/null
cd "$folder"
npm install --silent hyparquet-writer@0.17.0 >/dev/null 2>&1
cat > write.mjs <<'JAVASCRIPT'
import fs from "node:fs";
import { parquetWriteBuffer } from "hyparquet-writer";

const ROWS = 2000;
const refused = {};
function write(name, at, value, type) {
  const data = Array.from({ length: ROWS }, (_, row) => (row === at ? value : null));
  try {
    const column = type ? { name: "error", data, type } : { name: "error", data };
    fs.writeFileSync(`${name}.parquet`, Buffer.from(parquetWriteBuffer({ columnData: [column] })));
  } catch (error) {
    refused[name] = error.message;
  }
}
write("early", 999, "timeout");
write("late", 1000, "timeout");
write("typed", 1000, "timeout", "STRING");
write("number", 1000, 0.75);
write("truth", 1000, true);
write("object", 1000, { code: 429 });
fs.writeFileSync("refused.json", JSON.stringify(refused));
JAVASCRIPT
node write.mjs
venv/bin/python - <<'PYTHON'
import json

import duckdb
import pandas
import polars as pl
import pyarrow as pa

with open("node_modules/hyparquet-writer/package.json") as file:
    print("hyparquet-writer", json.load(file)["version"], "pandas", pandas.__version__, "pyarrow", pa.__version__, end=" ")
print("polars", pl.__version__, "duckdb", duckdb.__version__)
found = {}
for name in ("early", "late", "typed"):
    path = f"{name}.parquet"
    column = pandas.read_parquet(path)["error"]
    (by_pandas,) = column.dropna()
    (by_polars,) = pl.read_parquet(path)["error"].drop_nulls()
    ((by_duckdb,),) = duckdb.sql(f"SELECT error FROM '{path}' WHERE error IS NOT NULL").fetchall()
    found[name] = by_pandas, by_polars, by_duckdb, int((column == "timeout").sum())
    print(f"{name}: pandas {by_pandas!r}, polars {by_polars!r}, DuckDB {by_duckdb!r};", end=" ")
    print("rows of pandas that are equal to the text:", found[name][-1])
with open("refused.json") as file:
    refused = json.load(file)
print("refused:", refused)
assert found["early"] == found["typed"] == ("timeout", "timeout", "timeout", 1)
assert found["late"] == (b"timeout", b"timeout", b"timeout", 0), "late texts are texts now"
assert set(refused) == {"number", "truth", "object"} and all("expected Uint8Array" in words for words in refused.values())
(bytes_again,) = pandas.read_parquet("late.parquet")["error"].str.decode("utf-8").dropna()
assert bytes_again == "timeout"
PYTHON

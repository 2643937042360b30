#!/bin/sh
# Texts of the Parquet types ENUM and JSON, as databases write them (ClickHouse 26.9 in chdb 4.4.0), in pyarrow 26.0.1,
# pandas 3.1.1, DataFusion 55.0.0, polars 2.1.0 and DuckDB 2.0.1.
#
# Guess: both are text. The format's own words are that who has no enums reads ENUM as a UTF-8 string, and JSON is one.
# Seen:  ClickHouse writes its Enum8 and Enum16 as ENUM, as parquet-java does for Avro, Thrift and Protobuf. polars and DuckDB
#        read text. pyarrow, pandas and DataFusion read bytes: `frame["label"] == "spam"` is false for every row, without
#        an error, and a prompt that is made of it has b'spam' in it. With JSON it is the other way round: polars reads
#        bytes, the others text.
# So:    `CAST(label AS String)` in the query that writes; behind it `frame["label"].str.decode("utf-8")` in pandas,
#        `pl.col("doc").cast(pl.String)` in polars.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'chdb==4.4.0' 'chdb-core==26.9.0' 'pyarrow==26.0.1' 'pandas==3.1.1' \
    'datafusion==55.0.0' 'polars==2.1.0' 'duckdb==2.0.1' 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import chdb
import datafusion
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

LABEL, DOC = "CAST('spam', 'Enum8(\\'spam\\' = 1, \\'ham\\' = 2)')", "'{\"a\":1}'::JSON"
chdb.query(f"SELECT {LABEL} AS label, {DOC} AS doc INTO OUTFILE 'rows.parquet' FORMAT Parquet")
columns = pq.ParquetFile("rows.parquet").schema
kinds = [columns.column(at).logical_type.type for at in range(2)]
print("in the file:", kinds)
assert kinds == ["ENUM", "JSON"], "ClickHouse writes them otherwise now"

context = datafusion.SessionContext()
context.register_parquet("rows", "rows.parquet")
frame = pd.read_parquet("rows.parquet")
seen = {
    f"pyarrow {pa.__version__}": pq.read_table("rows.parquet").to_pylist()[0],
    f"pandas {pd.__version__}": frame.to_dict("records")[0],
    f"datafusion {datafusion.__version__}": context.sql("SELECT * FROM rows").to_pylist()[0],
    f"polars {pl.__version__}": pl.read_parquet("rows.parquet").to_dicts()[0],
    f"duckdb {duckdb.__version__}": duckdb.sql("SELECT * FROM 'rows.parquet'").fetchdf().to_dict("records")[0],
}
for name, row in seen.items():
    print(f"{name}: {row}")
enums, texts, docs = {"label": b"spam", "doc": '{"a":1}'}, {"label": "spam", "doc": '{"a":1}'}, {"label": "spam", "doc": b'{"a":1}'}
assert list(seen.values()) == [enums, enums, enums, docs, texts], "they are read otherwise now"

spam = int((frame["label"] == "spam").sum())
print("pandas, rows whose label is spam:", spam, "of 1; decoded:", int((frame["label"].str.decode("utf-8") == "spam").sum()))
assert spam == 0
assert pl.read_parquet("rows.parquet").select(pl.col("doc").cast(pl.String)).item() == '{"a":1}'
PYTHON

#!/bin/sh
# A Parquet file's UUIDs in polars 2.1.0 with pyarrow 26.0.1.
#
# Guess: a column of the logical type UUID is read as such, or at least goes back to Arrow as what it was.
# Seen:  polars takes it for plain bytes, without a word. A column that is told to be the extension arrow.uuid, which
#        polars knows by name, can be held and sliced, but its export to Arrow is refused: polars stores it as
#        large_binary, where pyarrow's UUID wants sixteen bytes of fixed size.
# So:    read the Arrow schema for uuid(), and rebuild the column from its storage on the way out.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'polars==2.1.0' 'pyarrow==26.0.1'
"$folder/venv/bin/python" - "$folder/uuid.parquet" <<'PYTHON'
import sys
import uuid

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

path = sys.argv[1]
value = uuid.UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
pq.write_table(pa.table({"u": pa.array([value.bytes], pa.uuid())}), path)
table = pq.read_table(path)
assert table.schema.field("u").type == pa.uuid(), table.schema
frame = pl.from_arrow(table)
print("polars", pl.__version__, "pyarrow", pa.__version__)
print("from_arrow:", frame.schema)
print("read_parquet:", pl.read_parquet(path).schema)
assert frame.schema["u"] == pl.Binary, "polars knows UUIDs now"
held = frame.with_columns(frame["u"].ext.to(pl.Extension("arrow.uuid", pl.Binary(), "")))
try:
    held.to_arrow(compat_level=pl.CompatLevel.oldest())
except pa.ArrowInvalid as error:
    print("to_arrow:", error)
else:
    raise AssertionError("the export of arrow.uuid works now")
PYTHON

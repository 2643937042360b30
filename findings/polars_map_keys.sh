#!/bin/sh
# Casting a Map column in polars 2.1.0.
#
# Guess: a Map is cast like a List of Structs, key and value alike; a Struct's temporal field can be cast to integers.
# Seen:  its values can be cast, its keys cannot: map<date, float> to map<int, float> is refused, though Date to Int32 is
#        an ordinary cast, and the same cast of a List of Structs works.
# So:    leave the keys as they are, and convert them in Python.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'polars==2.1.0' 'pyarrow==26.0.1'
"$folder/venv/bin/python" - <<'PYTHON'
import datetime as dt

import polars as pl
import pyarrow as pa

days = pa.array([[(dt.date(2024, 2, 29), 1.5)]], pa.map_(pa.date32(), pa.float32()))
frame = pl.from_arrow(pa.table({"m": days}))
print("polars", pl.__version__, "reads", frame.schema)
values = frame["m"].cast(pl.Map(pl.Date, pl.Float64))
print("values are cast:", values.dtype)
structs = pl.Series([[{"key": dt.date(2024, 2, 29)}]]).cast(pl.List(pl.Struct({"key": pl.Int32})))
print("a list of structs is cast:", structs.dtype)
try:
    frame["m"].cast(pl.Map(pl.Int32, pl.Float32))
except pl.exceptions.InvalidOperationError as error:
    print("keys are not:", str(error).splitlines()[0])
else:
    raise AssertionError("polars casts the keys of a map now")
PYTHON

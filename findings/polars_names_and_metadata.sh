#!/bin/sh
# Names and metadata that polars 2.1.0 cannot take from pyarrow 26.0.1, or give back.
#
# Guess: what is not UTF-8, or has a NUL, is an error; metadata, which a frame does not keep, do not matter.
# Seen:  a schema's metadata in another encoding panic, and so do a column's: a file is lost by a remark in it. A field of
#        a struct whose name has a NUL loses what follows it, without a word. A column with such a name is read, and
#        panics when the frame is handed to Arrow: when all else is done.
# So:    drop a schema's metadata before polars sees them, and refuse such names when a file is opened.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'polars==2.1.0' 'pyarrow==26.0.1'
"$folder/venv/bin/python" - 2>"$folder/panics" <<'EOF'
import polars as pl
import pyarrow as pa

def panics(what, act):
    try:
        act()
    except pl.exceptions.PanicException:
        print(what, "panics")
    else:
        raise SystemExit(f"{what}: panics no more")

table, latin = pa.table({"a": [1]}), {b"author": "Größe".encode("latin-1")}
panics("metadata of a schema, in Latin-1:", lambda: pl.DataFrame(table.replace_schema_metadata(latin)))
of_column = pa.schema([pa.field("a", pa.int64(), metadata=latin)])
panics("metadata of a column, in Latin-1:", lambda: pl.DataFrame(table.cast(of_column)))
fields = pl.DataFrame(pa.table({"s": [{"a\0b": 1}]})).schema["s"]
assert str(fields) == "Struct({'a': Int64})", fields
print("a field named a\\0b: is named a")
panics("a column named a\\0b, to Arrow:", pl.DataFrame({"a\0b": [1]}).to_arrow)
EOF

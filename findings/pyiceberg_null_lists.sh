#!/bin/sh
# Null lists and maps in an Iceberg table of pyiceberg 0.12.0 (with pyarrow 26.0.1).
#
# Guess: a null is a null. It is one for plain values, for structs, and for lists of texts and of numbers.
# Seen:  a null list of structs, or a null map whose values are structs, is an empty one, at any depth: in the Parquet file
#        that `append` writes, where no reader can tell any more, and in what `scan` reads of a file that has it right
#        (`add_files`). Log-probs are of this kind: of `content` and `refusal` one is null, and both are empty lists. A row
#        that failed has no further choices, and an empty list of them.
# So:    tell by a column of plain values what is there, or have another engine write the table and read it. It is known:
#        issue 3833 of iceberg-python, open since August 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyiceberg[pyarrow,sql-sqlite]==0.12.0' 'pyarrow==26.0.1' 2>/dev/null
cd "$folder"
venv/bin/python - "$folder" <<'PYTHON' 2>/dev/null
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

folder = sys.argv[1]
token = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
log_probs = pa.struct([("content", pa.list_(token)), ("refusal", pa.list_(token))])
choice = pa.struct([("text", pa.string())])
content = [{"token": "a", "logprob": -0.5, "bytes": None}]
table = pa.table({
    "row": pa.array([0, 1, 2]),
    "text": pa.array([None, "", "a"]),
    "log_probs": pa.array([None, {"content": None, "refusal": []}, {"content": content, "refusal": None}], log_probs),
    "more_choices": pa.array([None, [], [None, {"text": None}]], pa.list_(choice)),
    "by_name": pa.array([None, [], [("a", None)]], pa.map_(pa.string(), choice)),
    "tags": pa.array([None, [], [None, "a"]], pa.list_(pa.string())),
    "numbers": pa.array([None, [], [("a", None)]], pa.map_(pa.string(), pa.int64())),
})
BECOMES = {  # of the columns that change, the values that are read
    "log_probs": [None, {"content": [], "refusal": []}, {"content": content, "refusal": []}],
    "more_choices": [[], [], [None, {"text": None}]],
    "by_name": [[], [], [("a", None)]],
}
print("pyiceberg", version("pyiceberg"), "pyarrow", pa.__version__)
catalog = SqlCatalog("here", uri=f"sqlite:///{folder}/catalog.sqlite", warehouse=f"file://{folder}/tables")
catalog.create_namespace("jobs")

written = catalog.create_table("jobs.written", schema=table.schema)
written.append(table)
(file,) = Path(folder, "tables/jobs/written/data").iterdir()
added = catalog.create_table("jobs.added", schema=table.schema)
pq.write_table(table, "right.parquet")
added.add_files([f"file://{folder}/right.parquet"])
ways = {
    "the file that append writes": pq.read_table(file),
    "append, then scan": written.scan().to_arrow(),
    "add_files of a right file, then scan": added.scan().to_arrow(),
}
right = table.to_pydict()
assert pq.read_table("right.parquet").to_pydict() == right
for way, read in ways.items():
    values = read.to_pydict()
    changed = {name: values[name] for name in right if values[name] != right[name]}
    print(f"{way}:")
    for name, column in changed.items():
        print(f"   {name}: {right[name]} is {column}")
    assert changed == BECOMES, "nulls are kept otherwise now"
PYTHON

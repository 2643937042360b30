#!/bin/sh
# Log-probs, maps and times of a Parquet file by pyarrow 26.0.1, as `pd.read_parquet` of pandas 3.1.1 reads them where
# there is no pyarrow, and fastparquet 2026.9.0 is.
#
# Guess: `pd.read_parquet` is one function, and takes whichever of the two is there. What fastparquet does not know, it
#        refuses, as it does an encoding ("Encoding 7") and a codec.
# Seen:  a list of structs, or of lists, is null in every row: no error, no warning. So are log-probs and further
#        choices: `frame["log_probs.content"].notna().sum()` is 0 where each row has some. Structs are columns of their
#        fields (`log_probs.content`), and a null struct with a list is one with nulls. A map with structs for its
#        values is a list of its keys. A time with a zone has none, and is that of UTC: `dt.tz` is None. Of whole
#        numbers with a null those beyond 2**53 are others. A float16 is two bytes. Lists of texts, and maps of
#        numbers, are right.
# So:    install pyarrow beside it, which `pd.read_parquet` prefers, or say `engine="pyarrow"`, which fails where it is
#        missing. That lists of lists are null is known: issue 917 of fastparquet, open since February 2024.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'fastparquet==2026.9.0' 'pandas==3.1.1'
"$folder/venv/bin/python" -m pip install --quiet --target "$folder/arrow" 'pyarrow==26.0.1'
cd "$folder"
PYTHONPATH=arrow venv/bin/python - <<'PYTHON'
import pyarrow as pa
import pyarrow.parquet as pq

token = pa.struct({"token": pa.string(), "logprob": pa.float64()})
one = {"token": "yes", "logprob": -0.5}
columns = {
    "log_probs": ([{"content": [one, one]}, {"content": [one]}, None], pa.struct({"content": pa.list_(token)})),
    "more_choices": ([[one], [one, one], []], pa.list_(token)),
    "vectors": ([[[0.5, 1.5]], [[2.5]], None], pa.list_(pa.list_(pa.float64()))),
    "by_name": ([[("a", one)], [("b", one)], None], pa.map_(pa.string(), token)),
    "counts": ([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "tags": ([["a", None], [], None], pa.list_(pa.string())),
    "finished_at": ([0, 1, None], pa.timestamp("us", "Europe/Berlin")),
    "seed": ([2**53 + 1, 5, None], pa.int64()),
    "score": ([0.5, 1.5, None], pa.float16()),
}
pq.write_table(pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()}), "rows.parquet")
pq.write_table(pa.table({"text": ["a", "b"]}), "delta.parquet", use_dictionary=False,
               column_encoding={"text": "DELTA_BYTE_ARRAY"})
PYTHON
cat > read.py <<'PYTHON'
import warnings

import pandas as pd

warnings.simplefilter("error")
frame = pd.read_parquet("rows.parquet")
print("pandas", pd.__version__)
print(frame.to_dict("list"))
PYTHON
PYTHONPATH=arrow venv/bin/python read.py
cat >> read.py <<'PYTHON'
import fastparquet

print("fastparquet", fastparquet.__version__)
values = {name: list(column) for name, column in frame.items()}
assert list(values) == ["more_choices", "vectors", "by_name", "counts", "tags", "finished_at", "seed", "score",
                        "log_probs.content"]
for name in ("more_choices", "vectors", "log_probs.content"):
    assert values[name] == [None, None, None], f"{name} is read now"
assert values["by_name"] == [["a"], ["b"], None]
assert values["counts"] == [{"a": 1}, {}, None] and values["tags"] == [["a", None], [], None]
assert frame["finished_at"].dt.tz is None and values["finished_at"][0] == pd.Timestamp("1970-01-01")
assert values["seed"][0] == 2**53
assert values["score"][:2] == [b"\x008", b"\x00>"]
try:
    pd.read_parquet("delta.parquet")
except NotImplementedError as error:
    print("an encoding that it does not know:", error)
else:
    raise AssertionError("the encoding is read now")
PYTHON
venv/bin/python read.py

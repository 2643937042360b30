#!/bin/sh
# Lists, structs, days and decimals of a frame of pandas 3.1.1 that is handed to Dask 2026.8.0 (with pyarrow 26.0.1).
#
# Guess: Dask splits a frame into parts, and computes with what is in them. Its setting `dataframe.convert-string`, on
#        by default, makes Arrow's texts of texts; its documentation speaks of "string-like data". Log-probs and
#        embeddings are not like texts.
# Seen:  every column of Python objects becomes text, as Python prints it: in `from_pandas`, `from_map`, `from_delayed`
#        and `read_json`. No error, no warning. A null is still null. An array out of a Parquet file is printed as numpy
#        prints it: its numbers have eight digits, and of more than 1,000 entries the first three and the last three are
#        there, with "..." between. So log-probs of an answer of 1,200 tokens are those of six, an embedding of 1,536
#        numbers is six numbers, and `to_parquet` writes that. Days and decimals are texts, too. `dd.read_parquet`
#        leaves lists as they are.
# So:    `dask.config.set({"dataframe.convert-string": False})` before the frame is made, or `dd.read_parquet`. That
#        lists become text is known: issue 10139 of dask, open since April 2023. That most of them is lost is not said
#        there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'dask[dataframe]==2026.8.0' pandas==3.1.1 pyarrow==26.0.1 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import datetime
import decimal
import json
import re
import warnings

import dask
import dask.dataframe as dd
import pandas
import pyarrow as pa
import pyarrow.parquet as pq

TOKENS, NUMBERS = 1200, 1536
tokens = [{"token": f"t{at}", "logprob": -at / 7} for at in range(TOKENS)]
number = pa.float64()
table = pa.table({
    "log_probs": pa.array([tokens, None], pa.list_(pa.struct([("token", pa.string()), ("logprob", number)]))),
    "embedding": pa.array([[at / 7 for at in range(NUMBERS)], None], pa.list_(number)),
    "few": pa.array([[1 / 7], None], pa.list_(number)),
    "day": [datetime.date(2026, 1, 31), None],
    "price": [decimal.Decimal("19.90"), None],
})
pq.write_table(table, "results.parquet")
with open("results.jsonl", "w") as file:
    file.write(json.dumps({"log_probs": tokens[:1]}) + "\n" + json.dumps({"log_probs": None}) + "\n")
ways = {
    "from_pandas": lambda: dd.from_pandas(pandas.read_parquet("results.parquet"), npartitions=1),
    "from_map": lambda: dd.from_map(pandas.read_parquet, ["results.parquet"]),
    "from_delayed": lambda: dd.from_delayed([dask.delayed(pandas.read_parquet)("results.parquet")]),
    "read_parquet": lambda: dd.read_parquet("results.parquet"),
}
print("dask", dask.__version__, "pandas", pandas.__version__, "pyarrow", pa.__version__)


def first(frame):
    """The first row, and whether the second has nulls alone."""
    computed = frame.compute()
    return dict(computed.iloc[0]), bool(computed.iloc[1].isna().all())


for name in ("from_pandas", "from_map", "from_delayed"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row, nulls = first(ways[name]())
    kept = re.findall(r"t\d+", row["log_probs"])
    print(f"{name}: of {TOKENS} tokens {kept}")
    print(f"    of {NUMBERS} numbers: {row['embedding']}; of one: {row['few']}; {row['day']!r} {row['price']!r}")
    assert nulls and all(isinstance(cell, str) for cell in row.values()), "lists are no texts any more"
    assert kept == ["t0", "t1", "t2", "t1197", "t1198", "t1199"] and "..." in row["log_probs"]
    assert len(re.findall(r"\d+\.\d*", row["embedding"])) == 6 and "..." in row["embedding"]
    assert (row["few"], row["day"], row["price"]) == ("[0.14285714]", "2026-01-31", "19.90")
row, _ = first(ways["read_parquet"]())
print("read_parquet:", len(row["log_probs"]), "tokens,", len(row["embedding"]), "numbers")
assert len(row["log_probs"]) == TOKENS and len(row["embedding"]) == NUMBERS, "they are lost here, too"
assert row["few"][0] == 1 / 7
text = dd.read_json("results.jsonl", lines=True).compute()["log_probs"][0]
print("read_json:", text)
assert text == str(tokens[:1]), "JSON lines keep their lists now"
ways["from_pandas"]().to_parquet("written", write_index=False)
written = pq.read_table("written")
print("to_parquet:", *[f"{field.name}: {field.type}" for field in written.schema])
assert {str(field.type) for field in written.schema} == {"large_string"}
with dask.config.set({"dataframe.convert-string": False}):
    row, _ = first(ways["from_pandas"]())
    print("with convert-string off:", len(row["log_probs"]), "tokens,", len(row["embedding"]), "numbers,", row["day"])
    assert len(row["log_probs"]) == TOKENS, "turned off, it is the same now"
    assert row["day"] == datetime.date(2026, 1, 31)
PYTHON

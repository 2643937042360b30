#!/bin/sh
# JSON lines in DuckDB 2.0.1 where a key is null, or a whole number, in the first 20,480 lines and not in a later one.
#
# Guess: a value that does not fit the type that was found in the first lines is an error, as a text in a column of numbers
#        is; a column that had nothing but nulls takes any value (DuckDB 1.5.5 makes it JSON).
# Seen:  a column of nulls has a type of its own, "NULL", and every later value in it is null, be it a text, a number or an
#        object: `count(*) ... WHERE error IS NOT NULL` is 0 where a row failed. Whole numbers are BIGINT, and a later
#        fraction is rounded, without a word: a log-prob of -0.75 is -1. Within objects and lists, too. What stands in the
#        20,480th line is still seen.
# So:    read results with `read_json(..., sample_size = -1)`, which looks at all lines, or with `columns = {...}`; or have
#        them as Parquet, whose types are known. Errors come late, and there are few: they are what is lost.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'duckdb==2.0.1'
cd "$folder"
venv/bin/python - <<'PYTHON'
import json

import duckdb

CASES = [  # a column, its value in all lines but the last, its value there, what DuckDB reads of that
    ("error", None, "timeout", None),
    ("error", None, {"code": 429}, None),
    ("error", None, 429, None),
    ("logprob", 0, -0.75, -1),
    ("logprobs", [0, -1], [0, -0.75], [0, -1]),
    ("answer", {"error": None}, {"error": "timeout"}, {"error": None}),
]
print("duckdb", duckdb.__version__)


def write(lines, column, first, last):
    with open("rows.jsonl", "w") as file:
        for at in range(lines):
            file.write(json.dumps({"row": at, column: first if at < lines - 1 else last}) + "\n")


def read(source, lines, column):
    """The column's type and its value in the last line, by DuckDB."""
    ((kind, value),) = duckdb.sql(f"SELECT typeof({column}), {column} FROM {source} WHERE row = {lines - 1}").fetchall()
    return kind, value


for column, first, last, expected in CASES:
    write(20481, column, first, last)
    kind, value = read("'rows.jsonl'", 20481, column)
    _, all_seen = read("read_json('rows.jsonl', sample_size = -1)", 20481, column)
    print(f"20,480 lines with {json.dumps(first)}, then {json.dumps(last)}: {kind} {value}; all lines looked at: {all_seen}")
    assert value == expected, "a late value is read otherwise now"
    assert all_seen == last, "not even all lines are enough now"
    write(20480, column, first, last)
    assert read("'rows.jsonl'", 20480, column)[1] == last, "fewer lines are looked at now"
write(20481, "error", None, "timeout")
((failed,),) = duckdb.sql("SELECT count(*) FROM 'rows.jsonl' WHERE error IS NOT NULL").fetchall()
print("rows with an error, by DuckDB:", failed, "of 1")
assert failed == 0, "the error is found now"
write(20481, "retries", 0, "many")
try:
    read("'rows.jsonl'", 20481, "retries")
except duckdb.InvalidInputException:
    print('20,480 lines with 0, then "many": an error')
else:
    raise AssertionError("a text is no error any more in a column of numbers")
PYTHON

#!/bin/sh
# Rows that `delete` takes out of an Iceberg table of pyiceberg 0.12.0 (with pyarrow 26.0.1), where a column has nulls or
# NaN, beside those that `scan` finds by the same words.
#
# Guess: `delete` takes out what `scan(row_filter=...)` finds, whichever file a row lies in. A status that is null is
#        neither "ok" nor something else, as in SQL, and scan says so, too.
# Seen:  where the least and greatest value of a file tell that all its rows match, the file is taken out whole, with its
#        nulls and NaN: by `label != 'spam'` rows without a label, by `score < 1` rows whose score is NaN. In a file that
#        has one row that does not match, just these stay: it depends on which rows were appended in one call. Scan finds
#        none of them before. The other way round `label = 'ham' OR n = 3` does not take out a row with n = 3 whose label is
#        null, which scan does find. So rows that failed, or wait for an answer, are gone after a cleaning up, and others
#        stay after it. No error; what was taken out is in the snapshots until these expire.
# So:    say what is meant of nulls: `label != 'spam' AND label IS NOT NULL`, and `(label IS NOT NULL AND label = 'ham') OR
#        n = 3`; have null rather than NaN; delete by the row's own key (`row in (...)`), and count before and after.
#        Issue 3498 of iceberg-python, open since June 2026, is about such cases in its code.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyiceberg[pyarrow,sql-sqlite]==0.12.0' pyarrow==26.0.1 2>/dev/null
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import os
from importlib.metadata import version

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

UNDEFINED = float("nan")
SCHEMA = pa.schema([("row", pa.int64()), ("label", pa.string()), ("n", pa.int64()), ("score", pa.float64())])
here = os.getcwd()
catalog = SqlCatalog("local", uri=f"sqlite:///{here}/catalog.db", warehouse=f"file://{here}/warehouse")
catalog.create_namespace("results")
made = 0


def outcome(words, *files):
    """The rows that scan finds in a table of these files, and those that delete takes out of it."""
    global made
    made += 1
    table = catalog.create_table(f"results.table{made}", SCHEMA)
    rows = 0
    for file in files:
        lines = [{"row": rows + at, **line} for at, line in enumerate(file)]
        rows += len(lines)
        table.append(pa.Table.from_pylist(lines, SCHEMA))
    found = table.scan(row_filter=words).to_arrow()["row"].to_pylist()
    table.delete(words)
    left = table.scan().to_arrow()["row"].to_pylist()
    return sorted(found), sorted(set(range(rows)) - set(left))


def labels(*values):
    return [{"label": value} for value in values]


def scores(*values):
    return [{"score": value} for value in values]


print("pyiceberg", version("pyiceberg"), "pyarrow", version("pyarrow"))
HAM, SPAM, NONE = "ham", "spam", None
for what, words, files, want in (
    ("a null with others that match", "label != 'spam'", [labels(HAM, NONE)], ([0], [0, 1])),
    ("a null with one that does not", "label != 'spam'", [labels(HAM, NONE, SPAM)], ([0], [0])),
    ("the same in two files", "label != 'spam'", [labels(HAM, NONE), labels(SPAM)], ([0], [0, 1])),
    ("a null with one that must stay", "label != 'spam'", [labels(SPAM, NONE)], ([], [])),
    ("said of nulls", "label != 'spam' and label is not null", [labels(HAM, NONE)], ([0], [0])),
    ("NaN with others that match", "score < 1", [scores(0.5, UNDEFINED)], ([0], [0, 1])),
    ("NaN with one that does not", "score < 1", [scores(0.5, UNDEFINED, 2.0)], ([0], [0])),
    ("a null label, n = 3", "label = 'ham' or n = 3", [[{"n": 3}, {"label": SPAM, "n": 4}]], ([0], [])),
    ("the same, said", "(label is not null and label = 'ham') or n = 3", [[{"n": 3}, {"label": SPAM, "n": 4}]], ([0], [0])),
    ("by the key", "row in (0)", [labels(HAM, NONE)], ([0], [0])),
):
    seen = outcome(words, *files)
    print(f"{what}, {words}: scan finds {seen[0]}, delete takes out {seen[1]}")
    assert seen == want, "it is otherwise now"
PYTHON

#!/bin/sh
# Rows that have different keys, such as a new score for one and a new text for another, put into a table in one call:
# sqlite-utils 4.2.1 (`upsert_all`, and `sqlite-utils upsert`), dataset 2.0.0 (`update_many`) and LanceDB 0.40.0 (`add`,
# `merge_insert`).
#
# Guess: a row changes what it has a value for, and nothing else: sqlite-utils' documentation says that columns which are
#        left out stay as they are, and one row at a time it is so. Or such rows are refused. A column that the table
#        has is filled from whichever row has its key.
# Seen:  sqlite-utils and dataset make of a key that one row has a null for all others of the batch: the text that was
#        paid for is null where only a score was given, and the score where only a text was. In sqlite-utils a batch is of
#        100 rows, so it depends on which other rows stand near. LanceDB goes by the first row of a list: a key that
#        only later rows have is left out, though the table has a column of that name; the new text of the second row is
#        nowhere, and its score is null for want of one. So `add` loses the `error` of all rows where the first one had
#        none, and what comes late is never there. The counts are right: 2 rows updated. No error, no warning.
# So:    give all rows all keys, read from the table before; or one call for each set of keys (dataset's `upsert_many` is
#        right). LanceDB: hand `add` the list as `pa.Table.from_pylist(rows, schema=table.schema)`, and `merge_insert` no
#        row that lacks a key. Of sqlite-utils it is known: issue 873, open since September 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet sqlite-utils==4.2.1 dataset==2.0.0 SQLAlchemy==2.1.9 lancedb==0.40.0 \
    pyarrow==26.0.1 2>/dev/null
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import dataset
import lancedb
import pyarrow as pa
import sqlite_utils

OLD = [{"id": number, "text": "paid", "score": 0.5} for number in (1, 2, 3)]
NEW = [{"id": 1, "score": 0.9}, {"id": 2, "text": "better"}]
RIGHT = [(1, "paid", 0.9), (2, "better", 0.5), (3, "paid", 0.5)]
NULLED = [(1, None, 0.9), (2, "better", None), (3, "paid", 0.5)]


def values(rows):
    return sorted((row["id"], row["text"], row["score"]) for row in rows if row["id"] < 10)


def by_sqlite_utils(new, **settings):
    table = sqlite_utils.Database(memory=True)["t"]
    table.insert_all(OLD, pk="id")
    table.upsert_all(new, pk="id", **settings)
    return values(table.rows)


def one_by_one():
    table = sqlite_utils.Database(memory=True)["t"]
    table.insert_all(OLD, pk="id")
    for row in NEW:
        table.upsert(row, pk="id")
    return values(table.rows)


def by_command():
    for name, rows in (("old", OLD), ("new", NEW)):
        Path(f"{name}.json").write_text(json.dumps(rows))
        command = ["venv/bin/sqlite-utils", "insert" if name == "old" else "upsert", "rows.db", "t", f"{name}.json"]
        subprocess.run([*command, "--pk", "id"], check=True)
    return values(sqlite_utils.Database("rows.db")["t"].rows)


def by_dataset(method):
    database = dataset.connect("sqlite:///:memory:")
    table = database.create_table("t", primary_id="id", primary_type=database.types.integer)
    table.insert_many(OLD)
    getattr(table, method)([dict(row) for row in NEW], ["id"])
    return values(table.all())


def by_lancedb():
    table = lancedb.connect("merged").create_table("t", OLD)
    done = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(NEW)
    return values(table.to_arrow().to_pylist()), done.num_updated_rows


def errors(how):
    """The errors of two rows in a table that has a column for them."""
    schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("error", pa.string())])
    rows = [{"id": 1, "text": "paid"}, {"id": 2, "text": None, "error": "timeout"}]
    table = lancedb.connect("added").create_table(how, schema=schema)
    if how == "merged":
        table.merge_insert("id").when_not_matched_insert_all().execute(rows)
    else:
        table.add(pa.Table.from_pylist(rows, schema=table.schema) if how == "as_table" else rows)
    return [row["error"] for row in sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])]


for name in ("sqlite-utils", "dataset", "lancedb", "pyarrow"):
    print(name, version(name))
for what, seen, want in (
    ("sqlite-utils, one by one", one_by_one(), RIGHT),
    ("sqlite-utils, upsert_all", by_sqlite_utils(NEW), NULLED),
    ("sqlite-utils upsert", by_command(), NULLED),
    ("dataset, upsert_many", by_dataset("upsert_many"), RIGHT),
    ("dataset, update_many", by_dataset("update_many"), NULLED),
):
    print(f"{what}: {seen}")
    assert seen == want, "it is otherwise now"
others = [{"id": number, "score": 0.1} for number in range(10, 10 + 110)]
print("sqlite-utils, row 1 110 rows before row 2:", seen := by_sqlite_utils([NEW[0], *others, NEW[1]]))
assert seen[0] == RIGHT[0], "rows of another batch count now"
seen, updated = by_lancedb()
print(f"LanceDB, merge_insert: {seen}, {updated} rows updated")
assert (seen, updated) == ([(1, "paid", 0.9), (2, "paid", None), (3, "paid", 0.5)], 2), "LanceDB does otherwise now"
for how, want in (("added", [None, None]), ("merged", [None, None]), ("as_table", [None, "timeout"])):
    print(f"LanceDB, errors, {how}:", seen := errors(how))
    assert seen == want, "LanceDB takes later keys now, or never"
PYTHON

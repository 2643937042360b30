#!/bin/sh
# Answers that are put into a table of LanceDB 0.40.0 by `merge_insert` (Lance 13, and pylance 14.0.2 alone): with a null
# key, with and without an index; and by two programs that have opened the table.
#
# Guess: an index makes the same thing faster: its documentation says that a scalar index "can help matching". A row whose
#        key is null matches nothing, so it is inserted, or refused. Who inserts what is not there yet does not have it
#        twice; of one's own table handle the documentation says that only reads may lag behind: "Write operations are
#        always consistent".
# Seen:  with an index on the key the row with a null key is gone: not inserted, not counted, no error. Without it, or with
#        a key of two columns, it is there. A program that opened the table before another wrote looks for its keys in the
#        table as it was then, however long that is ago: what the other one inserted it inserts again, with its own
#        answer, and says `num_inserted_rows=1`. The id stands there twice, and each later merge updates both. Of a row
#        that was there before, the second writer's update does notice the first's.
# So:    give each row a key that is never null. `table.checkout_latest()` before each merge, or
#        `connect(..., read_consistency_interval=timedelta(0))`; against two at the same time declare the key:
#        `pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})`, by
#        which the second writer finds the first one's row. Count ids. `use_index(False)` keeps null keys. It is known in
#        part: issues 2624 of lancedb (null keys, open since September 2025), which does not say that the index decides,
#        and 3377 (two writers, open since May 2026).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet lancedb==0.40.0 pylance==14.0.2 pyarrow==26.0.1 2>/dev/null
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from datetime import timedelta
from importlib.metadata import version

import lance
import lancedb
import pyarrow as pa

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
DECLARED = {"lance-schema:unenforced-primary-key": "true"}
KEYED = pa.schema([pa.field("id", pa.string(), nullable=False, metadata=DECLARED), ("text", pa.string())])
made = 0


def rows(*pairs, schema=SCHEMA):
    return pa.Table.from_pylist([dict(zip(schema.names, pair, strict=True)) for pair in pairs], schema)


def new_place():
    global made
    made += 1
    return f"table{made}"


def create(schema=SCHEMA):
    """The place of a new table with two answers."""
    place = new_place()
    lancedb.connect(place).create_table("t", rows(("a", "old"), ("b", "old"), schema=schema))
    return place


def opened(place, **settings):
    return lancedb.connect(place, **settings).open_table("t")


def merge(table, new, key="id", index=True):
    """How many rows were inserted and updated by its own count."""
    merging = table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
    if not index:
        merging = merging.use_index(False)
    done = merging.execute(new)
    if isinstance(done, dict):
        return done["num_inserted_rows"], done["num_updated_rows"]
    return done.num_inserted_rows, done.num_updated_rows


def held(place):
    return sorted((tuple(row.values()) for row in opened(place).to_arrow().to_pylist()), key=str)


for name in ("lancedb", "pylance", "pyarrow"):
    print(name, version(name))

NEW = rows(("b", "new"), ("c", "new"), (None, "new"))
KEPT, LOST = [("a", "old"), ("b", "new"), ("c", "new"), (None, "new")], [("a", "old"), ("b", "new"), ("c", "new")]
for index, key, use, want in (
    (False, "id", True, ((2, 1), KEPT)),
    (True, "id", True, ((1, 1), LOST)),
    (True, "id", False, ((2, 1), KEPT)),
):
    place = create()
    if index:
        opened(place).create_scalar_index("id")
    seen = merge(opened(place), NEW, key, use), held(place)
    print(f"index: {index}, used: {index and use}: inserted and updated {seen[0]}, rows {seen[1]}")
    assert seen == want, "null keys are treated otherwise now"
place = create()
opened(place).create_scalar_index("id")
seen = merge(opened(place), NEW, ["id", "text"]), len(held(place))
print("index, and a key of two columns: inserted and updated", seen)
assert seen == ((3, 0), 5), "a key of two columns loses null keys now"
for index in (False, True):
    place = new_place()
    data = lance.write_dataset(rows(("a", "old"), ("b", "old")), place)
    if index:
        data.create_scalar_index("id", "BTREE")
    seen = merge(lance.dataset(place), NEW), lance.dataset(place).count_rows()
    print(f"pylance, index: {index}: inserted and updated {seen[0]}, rows {seen[1]}")
    assert seen == (((1, 1), 3) if index else ((2, 1), 4)), "pylance treats null keys otherwise now"


def by_two(schema=SCHEMA, key="c", before=lambda table: None, **settings):
    """What the second one counts, who opened the table before the first one wrote; and the rows then."""
    place = create(schema)
    first, second = opened(place), opened(place, **settings)
    merge(first, rows((key, "first's"), schema=schema))
    before(second)
    return merge(second, rows((key, "second's"), schema=schema)), held(place), place


count, there, place = by_two()
print("two have opened the table, and insert c one after the other: the second counts", count, there)
assert (count, there[2:]) == ((1, 0), [("c", "first's"), ("c", "second's")]), "the second sees the first's now"
count = merge(opened(place), rows(("c", "third's")))
print("a later merge: inserted and updated", count, held(place))
assert count == (0, 2), "a later merge does otherwise now"
for what, (count, there, _) in {
    "a row that was there": by_two(key="b"),
    "checkout_latest": by_two(before=lambda table: table.checkout_latest()),
    "read_consistency_interval": by_two(read_consistency_interval=timedelta(0)),
    "a declared key": by_two(KEYED),
}.items():
    print(f"{what}: the second counts {count}, {there}")
    assert count == (0, 1) and len({row[0] for row in there}) == len(there), "what helped helps no more"
PYTHON

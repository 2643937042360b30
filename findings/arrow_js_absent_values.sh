#!/bin/sh
# Keys that a row does not have, in tables that apache-arrow 21.2.0 (JavaScript, by Node.js) makes of objects, as
# pyarrow 26.0.1 reads them; also as Parquet by parquet-wasm 0.8.0.
#
# Guess: a value that is not there is a null, as null is: in Arrow there is nothing else that it could be. JSON in
#        JavaScript leaves a key out where its value is undefined, so rows have the keys that they have something for.
# Seen:  null is null, but undefined is a value: an absent text is "", an absent number NaN, an absent truth value
#        false, and with Int32 an absent whole number 0; so within structs. `nullCount` does not count them. Where one
#        row has an `error`, all without that key have one that is not null. An average of scores is NaN, or, with
#        Int32, too low. `tableFromJSON`, `tableFromArrays` and `vectorFromArray` alike. No error is raised, and no
#        reader of the file can tell. Only times are refused: "Cannot convert undefined to a BigInt".
# So:    give each row all keys before: `rows.map(row => ({error: null, score: null, ...row}))`, with undefined made
#        null; and compare `nullCount` with what was there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyarrow==26.0.1' 2>/dev/null
npm install --silent --no-fund --no-audit --prefix "$folder" apache-arrow@21.2.0 parquet-wasm@0.8.0 >/dev/null
cd "$folder"
cat >write.mjs <<'NODE'
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { Int32, tableFromArrays, tableFromJSON, tableToIPC, vectorFromArray } from "apache-arrow";
import { Table, writeParquet } from "parquet-wasm/node";

const rows = [
  { id: 1, text: "Hello", score: 0.5, flagged: true, usage: { model: "a" } },
  { id: 2, error: "timeout", usage: {} },
  { id: 3, text: null, score: null, error: null, flagged: null, usage: { model: null } },
];
const table = tableFromJSON(rows);
const nulls = Object.fromEntries(table.schema.fields.map(({ name }) => [name, table.getChild(name).nullCount]));
console.log("nulls by nullCount:", JSON.stringify(nulls));
assert.deepEqual(nulls, { id: 0, text: 1, score: 1, flagged: 1, usage: 0, error: 1 });
writeFileSync("rows.arrow", tableToIPC(table, "file"));
writeFileSync("rows.parquet", writeParquet(Table.fromIPCStream(tableToIPC(table, "stream"))));
const tokens = vectorFromArray([7, undefined, null], new Int32());
console.log("Int32 of 7, undefined, null:", JSON.stringify([...tokens]));
assert.deepEqual([...tokens], [7, 0, null]);
const column = tableFromArrays({ error: ["timeout", undefined, null] }).getChild("error");
assert.deepEqual([...column], ["timeout", "", null]);
assert.throws(() => tableFromJSON([{ when: new Date(0) }, {}]), { message: "Cannot convert undefined to a BigInt" });
const given = tableFromJSON(rows.map((row) => ({ text: null, score: null, error: null, flagged: null, ...row })));
assert.deepEqual([...given.getChild("error")], [null, "timeout", null]);
console.log("with all keys given, errors are:", JSON.stringify([...given.getChild("error")]));
NODE
node write.mjs
venv/bin/python - <<'PYTHON'
import math

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

print("pyarrow", pa.__version__)
for name, table in (("Arrow", pa.ipc.open_file("rows.arrow").read_all()), ("Parquet", pq.read_table("rows.parquet"))):
    rows = table.to_pylist()
    print(f"{name}:", *rows, sep="\n    ")
    first, absent, null = rows
    score = absent.pop("score")
    assert math.isnan(score), "an absent number is no NaN any more"
    expected = {"id": 2, "text": "", "error": "timeout", "flagged": False, "usage": {"model": ""}}
    assert absent == expected, "they are nulls now"
    assert null == {"id": 3, "text": None, "score": None, "error": None, "flagged": None, "usage": {"model": None}}
    errors, mean = [row["error"] for row in rows], pc.mean(table["score"]).as_py()
    print("    rows whose error is not null:", len(rows) - errors.count(None), "the mean of scores:", mean)
    assert errors == ["", "timeout", None] and math.isnan(mean)
PYTHON

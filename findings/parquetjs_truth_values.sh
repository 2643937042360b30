#!/bin/sh
# Truth values and unsigned numbers of a Parquet file by pyarrow 26.0.1, as @dsnp/parquetjs 1.8.9 (JavaScript, by
# Node.js) reads them, beside hyparquet 1.33.0. It is the newest that can be loaded: 1.9.3 is on npm without its code.
#
# Guess: what a reader does not know it refuses, as this one refuses zstd ("invalid compression method: ZSTD") and the
#        encodings of the DELTA kind. A truth value is the simplest that there is.
# Seen:  where the file has data pages of version 2 (`data_page_version="2.0"`), pyarrow encodes truth values by RLE,
#        and each one is read as false, also in lists. Null is null. No answer has passed its check then, and none is
#        flagged. So it is in pages of version 1 where RLE was asked for. Unsigned numbers of 32 and 64 bits are
#        negative from half of their range on. No error, and all rows are there. hyparquet reads each of them.
# So:    write pages of version 1 for it, as pyarrow, polars and DuckDB do by default, without unsigned numbers; or read
#        by hyparquet. Count how many are true.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyarrow==26.0.1'
cd "$folder"
echo '{}' > package.json
npm install --silent --no-audit --no-fund @dsnp/parquetjs@1.8.9 hyparquet@1.33.0
venv/bin/python - <<'PYTHON'
import pyarrow as pa
import pyarrow.parquet as pq

columns = {
    "passed": pa.array([True, None, False, True]),
    "flags": pa.array([[True, True], None, [], [False, True]]),
    "tokens": pa.array([2**32 - 1, None, 7, 2**31], pa.uint32()),
    "hash": pa.array([2**64 - 1, None, 7, 2**63], pa.uint64()),
}
table = pa.table(columns)
pq.write_table(table, "one.parquet")
pq.write_table(table, "two.parquet", data_page_version="2.0")
pq.write_table(table.select(["passed"]), "rle.parquet", use_dictionary=False, column_encoding={"passed": "RLE"})
pq.write_table(table.select(["passed"]), "zstd.parquet", compression="zstd")
for name in ("one", "two", "rle", "zstd"):
    passed = pq.ParquetFile(f"{name}.parquet").metadata.row_group(0).column(0)
    print(f"{name}.parquet: truth values by", passed.encodings, passed.compression)
PYTHON
cat > read.mjs <<'JAVASCRIPT'
import assert from "node:assert";
import parquetjs from "@dsnp/parquetjs";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";

async function byParquetjs(file) {
  const reader = await parquetjs.ParquetReader.openFile(file);
  const cursor = reader.getCursor();
  const rows = [];
  for (let row = await cursor.next(); row; row = await cursor.next()) rows.push(row);
  await reader.close();
  return rows;
}

const text = (values) => JSON.stringify(values, (_, value) => (typeof value === "bigint" ? String(value) : value));
const RIGHT = [true, null, false, true];
for (const name of ["one", "two", "rle"]) {
  const rows = await byParquetjs(`${name}.parquet`);
  const passed = rows.map((row) => row.passed);
  const others = await parquetReadObjects({ file: await asyncBufferFromFile(`${name}.parquet`) });
  console.log(`${name}: parquetjs ${text(passed)}, hyparquet ${text(others.map((row) => row.passed))}`);
  assert.deepEqual(others.map((row) => row.passed), RIGHT);
  assert.deepEqual(passed, name === "one" ? RIGHT : [false, null, false, false]);
  if (name === "rle") continue;
  const flags = rows.map((row) => row.flags && (row.flags.list ?? []).map((item) => item.element));
  const [tokens, hash] = ["tokens", "hash"].map((column) => rows.map((row) => row[column]));
  console.log(`  flags ${text(flags)}, tokens ${text(tokens)}, hash ${text(hash)}`);
  assert.deepEqual(flags[0], name === "one" ? [true, true] : [false, false]);
  assert.deepEqual(flags[3], name === "one" ? [false, true] : [false, false]);
  assert.deepEqual(tokens, [-1, null, 7, -(2 ** 31)]);
  assert.deepEqual(hash, [-1n, null, 7n, -(2n ** 63n)]);
  assert.deepEqual(others.map((row) => row.tokens), [2 ** 32 - 1, null, 7, 2 ** 31]);
}
await assert.rejects(byParquetjs("zstd.parquet"), /invalid compression method: ZSTD/);
JAVASCRIPT
node read.mjs

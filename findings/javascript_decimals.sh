#!/bin/sh
# Decimals of a Parquet file in JavaScript: apache-arrow 21.2.0 (with parquet-wasm 0.8.0) and hyparquet 1.33.0, by Node.js.
# File by pyarrow 26.0.1.
#
# Guess: a price of 19.99 is 19.99, as a number or as a text; what a number of JavaScript does not hold is an error, as
#        apache-arrow makes it one for large whole numbers.
# Seen:  apache-arrow hands out the digits without their point: as text "1999", as a number 1999, in JSON "1999". The column's
#        type has the scale, which the value does not know. Tables, sums and charts are 100 times too high, and only who
#        asks by `valueOf(2)` gets 19.99. hyparquet gives 19.99, but as a number: of more than 15 digits the last ones are
#        others, without an error.
# So:    write decimals as text, or as whole numbers of cents, where JavaScript reads the results; or divide by
#        10 ** type.scale. Prices out of databases are decimals, also where nobody chose them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyarrow==26.0.1' 2>/dev/null
npm install --silent --no-fund --no-audit --prefix "$folder" apache-arrow@21.2.0 parquet-wasm@0.8.0 hyparquet@1.33.0 >/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

prices = [Decimal("19.99"), Decimal("-0.10"), None]
exact = [Decimal("1234567890123456.78"), None, Decimal("0.01")]
table = pa.table({"price": pa.array(prices, pa.decimal128(9, 2)), "exact": pa.array(exact, pa.decimal128(38, 2))})
pq.write_table(table, "results.parquet")
PYTHON
cat >read.mjs <<'NODE'
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { tableFromIPC } from "apache-arrow";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { readParquet } from "parquet-wasm/node";

const table = tableFromIPC(readParquet(new Uint8Array(readFileSync("results.parquet"))).intoIPCStream());
const price = table.getChild("price");
const [first, second] = [price.get(0), price.get(1)];
console.log(`apache-arrow, 19.99 of type ${price.type}:`, String(first), Number(first), JSON.stringify({ price: first }));
console.log("apache-arrow, 19.99 + -0.10:", Number(first) + Number(second), "; valueOf(2):", first.valueOf(2));
const exact = table.getChild("exact").get(0);
console.log("apache-arrow, 1234567890123456.78:", String(exact));
assert.deepEqual([String(first), Number(first), String(second)], ["1999", 1999, "-10"], "the point is there now");
assert.equal(first.valueOf(price.type.scale), 19.99);
assert.equal(String(exact), "123456789012345678");
assert.throws(() => Number(exact), TypeError, "a number that is too large is no error any more");

const rows = await parquetReadObjects({ file: await asyncBufferFromFile("results.parquet") });
console.log("hyparquet, 19.99:", rows[0].price, "; 1234567890123456.78:", rows[0].exact);
assert.deepEqual(rows.map((row) => row.price), [19.99, -0.1, null]);
assert.equal(rows[0].exact, 1234567890123456.8, "the digits are kept now");
NODE
node read.mjs

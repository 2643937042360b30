#!/bin/sh
# Answers and numbers in a CSV file that csv-parse 7.0.3 (JavaScript, by Node.js) reads with `cast: true`, and with
# `cast_date: true`, beside papaparse 5.7.1 (`dynamicTyping: true`) and d3-dsv 3.0.2 (`autoType`).
#
# Guess: `cast` makes numbers of what reads like numbers, as others do: "0042" is 42. `cast_date` makes days of what reads
#        like a day. An answer of several words reads like neither, and quotes hold a text.
# Seen:  with `cast_date` it is a day if JavaScript's Date.parse makes one of it, and V8 passes over words before a number:
#        "The answer is 12" is 1 December 2001, "Answer 7" 1 July, "Yes, 3" 1 March, "GPT 4" 1 April, "item 40" is in the
#        year 2040; "Answer 13" and "4 of 5" stay texts. So with labels, grades and answers to a question for a number.
#        csv-stringify 6.9.0 then writes "993945600000" for "Answer 7". With `cast` alone each number that is written with
#        0x is 0, since parseFloat reads it up to the x: of a column of ids all are one. Quotes count for nothing. The
#        other two leave all of these as they are (d3-dsv reads "0x1F" as 31). No error, no warning.
# So:    neither option, and `Number(row.score)` for the columns that are known to be numbers; or a function,
#        `cast: (value, {column}) => column === "score" ? Number(value) : value`. Both are known: issue
#        342 of node-csv, open since June 2022, and issue 148 of node-csv-parse, of September 2017.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{}' >package.json
npm install --silent --no-fund --no-audit csv-parse@7.0.3 csv-stringify@6.9.0 papaparse@5.7.1 d3-dsv@3.0.2
cat >read.mjs <<'JAVASCRIPT'
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { parse } from "csv-parse/sync";
import { stringify } from "csv-stringify/sync";
import Papa from "papaparse";
import { autoType, csvParse } from "d3-dsv";

const DAYS = {
  "The answer is 12": "2001-12-01", "Answer 7": "2001-07-01", "Yes, 3": "2001-03-01", "GPT 4": "2001-04-01",
  "item 40": "2040-01-01", "I rate it 9": "2001-09-01",
};
const KEPT = ["Answer 13", "4 of 5", "Yes", "I cannot say."];
const HEX = ["0x1F", "0xDEADBEEF"];
const TEXTS = [...Object.keys(DAYS), ...KEPT, ...HEX];
const csv = "text\n" + TEXTS.map((text) => `"${text}"\n`).join("");
const day = (value) => (value instanceof Date ? value.toISOString().slice(0, 10) : value);
const read = (options) => parse(csv, { columns: true, ...options }).map((row) => row.text);

for (const name of ["csv-parse", "csv-stringify", "papaparse", "d3-dsv"])
  console.log(name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
const cast = read({ cast: true });
const dated = read({ cast: true, cast_date: true });
TEXTS.forEach((text, at) => console.log(`${JSON.stringify(text)}: cast ${cast[at]}, cast_date ${day(dated[at])}`));
const numbers = HEX.map(() => 0);
assert.deepEqual(cast, [...Object.keys(DAYS), ...KEPT, ...numbers], "cast is otherwise now");
assert.deepEqual(dated.map(day), [...Object.values(DAYS), ...KEPT, ...numbers], "cast_date is otherwise now");
assert.ok(dated.slice(0, 6).every((value) => value instanceof Date));
const again = stringify([[dated[1]]]);
console.log("written again:", JSON.stringify(TEXTS[1]), "as", again.trim());
assert.equal(again, "993945600000\n");
const byPapa = Papa.parse(csv, { header: true, dynamicTyping: true, skipEmptyLines: true }).data.map((row) => row.text);
assert.deepEqual(byPapa, TEXTS, "papaparse does so, too");
const byD3 = csvParse(csv, autoType).map((row) => row.text);
assert.deepEqual(byD3, [...TEXTS.slice(0, -2), 31, 0xdeadbeef], "d3-dsv does otherwise now");
assert.deepEqual(read({}), TEXTS);
assert.deepEqual(read({ cast: (value, { column }) => (column === "score" ? Number(value) : value) }), TEXTS);
JAVASCRIPT
TZ=UTC node read.mjs

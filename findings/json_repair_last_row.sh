#!/bin/sh
# Answers of several rows, and values that are no JSON, mended by json_repair 0.64.6 (Python), beside jsonrepair 3.15.0
# (JavaScript).
#
# Guess: of an answer that holds one JSON object a line, or a block, for each row, all are read, as a list; or it is
#        refused. What cannot be told for sure is left a text. Its own words: "A package to repair broken json strings".
# Seen:  of objects that follow each other without a comma the last one replaces the one before it where it is of
#        the same form: the same keys with values of the same types, and lists as long. Of five rows as JSON lines the
#        fifth is left, in blocks, numbered or with words between alike. With one null among the labels all five are
#        there, so it works in a test and loses rows at night; where the lists in the rows have other lengths, too.
#        Of lists of rows one after another those as long as the next are lost. An example behind the answer ("in the
#        form of {...}") replaces the answer. Values: an id 0042 is 42; 5 kg and $5 are 5; with the
#        sign that one prints (U+2212) -5 is 5. No error, no warning. jsonrepair makes a list of the lines, and texts
#        of these values, or refuses; but it makes "d+" of "\d+".
# So:    `json_repair.loads(text, strict=True)`, which raises ValueError at more than one; or `json.loads` line by line,
#        and count. Known in part: issue 157 of json_repair, closed in 2025; for commas (196) it was mended.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile json-repair==0.64.6 2>/dev/null
cd "$folder"
npm install --silent --no-audit --no-fund jsonrepair@3.15.0 >log 2>&1 || { cat log; exit 1; }
cat >mend.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { jsonrepair } from 'jsonrepair'
const mended = JSON.parse(readFileSync(0, 'utf8')).map((text) => {
  try { return jsonrepair(text) } catch (error) { return null } // null: it refuses the text
})
console.log(JSON.stringify(mended))
JS
venv/bin/python - <<'PYTHON'
import json
import subprocess
from importlib.metadata import version

import json_repair

rows = [{"row": at, "label": label} for at, label in enumerate("ABCDE")]
lines = [json.dumps(row) for row in rows]
with_null = [rows[0], {"row": 1, "label": None}, rows[2]]
of_lists = [{"faults": ["late"]}, {"faults": ["late", "torn"]}, {"faults": ["none"]}]
same_lists = [{"faults": ["late"]}, {"faults": ["none"]}]
REFUSED = "refused"
ANY = "anything"

# name: the text, what json_repair makes of it, and what jsonrepair does
CASES = {
    "lines": ("\n".join(lines), rows[-1], rows),
    "blocks": ("\n".join(f"```json\n{line}\n```" for line in lines), rows[-1], ANY),
    "numbered": ("\n".join(f"{at}. {line}" for at, line in enumerate(lines, 1)), rows[-1], REFUSED),
    "commas": (",\n".join(lines), rows, rows),
    "one null": ("\n".join(map(json.dumps, with_null)), with_null, with_null),
    "lists of one and two": ("\n".join(map(json.dumps, of_lists)), of_lists, of_lists),
    "lists of one and one": ("\n".join(map(json.dumps, same_lists)), same_lists[-1], same_lists),
    "lists of rows": ("[1]\n[2]\n[3, 4]", [[2], [3, 4]], [[1], [2], [3, 4]]),
    "an example": ('{"label": "B"} in the form of {"label": "A or B"}', {"label": "A or B"}, REFUSED),
    "an id": ('{"id": 0042}', {"id": 42}, {"id": "0042"}),
    "dollars": ('{"price": $5}', {"price": 5}, {"price": "$5"}),
    "a unit": ('{"weight": 5 kg}', {"weight": 5}, REFUSED),
    "minus": ('{"change": \N{MINUS SIGN}5}', {"change": 5}, {"change": "\N{MINUS SIGN}5"}),
    "a backslash": ('{"pattern": "\\d+"}', {"pattern": "\\d+"}, {"pattern": "d+"}),
}
ended = subprocess.run(
    ["node", "mend.mjs"], input=json.dumps([text for text, *_ in CASES.values()]), capture_output=True, text=True, check=True
)
print("json_repair", version("json-repair"))
for (name, (text, expected, other)), mended in zip(CASES.items(), json.loads(ended.stdout), strict=True):
    try:
        found = None if mended is None else json.loads(mended)
    except ValueError:
        found = mended
    found = REFUSED if mended is None else found
    print(f"{name}: {text!r} is {json_repair.loads(text)}; by jsonrepair {found}")
    assert json_repair.loads(text) == expected, f"{name}: json_repair reads it otherwise now"
    assert other in (found, ANY), f"{name}: jsonrepair reads it otherwise now"
    if "\n" in text and name != "commas":
        try:
            json_repair.loads(text, strict=True)
        except ValueError:
            continue
        raise AssertionError(f"{name}: strict takes several now")
PYTHON

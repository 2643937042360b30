#!/bin/sh
# Days in a workbook that SheetJS writes with `cellDates: true` (xlsx 0.18.5, the newest of its name on npm), in polars 2.1.0
# (with fastexcel 0.21.0), python-calamine 0.9.1 and openpyxl 3.1.5.
#
# Guess: a day in a workbook is a number with a format; who writes it otherwise is understood, or refused. A column of days
#        that is read has days in it.
# Seen:  SheetJS writes such cells as ISO 8601 texts of the type "d" (2026-01-31T00:00:00.000Z), which the format allows and
#        Excel reads. openpyxl reads them, and so does pandas with it. polars makes a column of days, and every one is
#        null: no error, no warning. calamine hands out the texts. It is the Z: without it, as openpyxl writes them
#        (`iso_dates`), or without `cellDates`, the same days are read by all of them.
# So:    after `pl.read_excel` look for columns that are null throughout, or read such a file by `engine="openpyxl"`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'polars==2.1.0' 'fastexcel==0.21.0' 'python-calamine==0.9.1' 'openpyxl==3.1.5' \
    2>/dev/null
npm install --silent --no-fund --no-audit --prefix "$folder" xlsx@0.18.5 >/dev/null
cd "$folder"
cat >write.cjs <<'NODE'
const XLSX = require("xlsx");

const rows = [["sku", "due"], ["a", new Date(Date.UTC(2026, 0, 31))], ["b", new Date(Date.UTC(2026, 1, 28))]];
for (const [name, options] of [["dates", { cellDates: true }], ["numbers", {}]]) {
  const book = XLSX.utils.book_new();
  XLSX.utils.book_append_sheet(book, XLSX.utils.aoa_to_sheet(rows, options), "rows");
  XLSX.writeFile(book, `${name}.xlsx`, options);
}
NODE
TZ=UTC node write.cjs
venv/bin/python - <<'PYTHON'
import datetime as dt
from importlib.metadata import version

import openpyxl
import polars as pl
import python_calamine

DAYS = [dt.date(2026, 1, 31), dt.date(2026, 2, 28)]


def day(cell):
    return cell.date() if isinstance(cell, dt.datetime) else cell


def read(path):
    """The column of days, by each of them."""
    sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0)
    frames = [pl.read_excel(path), pl.read_excel(path, engine="openpyxl")]
    return {
        "openpyxl": [row[1] for row in openpyxl.load_workbook(path).active.iter_rows(min_row=2, values_only=True)],
        "calamine": [row[1] for row in sheet.to_python()[1:]],
        f"polars {frames[0].schema['due']}": frames[0]["due"].to_list(),
        'polars, engine="openpyxl"': frames[1]["due"].to_list(),
    }


print(*(f"{name} {version(name)}" for name in ("polars", "fastexcel", "python-calamine", "openpyxl")))
book = openpyxl.Workbook()
book.iso_dates = True
for row in (["sku", "due"], ["a", DAYS[0]], ["b", DAYS[1]]):
    book.active.append(row)
book.save("openpyxl.xlsx")
seen = {}
for path in ("dates.xlsx", "numbers.xlsx", "openpyxl.xlsx"):
    for reader, cells in read(path).items():
        print(f"{path}, {reader}: {[cell and str(cell) for cell in cells]}")
        seen[path, reader.split(" Date")[0]] = [day(cell) for cell in cells]
right = ("openpyxl", 'polars, engine="openpyxl"')
assert all(seen["dates.xlsx", reader] == DAYS for reader in right), "openpyxl reads them otherwise now"
assert seen["dates.xlsx", "polars"] == [None, None], "polars reads them now"
assert seen["dates.xlsx", "calamine"] == [f"{date}T00:00:00.000Z" for date in DAYS], "calamine reads them otherwise now"
for path in ("numbers.xlsx", "openpyxl.xlsx"):
    assert all(seen[path, reader] == DAYS for reader in (*right, "polars", "calamine")), path
PYTHON

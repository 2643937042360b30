#!/bin/sh
# Numbers that stand for no day, shown as days, in python-calamine 0.9.1 beside openpyxl 3.1.5.
#
# Guess: a number below 0 in a cell that is formatted as a day is an error, or stays a number, as one beyond 9999-12-31
#        does. Excel shows it as ####.
# Seen:  calamine makes a time of day of it: -1 is 00:00:00, -1.5 is 12:00:00; openpyxl makes 1899-12-29 of -1. Both make
#        28 February of 60, Excel's 29 February 1900, and so does 59.
# So:    look at the numbers themselves before calamine does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'python-calamine==0.9.1' 'openpyxl==3.1.5' 'XlsxWriter==3.3.1'
cd "$folder"
venv/bin/python - <<'EOF'
import datetime as dt

import openpyxl
import python_calamine
import xlsxwriter

numbers = [-1, -1.5, 59, 60, 2958466]
with xlsxwriter.Workbook("days.xlsx") as book:
    sheet, day = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd"})
    for row, number in enumerate(numbers):
        sheet.write_number(row, 0, number, day)
(calamine,) = zip(*python_calamine.CalamineWorkbook.from_path("days.xlsx").get_sheet_by_index(0).to_python())
other = [cell.value for cell in openpyxl.load_workbook("days.xlsx").active["A"]]
for one in zip(numbers, calamine, other):
    print(*one, sep=" | ")
assert list(calamine[:2]) == [dt.time(0), dt.time(12)], "a day before all days is no time any more"
assert calamine[2] == calamine[3] == dt.date(1900, 2, 28), "60 is another day than 59"
assert other[0] == dt.datetime(1899, 12, 29)
EOF

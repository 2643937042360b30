#!/bin/sh
# Long texts, and texts that begin with an address, in workbooks by polars 2.1.0 and pandas 3.1.1 with XlsxWriter 3.3.1,
# and by openpyxl 3.1.5.
#
# Guess: a cell of Excel holds 32,767 characters; a longer text is an error, as SheetJS makes it one, or at least a
#        warning. A column of texts is one of texts, also where a text begins with an address.
# Seen:  polars and openpyxl cut the text at 32,767 characters without a word: XlsxWriter's `write_string` returns -2,
#        which polars passes over. pandas warns. A text that begins with https:// is a link for XlsxWriter, in polars
#        and pandas alike: where it is longer than 2,079 characters, which no address may be, the cell is empty, and a
#        warning says "Ignoring URL". A text that begins with mailto: or internal: loses that word, without any. With
#        openpyxl such texts are texts.
# So:    compare the greatest length with 32,767 before. Without links: `Workbook(path, {"strings_to_urls": False,
#        "strings_to_formulas": False, "nan_inf_to_errors": True})` handed to `write_excel` (polars sets the last two
#        only in a workbook of its own), in pandas `engine_kwargs={"options": {"strings_to_urls": False}}`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet polars==2.1.0 pandas==3.1.1 xlsxwriter==3.3.1 openpyxl==3.1.5 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import warnings

import openpyxl
import pandas
import polars as pl
import xlsxwriter

LIMIT = 32_767
TEXTS = {
    "long": "word " * 8_000,
    "begins with an address": "https://example.com/kettle is the source. " + "word " * 600,
    "mailto": "mailto:jane@example.com",
    "internal": "internal: see the second page",
}
OFF = {"strings_to_urls": False, "strings_to_formulas": False, "nan_inf_to_errors": True}
print("polars", pl.__version__, "pandas", pandas.__version__, "xlsxwriter", xlsxwriter.__version__, end=" ")
print("openpyxl", openpyxl.__version__)


def by_openpyxl(path):
    book = openpyxl.Workbook()
    for text in ("text", *TEXTS.values()):
        book.active.append([text])
    book.save(path)


def by_polars(path):
    pl.DataFrame({"text": list(TEXTS.values())}).write_excel(path)


def by_polars_without_links(path):
    with xlsxwriter.Workbook(path, OFF) as book:
        pl.DataFrame({"text": list(TEXTS.values())}).write_excel(book)


def by_pandas(path, engine, **options):
    frame = pandas.DataFrame({"text": list(TEXTS.values())})
    frame.to_excel(path, index=False, engine=engine, **options)


def written(way):
    """What stands in the cells, as openpyxl reads them, and the beginnings of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        way("texts.xlsx")
    cells = [cell.value for (cell,) in openpyxl.load_workbook("texts.xlsx").active.iter_rows(min_row=2)]
    return dict(zip(TEXTS, cells, strict=True)), [str(warning.message)[:21] for warning in caught]


def same(cells):
    return [name for name, text in TEXTS.items() if cells[name] == text]


ways = {
    "polars": by_polars,
    "pandas, xlsxwriter": lambda path: by_pandas(path, "xlsxwriter"),
    "pandas, openpyxl": lambda path: by_pandas(path, "openpyxl"),
    "openpyxl": by_openpyxl,
    "polars without links": by_polars_without_links,
    "pandas without links": lambda path: by_pandas(
        path, "xlsxwriter", engine_kwargs={"options": {"strings_to_urls": False}}
    ),
}
found = {name: written(way) for name, way in ways.items()}
for name, (cells, said) in found.items():
    print(f"{name}: warnings {said}")
    for at, cell in cells.items():
        print(f"    {at}: of {len(TEXTS[at])} characters", "nothing" if cell is None else f"{len(cell)}, {cell[:30]!r}")
assert all(cells["long"] == TEXTS["long"][:LIMIT] for cells, _ in found.values()), "a long text is not cut any more"
for name in ("polars", "pandas, xlsxwriter"):
    cells, said = found[name]
    assert cells["begins with an address"] is None and "Ignoring URL 'https:/" in said, "it is written now"
    assert (cells["mailto"], cells["internal"]) == ("jane@example.com", " see the second page"), "they are texts now"
TOO_LONG = "Cell contents too lon"
tells = {name: TOO_LONG in said for name, (_, said) in found.items()}
assert tells == {name: name.startswith("pandas") for name in ways}, "others warn of a text that is cut"
assert found["openpyxl"][1] == [] == found["polars without links"][1]
for name in ("pandas, openpyxl", "openpyxl", "polars without links", "pandas without links"):
    assert same(found[name][0]) == ["begins with an address", "mailto", "internal"], "texts are changed there, too"
PYTHON

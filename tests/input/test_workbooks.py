"""Excel workbooks: a sheet's table as Excel shows it, or refused with the cell."""

import datetime as dt
import re
import zipfile

import polars as pl
import pytest
import xlsxwriter
from support.workbook import Raw, error, formula, write_workbook

from batchgen.errors import UsageError
from batchgen.input.source import open_source
from batchgen.job.sections import Input

DAY, MOMENT = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 23, 59, 59, 123000)  # noqa: DTZ001


def opened(folder, **spec):
    return open_source(Input.model_validate({"path": "in.xlsx", **spec}, context={"folder": folder}))


def table(folder, rows, *, merged="", first=1, **spec):
    write_workbook(folder / "in.xlsx", merged=merged, first=first, Data=rows)
    source = opened(folder, **spec)
    return pl.concat([pl.DataFrame(schema=source.columns), *source.batches()]).to_dict(as_series=False)


@pytest.mark.parametrize(
    ("cells", "values", "dtype"),
    [
        pytest.param([5, None, 12.0], [5, None, 12], pl.Int64(), id="whole numbers, as Excel shows them"),
        pytest.param([5, 19.99, 0.1], [5.0, 19.99, 0.1], pl.Float64(), id="fractions"),
        pytest.param(["007", "", "x"], ["007", None, "x"], pl.String(), id="texts"),
        pytest.param(["007", 12, 1.5, True, DAY], ["007", "12", "1.5", "TRUE", "2024-02-29"], pl.String(), id="texts and others"),
        pytest.param([-1, -0.5, 60.25], [-1.0, -0.5, 60.25], pl.Float64(), id="numbers that stand for no day, and are none"),
        pytest.param([Raw('<c r="{at}" s="4"><v>-1.5</v></c>')], [dt.timedelta(days=-1.5)], pl.Duration("us"), id="durations below zero"),
        pytest.param([dt.date(1900, 3, 1), dt.date(1964, 5, 4)], [dt.date(1900, 3, 1), dt.date(1964, 5, 4)], pl.Date(), id="days whose numbers begin with 6"),
        pytest.param([True, None, False], [True, None, False], pl.Boolean(), id="truth values"),
        pytest.param([DAY, None, DAY], [DAY, None, DAY], pl.Date(), id="days"),
        pytest.param([DAY, MOMENT], [dt.datetime(2024, 2, 29), MOMENT], pl.Datetime("us"), id="days and moments"),  # noqa: DTZ001
        pytest.param([dt.time(6, 30)], [dt.time(6, 30)], pl.Time(), id="times of day"),
        pytest.param([Raw('<c r="{at}" t="str"><f>""</f><v></v></c>'), "x"], [None, "x"], pl.String(), id="a formula's empty text"),
        pytest.param([formula("1+1", "2"), 3], [2, 3], pl.Int64(), id="a formula's result"),
        pytest.param([" a\nb ", "é🏕"], [" a\nb ", "é🏕"], pl.String(), id="white space and emoji"),
        pytest.param([None, None, 1], [None, None, 1], pl.Int64(), id="empty rows between others"),
        pytest.param([1, None, None], [1], pl.Int64(), id="empty rows at the end"),
    ],
)  # fmt: skip
def test_a_column_as_excel_shows_it(tmp_path, cells, values, dtype):
    assert table(tmp_path, [["a"], *([one] for one in cells)]) == {"a": values}
    assert opened(tmp_path).columns == {"a": dtype}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param([["a"], [1], [error("#N/A")]], "sheet 'Data': cell A3 is an error, #N/A: fix it", id="an error"),
        pytest.param([["a"], [formula("B1", None)]], "sheet 'Data': cell A2 is a formula without its result", id="a formula that was never calculated"),
        pytest.param([["a"], [formula("B1", "")]], "sheet 'Data': cell A2 is a formula without its result", id="one with an empty result, as openpyxl writes it"),
        pytest.param([["a"], [2**60]], "sheet 'Data': cell A2: a whole number that Excel cannot hold exactly", id="a number of many digits"),
        pytest.param([["a", "a"], [1, 2]], "sheet 'Data': row 1: two columns are named 'a'", id="two columns of a name"),
        pytest.param([["a"], [DAY], [Raw('<c r="A3" s="1"><v>-1</v></c>')]], "sheet 'Data': cell A3 is a number that stands for no day: write the date as text; a time below zero wants the format [h]:mm", id="a day before all days"),
        pytest.param([[None, "a"], [None, Raw('<c r="B2" s="2"><f>B1</f><v>-1.5</v></c>')]], "sheet 'Data': cell B2 is a number that stands for no day", id="a moment before all days"),
        pytest.param([["a"], [Raw('<c r="A2" s="3"><v>-0.25</v></c>')]], "sheet 'Data': cell A2 is a number that stands for no day", id="a time before all days"),
        pytest.param([["a"], [Raw('<c r="A2" s="1"><v>60</v></c>')]], "sheet 'Data': cell A2 is a number that stands for no day", id="29 February 1900"),
        pytest.param([["a"], [DAY], [None], [Raw('<c r="A4" s="1"><f>Z9</f><v>0</v></c>')]], "sheet 'Data': cell A4 is 0, which is no day, in a column of days: clear it", id="a zero among days"),
        pytest.param([[None, "a"], [None, "n/a"], [None, MOMENT], [None, Raw('<c r="B4" s="2"><v>0</v></c>')]], "sheet 'Data': cell B4 is 0", id="a zero among moments and texts"),
        pytest.param([], "sheet 'Data' is empty", id="nothing"),
        pytest.param([["a"], [Raw('<c r="XFD1048576"><v>1</v></c>')]], "sheet 'Data': cell XFD1048576 is too far", id="a cell at the end of the world"),
        pytest.param([["a"], [Raw('<c r="no"><v>1</v></c>')]], "'no' is not a cell", id="a cell that is nowhere"),
    ],
)  # fmt: skip
def test_a_table_that_is_refused(tmp_path, rows, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        table(tmp_path, rows)


def test_a_repeated_header_is_no_row(tmp_path):
    rows = [["id", "name"], [1, "x"], ["id", "name"], [2, "y"]]
    with pytest.raises(UsageError, match="sheet 'Data': row 3 is the row of column names again, as where tables"):
        table(tmp_path, rows)
    assert table(tmp_path, [["id"], ["id"], ["name"]]) == {"id": ["id", "name"]}, "a single column may hold its name"
    assert table(tmp_path, [["id", "name"], ["id", "Name"], [None, "name"]])["id"] == ["id", None]


def test_the_file_of_a_workbook_that_somebody_has_open_is_passed_over(tmp_path):
    (tmp_path / "in").mkdir()
    write_workbook(tmp_path / "in" / "a.xlsx", Data=[["id"], [1]])
    (tmp_path / "in" / "~$a.xlsx").write_bytes(b"\x05Jo   " + bytes(160))
    for path in ("in", "in/*.xlsx", "in/**/*.xlsx"):
        assert [batch["id"].to_list() for batch in opened(tmp_path, path=path).batches()] == [[1]]


def test_a_formulas_zero_is_a_result_only_where_it_was_calculated(tmp_path):
    def rows_of(results):
        with xlsxwriter.Workbook(tmp_path / "in.xlsx") as book:  # as pandas writes a text that begins with "="
            sheet = book.add_worksheet("Data")
            sheet.write_row("A1", ["a", "doubled"])
            for row, result in enumerate(results, 1):
                sheet.write(row, 0, row)
                sheet.write_formula(row, 1, f"=A{row + 1}*2", None, *result)
        return pl.concat(opened(tmp_path).batches()).to_dict(as_series=False)

    assert rows_of([[2], [4]]) == {"a": [1, 2], "doubled": [2, 4]}
    with pytest.raises(UsageError, match="cell B3 is a formula without its result"):
        rows_of([[2], []])
    assert table(tmp_path, [["a"], [formula("B1", "0")], [formula("B1", "7")]]) == {"a": [0, 7]}


def test_times_and_numbers_below_zero_are_read(tmp_path):
    rows = [["a", "b"], [dt.time(9, 30), -0.5], [dt.time(0, 0), -3]]
    assert table(tmp_path, rows) == {"a": [dt.time(9, 30), dt.time(0, 0)], "b": [-0.5, -3.0]}


def test_midnight_among_times_of_day_is_one(tmp_path):
    rows = [["a", "b"], [dt.time(9, 30), DAY], [dt.time(0, 0), dt.time(9, 30)], [None, dt.time(0, 0)]]
    texts = ["2024-02-29", "09:30:00", "00:00:00"]
    assert table(tmp_path, rows) == {"a": [dt.time(9, 30), dt.time(0, 0), None], "b": texts}


def test_a_table_may_begin_anywhere_and_have_columns_without_a_name(tmp_path):
    rows = [[None, "a", None, None, "b"], [None, 1, "x", None, 2]]
    assert table(tmp_path, rows, first=4) == {"a": [1], "column_2": ["x"], "b": [2]}
    assert "B4: 1 column without a name, called column_2" in opened(tmp_path).notes[0]


def test_a_title_above_the_table_is_asked_for(tmp_path):
    rows = [[None, "List of May", *[None] * 8], [None, *"abcdefghi"]]
    table(tmp_path, rows)
    named = "column_2, column_3, column_4, column_5, column_6 and 3 more"
    advice = "if the first line is a title, delete it: a table begins with its column names"
    (note,) = opened(tmp_path).notes
    assert note.startswith(f"{tmp_path}/in.xlsx: B1: 8 columns without a name, called {named}; {advice}; ")


def test_merged_cells_hold_what_they_show_once(tmp_path):
    assert table(tmp_path, [["a"], ["x"], [None], [None]], merged="A2:A4")["a"] == ["x"]
    assert "merged cells (A2:A4)" in opened(tmp_path).notes[0]


@pytest.mark.parametrize(
    "text", ["x" * 32_767, "🏕" * 16_383 + "x", "🏕" * 32_767], ids=["Excel and others", "Excel", "polars and openpyxl"]
)
def test_a_text_as_long_as_a_cell_may_have_been_cut(tmp_path, text):
    table(tmp_path, [["a", "b"], ["x", "y"], ["x" * 32_766, None], ["z", text], ["z", text]])
    (note,) = opened(tmp_path).notes
    assert (
        note
        == f"{tmp_path}/in.xlsx: B4 is a text of 32,767 characters: as many as a cell of Excel holds, so it may have been cut"
    )


def test_no_other_text_is_taken_for_one_that_was_cut(tmp_path):
    table(tmp_path, [["a"], ["x" * 32_766], ["🏕" * 16_383], ["x" * 32_768]])
    assert not opened(tmp_path).notes


@pytest.mark.parametrize(
    ("sheet", "found"),
    [(None, "has several sheets: choose one with input.sheet: 'One', 'Two'"), ("Two", 2), (2, 2), (1, 1),
     ("two", "input.sheet: no sheet 'two'; it has 'One', 'Two', 'None'"), (4, "input.sheet: no sheet 4"), (3, "sheet 'None' is empty")],
)  # fmt: skip
def test_a_sheet_by_its_name_or_number(tmp_path, sheet, found):
    sheets = {"One": [["a"], [1]], "Two": [["a"], [2]], "None": []}
    write_workbook(tmp_path / "in.xlsx", **sheets)
    if isinstance(found, int):
        assert next(opened(tmp_path, sheet=sheet).batches())["a"].to_list() == [found]
    else:
        with pytest.raises(UsageError, match=re.escape(found)):
            opened(tmp_path, sheet=sheet)


def test_a_sheets_number_that_is_another_ones_name_is_told(tmp_path):
    write_workbook(tmp_path / "in.xlsx", **{"2": [["a"], [1]], "1": [["a"], [2]], "2026": [["a"], [3]]})
    source = opened(tmp_path, sheet=1)
    assert next(source.batches())["a"].to_list() == [1]
    assert source.notes == [
        f"{tmp_path}/in.xlsx: input.sheet 1 is sheet '2'; the one that is called 1 is written `sheet: \"1\"`"
    ]
    assert not opened(tmp_path, sheet="1").notes
    assert not opened(tmp_path, sheet=3).notes
    write_workbook(tmp_path / "in.xlsx", **{"1": [["a"], [1]], "2": [["a"], [2]]})
    assert not opened(tmp_path, sheet=2).notes, "it is the second, and is called so"
    write_workbook(tmp_path / "in.xlsx", **{"1": [["a"], [1]], "2026": [["a"], [2]]})
    with pytest.raises(UsageError, match='the one that is called 2026 is written `sheet: "2026"`'):
        opened(tmp_path, sheet=2026)


def test_the_only_sheet_that_holds_anything_needs_no_name(tmp_path):
    write_workbook(tmp_path / "in.xlsx", Empty=[], Data=[["a"], [1]], Void=[])
    assert next(opened(tmp_path).batches())["a"].to_list() == [1]


def test_several_workbooks_are_as_one(tmp_path):
    write_workbook(tmp_path / "1.xlsx", Data=[["a", "b"], [1, None]])
    write_workbook(tmp_path / "2.xlsx", Data=[["a", "b"], [1.5, "x"]])
    source = opened(tmp_path, path="*.xlsx")
    assert pl.concat(source.batches()).to_dicts() == [{"a": 1.0, "b": None}, {"a": 1.5, "b": "x"}]
    write_workbook(tmp_path / "2.xlsx", Data=[["b", "a"], [1.5, "x"]])
    with pytest.raises(UsageError, match=r"2\.xlsx: its columns \(b, a\) differ from those of 1\.xlsx"):
        opened(tmp_path, path="*.xlsx")


@pytest.mark.parametrize("cut", [10, 300, -30, -400])
def test_a_damaged_workbook(tmp_path, cut):
    content = write_workbook(tmp_path / "in.xlsx", Data=[["a"], *([n] for n in range(500))]).read_bytes()
    (tmp_path / "in.xlsx").write_bytes(content[:cut])
    with pytest.raises(UsageError, match=r"in\.xlsx: "):
        opened(tmp_path)


def test_a_workbook_whose_archive_promises_more_than_there_is(tmp_path):
    """Of a part that is not compressed, zipfile says so without a word."""
    write_workbook(tmp_path / "in.xlsx", Data=[["a"], [1]])
    with zipfile.ZipFile(tmp_path / "in.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "in.xlsx", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    data = bytearray((tmp_path / "in.xlsx").read_bytes())
    name = next(name for name in parts if name.endswith("sheet1.xml")).encode()
    entry = data.rindex(name) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 20 : entry + 28] = 2 * (100_000).to_bytes(4, "little")
    (tmp_path / "in.xlsx").write_bytes(data)
    with pytest.raises(UsageError, match=r"in\.xlsx: damaged workbook: \w+"):
        opened(tmp_path)


def test_what_is_no_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.xlsx", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(UsageError, match="not an Excel workbook: a zip archive of something else"):
        opened(tmp_path)
    (tmp_path / "in.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1")
    with pytest.raises(UsageError, match="is an old Excel workbook, or one with a password"):
        opened(tmp_path)

"""Scans Excel workbooks before they are read, cell by cell.

calamine (by python-calamine 0.9.1) makes an empty cell of an error, and of a formula without a result, where XlsxWriter
writes 0. It ends the process if a cell is far from the others, since it allocates all cells in between. Such cells are
refused here, by name. It makes another day of a number that stands for none; such numbers are listed.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from posixpath import join, normpath
from typing import Any, BinaryIO
from xml.parsers import expat

from batchgen.errors import UsageError
from batchgen.input.bounds import refuse_unfolding
from batchgen.input.file_hints import identify
from batchgen.storage.listing import File, size_of
from batchgen.ui.humanize import first_line, quoted

BLOCK = 1 << 20
MAX_EMPTY, PER_CELL = 4_000_000, 50
"""Cells that a sheet may span: MAX_EMPTY, and PER_CELL more for each cell that is not empty."""
COLUMNS = 1 << 14
"""Columns that a sheet of Excel may have."""
_NO_LEAP_DAY = 60
"""Excel's number of 29 February 1900, which never was."""
_CELL = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})")
_SHEETS = "/relationships/worksheet"


@dataclass
class Extent:
    """The extent of a sheet. `cells`: how many are not empty. `right`, `bottom`: the last column and row, from 1.
    `last`: the name of the cell that is farthest. `no_days`: the places of numbers that stand for no day: below 0,
    or that of 29 February 1900. A place is the row times COLUMNS, and the column, both from 0."""

    cells: int = 0
    right: int = 0
    bottom: int = 0
    last: str = ""
    no_days: array[int] = field(default_factory=lambda: array("Q"))


def cell_name(row: int, column: int) -> str:
    """Returns the cell's name in Excel; row and column are counted from 0."""
    letters, rest = "", column + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row + 1}"


def sheets(path: File, file: BinaryIO) -> dict[str, str]:
    """Returns the worksheets' parts in the archive by their names, in the order of the tabs. Raises UsageError."""
    begin = file.read(1024)
    if not begin.startswith(b"PK"):
        raise UsageError(f"{path}: {identify(begin) or 'not an Excel workbook: rename it to what it is, such as .csv'}")
    with _archive(path, file) as archive:
        names = set(archive.namelist())
        root = _root(path, archive)
        if root not in names:
            raise UsageError(f"{path}: not an Excel workbook: a zip archive of something else")
        folder, _, name = root.rpartition("/")
        parts = _related(path, archive, join(folder, f"_rels/{name}.rels"), _SHEETS, folder)
        return {name: parts[key] for name, key in _listed(path, archive, root) if parts.get(key) in names}


def scan_sheet(path: File, file: BinaryIO, sheet: str, part: str) -> Extent:
    """Returns how far a sheet's cells reach. Raises UsageError with the first one that is an error, has no result, or
    lies too far away."""
    with _archive(path, file) as archive:
        for name in archive.namelist():
            if name.endswith("sharedStrings.xml"):
                for _ in _blocks(archive, name):  # against its checksum
                    pass
        look = _SheetScanner(f"{path}: sheet {sheet!r}", is_to_be_calculated=_is_to_be_calculated(path, archive))
        _parse(path, archive, part, look)
    extent = look.extent
    if extent.right * extent.bottom > MAX_EMPTY + PER_CELL * extent.cells:
        where = f"{look.where}: cell {extent.last}"
        raise UsageError(f"{where} is too far from the others: clear the cells outside the table")
    return extent


class _SheetScanner:
    """Handles the elements of a sheet. `is_to_be_calculated`: a formula's 0 is no result yet."""

    def __init__(self, where: str, *, is_to_be_calculated: bool) -> None:
        self.where = where
        self._is_to_be_calculated = is_to_be_calculated
        self.extent = Extent()
        self._name = self._kind = self._value = ""
        self._row = self._column = 0
        self._has_formula = self._has_value = self._has_text = False
        self._is_text = self._is_value = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._row = int(attributes.get("r") or self._row + 1)
            self._column = 0
        elif name == "c":
            self._begin_cell(attributes)
        elif name == "f":
            self._has_formula = True
        elif name in ("v", "is"):
            self._has_value = True
            self._is_text = True
            self._is_value = self._kind in ("e", "n")

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        given = attributes.get("r")
        if given is not None:
            found = _CELL.fullmatch(given)
            if found is None:
                raise UsageError(f"{self.where}: {quoted(given, 20)} is not a cell")
            self._row, self._column = int(found[2]), _number(found[1])
        else:
            self._column += 1
        self._kind, self._value = attributes.get("t", "n"), ""
        self._name = given or cell_name(self._row - 1, self._column - 1)
        self._has_formula = self._has_value = self._has_text = False

    def text(self, text: str) -> None:
        self._has_text |= self._is_text
        if self._is_value:
            self._value += text

    def end(self, name: str) -> None:
        if name in ("v", "is"):
            self._is_text = self._is_value = False
        elif name == "c":
            self._end_cell()

    def _end_cell(self) -> None:
        if self._has_value and self._kind == "e":
            raise UsageError(f"{self.where}: cell {self._name} is an error, {self._value}: fix it, or clear it")
        if self._has_formula and self._kind != "str" and (not self._has_text or self._is_no_result()):
            raise UsageError(
                f"{self.where}: cell {self._name} is a formula without its result: "
                "open the workbook in Excel and save it"
            )
        if self._has_value:
            extent = self.extent
            extent.cells += 1
            if self._row > extent.bottom or self._column > extent.right:
                extent.last = self._name
            extent.bottom, extent.right = max(extent.bottom, self._row), max(extent.right, self._column)
            if self._kind == "n" and self._value[:1] in ("-", "6") and _stands_for_no_day(self._value):
                extent.no_days.append((self._row - 1) * COLUMNS + self._column - 1)

    def _is_no_result(self) -> bool:
        return self._is_to_be_calculated and self._kind == "n" and self._value in ("0", "0.0")


def _stands_for_no_day(number: str) -> bool:
    try:
        value = float(number)
    except ValueError:
        return False
    return value < 0 or value // 1 == _NO_LEAP_DAY


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


@dataclass
class _AttributeCollector:
    """Collects the attributes of one kind of element."""

    wanted: str
    found: list[dict[str, str]] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == self.wanted:
            self.found.append(attributes)

    def end(self, name: str) -> None: ...

    def text(self, text: str) -> None: ...


def _root(path: File, archive: zipfile.ZipFile) -> str:
    """Returns the workbook's own part; empty if there is none."""
    return next(iter(_related(path, archive, "_rels/.rels", "/officeDocument").values()), "")


def _is_to_be_calculated(path: File, archive: zipfile.ZipFile) -> bool:
    """Returns whether all formulas are to be calculated when the workbook is opened. Libraries that calculate none ask
    for it. Excel saves the results, and does not."""
    settings = _AttributeCollector("calcPr")
    _parse(path, archive, _root(path, archive), settings)
    return any(one.get("fullCalcOnLoad") in ("1", "true") for one in settings.found)


def _related(path: File, archive: zipfile.ZipFile, part: str, kind: str, folder: str = "") -> dict[str, str]:
    """Returns the parts of a kind that a part refers to, by their ids."""
    if part not in archive.namelist():
        return {}
    links = _AttributeCollector("Relationship")
    _parse(path, archive, part, links)
    return {
        one.get("Id", ""): normpath(join("/", folder, one.get("Target", ""))).lstrip("/")
        for one in links.found
        if one.get("Type", "").endswith(kind)
    }


def _listed(path: File, archive: zipfile.ZipFile, root: str) -> Iterator[tuple[str, str]]:
    """Yields each sheet's name and id."""
    tabs = _AttributeCollector("sheet")
    _parse(path, archive, root, tabs)
    for one in tabs.found:
        yield one.get("name", ""), next((value for key, value in one.items() if key.rpartition(":")[2] == "id"), "")


def _parse(path: File, archive: zipfile.ZipFile, part: str, handler: Any) -> None:
    """Passes each element to the handler, under its name without the namespace's prefix."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: handler.start(name.rpartition(":")[2], attributes)
    parser.EndElementHandler = lambda name: handler.end(name.rpartition(":")[2])
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        for block in _blocks(archive, part):
            parser.Parse(block, False)  # noqa: FBT003  expat takes no keyword
        parser.Parse(b"", True)  # noqa: FBT003
    except expat.ExpatError as error:
        raise UsageError(f"{path}: damaged workbook: {part}: {error}") from None


def _refuse_doctype(*_: Any) -> None:
    raise expat.ExpatError("it has a document type, which workbooks do not have")


def _blocks(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    with archive.open(part) as file:
        while block := file.read(BLOCK):
            yield block


@contextmanager
def _archive(path: File, file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            unfolded = sum(one.file_size for one in archive.infolist())
            refuse_unfolding(path, unfolded, size_of(path) / 10)  # a tenth of it: a sheet is held whole
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: damaged workbook: {first_line(error)}") from None

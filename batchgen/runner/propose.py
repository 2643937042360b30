"""Writes the job of `batchgen init --input`, which reads a given file. It reads the whole file, so that the job's plan
refuses none of its rows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.input.compression import suffix_within
from batchgen.input.formats import is_csv, is_workbook
from batchgen.input.prompt_template import PromptError, Template
from batchgen.input.source import Source
from batchgen.input.texts import has_polars_text, texts
from batchgen.job import scaffold
from batchgen.output.column_names import collisions, left_out
from batchgen.runner.csv_settings import csv_settings, source_of
from batchgen.storage.listing import find
from batchgen.storage.location import is_url

MAX_COLUMNS, MAX_IDS, ID_CHARS, NAME_CHARS = 20, 8, 64, 500
"""The most columns in the prompt; the most columns considered as ids; the most characters of an id; those of the name
of a column that the job names."""
_TOO_LONG = 1_000_000_000 * 86_400_000
"""Milliseconds of a duration that Python does not have."""
_WHOLE = r"^(0|-?[1-9]\d{0,17})$"
_FRACTION = r"^-?(0\.(0{0,3}[1-9]\d{0,10})?|[1-9]\d{0,7}\.\d{0,6})[1-9]$|^-?(0|[1-9]\d{0,13})\.0$"
"""Numbers that print exactly as in the file: no extra zero, and no more digits than a float holds."""
_ID_NAME = re.compile(r"(^|[\W_])(id|sku|key|uuid|guid|nr|no|code|number)$|[a-z]I[dD]$", re.IGNORECASE)


@dataclass
class _Facts:
    """The properties of a column so far. `seen`: the hashes of its values, if it may be the id."""

    has_nulls: bool = False
    is_filled: bool = False
    is_whole: bool = True
    is_fraction: bool = True
    is_printable: bool = True
    seen: list[pl.Series] | None = field(default_factory=list)


class Proposed(NamedTuple):
    """The files that were written, and what the user should know of the one that was read."""

    files: list[Path]
    notes: list[str]


def write(path: str, name: str | None) -> Proposed:
    """Writes the job file. Raises UsageError if the file cannot be read, or if the job exists already."""
    file = scaffold.job_file(name or _name(path))
    given = path if is_url(path) else os.path.abspath(path)  # noqa: PTH100  links stay
    source = _opened(given)
    relative = path if is_url(path) else os.path.relpath(given, file.parent.resolve())
    relative = f"./{relative}" if relative.startswith("~") else relative  # else it would be a home
    return Proposed(scaffold.save({file: _job(file, relative, source)}), source.notes)


def _name(path: str) -> str:
    stem = path.rstrip("/").rpartition("/")[2]
    while (suffix := Path(stem).suffix) and suffix.lower() in (".gz", ".zst", suffix_within(stem)):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:80] or "job"


def _opened(path: str) -> Source:
    """Opens the file with the settings that read all of it."""
    found = find(path).files
    settings: dict[str, object] = {"path": path}
    if is_csv(found):
        settings |= csv_settings(path, found[0])
    elif is_workbook(found):
        from batchgen.input.excel_format import filled_sheets  # noqa: PLC0415  it takes long

        sheets = filled_sheets(found[0])
        settings |= {"sheet": max(sheets, key=sheets.__getitem__)} if len(sheets) > 1 else {}
    source = source_of(settings)
    renames = {name: f"source_{name}" for name in (*collisions(source.columns), *left_out(source.columns))}
    if "row" in source.columns:
        renames["row"] = "row_"
    renames = {name: _free(new, source.columns) for name, new in renames.items()}
    return source_of({**settings, "rename": renames}) if renames else source


def _free(name: str, columns: Schema) -> str:
    while name in columns:
        name += "_"
    return name


_NOTES = {"sheet": "  # the one with the most cells of several"}


def _job(file: Path, path: str, source: Source) -> str:
    facts = _facts(source)
    id_ = _id(facts)
    typed = {source_name: dtype for source_name, dtype in _types(source, facts).items() if source_name != id_}
    keys = [f"path: {_quoted(path)}"]
    given = source.spec.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, exclude={"path"})
    keys += [f"{key}: {_json(value)}{_NOTES.get(key, '')}" for key, value in given.items()]
    keys += [f"id: {_quoted(id_)}  # names a row in messages; unique"] if id_ else []
    keys += [f"schema: {_json(typed)}  # numbers that print as they stand"] if typed else []
    prompt = ["Write two sentences about this:", *_lines(source.columns, facts)]
    return scaffold.job_text(file, _indented(keys), _indented(prompt))


def _indented(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _quoted(text: str) -> str:
    """Quotes the text as YAML needs it."""
    return text if re.fullmatch(r"[A-Za-z_./][\w./-]*", text, re.ASCII) and not _is_word(text) else _json(text)


def _json(value: object) -> str:
    """Returns the value as JSON, which YAML reads: its letters as they are where all can be seen."""
    shown = json.dumps(value, ensure_ascii=False)
    return shown if shown.isprintable() else json.dumps(value)


def _is_word(text: str) -> bool:
    return text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def _facts(source: Source) -> dict[str, _Facts]:
    templates = {name: _template(name, source.columns) for name in source.columns}
    facts = {name: _Facts(is_printable=template is not None) for name, template in templates.items()}
    ids: list[str] | None = None
    for frame in source.batches():
        for column in frame:
            _look(column, facts[column.name], templates[column.name])
        if ids is None:
            ids = _may_be_ids(frame)
            for name in facts.keys() - set(ids):
                facts[name].seen = None
        for name in ids:
            if (seen := facts[name].seen) is not None:
                seen.append(texts(frame[name]).hash())
    return facts


def _look(column: pl.Series, facts: _Facts, template: Template | None) -> None:
    if column.dtype.is_float():
        column = column.fill_nan(None)
    filled = column.drop_nulls()
    facts.has_nulls |= filled.len() < column.len()
    facts.is_filled |= filled.len() > 0
    if column.dtype == pl.String:
        facts.is_whole = facts.is_whole and bool(filled.str.contains(_WHOLE).all())
        facts.is_fraction = facts.is_fraction and bool(filled.str.contains(_FRACTION).all())
    if column.dtype.is_temporal() and filled.len() and not _is_near(filled):
        facts.is_printable = False
    elif template is not None and column.dtype.is_nested() and facts.is_printable:
        facts.is_printable = not any(isinstance(one, PromptError) for one in template.prompts(filled.to_frame()))


def _is_near(column: pl.Series) -> bool:
    """Returns whether Python has such dates, times and durations."""
    if isinstance(column.dtype, pl.Duration):
        return column.dtype.time_unit != "ms" or bool((column.to_physical().abs() < _TOO_LONG).all())
    return isinstance(column.dtype, pl.Time) or has_polars_text(column)


def _template(name: str, columns: Schema) -> Template | None:
    """Returns a template that prints the column; None if it cannot be printed."""
    try:
        return Template(f"x{{{{ {_written(name)} }}}}", {name: columns[name]})
    except UsageError:
        return None


def _written(name: str) -> str:
    """Returns the column's name as a template writes it."""
    try:
        Template(f"{{{{ {name} }}}}", {name: pl.String()})
    except UsageError:
        return f"row[{json.dumps(name)}]"
    return name if name.isidentifier() and name.isascii() else f"row[{_json(name)}]"


def _may_be_ids(frame: pl.DataFrame) -> list[str]:
    """Returns the columns that may be ids by the first rows, those with an id's name first."""
    unique = [
        column.name
        for column in frame
        if len(column.name) <= NAME_CHARS
        and (column.dtype == pl.String or column.dtype.is_integer())
        and not column.null_count()
        and column.n_unique() == column.len()
        and (column.dtype != pl.String or int(column.str.len_chars().max() or 0) <= ID_CHARS)  # type: ignore[arg-type]
    ]
    return sorted(unique, key=lambda name: not _ID_NAME.search(name))[:MAX_IDS]


def _id(facts: dict[str, _Facts]) -> str | None:
    unique = [
        name
        for name, of in facts.items()
        if of.seen and not of.has_nulls and (hashes := pl.concat(of.seen)).n_unique() == hashes.len()
    ]
    return min(unique, key=lambda name: not _ID_NAME.search(name), default=None)


def _types(source: Source, facts: dict[str, _Facts]) -> dict[str, str]:
    """Returns the types of a CSV's columns, by their names in the file, that print as numbers what the file says."""
    if not is_csv(source.files):
        return {}
    named = {name: facts[source.spec.rename.get(name, name)] for name in source.raw}
    return {
        name: "Int64" if of.is_whole else "Float64"
        for name, of in named.items()
        if len(name) <= NAME_CHARS and of.is_filled and (of.is_whole or of.is_fraction)
    }


def _lines(columns: Schema, facts: dict[str, _Facts]) -> Iterator[str]:
    """Yields the prompt's lines, one a column. Raises UsageError if there is none."""
    names = [name for name in columns if facts[name].is_printable and len(name) <= NAME_CHARS]
    if not names:
        raise UsageError("no column of the file can stand in a prompt")
    for name in names[:MAX_COLUMNS]:
        written = _written(name)
        label = re.sub(r"[{}%#]|\s+", " ", "".join(mark if mark.isprintable() else " " for mark in name)).strip()
        cell = f'{written} if {written} is not none else ""' if facts[name].has_nulls else written
        yield f"- {label}: {{{{ {cell} }}}}"

"""Makes Arrow columns of the answers' JSON, by the types that the job's schema gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from batchgen.job.answer_columns import AnswerColumn, ListOf, StructOf, ValueType, values_in

_SCALARS: dict[ValueType, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
}


def arrow_type(kind: ValueType) -> pa.DataType:
    if isinstance(kind, ListOf):
        return pa.list_(arrow_type(kind.items))
    if isinstance(kind, StructOf):
        return pa.struct([(name, arrow_type(inner)) for name, inner in kind.fields])
    return _SCALARS[kind]


def fields(columns: Sequence[AnswerColumn]) -> list[pa.Field[Any]]:
    return [pa.field(column.name, arrow_type(column.type)) for column in columns]


def typed(texts: Sequence[str | None], columns: Sequence[AnswerColumn]) -> list[pa.Array[Any]]:
    """Returns an array for each column, with a value for each text; null if there is no text, or none that fits."""
    rows = [_values(text, columns) for text in texts]
    return [
        pa.array([row[at] if row is not None else None for row in rows], arrow_type(column.type))
        for at, column in enumerate(columns)
    ]


def _values(text: str | None, columns: Sequence[AnswerColumn]) -> list[Any] | None:
    if text is None:
        return None
    try:
        return values_in(text, columns)
    except ValueError:
        return None

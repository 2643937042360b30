"""A folder of parts in an object store: which of its objects are in force.

A store has no folders that could be exchanged. So each publication's parts have names of their own, and one object,
written last, names those that count: whoever reads it sees one publication, whole.
"""

from __future__ import annotations

import errno

import msgspec

from batchgen.storage.object_store import Object

MANIFEST = "_manifest.json"


class Manifest(msgspec.Struct):
    """`parts`: the names in order. `rows`: of all of them."""

    parts: list[str]
    rows: int


def read(text: bytes, where: str) -> Manifest:
    """Raises OSError where it is none."""
    try:
        return msgspec.json.decode(text, type=Manifest)
    except ValueError:
        raise OSError(errno.EINVAL, "is no list of parts", where) from None


def in_force(listed: list[Object]) -> list[Object]:
    """What folders hold: the parts that a manifest names, or all, where there is none. Raises OSError."""
    named = {one.url.parts[:-1]: set(_manifest(one).parts) for one in listed if one.name == MANIFEST}
    return [one for one in listed if one.name in named.get(one.url.parts[:-1], {one.name})]


def _manifest(one: Object) -> Manifest:
    with one.open() as file:
        return read(file.read(), str(one))

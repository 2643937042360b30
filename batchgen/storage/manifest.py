"""The manifest of a folder of parts in an object store: which of its objects are current.

A store cannot swap two folders. So the parts of each publication have names of their own, and the manifest, written
last, names the current ones. Every reader of the manifest sees one publication, whole.
"""

from __future__ import annotations

import errno

import msgspec

from batchgen.storage.object_store import Object

MANIFEST = "_manifest.json"


class Manifest(msgspec.Struct):
    """The current parts. `parts`: their names, in order. `rows`: rows of all parts together."""

    parts: list[str]
    rows: int


def read(text: bytes, where: str) -> Manifest:
    """Parses a manifest. Raises OSError if the text is not a manifest."""
    try:
        return msgspec.json.decode(text, type=Manifest)
    except ValueError:
        raise OSError(errno.EINVAL, "is not a list of parts", where) from None


def in_force(listed: list[Object]) -> list[Object]:
    """Returns the objects that a manifest of their folder names; all objects of a folder without a manifest. Raises
    OSError."""
    named = {one.url.parts[:-1]: set(_manifest(one).parts) for one in listed if one.name == MANIFEST}
    return [one for one in listed if one.name in named.get(one.url.parts[:-1], {one.name})]


def _manifest(one: Object) -> Manifest:
    with one.open() as file:
        return read(file.read(), str(one))

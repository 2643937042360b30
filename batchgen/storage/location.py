"""Locations of files: on this machine, or in an object store. Names only; nothing is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

SCHEMES = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Each scheme with its kind of store, whose variables and credentials it takes."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTAINER = re.compile(r"[A-Za-z0-9$][A-Za-z0-9-]*@[A-Za-z0-9]+(\.[A-Za-z0-9-]+)+")
"""Matches `abfs://container@account.dfs.core.windows.net/...`. In any other address an @ would follow a password."""


@dataclass(frozen=True, order=True)
class ObjectUrl:
    """The address of an object, or the prefix of several. `bucket`: with its scheme, such as `s3://name`. `key`:
    without a slash at either end. Offers what Path offers, so that code takes either."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> ObjectUrl:
        """Parses an address. Raises ValueError, whose message does not repeat the text: it may hold a password."""
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme not in SCHEMES:
            raise ValueError(f"should be a path on this machine, or begin with {', '.join(f'{s}://' for s in SCHEMES)}")
        if not _BUCKET.fullmatch(bucket) and not (scheme.startswith("abfs") and _CONTAINER.fullmatch(bucket)):
            raise ValueError(f"should be {scheme}://BUCKET/NAME; credentials come from the environment")
        key = key.strip("/")
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise ValueError(f"should be {scheme}://BUCKET/NAME, without empty parts, '.' and '..'")
        return cls(f"{scheme}://{bucket}", key)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.key.split("/")) if self.key else ()

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> ObjectUrl:
        return replace(self, key="/".join(self.parts[:-1]))

    def with_name(self, name: str) -> ObjectUrl:
        return replace(self, key="/".join((*self.parts[:-1], name)))

    def __truediv__(self, name: str) -> ObjectUrl:
        return replace(self, key=f"{self.key}/{name}".strip("/"))


Location = Path | ObjectUrl


def is_url(path: str) -> bool:
    return "://" in path


def to_location(path: str | Path) -> Location:
    """Returns a Path, or an ObjectUrl for an address. Raises ValueError if the address is not one of a known object
    store."""
    return ObjectUrl.parse(path) if isinstance(path, str) and is_url(path) else Path(path)

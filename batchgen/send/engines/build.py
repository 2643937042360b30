"""The build of batchgen: its version, and a digest of its source, since two commits may have the same version."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

from batchgen._version import __version__

PACKAGE = Path(__file__).parents[2]


@cache
def build() -> str:
    """Returns the build, such as `0.2.0 (source 4f1d0c9a3b2e)`."""
    return f"{__version__} (source {digest(PACKAGE)})"


def digest(package: Path) -> str:
    """Returns a digest of every module's path in the package, and of its text."""
    state = blake2b(digest_size=6)
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes()
        state.update(f"{path.relative_to(package).as_posix()} {len(text)} ".encode() + text)
    return state.hexdigest()

"""A damaged checkpoint -> a sound one with every attempt that can still be read and holds its checksum.

`python -m batchgen.runner.salvage FILE`. The damaged file is kept beside it, as FILE.damaged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import apsw

from batchgen.errors import BatchgenError, UsageError
from batchgen.runner import lock
from batchgen.runner.checkpoint import Checkpoint, Record
from batchgen.runner.reader import STORED, opened, sound, taken
from batchgen.terminal import inert

LEAST_ROW = 40
"""Bytes; no file holds more attempts than its size allows."""
AT_ONCE = 500


def salvage(path: Path) -> tuple[int, int]:
    """(attempts saved, attempts lost), by the highest id that is to be seen. Raises AlreadyRunning, MachineRefused."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    repaired, damaged = path.with_name("repaired.sqlite"), path.with_name(f"{path.name}.damaged")
    with lock.exclusive(path.with_suffix(".lock")):
        repaired.unlink(missing_ok=True)
        with closing(opened(path, "mode=ro")) as db, closing(Checkpoint(repaired)) as checkpoint:
            saved, highest = _copy(db, path.stat().st_size // LEAST_ROW, checkpoint)
        path.rename(damaged)
        for tail in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + tail).rename(damaged.with_name(damaged.name + tail))
        repaired.rename(path)
    return saved, highest - saved


def _copy(db: apsw.Connection, most: int, checkpoint: Checkpoint) -> tuple[int, int]:
    """Row by row, so that a broken page costs its own rows alone. Ids stay: they are the order of the commits."""
    last = _or_none(lambda: db.execute("SELECT max(id) FROM attempts").get)
    saved = highest = 0
    batch: list[tuple[int, Record]] = []
    for id_, record in _readable(db, most if last is None else last):
        batch.append((id_, record))
        highest = id_
        if len(batch) == AT_ONCE:
            saved += checkpoint.put(batch)
            batch = []
    saved += checkpoint.put(batch)
    for run in _or_none(lambda: taken(db, list, "SELECT * FROM runs")) or []:
        checkpoint.put_run(run)
    return saved, max(highest, last or 0)


def _readable(db: apsw.Connection, last: int) -> Iterator[tuple[int, Record]]:
    for id_ in range(1, last + 1):
        rows = _or_none(lambda id_=id_: taken(db, list, f"SELECT {STORED} WHERE a.id = ?", (id_,)))  # type: ignore[misc]
        yield from sound(rows or [])[0].items()


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (apsw.Error, UnicodeDecodeError):
        return None


def main() -> None:
    try:
        saved, lost = salvage(Path(sys.argv[1] if len(sys.argv) > 1 else ""))
    except BatchgenError as error:
        sys.exit(inert(f"error: {error}"))
    print(f"{saved:,} attempts saved, {lost:,} lost; run the job again: what was lost is bought again")  # noqa: T201


if __name__ == "__main__":
    main()

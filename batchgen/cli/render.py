"""Values -> what is printed of them, where they do not say it themselves."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from batchgen.runner.summary import kept_out
from batchgen.ui.humanize import counted
from batchgen.ui.panel import Line, Sheet, Tone, near
from batchgen.ui.terminal import inert_json

if TYPE_CHECKING:
    from batchgen.output.publish import Published


def as_json(value: Any) -> str:
    """Plain values, or a dataclass of them, as one line."""
    return inert_json(json.dumps(values(value), ensure_ascii=False))


def values(value: Any) -> Any:
    """A dataclass as plain values; those as they are."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def published(done: Published) -> Sheet:
    counts = f": {done.ok:,} ok, {done.failed:,} failed, {done.pending:,} pending"
    damaged = [
        Line("damaged", f"{row}: its stored answer cannot be read; the next run buys it again", Tone.BAD)
        for row in done.damaged.values()
    ]
    return Sheet(
        near(str(done.path)), counted(done.rows, "row"), counts, [*damaged, *kept_out(done.rejected, done.partial)]
    )

"""Renders values that do not render themselves."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from batchgen.runner.summary import kept_out
from batchgen.ui.humanize import pluralize
from batchgen.ui.panel import Panel, PanelLine, Severity, local_path, short_path
from batchgen.ui.terminal import inert_json

if TYPE_CHECKING:
    from batchgen.output.publish import PublishResult


def as_json(value: Any) -> str:
    """Returns plain values, or a dataclass of them, as one line of JSON."""
    return inert_json(json.dumps(values(value), ensure_ascii=False))


def values(value: Any) -> Any:
    """Returns a dataclass as plain values; other values as they are."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def published(done: PublishResult) -> Panel:
    counts = f": {done.ok:,} ok, {done.failed:,} failed, {done.pending:,} pending"
    damaged = [
        PanelLine("damaged", f"{row}: its stored answer cannot be read; the next run buys it again", Severity.BAD)
        for row in done.damaged.values()
    ]
    return Panel(
        short_path(str(done.path)),
        pluralize(done.rows, "row"),
        counts,
        [*damaged, *kept_out(done.rejected, done.partial)],
        path=local_path(str(done.path)),
    )

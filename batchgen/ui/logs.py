"""What a command says on stderr while it works: lines for people, or one JSON object a line for machines.

Whatever a message holds, it is inert. Knows no job but its name.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from types import TracebackType

from batchgen.ui.terminal import inert, inert_json, screen

NUMBERS = "numbers"
"""Under this name a record carries fields of its own, as in `log.info(..., extra={NUMBERS: {"done": 3}})`."""

log = logging.getLogger("batchgen")


class TextFormatter(logging.Formatter):
    """`22:00:00 warning: ...`"""

    def format(self, record: logging.LogRecord) -> str:
        shown = screen(sys.stderr)
        told = shown.hang(inert(super().format(record)), len("22:00:00 ") if shown.width else 0)
        return told.replace(" warning: ", " " + shown.paint("warning:", fg="yellow", bold=True) + " ", 1)


class JsonFormatter(logging.Formatter):
    """`time` (ISO, UTC), `level`, `message`, `job`, and the record's numbers."""

    job: str | None = None

    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        said = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "job": self.job,
            **getattr(record, NUMBERS, {}),
        }
        return inert_json(json.dumps(said, ensure_ascii=False, allow_nan=False, default=str))


def start(kind: str, level: int) -> None:
    """Sends what is logged to stderr, as `text` or as `json`."""
    logging.raiseExceptions = False  # a closed stderr must not end a run
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(level)
    if kind == "json":
        sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    told = "".join(traceback.format_exception(kind, error, trace))
    log.critical("crashed: %s", kind.__name__, extra={NUMBERS: {"traceback": told}})


def name(job: str) -> None:
    """Whose lines these are, from here on."""
    for formatter in _objects():
        formatter.job = job


def are_objects() -> bool:
    return bool(_objects())


def _objects() -> list[JsonFormatter]:
    return [handler.formatter for handler in log.handlers if isinstance(handler.formatter, JsonFormatter)]

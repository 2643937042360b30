"""Log messages on stderr: lines for people, or one JSON object a line for machines.

Control characters in a message are escaped. The module knows no job but its name.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from types import TracebackType

from batchgen.ui.terminal import inert, inert_json, screen

FIELDS = "numbers"
"""The attribute of a log record that holds extra fields, as in `log.info(..., extra={FIELDS: {"done": 3}})`."""

log = logging.getLogger("batchgen")


class TextFormatter(logging.Formatter):
    """Lines for people: `22:00:00 warning: ...`"""

    def format(self, record: logging.LogRecord) -> str:
        terminal = screen(sys.stderr)
        text = terminal.hanging(inert(super().format(record)), len("22:00:00 ") if terminal.width else 0)
        return text.replace(" warning: ", " " + terminal.paint("warning:", fg="yellow", bold=True) + " ", 1)


class JsonFormatter(logging.Formatter):
    """JSON objects for machines: `time` (ISO, UTC), `level`, `message`, `job`, and the record's FIELDS."""

    job: str | None = None

    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "job": self.job,
            **getattr(record, FIELDS, {}),
        }
        return inert_json(json.dumps(fields, ensure_ascii=False, allow_nan=False, default=str))


def start(kind: str, level: int) -> None:
    """Sends log messages to stderr, as `text` or as `json`."""
    logging.raiseExceptions = False  # a closed stderr must not end a run
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(level)
    if kind == "json":
        sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    log.critical("crashed: %s", kind.__name__, extra={FIELDS: {"traceback": text}})


def name_job(job: str) -> None:
    """Sets the job's name in all messages from now on."""
    for formatter in _json_formatters():
        formatter.job = job


def are_json() -> bool:
    """Returns whether log messages are JSON objects."""
    return bool(_json_formatters())


def _json_formatters() -> list[JsonFormatter]:
    return [handler.formatter for handler in log.handlers if isinstance(handler.formatter, JsonFormatter)]

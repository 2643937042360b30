"""Parses server-sent events, a whole body at a time; only its end mark is found while it comes.

The end of the service's stream is not documented: `[DONE]`, the end of the body, and a last event without its blank
line are all accepted. An event that is cut in the middle is not. Reads from no socket.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from batchgen.api.repair import decoded

DONE = b"[DONE]"
NULL = msgspec.Raw(b"null")
ERROR = b"error"
_DONE_LINE = re.compile(rb"[\r\n]data: ?\[DONE\][ \t]*(?:[\r\n]|\Z)")
_TAIL_BYTES = 64
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NOTHING = {b"null", b'""', b"{}", b"[]", b"false", b"0"}


class ErrorFields(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Reads the fields by which a JSON object reports an error: OpenAI's `error`, Writer's `errors`, FastAPI's
    `detail`, and `object: error`, as SGLang has it."""

    error: msgspec.Raw = NULL
    errors: msgspec.Raw = NULL
    detail: msgspec.Raw = NULL
    object: msgspec.Raw = NULL

    def is_error(self) -> bool:
        """Returns whether the object reports an error."""
        if self.error is NULL and self.errors is NULL and self.object is NULL:
            return False  # nearly always
        is_set = any(one is not NULL and bytes(one) not in _NOTHING for one in (self.error, self.errors))
        return is_set or (self.object is not NULL and bytes(self.object) == b'"error"')

    def breaks_off(self) -> bool:
        """Returns whether an event ends the answer with an error. In an event `detail` counts, too; a whole answer may
        have one."""
        return self.is_error() or (self.detail is not NULL and bytes(self.detail) not in _NOTHING)


class Event(ErrorFields, frozen=True, gc=False):
    """Reads one `data:` event, `streaming_data` of the OpenAPI document. An event that a gateway adds has no `value`;
    nor has an error, which has a `message`."""

    value: str | None = None
    message: msgspec.Raw = NULL

    def breaks_off(self) -> bool:
        """Returns whether the event ends the answer with an error."""
        return super().breaks_off() or (self.value is None and self.message is not NULL)


class Streamed(NamedTuple):
    """Holds a stream's text. `error`: the first event that reports an error, as it came. `is_done`: `[DONE]` came."""

    text: str
    error: bytes | None
    is_done: bool


_event = msgspec.json.Decoder(Event)


def events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and the data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html,
    9.2.6). A stray field `error`, with which llama.cpp's server ends a broken stream, is an event of that name.

    Unlike a browser, it yields a last event without its blank line. Raises ValueError at the end if an event was cut
    earlier.
    """
    name, data = b"", list[bytes]()
    lines = _LINE_END.split(body.removeprefix(BOM_UTF8))
    for line in (*lines, b""):
        if not line:
            if data and not _is_foreign(name, data):
                yield name, b"\n".join(data)
            name, data = b"", []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip().lower()
        elif line.startswith(b"error:"):
            yield ERROR, line[6:].strip()
    if lines[-1] and b"data:".startswith(lines[-1]):
        raise ValueError("the stream was cut in the middle of an event")


def _is_foreign(name: bytes, data: list[bytes]) -> bool:
    """Returns whether the event is a heartbeat or the like: it has another name, and does not hold an object."""
    return name not in (b"", b"message", ERROR) and data[0].lstrip()[:1] not in (b"{", b"[")


def read(body: bytes) -> Streamed:
    """Joins the values of all events. Raises ValueError if an event does not match the contract, or none came."""
    values: list[str] = []
    error: bytes | None = None
    is_done = seen = False
    for name, data in events(body):
        seen = True
        if is_done := data.strip() == DONE:
            break
        event = None if name == ERROR else decoded(_event, data)
        if event is None or event.breaks_off():
            error = error or data
        elif event.value is not None:
            values.append(event.value)
    if not seen:
        raise ValueError("the stream ended without a single event")
    if not values and error is None and not is_done:
        raise ValueError("the stream ended without any text")
    return Streamed("".join(values), error, is_done)


class EndMark:
    """Looks for `[DONE]` in a body that comes piece by piece."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def comes_with(self, piece: bytes) -> bool:
        """Returns whether the stream has said it by the end of this piece. No text can look like it. Where it is cut,
        its end is a short piece: nothing needs to follow."""
        if len(piece) >= _TAIL_BYTES and DONE not in piece:  # nearly always
            self._tail = piece[-_TAIL_BYTES:]
            return False
        window = self._tail + piece
        self._tail = window[-_TAIL_BYTES:]
        return DONE in window and _DONE_LINE.search(window) is not None


def is_done(body: bytes) -> bool:
    """Returns whether the stream ends with `[DONE]`. Its last bytes mostly tell: no text can look like them."""
    if _DONE_LINE.search(body[-_TAIL_BYTES:]):
        return True
    try:
        return DONE in body and read(body).is_done
    except (ValueError, RecursionError):
        return False

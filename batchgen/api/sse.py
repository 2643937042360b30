"""Server-sent events, as a whole body -> the text they carry, and what else they say.

The service's stream has no documented end: `[DONE]`, the end of the body, and a last event
without its blank line are all accepted. An event that is cut in the middle is not.
Pure: it never reads from a socket, and never keeps what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from batchgen.api.repair import decoded

DONE = b"[DONE]"
NULL = msgspec.Raw(b"null")
ERROR = b"error"
_DONE_LAST = re.compile(rb"[\r\n]data: ?\[DONE\]\s*\Z")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NOTHING = {b"null", b'""', b"{}", b"[]", b"false", b"0"}


class Telling(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a JSON object has that tells of an error, beside or in place of what it should have: OpenAI's `error`,
    writer's `errors`, FastAPI's `detail`, and `object: error`, as SGLang says it."""

    error: msgspec.Raw = NULL
    errors: msgspec.Raw = NULL
    detail: msgspec.Raw = NULL
    object: msgspec.Raw = NULL

    def is_error(self) -> bool:
        if self.error is NULL and self.errors is NULL and self.object is NULL:
            return False  # nearly always
        told = any(one is not NULL and bytes(one) not in _NOTHING for one in (self.error, self.errors))
        return told or (self.object is not NULL and bytes(self.object) == b'"error"')

    def breaks_off(self) -> bool:
        """Of an event: an answer that is there as a whole may have its `detail`."""
        return self.is_error() or (self.detail is not NULL and bytes(self.detail) not in _NOTHING)


class Event(Telling, frozen=True, gc=False):
    """One `data:` event, `streaming_data` of the OpenAPI document. What a gateway adds at the end has no value; nor has
    a `message`, which is an error's."""

    value: str | None = None
    message: msgspec.Raw = NULL

    def breaks_off(self) -> bool:
        return super().breaks_off() or (self.value is None and self.message is not NULL)


class Streamed(NamedTuple):
    """`error`: what the first event said that told of one, as it came; `is_done`: whether `[DONE]` came."""

    text: str
    error: bytes | None
    is_done: bool


_event = msgspec.json.Decoder(Event)


def events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6);
    a stray field `error`, with which llama.cpp's server ends a stream that breaks, is an event of that name.

    Unlike a browser, yields a last event that lacks its blank line. Raises ValueError where it was cut before that.
    """
    name, data = b"", list[bytes]()
    lines = _LINE_END.split(body.removeprefix(b"\xef\xbb\xbf"))
    if lines[-1] and b"data:".startswith(lines[-1]):
        raise ValueError("the stream was cut in the middle of an event")
    for line in (*lines, b""):
        if not line:
            if data and not _is_elses(name, data):
                yield name, b"\n".join(data)
            name, data = b"", []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip().lower()
        elif line.startswith(b"error:"):
            yield ERROR, line[6:].strip()


def _is_elses(name: bytes, data: list[bytes]) -> bool:
    """Whether it is a heartbeat or the like: an event of another name that holds no object."""
    return name not in (b"", b"message", ERROR) and data[0].lstrip()[:1] not in (b"{", b"[")


def read(body: bytes) -> Streamed:
    """All values in order. Raises ValueError where an event is not the contract's, or none came."""
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


def is_done(body: bytes) -> bool:
    """Whether `[DONE]` comes at its end: mostly its last bytes tell, and no text can look like them."""
    if _DONE_LAST.search(body[-64:]):
        return True
    try:
        return DONE in body and read(body).is_done
    except (ValueError, RecursionError):
        return False


def text(body: bytes) -> str:
    """Raises as `read`."""
    return read(body).text

"""Server-sent events, as a whole body -> the text they carry.

The service's stream has no documented end: `[DONE]`, the end of the body, and a last event
without its blank line are all accepted. An event that is cut in the middle is not.
Pure: it never reads from a socket, and never keeps what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

DONE = b"[DONE]"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One `data:` event, `streaming_data` of the OpenAPI document."""

    value: str


_event = msgspec.json.Decoder(Event)


def events(body: bytes) -> Iterator[bytes]:
    """The data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6).

    Unlike a browser, yields a last event that lacks its blank line. Raises ValueError where it was cut before that.
    """
    data: list[bytes] = []
    lines = _LINE_END.split(body.removeprefix(b"\xef\xbb\xbf"))
    if lines[-1] and b"data:".startswith(lines[-1]):
        raise ValueError("the stream was cut in the middle of an event")
    for line in lines:
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    if data:
        yield b"\n".join(data)


def text(body: bytes) -> str:
    """All values in order. Raises ValueError where an event is not the contract's, or none came."""
    values: list[str] = []
    seen = False
    for data in events(body):
        seen = True
        if data.strip() == DONE:
            break
        values.append(_event.decode(data).value)
    if not seen:
        raise ValueError("the stream ended without a single event")
    return "".join(values)

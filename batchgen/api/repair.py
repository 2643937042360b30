"""JSON that is none by a hair -> JSON: what Python's and JavaScript's writers let through, and half characters.

Servers write NaN and infinities where a log-prob has no number, and tokens that are half a character. A text that was
paid for is not lost over them: the numbers become null, the halves U+FFFD. Asked only where a body cannot be read.
"""

from __future__ import annotations

import json
import math
import re
from typing import TypeVar

import msgspec

T = TypeVar("T")
_HALF = re.compile("[\ud800-\udfff]")


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """As the decoder has it, mended where it cannot be read as it is. Raises ValueError or RecursionError."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except ValueError:
        return decoder.decode(mended(data))


def mended(data: bytes) -> bytes:
    """Raises ValueError or RecursionError where it is no JSON at all."""
    text = data.decode("utf-8")
    value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    return _HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None

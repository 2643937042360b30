"""Repairs JSON that is almost valid: NaN, infinities, halves of characters, a byte order mark.

Some servers write NaN or infinities for log-probs without a number, and tokens that are half a character. A text that
was paid for must not be lost because of them: such numbers become null, the halves U+FFFD. A byte order mark, which a
reader may pass over (RFC 8259, 8.1), is dropped. Used only if a body cannot be read as it is.
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
    """Decodes JSON, repaired if necessary. Raises ValueError or RecursionError."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except ValueError:
        return decoder.decode(mended(data))


def mended(data: bytes) -> bytes:
    """Returns the JSON repaired. Raises ValueError or RecursionError if it is not JSON at all."""
    text = data.decode("utf-8-sig")
    value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    return _HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None

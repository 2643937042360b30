"""Tells whether a float keeps the digits that a file has."""

from __future__ import annotations

from decimal import Decimal, localcontext

_MAX_DIGITS = 400


def keeps_digits(written: str, value: float, shortest: float) -> bool:
    """Returns whether a float is the number that was written, or has its digits where it is printed with as many.
    `shortest`: the number of its shortest digits, which differs from its value if it was stored in 32 bits."""
    if len(written) > _MAX_DIGITS:
        return False
    with localcontext(prec=2 * _MAX_DIGITS):
        given = Decimal(written)
        exponent = given.as_tuple().exponent
        return Decimal(repr(shortest)) == given or round(Decimal(value), -int(exponent)) == given

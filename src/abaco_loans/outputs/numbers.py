"""Decimals and dates of a document as text for people; what is given is text, and nothing is computed here."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

MINUS, THIN, NONE = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{EN DASH}"
_STEPS = (("bn", 9), ("M", 6), ("k", 3))


def grouped(value: str | int | None, digits: int | None = None, *, signed: bool = False) -> str:
    """``-1234.5`` as ``−1,234.50``: rounded half-even to ``digits`` (None: as given); a dash where there is none."""
    if value is None:
        return NONE
    number = Decimal(value)
    if digits is not None:
        number = number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    text = format(abs(number), ",f")
    if number < 0:
        return MINUS + text
    return f"+{text}" if signed and number > 0 else text


def amount(value: str | None) -> str:
    """An amount of money with cents."""
    return grouped(value, 2)


def percent(value: str | None, digits: int = 2) -> str:
    """A percentage, ``4.82 %``."""
    return NONE if value is None else f"{grouped(value, digits)}{THIN}%"


def compact(value: str | Decimal, *, signed: bool = False) -> str:
    """An amount to three figures or so, for a chart: ``2.5 M``, ``980 k``."""
    number = Decimal(value)
    for name, exponent in _STEPS:
        if abs(number) >= Decimal("0.9995").scaleb(exponent):  # what would be rounded to 1,000 of the next smaller
            scaled = number.scaleb(-exponent)
            return f"{grouped(str(scaled), 0 if abs(scaled) >= 100 else 1, signed=signed)}{THIN}{name}"
    return grouped(str(number), 0 if number == number.to_integral_value() else 2, signed=signed)


def month(value: str) -> str:
    """``2025-01-31`` as ``Jan 2025``."""
    return f"{_MONTHS[date.fromisoformat(value).month - 1]} {value[:4]}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

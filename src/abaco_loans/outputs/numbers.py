"""Decimals and dates of a document as text for people; what is given is text, and nothing but rounding is done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from itertools import pairwise

MINUS, THIN, NONE = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{EN DASH}"
_SMALL, _LARGE = 9, 15
_CENTS = 2
_FIGURES_MAX = 200
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STEPS = (("bn", 9), ("M", 6), ("k", 3))


def grouped(value: str | int | None, digits: int | None = None, *, signed: bool = False) -> str:
    """``-1234.5`` as ``−1,234.50``: rounded half-even to ``digits`` (None: as given); a dash where there is none."""
    if value is None:
        return NONE
    with localcontext(prec=_FIGURES_MAX):
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


def brief(value: str | None, figures: int = 6, *, signed: bool = False) -> str:
    """A number to so many figures, and to cents always: what is not zero never reads as zero.

    What has fewer decimals stands as given; what is below a billionth or of more than 15 digits as ``1.5 × 10⁻¹²``.
    """
    if value is None:
        return NONE
    number = Decimal(value)
    if number and not -_SMALL <= number.adjusted() < _LARGE:
        scaled = grouped(str(number.scaleb(-number.adjusted())), 2, signed=signed)
        return f"{scaled} × 10{str(number.adjusted()).translate(_RAISED)}"
    return _to(value, max(_CENTS, figures - 1 - number.adjusted()) if number else 0, signed=signed)


def beside(values: Sequence[str | None]) -> list[str]:
    """Numbers to the same decimals, so many that two that differ read differently; else as `brief` does."""
    numbers = sorted(Decimal(value) for value in values if value is not None)
    if any(number.adjusted() >= _LARGE for number in numbers):
        return [brief(value) for value in values]
    gaps = [after - before for before, after in pairwise(numbers) if after != before]
    largest = max((number.adjusted() for number in numbers if number), default=5)
    digits = max([_CENTS, 5 - largest, *(1 - gap.adjusted() for gap in gaps)])
    return [NONE if value is None else _to(value, digits) for value in values]


def _to(value: str, digits: int, *, signed: bool = False) -> str:
    """At most so many decimals; none are added."""
    return grouped(value, digits if _decimals(value) > digits else None, signed=signed)


def _decimals(value: str) -> int:
    return max(0, -int(Decimal(value).as_tuple().exponent))


def month(value: str) -> str:
    """``2025-01-31`` as ``Jan 2025``."""
    return f"{_MONTHS[date.fromisoformat(value).month - 1]} {value[:4]}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

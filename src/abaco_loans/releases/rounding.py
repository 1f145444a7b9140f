"""What rounding alone can explain: a printed number stands for every number that prints like it.

An interval is closed: it holds both halves at its ends, so a program may round them up, down or to even. Numbers are
exact (fractions); nothing here is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from abaco_loans.kpi.formula import Formula, Interval
from abaco_loans.kpi.formula import interval as formula_interval

_WORDS = ("whole-number", "one-decimal", "two-decimal", "three-decimal", "four-decimal", "five-decimal", "six-decimal")


def printed_decimals(printed: Decimal) -> int:
    """Decimals of a number as it was printed: 1 for ``12.0``; below 0 for a number with an exponent (``2E+3``)."""
    exponent = printed.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def interval(value: Decimal, decimals: int | None) -> Interval:
    """All that ``value`` may stand for when it was rounded to ``decimals``; None: it is exact.

    ``2.2`` of one decimal is 2.15 to 2.25.
    """
    middle = Fraction(value)
    half = Fraction(0) if decimals is None else Fraction(10) ** -decimals / 2
    return middle - half, middle + half


def of_formula(formula: Formula, parts: Mapping[str, tuple[Decimal, int | None]]) -> Interval | None:
    """What a formula may give when its parts were printed: name of a part → (value, decimals).

    None where a part is not there, or where the denominator might be zero.
    """
    if not {*(item.name for item in formula.components), *formula.kpis, *formula.facts} <= parts.keys():
        return None
    return formula_interval(formula.tree, {name: interval(*part) for name, part in parts.items()})


def common(first: Interval, second: Interval) -> Interval | None:
    """What lies in both; None when nothing does."""
    low, high = max(first[0], second[0]), min(first[1], second[1])
    return (low, high) if low <= high else None


def explains(first: Interval, second: Interval) -> bool:
    """Whether one number can stand behind both.

    An exact number (an interval of one point) may lie at the end of the other; two rounded ones that only touch there
    are one number rounded up and down, which no way of rounding does.
    """
    shared = common(first, second)
    if shared is None:
        return False
    return shared[0] < shared[1] or first[0] == first[1] or second[0] == second[1]


def in_words(first: int | None, second: int | None) -> str:
    """The coarser of two roundings: ``by one-decimal rounding``; empty when neither number is rounded."""
    known = [decimals for decimals in (first, second) if decimals is not None]
    if not known:
        return ""
    coarser = min(known)
    if coarser < 0:
        return f"by rounding to {10**-coarser:,}"
    return f"by {_WORDS[coarser] if coarser < len(_WORDS) else f'{coarser}-decimal'} rounding"

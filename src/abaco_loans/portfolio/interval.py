"""The interval in which a proportion lies, from the loans that were seen."""

from __future__ import annotations

from decimal import Decimal, localcontext

from abaco_loans.portfolio.view import exact

# The 97.5 % quantile of the standard normal distribution: 95 % lie between it and its negative.
_Z = Decimal("1.959963984540054235524594430520551527")


def wilson(part: int, whole: int) -> tuple[Decimal, Decimal]:
    """Wilson's score interval for ``part`` of ``whole``, at 95 %: low and high, in percent; ``whole`` is not 0.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    with localcontext() as context:
        context.prec = 50
        square = _Z * _Z
        half = _Z * (square + Decimal(4 * part * (whole - part)) / whole).sqrt()
        low, high = ((2 * part + square + side) * 50 / (whole + square) for side in (-half, half))
    with exact():
        return (+low if part else Decimal(0)), (+high if part < whole else Decimal(100))

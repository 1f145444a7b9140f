"""The table: what was measured, beside what, against which budget, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MET, NOT_MET, NONE = "met", "**not met**", ""
HEADER = ("what", "median", "lowest to highest", "CPU", "beside it", "ratio", "budget", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A number to reach: the measured one must be ``at_most`` or ``at_least`` this."""

    at_most: float | None = None
    at_least: float | None = None
    unit: str = "s"

    def verdict(self, measured: float) -> str:
        """Whether the measurement reaches it. The budget itself is not "under"."""
        low = self.at_least is not None and measured < self.at_least
        high = self.at_most is not None and measured >= self.at_most
        return NOT_MET if low or high else MET

    def __str__(self) -> str:
        """As SPEC §6 says it."""
        if self.at_least is not None:
            return f"at least {shown(self.at_least, self.unit)}"
        return f"under {shown(self.at_most or 0, self.unit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: the measurements in ``unit``, those of the other program, their ratios, and the budgets of both."""

    what: str
    measured: Sequence[float]
    unit: str = "s"
    cpu_s: Sequence[float] = ()
    other: str = ""
    beside: Sequence[float] = ()
    budget: Budget | None = None
    ratio_budget: Budget | None = None

    @property
    def median(self) -> float:
        """The measurement that counts."""
        return statistics.median(self.measured)

    @property
    def ratio(self) -> float | None:
        """The median of the ratios pair by pair: both of a pair met the same noise."""
        if not self.beside:
            return None
        return statistics.median(mine / yours for mine, yours in zip(self.measured, self.beside, strict=True))

    @property
    def verdict(self) -> str:
        """Met only if every budget of the line is."""
        found = [self.budget.verdict(self.median)] if self.budget else []
        if self.ratio_budget and self.ratio is not None:
            found.append(self.ratio_budget.verdict(self.ratio))
        if not found:
            return NONE
        return NOT_MET if NOT_MET in found else MET

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of HEADER."""
        budgets = [str(budget) for budget in (self.budget, self.ratio_budget) if budget]
        return (
            self.what,
            shown(self.median, self.unit),
            f"{shown(min(self.measured), self.unit)} to {shown(max(self.measured), self.unit)}"
            if len(self.measured) > 1
            else "",
            shown(statistics.median(self.cpu_s), "s") if self.cpu_s else "",
            f"{self.other} {shown(statistics.median(self.beside), self.unit)}" if self.beside else "",
            shown(self.ratio, "×") if self.ratio is not None else "",
            ", ".join(budgets),
            self.verdict,
        )


def shown(number: float, unit: str) -> str:
    """A number with its unit, three digits or so."""
    text = f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number < 1 else f"{number:.2f}"
    return f"{text} {unit}"


def markdown(lines: Sequence[Line]) -> str:
    """The table as aligned Markdown, fit for a terminal too."""
    rows = [HEADER, *(line.cells() for line in lines)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(HEADER))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts) + "\n"

"""What a view is: a function from the panel to a table with documented columns.

A view asks sums of the relation ``panel`` (see `portfolio.panel`) and divides once, in Python's Decimal. Amounts
are in reporting currency. A ratio whose denominator is zero is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from abaco_loans.tape.definition import Definition
from abaco_loans.tape.tree import exp

if TYPE_CHECKING:  # it reads what people write, and so needs pydantic
    from abaco_loans.portfolio.policy import Policy

PANEL = "panel"
DIGITS = 28
Value = str | int | Decimal | date | None
Rows = Callable[[exp.Expr], list[tuple[Any, ...]]]


class Unit(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    DATE = "date"
    COUNT = "count"
    AMOUNT = "amount"
    PERCENT = "%"
    RATIO = "ratio"
    DAYS = "days"
    YEARS = "years"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a view. ``key`` columns say what a row is about; the others are what it says."""

    name: str
    unit: Unit
    text: str
    key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a view is asked.

    Attributes:
        rows: runs a query over the relation ``panel`` and gives its rows.
        dates: the panel's dates, oldest first.
        definition: the definition that the panel was made under.
        policy: provisions, borrowing base and covenants of the release.
        by: the column of the panel that segments the rows, or None.
        window: how many of the last periods an average spans.
        horizon: periods ahead of t0 (cures).
        series: values of the catalogue's KPIs by date, where they were computed (covenants).
    """

    rows: Rows
    dates: tuple[date, ...]
    definition: Definition
    policy: Policy
    by: str | None = None
    window: int = 12
    horizon: int = 1
    series: Mapping[str, Mapping[date, Decimal | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewTable:
    """A view's rows; with a segment, its value comes first in each row."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view by name.

    ``segmented``: it can be asked by segment. ``restricted``: it names loans or customers. ``policy``: the part of
    the release's `Policy` that its numbers depend on.
    """

    name: str
    title: str
    text: str
    columns: tuple[Column, ...]
    compute: Callable[[Asked], tuple[tuple[Value, ...], ...]]
    segmented: bool = True
    restricted: bool = False
    policy: str = ""

    def table(self, asked: Asked) -> ViewTable:
        """The view as a table, the segment's column before its own."""
        columns = self.columns
        if asked.by:
            columns = (Column(name=asked.by, unit=Unit.TEXT, text="the segment", key=True), *columns)
        return ViewTable(name=self.name, title=self.title, columns=columns, rows=self.compute(asked))


def segment_node(asked: Asked) -> exp.Expr:
    """The expression that segments the panel: the column asked for as text, or one value for all."""
    if asked.by is None:
        return exp.Literal.string("")
    return exp.func("COALESCE", exp.cast(exp.column(asked.by, quoted=True), "VARCHAR"), exp.Literal.string("(none)"))


def keyed(asked: Asked, segment: str, *values: Value) -> tuple[Value, ...]:
    """A row: with a segment asked for, its value first."""
    return (segment, *values) if asked.by else values


def ratio(part: Decimal | int | None, whole: Decimal | int | None) -> Decimal | None:
    """The quotient to 28 digits; None where something is missing or the denominator is zero."""
    if part is None or whole is None or whole == 0:
        return None
    with exact():
        return Decimal(part) / Decimal(whole)


def percent(part: Decimal | int | None, whole: Decimal | int | None) -> Decimal | None:
    """The quotient as a percentage, to 28 digits; None where it cannot be said."""
    found = ratio(part, whole)
    if found is None:
        return None
    with exact():
        return found * 100


@contextmanager
def exact() -> Iterator[None]:
    """Decimal arithmetic to 28 digits, rounded half-even, whatever the thread's context is."""
    with localcontext() as context:
        context.prec = DIGITS
        context.rounding = ROUND_HALF_EVEN
        yield

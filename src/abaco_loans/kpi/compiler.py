"""The whole catalogue as one aggregate statement per grain, over all segments at once.

The statement holds sums, counts and the like, never a division, so that every engine gives the same digits.
It renders for DuckDB, PostgreSQL and Spark (a test parses all three back).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Catalogue, Grain, Kpi
from abaco_loans.kpi.formula import Component
from abaco_loans.kpi.result import KpiResult, Status
from abaco_loans.tape.calculation import TABLE, UNPRICED, Calculation
from abaco_loans.tape.tree import exp, later

CUSTOMER = "customer_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What the statement found in one cell: overall (``segment`` empty) or one value of a segment."""

    segment: str
    segment_value: str | None
    rows: int
    members: int
    values: Mapping[str, Decimal | int | None]
    filled: Mapping[str, int]
    unpriced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One grain's statement and how to read its rows. With ``each``, they are those of every value of this column."""

    grain: Grain
    query: exp.Select
    dimensions: tuple[str, ...]
    components: tuple[str, ...]
    counted: tuple[str, ...]
    has_unpriced: bool
    each: str = ""

    def cells(self, rows: Sequence[tuple[Any, ...]]) -> list[Cell]:
        """The rows of the engine as cells, overall first, then by segment and value (missing last)."""
        found = [self._cell(row) for row in rows]
        order = {name: index for index, name in enumerate(("", *self.dimensions))}
        return sorted(
            found,
            key=lambda cell: (order[cell.segment], cell.segment_value is None, cell.segment_value or ""),
        )

    def cells_by(self, rows: Sequence[tuple[Any, ...]]) -> dict[Any, list[Cell]]:
        """The same by value of ``each``; a value without a row is not there."""
        found: dict[Any, list[tuple[Any, ...]]] = {}
        for value, *row in rows:
            found.setdefault(value, []).append(tuple(row))
        return {value: self.cells(part) for value, part in found.items()}

    def _cell(self, row: tuple[Any, ...]) -> Cell:
        width = len(self.dimensions)
        flags, values, rest = row[:width], row[width : 2 * width], row[2 * width :]
        # GROUPING is 0 for the column that the row is grouped by.
        segment = next((index for index, flag in enumerate(flags) if flag == 0), None)
        sums = rest[2 : 2 + len(self.components)]
        counts = rest[2 + len(self.components) :]
        return Cell(
            segment="" if segment is None else self.dimensions[segment],
            segment_value=None if segment is None else values[segment],
            rows=int(rest[0]),
            members=int(rest[1] or 0),
            values=dict(zip(self.components, sums, strict=True)),
            filled=dict(zip(self.counted, counts, strict=False)),
            unpriced=int(counts[-1] or 0) if self.has_unpriced else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The statements of a catalogue over one calculation table.

    ``never``: by KPI, the result of those that the table cannot answer, whatever its rows.
    """

    catalogue: Catalogue
    calculation: Calculation
    statements: tuple[Statement, ...] = field(default_factory=tuple)
    never: Mapping[str, KpiResult] = field(default_factory=dict)


def compile_catalogue(
    catalogue: Catalogue,
    calculation: Calculation,
    dimensions: Sequence[str],
    never_null: Collection[str] = (),
    each: str = "",
) -> Compiled:
    """Compile every KPI that the calculation table can answer.

    Args:
        catalogue: the KPIs.
        calculation: the columns that are there.
        dimensions: columns to segment by.
        never_null: columns that cannot be NULL, whose null count is 0 without counting.
        each: a column for each of whose values everything is asked for, as if the table had only its rows.
    """
    kept = tuple(name for name in dimensions if name in calculation.columns)
    # What is ranked by customer must miss none.
    ranked = any(kpi.grain is Grain.CUSTOMER and answers(kpi, calculation) for kpi in catalogue.kpis)
    statements = []
    for grain in Grain:
        kpis = [kpi for kpi in catalogue.kpis if kpi.grain is grain and answers(kpi, calculation)]
        components = {item.name: item for kpi in kpis for item in kpi.formula.components}
        if grain is Grain.LOAN or components:
            given = grain, list(components.values()), calculation, kept, never_null, each
            statements.append(_statement(*given, count_customers=ranked))
    never = _never(catalogue, calculation)
    return Compiled(catalogue=catalogue, calculation=calculation, statements=tuple(statements), never=never)


def _never(catalogue: Catalogue, calculation: Calculation) -> dict[str, KpiResult]:
    found: dict[str, KpiResult] = {}
    for kpi in catalogue.kpis:
        reason = _lacking(kpi, calculation)
        lost = next((name for name in kpi.formula.kpis if name in found), None)
        if not reason and lost:
            reason = f"{lost} is not computable: {found[lost].reason}"
        if reason:
            found[kpi.id] = KpiResult(kpi=kpi, status=Status.NOT_COMPUTABLE, reason=reason)
    return found


def _lacking(kpi: Kpi, calculation: Calculation) -> str:
    """Which column the KPI needs and the table lacks, and why; empty when it has all."""
    needed = (*kpi.formula.columns, *((CUSTOMER,) if kpi.grain is Grain.CUSTOMER else ()))
    for name in needed:
        if name not in calculation.columns and name != CUSTOMER_RANK:
            return f"needs {name}: {calculation.absent.get(name, 'not in the tape')}"
    return ""


def answers(kpi: Kpi, calculation: Calculation) -> bool:
    """Whether the table has every column that the KPI's own formula reads."""
    return not _lacking(kpi, calculation)


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _grouping(dimensions: Sequence[str]) -> list[exp.Expr]:
    return [
        exp.alias_(exp.Anonymous(this="GROUPING", expressions=[_column(name)]), f"grouping_{index}")
        for index, name in enumerate(dimensions)
    ]


def _sets(dimensions: Sequence[str], always: Sequence[str]) -> exp.Group:
    sets = [
        exp.Tuple(expressions=[_column(name) for name in (*always, *more)])
        for more in ((), *((name,) for name in dimensions))
    ]
    return exp.Group(grouping_sets=[exp.GroupingSets(expressions=sets)])


def _statement(
    grain: Grain,
    components: Sequence[Component],
    calculation: Calculation,
    dimensions: tuple[str, ...],
    never_null: Collection[str],
    each: str,
    *,
    count_customers: bool,
) -> Statement:
    if grain is Grain.CUSTOMER:
        return _customer_statement(components, calculation, dimensions, each)
    names = [name for item in components for name in item.columns]
    columns = dict.fromkeys([*names, CUSTOMER] if count_customers else names)
    counted = tuple(name for name in columns if name not in never_null)
    has_unpriced = UNPRICED in calculation.columns
    by_customer = CUSTOMER in calculation.columns and bool(dimensions)
    return Statement(
        grain=grain,
        query=later(_loan_query, tuple(components), counted, dimensions, by_customer, has_unpriced, each),
        dimensions=dimensions,
        components=tuple(item.name for item in components),
        counted=counted,
        has_unpriced=has_unpriced,
        each=each,
    )


def _loan_query(
    components: Sequence[Component],
    counted: Sequence[str],
    dimensions: Sequence[str],
    by_customer: bool,
    has_unpriced: bool,
    each: str,
) -> exp.Select:
    members = exp.Count(this=exp.Distinct(expressions=[_column(CUSTOMER)]) if by_customer else exp.Star())
    first = _first(each)
    items: list[exp.Expr] = [
        *map(_column, first),
        *_grouping(dimensions),
        *(_column(name) for name in dimensions),
        exp.alias_(exp.Count(this=exp.Star()), "row_count"),
        exp.alias_(members, "members"),
        *(exp.alias_(item.tree.copy(), f"component_{index}") for index, item in enumerate(components)),
        *(exp.alias_(exp.Count(this=_column(name)), f"filled_{index}") for index, name in enumerate(counted)),
    ]
    if has_unpriced:
        items.append(exp.alias_(exp.Sum(this=_column(UNPRICED)), "unpriced_rows"))
    query = exp.select(*items).from_(TABLE)
    if dimensions or first:
        query.set("group", _sets(dimensions, first))
    return query


def _customer_statement(
    components: Sequence[Component], calculation: Calculation, dimensions: tuple[str, ...], each: str
) -> Statement:
    columns = list(dict.fromkeys(name for item in components for name in item.columns if name != CUSTOMER_RANK))
    if "outstanding_usd" in calculation.columns and "outstanding_usd" not in columns:
        columns.append("outstanding_usd")
    return Statement(
        grain=Grain.CUSTOMER,
        query=later(_customer_query, tuple(components), tuple(columns), dimensions, each),
        dimensions=dimensions,
        components=tuple(item.name for item in components),
        counted=(),
        has_unpriced=False,
        each=each,
    )


def _customer_query(
    components: Sequence[Component], columns: Sequence[str], dimensions: Sequence[str], each: str
) -> exp.Select:
    """First one row a customer (and cell), ranked by outstanding, then the aggregates over these."""
    first = _first(each)
    flags = [f"grouping_{index}" for index in range(len(dimensions))]

    def cell() -> list[exp.Expr]:
        return [*map(_column, first), *(exp.column(name) for name in flags), *map(_column, dimensions)]

    per_customer = (
        exp.select(
            *map(_column, first),
            *_grouping(dimensions),
            *map(_column, dimensions),
            _column(CUSTOMER),
            *(
                exp.alias_(exp.cast(exp.Sum(this=_column(name)), "DECIMAL(18,4)"), name, quoted=True)
                for name in columns
            ),
        )
        .from_(TABLE)
        .where(exp.Not(this=exp.Is(this=_column(CUSTOMER), expression=exp.null())))
    )
    per_customer.set("group", _sets(dimensions, (*first, CUSTOMER)))
    order = exp.Order(
        expressions=[
            exp.Ordered(this=_column("outstanding_usd"), desc=True, nulls_first=False),
            exp.Ordered(this=_column(CUSTOMER), nulls_first=False),
        ]
    )
    rank = exp.Window(this=exp.RowNumber(), order=order, partition_by=cell())
    ranked = exp.select(*cell(), *map(_column, columns), exp.alias_(rank, CUSTOMER_RANK)).from_(
        per_customer.subquery("per_customer")
    )
    query = exp.select(
        *cell(),
        exp.alias_(exp.Count(this=exp.Star()), "row_count"),
        exp.alias_(exp.Count(this=exp.Star()), "members"),
        *(exp.alias_(item.tree.copy(), f"component_{index}") for index, item in enumerate(components)),
    ).from_(ranked.subquery("ranked"))
    return query.group_by(*cell()) if cell() else query


def _first(each: str) -> tuple[str, ...]:
    return (each,) if each else ()

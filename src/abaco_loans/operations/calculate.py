"""From accepted rows to KPI results at one date under one definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import CUSTOMER, Cell, Compiled, compile_catalogue
from abaco_loans.kpi.evaluate import Evaluation, Prices, evaluate
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.releases.release import Release
from abaco_loans.tape.calculation import (
    TABLE,
    Calculation,
    dimensions_of,
    month_end_before,
    tape_calculation,
)
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.template import date_node, filled
from abaco_loans.tape.tree import created, exp, later

# A servicing extract may end some days before a month end; beyond this, its date is worth a look.
_SILENT_DAYS_MAX = 31
# So many times as many rows at each other date: then the latest one is hardly meant.
_FEW = 20

_UNPRICED = """
SELECT COALESCE(currency, 'no currency'), COUNT(*) FROM calculation WHERE unpriced = 1 GROUP BY currency
ORDER BY COUNT(*) DESC, currency LIMIT 5
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculated:
    """The results at one date, and the table that they were computed from (relation ``calculation``)."""

    as_of: date
    definition: Definition
    compiled: Compiled
    evaluation: Evaluation
    warnings: tuple[Warned, ...]


def choose_date(tape: ReadTape, engine: Engine, asked: date | None) -> tuple[date, list[Warned]]:
    """The as-of date: the one asked for, or the latest of the tape; other dates are counted and said.

    Raises:
        InputError: ``TAPE-108`` the tape has no row at that date, or no accepted row at all; ``TAPE-110`` next to no
            row is of the latest date, and none is asked for.
    """
    table, column = ("transactions", "date") if tape.layout == "servicing" else ("tape", "measurement_date")
    relation = tape.file(table).accepted_relation
    latest, earliest, count = engine.rows(later(_dates_query, relation, column))[0]
    if not count:
        raise InputError(
            "no row of the tape can be used",
            code="TAPE-108",
            where=tape.path,
            hint="see `abaco quarantine` for what is wrong with each row",
        )
    day = asked or latest
    if tape.layout == "servicing":
        if day < earliest:
            raise InputError(
                f"the tape begins on {earliest}",
                code="TAPE-108",
                where=tape.path,
                hint=f"give --as-of between {earliest} and {latest}",
            )
        beyond = (day - latest).days
        if beyond <= _SILENT_DAYS_MAX:
            return day, []
        return day, [
            Warned(
                code="WARN-209",
                count=beyond,
                text=f"days from the last movement in the tape ({latest}) to {day}: what was paid since is not in it",
            )
        ]
    if earliest == latest == day:
        return day, []
    others = engine.rows(later(_other_dates_query, relation, column, day))[0]
    if others[0] == count:
        raise InputError(
            f"the tape has no row at {day}",
            code="TAPE-108",
            where=tape.path,
            hint=f"its only date is {latest}" if earliest == latest else f"its dates go from {earliest} to {latest}",
        )
    if not others[0]:
        return day, []
    if asked is None and (count - others[0]) * _FEW * others[1] < others[0]:
        raise _hardly_meant(tape, day, count - others[0], count)
    return day, [
        Warned(
            code="WARN-104",
            count=int(others[0]),
            text=f"rows at {others[1]} date(s) other than {day}; kept, not calculated",
        )
    ]


def _hardly_meant(tape: ReadTape, day: date, rows: int, count: int) -> InputError:
    return InputError(
        f"only {rows} of {count} rows are of the latest date, {day}: a date may be written wrong",
        code="TAPE-110",
        where=tape.path,
        hint="correct it, or give --as-of",
    )


def _dates_query(relation: str, column: str) -> exp.Select:
    """The last and the first date of a relation, and its number of rows."""
    node = exp.column(column, quoted=True)
    return exp.select(exp.Max(this=node), exp.Min(this=node.copy()), exp.Count(this=exp.Star())).from_(relation)


def _other_dates_query(relation: str, column: str, day: date) -> exp.Select:
    """How many rows have another date, and how many other dates there are."""
    node = exp.column(column, quoted=True)
    return (
        exp.select(exp.Count(this=exp.Star()), exp.Count(this=exp.Distinct(expressions=[node.copy()])))
        .from_(relation)
        .where(node.copy().neq(date_node(day)))
    )


def calculate(
    tape: ReadTape,
    engine: Engine,
    release: Release,
    definition: Definition,
    *,
    as_of: date | None,
    reporting_currency: str,
    segments: bool = True,
) -> Calculated:
    """Compute every KPI of the release at one date under one definition.

    Leaves the relation ``calculation`` in the engine.

    Raises:
        InputError: ``TAPE-108``, ``TAPE-110`` as `choose_date` says; ``TAPE-109`` the definition's DPD method needs a
            column.
    """
    day, warnings = choose_date(tape, engine, as_of)
    calculation = _calculation(tape, engine, definition, day, reporting_currency, warnings)
    # A bucketed tape's calculation is its own columns: a view is enough, and does not hold them twice.
    kind = "VIEW" if tape.layout == "bucketed" else "TABLE"
    engine.execute(later(created, TABLE, kind, calculation.query, True))
    dimensions = [name for name in dimensions_of(tape.contract) if name in calculation.dimensions]
    compiled = compile_catalogue(release.catalogue, calculation, dimensions if segments else (), _never_null(tape))
    cells = run_statements(compiled, engine)
    priced = Prices()
    if tape.totals[2]:
        # Not above: a tape of which nothing is refused needs none of it.
        from abaco_loans.operations.price_quarantine import price_quarantine

        priced = price_quarantine(
            tape,
            engine,
            compiled,
            definition,
            day,
            lambda relation: _tape_calculation(tape, relation, definition, day, reporting_currency),
        )
    evaluation = evaluate(compiled, cells, facts_of(tape), priced)
    warnings += [
        Warned(code="WARN-105", count=count, text=f"the segment {name} has too many values to list")
        for name, count in evaluation.left_out.items()
    ]
    if any(cell.unpriced for cell in cells[Grain.LOAN]):
        warnings += _unpriced(engine)
    warnings += _unnamed(cells[Grain.LOAN])
    return Calculated(
        as_of=day, definition=definition, compiled=compiled, evaluation=evaluation, warnings=tuple(warnings)
    )


def _unpriced(engine: Engine) -> list[Warned]:
    """The currencies of the calculation table that have no rate, the most frequent first."""
    found = engine.rows(filled(_UNPRICED))
    return [
        Warned(
            code="WARN-109",
            count=int(count),
            text=f"rows in {currency} at the date have no rate; what is in reporting currency is not computable",
        )
        for currency, count in found
    ]


def _unnamed(cells: Sequence[Cell]) -> list[Warned]:
    """How many rows name no customer, where others do."""
    count = sum(cell.rows - cell.filled.get(CUSTOMER, cell.rows) for cell in cells if not cell.segment)
    if not count:
        return []
    return [
        Warned(
            code="WARN-110",
            count=count,
            text="rows at the date name no customer; clients are counted without them, and what ranks customers is not"
            " computable",
        )
    ]


def facts_of(tape: ReadTape) -> dict[str, int]:
    """What formulas may ask of the run itself (``run.<name>``)."""
    rows_in, accepted, quarantined, duplicates = tape.totals
    return {
        "rows_in": rows_in,
        "rows_accepted": accepted,
        "rows_quarantined": quarantined,
        "rows_duplicate": duplicates,
        "failed_checks": len({item.code for report in tape.files for item in report.refusals}),
        "open_alerts": 0,
    }


def run_statements(compiled: Compiled, engine: Engine) -> dict[Grain, list[Cell]]:
    """The cells of every grain's statement, as the engine finds them now."""
    return {statement.grain: statement.cells(engine.rows(statement.query)) for statement in compiled.statements}


def _never_null(tape: ReadTape) -> frozenset[str]:
    """Columns that no accepted row can lack: their null count is 0 by the contract."""
    if tape.layout != "bucketed":
        return frozenset()
    return frozenset(column.name for column in tape.contract.table("tape").columns if not column.nullable)


def _calculation(
    tape: ReadTape, engine: Engine, definition: Definition, day: date, currency: str, warnings: list[Warned]
) -> Calculation:
    if tape.layout == "servicing":
        return _rebuilt(tape, engine, definition, day, currency, warnings)
    report = tape.file("tape")
    # Every row is of that date: the statement need not name it, and is that of the month before.
    alone = not warnings and not tape.contract.table("tape").column("measurement_date").nullable
    return _tape_calculation(tape, report.accepted_relation, definition, day, currency, alone=alone)


def _tape_calculation(
    tape: ReadTape, relation: str, definition: Definition, day: date, currency: str, *, alone: bool = False
) -> Calculation:
    present = tape.file("tape").present
    return tape_calculation(tape.contract, relation, present, definition, day, currency, alone=alone)


def _rebuilt(
    tape: ReadTape, engine: Engine, definition: Definition, day: date, currency: str, warnings: list[Warned]
) -> Calculation:
    """The panel of a servicing extract at the date, with what happened since the month end before it."""
    # Not above: other tapes need no panel.
    from abaco_loans.operations.rebuild import make_panel, servicing_warnings
    from abaco_loans.portfolio.calculation import panel_calculation

    before = month_end_before(day)
    make_panel(tape, engine, definition, [before, day], currency)
    warnings += servicing_warnings(engine, day)
    return panel_calculation(tape.file("loans").present, definition, [day], [before])

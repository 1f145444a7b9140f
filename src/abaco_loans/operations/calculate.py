"""From accepted rows to KPI results at one date under one definition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import Cell, Compiled, compile_catalogue
from abaco_loans.kpi.evaluate import Evaluation, evaluate
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.price_quarantine import price_quarantine
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.releases.release import Release
from abaco_loans.tape import panel
from abaco_loans.tape.calculation import (
    TABLE,
    Calculation,
    bucketed_calculation,
    dimensions_of,
    month_end_before,
    servicing_calculation,
    snapshot_calculation,
)
from abaco_loans.tape.definition import Definition, DpdMethod
from abaco_loans.tape.template import date_node, filled

SERVICING_CHECKS: tuple[tuple[str, str, str], ...] = (
    (
        "WARN-201",
        "payments and other movements of loans that are not in the tape; left out",
        """
     SELECT COUNT(*), SUM(ABS(m.principal)) FROM servicing_moves m
     LEFT JOIN servicing_loans l ON l.loan_id = m.loan_id WHERE l.loan_id IS NULL""",
    ),
    (
        "WARN-202",
        "instalments of loans that are not in the tape; left out",
        """
     SELECT COUNT(*), SUM(ABS(s.principal)) FROM servicing_schedules s
     LEFT JOIN servicing_loans l ON l.loan_id = s.loan_id WHERE l.loan_id IS NULL""",
    ),
    (
        "WARN-203",
        "loans without a schedule; they are never late",
        """
     SELECT COUNT(*), SUM(l.disbursed_principal) FROM servicing_loans l
     LEFT JOIN servicing_schedules s ON s.loan_id = l.loan_id WHERE s.loan_id IS NULL""",
    ),
    (
        "WARN-204",
        "payments dated before the disbursement of their loan",
        """
     SELECT COUNT(*), SUM(ABS(m.principal)) FROM servicing_moves m JOIN servicing_loans l ON l.loan_id = m.loan_id
     WHERE m.type = 'payment' AND m.date < l.disbursement_date""",
    ),
    (
        "WARN-205",
        "negative payments (rebates and reversals); they count as they are",
        """
     SELECT COUNT(*), SUM(LEAST(m.principal, 0) + LEAST(m.interest, 0) + LEAST(m.fees, 0) + LEAST(m.taxes, 0)
                          + LEAST(m.other, 0))
     FROM servicing_moves m WHERE m.type = 'payment'
       AND LEAST(m.principal, m.interest, m.fees, m.taxes, m.other) < 0""",
    ),
    (
        "WARN-206",
        "loans disbursed after the as-of date; left out",
        """
     SELECT COUNT(*), SUM(l.disbursed_principal) FROM servicing_loans l WHERE l.disbursement_date > :day""",
    ),
)


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
        InputError: ``TAPE-108`` the tape has no row at that date, or no accepted row at all.
    """
    table, column = ("transactions", "date") if tape.layout == "servicing" else ("tape", "measurement_date")
    relation = tape.file(table).accepted_relation
    node = exp.column(column, quoted=True)
    latest, earliest, count = engine.rows(
        exp.select(exp.Max(this=node), exp.Min(this=node.copy()), exp.Count(this=exp.Star())).from_(relation)
    )[0]
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
        return day, []
    others = engine.rows(
        exp.select(exp.Count(this=exp.Star()), exp.Count(this=exp.Distinct(expressions=[node.copy()])))
        .from_(relation)
        .where(node.copy().neq(date_node(day)))
    )[0]
    if others[0] == count:
        raise InputError(
            f"the tape has no row at {day}",
            code="TAPE-108",
            where=tape.path,
            hint=f"its only date is {latest}" if earliest == latest else f"its dates go from {earliest} to {latest}",
        )
    if not others[0]:
        return day, []
    return day, [
        Warned(
            code="WARN-104",
            count=int(others[0]),
            text=f"rows at {others[1]} date(s) other than {day}; kept, not calculated",
        )
    ]


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
        InputError: ``TAPE-108`` no row at the date; ``TAPE-109`` the definition's DPD method needs a column.
    """
    day, warnings = choose_date(tape, engine, as_of)
    calculation = _calculation(tape, engine, definition, day, reporting_currency, warnings)
    # A bucketed tape's calculation is its own columns: a view is enough, and does not hold them twice.
    kind = "VIEW" if tape.layout == "bucketed" else "TABLE"
    engine.execute(exp.Create(this=exp.to_table(TABLE), kind=kind, expression=calculation.query, replace=True))
    dimensions = [name for name in dimensions_of(tape.contract) if name in calculation.dimensions]
    compiled = compile_catalogue(release.catalogue, calculation, dimensions if segments else (), _never_null(tape))
    cells = run_statements(compiled, engine)
    rows_in, accepted, quarantined, duplicates = tape.totals
    failed = {item.code for report in tape.files for item in report.refusals}
    facts = {
        "rows_in": rows_in,
        "rows_accepted": accepted,
        "rows_quarantined": quarantined,
        "rows_duplicate": duplicates,
        "failed_checks": len(failed),
        "open_alerts": 0,
    }
    priced = price_quarantine(
        tape,
        engine,
        compiled,
        definition,
        day,
        lambda relation: _tape_calculation(tape, relation, definition, day, reporting_currency),
    )
    evaluation = evaluate(compiled, cells, facts, priced)
    warnings += [
        Warned(code="WARN-105", count=count, text=f"the segment {name} has too many values to list")
        for name, count in evaluation.left_out.items()
    ]
    return Calculated(
        as_of=day, definition=definition, compiled=compiled, evaluation=evaluation, warnings=tuple(warnings)
    )


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
    return _tape_calculation(tape, report.accepted_relation, definition, day, currency)


def _tape_calculation(tape: ReadTape, relation: str, definition: Definition, day: date, currency: str) -> Calculation:
    present = tape.file("tape").present
    if tape.layout == "bucketed":
        return bucketed_calculation(relation, tape.contract.table("tape"), present, definition, day)
    return snapshot_calculation(relation, present, definition, day, currency)


def _rebuilt(
    tape: ReadTape, engine: Engine, definition: Definition, day: date, currency: str, warnings: list[Warned]
) -> Calculation:
    """The panel of a servicing extract at the date and the month end before it, then its calculation table."""
    present = {report.table: frozenset(report.present) for report in tape.files}
    if definition.dpd_method in (DpdMethod.MONTHLY_MBA, DpdMethod.MONTHLY_OTS) and (
        "frequency" not in present["loans"]
    ):
        raise InputError(
            f"{definition.dpd_method} counts monthly loans, and the tape does not say which are",
            code="TAPE-109",
            where=tape.path,
            hint="map the column `frequency`, or choose another definition",
        )
    relations = {report.table: report.accepted_relation for report in tape.files}
    for name, query in panel.normal_views(relations, present, currency).items():
        engine.execute(exp.Create(this=exp.to_table(name), kind="TABLE", expression=query, replace=True))
    query = panel.panel_query(definition, [month_end_before(day), day], currency)
    engine.execute(exp.Create(this=exp.to_table("panel"), kind="TABLE", expression=query, replace=True))
    for code, text, check in SERVICING_CHECKS:
        count, amount = engine.rows(filled(check, day=date_node(day)))[0]
        if count:
            warnings.append(
                Warned(code=code, text=text, count=int(count), amount=None if amount is None else Decimal(amount))
            )
    return servicing_calculation(tuple(present["loans"]), definition, day, currency)

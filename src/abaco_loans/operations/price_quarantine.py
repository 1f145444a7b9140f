"""Price the quarantine: what the refused rows of a tape could add to each component of a KPI."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from abaco_loans.engines.base import Engine
from abaco_loans.kpi.bounds import KEY, MAYBE, Faults, priceable, prices, prices_query
from abaco_loans.kpi.compiler import Compiled
from abaco_loans.kpi.evaluate import Prices
from abaco_loans.operations.judge_rows import FileReport
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.tape.calculation import BY_DAYS, UNPRICED, Calculation, at_risk_sources, snapshot_sources
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.template import date_node, number_node
from abaco_loans.tape.tree import exp

_ROWS, _MARKS, _PRICED = "refused_rows", "refused_marks", "refused_calculation"
_DATE = "measurement_date"


def price_quarantine(
    tape: ReadTape,
    engine: Engine,
    compiled: Compiled,
    definition: Definition,
    day: date,
    calculation_of: Callable[[str], Calculation],
) -> Prices:
    """What the quarantined rows could add, by component.

    Args:
        tape: the judged tape.
        engine: holds its relations.
        compiled: the catalogue; its sums at loan grain can be priced.
        definition: the definition in force.
        day: the as-of date.
        calculation_of: the calculation table over a relation of the contract's columns.
    """
    quarantined = tape.totals[2]
    if not quarantined:
        return Prices()
    if tape.layout == "servicing":
        names = ", ".join(report.name for report in tape.files if report.quarantined)
        return Prices(
            count=quarantined,
            general_reason=f"rows of {names} are quarantined; what they would change"
            " passes through the rebuilding of the loans",
        )
    report = tape.file("tape")
    if report.unreadable_lines:
        return Prices(
            count=quarantined,
            general_reason=f"{report.unreadable_lines} line(s) could not be read as rows at all",
        )
    unreadable = sorted({item.column for item in report.refusals} & set(report.present))
    engine.execute(_view(_ROWS, _rows(report, day)))
    engine.execute(_view(_MARKS, _marks(report, unreadable)))
    calculation = calculation_of(_ROWS)
    engine.execute(_view(_PRICED, _marked(calculation)))
    components = priceable(compiled)
    faults = _faults(tape.layout, unreadable, definition)
    query = prices_query(components, _PRICED, faults, unpriced=UNPRICED in calculation.columns)
    return prices(components, engine.rows(query)[0], count=quarantined)


def _view(name: str, query: exp.Select) -> exp.Create:
    return exp.Create(this=exp.to_table(name), kind="VIEW", replace=True, expression=query)


def _row_key() -> exp.Expr:
    return exp.DPipe(this=exp.Literal.string("row "), expression=exp.cast(exp.column("_row"), "VARCHAR"))


def _undated(report: FileReport) -> exp.Expr:
    """Whether the date of a row is among its faults: empty, unreadable or out of range."""
    faulty = (
        exp.select("_row")
        .from_(f"issues_{report.table}")
        .where(exp.column("column_name").eq(exp.Literal.string(_DATE)))
    )
    return exp.In(this=exp.column("_row"), query=faulty.subquery())


def _rows(report: FileReport, day: date) -> exp.Select:
    """The refused rows, each a loan of its own; one without a good date is taken to be of this one."""
    dated = exp.case().when(_undated(report), date_node(day)).else_(exp.column(_DATE, quoted=True))
    others = [exp.column(name, quoted=True) for name in report.present if name not in ("loan_id", _DATE)]
    return exp.select(
        exp.alias_(_row_key(), "loan_id", quoted=True), exp.alias_(dated, _DATE, quoted=True), *others
    ).from_(report.refused)


def _marks(report: FileReport, unreadable: list[str]) -> exp.Select:
    """By row: the loan that it speaks of, whether it may be of another date, which cells cannot be read."""
    key: exp.Expr = _row_key()
    if "loan_id" in report.present:
        key = exp.func("COALESCE", exp.column("loan_id", quoted=True), key)
    return exp.select(
        exp.alias_(_row_key(), "row_key"),
        exp.alias_(key, KEY),
        exp.alias_(_flag(_undated(report)), MAYBE),
        *(
            exp.alias_(_flag(exp.Is(this=exp.column(name, quoted=True), expression=exp.null())), f"no_{name}")
            for name in unreadable
        ),
    ).from_(report.refused)


def _flag(condition: exp.Expr) -> exp.Expr:
    return exp.case().when(condition, number_node(1)).else_(number_node(0))


def _marked(calculation: Calculation) -> exp.Select:
    query = calculation.query
    if "loan_id" not in calculation.columns:
        query = query.select(exp.column("loan_id", quoted=True))
    return (
        exp.select("*")
        .from_(query.subquery("counted"))
        .join(exp.to_table(_MARKS), on=exp.column("row_key").eq(exp.column("loan_id", quoted=True)))
    )


def _faults(layout: str, unreadable: list[str], definition: Definition) -> Faults:
    flags = {name: f"no_{name}" for name in unreadable}
    if layout == "bucketed":
        parts = {name: [flag] for name, flag in flags.items() if name in BY_DAYS}
        return Faults(unknown={name: [flag] for name, flag in flags.items() if name not in BY_DAYS}, between=parts)
    sources = snapshot_sources(definition)
    days = [flags[name] for name in at_risk_sources(definition) if name in flags]
    return Faults(
        unknown={name: [flags[item] for item in made_of if item in flags] for name, made_of in sources.items()},
        between=dict.fromkeys(BY_DAYS, days),
    )

"""Build the panel in the engine: loans at every date, from one servicing extract or a series of snapshots.

A large servicing extract is rebuilt some loans at a time, each part written to a file, so that memory stays bounded
whatever the number of loans and dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.rebuild import check_method, is_foreign, normal_relations, servicing_warnings
from abaco_loans.operations.tools import Progress
from abaco_loans.portfolio.columns import ATTRIBUTES
from abaco_loans.portfolio.dates import Every, missing_months, month_end, panel_dates
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.tape.calculation import DIMENSIONS, month_end_before
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.panel import FACTS, LOANS, panel_steps
from abaco_loans.tape.servicing import RATES, RELATIONS
from abaco_loans.tape.snapshot import snapshot_facts
from abaco_loans.tape.template import date_node, filled, number_node
from abaco_loans.tape.tree import created, exp, later

# Rows of the panel that one part may have; so a million loans at 36 dates peak at 0.8 GB (bench/panel.py).
ROWS_A_PART = 1_500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which dates a person asks for; None: as the tape has them. ``at`` are dates by name, instead of the others."""

    start: date | None = None
    end: date | None = None
    every: Every = Every.MONTH
    at: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The panel in the engine (relation ``panel``).

    Attributes:
        dates: ascending.
        starts: the dates at which their periods begin.
        definition: what it was made under.
        source: the relations that it is a view of.
        dimensions: columns that segment it.
        warnings: what is odd in the tapes over that span, with counts and amounts.
    """

    dates: tuple[date, ...]
    starts: tuple[date, ...]
    definition: Definition
    source: PanelSource
    dimensions: tuple[str, ...]
    warnings: tuple[Warned, ...]

    @property
    def dated(self) -> bool:
        """Whether it is a series of snapshots, which do not say what was paid."""
        return self.source.loans is None


def build_panel(
    tape: ReadTape,
    engine: Engine,
    definition: Definition,
    span: Span,
    *,
    currency: str,
    scratch: Path,
    progress: Progress,
    rows_a_part: int = ROWS_A_PART,
) -> Panel:
    """Make the relation ``panel``.

    Args:
        tape: what `read_series` read; its accepted rows are in the engine.
        engine: where the panel is made.
        definition: the parameters in force.
        span: the dates.
        currency: reporting currency.
        scratch: where parts are written; they must stay as long as the engine.
        progress: is told what is done.
        rows_a_part: rows of the panel that one part may have.

    Raises:
        InputError: ``TAPE-108`` no row at a date; ``TAPE-109`` the definition needs a column.
        UsageError: ``PAN-103`` no date in the span, or too many.
    """
    servicing = tape.layout == "servicing"
    dates = _servicing_dates(tape, engine, span) if servicing else _snapshot_dates(tape, engine, span)
    with_before = (month_end_before(dates[0]), *dates)
    if servicing:
        check_method(tape, definition)
        source, warnings = _rebuild(tape, engine, definition, with_before, currency, scratch, progress, rows_a_part)
    else:
        source, warnings = _join(tape, engine, definition, with_before, currency, scratch)
    starts = with_before[:-1]
    warnings += _unpriced(engine)
    present = tape.file("loans" if servicing else "tape").present
    return Panel(
        dates=dates,
        starts=starts,
        definition=definition,
        source=source,
        dimensions=tuple(name for name in DIMENSIONS if name in present or name == "currency"),
        warnings=(*tape.warnings, *warnings),
    )


def _servicing_dates(tape: ReadTape, engine: Engine, span: Span) -> tuple[date, ...]:
    if span.at:
        return tuple(sorted(set(span.at)))
    first = _bound(engine, tape.file("loans").accepted_relation, "disbursement_date", exp.Min)
    last = _bound(engine, tape.file("transactions").accepted_relation, "date", exp.Max)
    if first is None or last is None:
        raise InputError(
            "no loan, or no transaction, of the tape can be used",
            code="TAPE-108",
            where=tape.path,
            hint="see `abaco quarantine` for what is wrong with each row",
        )
    # Without an end: the last month that is over.
    end = span.end or (last if last == month_end(last) or span.every is not Every.MONTH else month_end_before(last))
    return panel_dates(span.start or first, end, span.every)


def _snapshot_dates(tape: ReadTape, engine: Engine, span: Span) -> tuple[date, ...]:
    """The dates that the tapes have, in the span."""
    node = exp.column("measurement_date", quoted=True)
    query = exp.select(node).distinct().from_(_rows_of(tape)).order_by(node.copy())
    there = [row[0] for row in engine.rows(query)]
    lacking = [day for day in span.at if day not in there]
    chosen = [
        day
        for day in there
        if (not span.at or day in span.at)
        and (span.start is None or day >= span.start)
        and (span.end is None or day <= span.end)
    ]
    if lacking or not chosen:
        raise InputError(
            f"no tape has a row at {lacking[0]}" if lacking else "no tape has a row in that span",
            code="TAPE-108",
            where=tape.path,
            hint=f"their dates are {', '.join(map(str, there[:6]))}{' ...' if len(there) > 6 else ''}",
        )
    return tuple(chosen)


def _rows_of(tape: ReadTape) -> str:
    return tape.file("tape").accepted_relation


def _bound(engine: Engine, relation: str, column: str, of: type[exp.AggFunc]) -> date | None:
    found: date | None = engine.rows(exp.select(of(this=exp.column(column, quoted=True))).from_(relation))[0][0]
    return found


def _rebuild(
    tape: ReadTape,
    engine: Engine,
    definition: Definition,
    dates: Sequence[date],
    currency: str,
    scratch: Path,
    progress: Progress,
    rows_a_part: int,
) -> tuple[PanelSource, list[Warned]]:
    """The panel of a servicing extract, some loans at a time; gives what is odd between its files."""
    cuts = _cuts(engine, tape.file("loans").accepted_relation, max(1, rows_a_part // len(dates)))
    normal_relations(tape, engine, currency, kind="TABLE" if len(cuts) == 1 else "VIEW")
    whole = {} if len(cuts) == 1 else _in_order(engine, scratch)
    warnings = servicing_warnings(engine, dates[-1]) + _quiet_months(engine, dates)
    foreign = is_foreign(engine, currency)
    for name in whole:
        engine.execute(exp.Drop(tables=[exp.to_table(name)], kind="VIEW"))
    steps = panel_steps(definition, dates, currency, foreign=foreign)
    written: dict[str, list[Path]] = {LOANS: [], FACTS: []}
    for number, low in enumerate(cuts):
        progress(f"rebuilding loans, part {number + 1} of {len(cuts)}")
        part = _between(low, [*cuts, None][number + 1])
        for name, rows in whole.items():
            query = rows if name == RATES else rows.where(part)
            engine.execute(exp.Create(this=exp.to_table(name), kind="TABLE", expression=query, replace=True))
        for name, query in steps.items():
            if name not in written:
                engine.execute(later(created, name, "TABLE", query, True))
                continue
            path = scratch / f"{name}{number:05}.parquet"
            after = None if name == LOANS else dates[0]
            engine.write(later(_in_rows_order, query, after), path, "parquet")
            written[name].append(path)
    for name, paths in written.items():
        engine.open(name, paths)
    source = PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=foreign, definition=definition)
    view_panel(engine, source)
    return source, warnings


def _in_rows_order(query: exp.Select, after: date | None) -> exp.Select:
    """The rows in the order of loans; with a date, those after it, in the order of loans and dates."""
    made = exp.select("*").from_(query.subquery("made")).order_by("loan_id")
    return made if after is None else made.where(exp.column("as_of", quoted=True) > date_node(after)).order_by("as_of")


def _in_order(engine: Engine, scratch: Path) -> dict[str, exp.Select]:
    """Put the normal relations into files in the order of loans; gives all their rows.

    A part then reads its own rows alone. (A million loans: every part read all rows back from the spilled tables.)
    """
    whole = {}
    for name in RELATIONS:
        path, files = scratch / f"{name}.parquet", f"all_{name}"
        engine.write(exp.select("*").from_(name).order_by("currency" if name == RATES else "loan_id"), path, "parquet")
        engine.open(files, [path])
        whole[name] = exp.select("*").from_(files)
        engine.execute(exp.Create(this=exp.to_table(name), kind="VIEW", expression=whole[name], replace=True))
    return whole


def view_panel(engine: Engine, source: PanelSource) -> None:
    """Make the view ``panel`` over its relations."""
    engine.execute(later(created, PANEL, "VIEW", later(panel_of, source), True))


def _cuts(engine: Engine, relation: str, loans_a_part: int) -> list[str]:
    """The loan id with which each part begins."""
    query = filled(
        "WITH n AS (SELECT loan_id, ROW_NUMBER() OVER (ORDER BY loan_id) - 1 AS number FROM :loans)"
        " SELECT loan_id FROM n WHERE number % :size = 0 ORDER BY loan_id",
        loans=exp.to_table(relation),
        size=number_node(loans_a_part),
    )
    return [str(row[0]) for row in engine.rows(query)]


def _between(low: str, high: str | None) -> exp.Expr:
    node = exp.column("loan_id", quoted=True)
    begin = exp.GTE(this=node, expression=exp.Literal.string(low))
    return begin if high is None else exp.and_(begin, exp.LT(this=node.copy(), expression=exp.Literal.string(high)))


def _join(
    tape: ReadTape, engine: Engine, definition: Definition, dates: Sequence[date], currency: str, scratch: Path
) -> tuple[PanelSource, list[Warned]]:
    """The panel of a series of snapshots; gives the months that no tape speaks of."""
    report, relation = tape.file("tape"), _rows_of(tape)
    attributes = {name: kind for name, (kind, _) in ATTRIBUTES.items()}
    facts = snapshot_facts(relation, report.present, definition, dates, currency, attributes)
    path = scratch / f"{FACTS}.parquet"
    # The date before the span is there only for what happened after it, where a tape has it.
    before = exp.column("measurement_date", quoted=True).eq(date_node(dates[0]))
    known = bool(engine.rows(exp.select(exp.Literal.number(1)).from_(relation).where(before).limit(1)))
    kept = exp.column("as_of", quoted=True) > date_node(dates[0])
    rows = exp.select("*").from_(facts.subquery("made")).where(kept).order_by("loan_id", "as_of")
    engine.write(rows, path, "parquet")
    engine.open(FACTS, [path])
    other = exp.column("currency").neq(exp.Literal.string(currency))
    foreign = bool(engine.rows(exp.select(exp.Literal.number(1)).from_(FACTS).where(other).limit(1)))
    first = dates[0] if known else dates[1]
    source = PanelSource(facts=FACTS, loans=None, first=first, foreign=foreign, definition=definition)
    view_panel(engine, source)
    gaps = missing_months(dates[1:])
    if not gaps:
        return source, []
    shown = ", ".join(str(day) for day in gaps[:6])
    return source, [Warned(code="WARN-302", text=f"no tape for {shown}", count=len(gaps))]


_MONTHS = "SELECT DISTINCT date FROM servicing_moves WHERE date > :first AND date <= :last"


def _quiet_months(engine: Engine, dates: Sequence[date]) -> list[Warned]:
    """Months between the first and the last movement in which nothing moved: a file may be missing."""
    seen = [row[0] for row in engine.rows(filled(_MONTHS, first=date_node(dates[0]), last=date_node(dates[-1])))]
    gaps = missing_months(seen)
    if not gaps:
        return []
    shown = ", ".join(f"{day:%Y-%m}" for day in gaps[:6])
    return [Warned(code="WARN-207", text=f"months without any transaction: {shown}", count=len(gaps))]


_UNPRICED = """
SELECT currency, COUNT(DISTINCT loan_id), SUM(CASE WHEN as_of = :last THEN outstanding_principal ELSE 0 END)
FROM panel WHERE unpriced GROUP BY currency ORDER BY currency
"""


def _unpriced(engine: Engine) -> list[Warned]:
    """Loans in a currency without rates: what is in reporting currency cannot be computed for them."""
    last = engine.rows(exp.select(exp.Max(this=exp.column("as_of"))).from_(PANEL))[0][0]
    if last is None:
        return []
    return [
        Warned(
            code="WARN-208",
            text=f"loans in {currency} lack a rate on some date; not computable in reporting currency",
            count=int(count),
            amount=amount if amount is None else Decimal(amount),
        )
        for currency, count, amount in engine.rows(filled(_UNPRICED, last=date_node(last)))
    ]

"""From the accepted rows of a servicing extract to the relation ``panel`` at any dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.tape import servicing
from abaco_loans.tape.definition import Definition, DpdMethod
from abaco_loans.tape.panel import FACTS, LOANS, panel_steps
from abaco_loans.tape.template import date_node, filled
from abaco_loans.tape.tree import created, exp, later

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


def check_method(tape: ReadTape, definition: Definition) -> None:
    """Raises InputError ``TAPE-109`` when the definition's DPD method needs a column that the tape lacks."""
    monthly = definition.dpd_method in (DpdMethod.MONTHLY_MBA, DpdMethod.MONTHLY_OTS)
    if monthly and "frequency" not in tape.file("loans").present:
        raise InputError(
            f"{definition.dpd_method} counts monthly loans, and the tape does not say which are",
            code="TAPE-109",
            where=tape.path,
            hint="map the column `frequency`, or choose another definition",
        )


def normal_relations(tape: ReadTape, engine: Engine, currency: str, *, kind: str) -> None:
    """Make the relations of `servicing.normal_views`, as tables or views (``kind``)."""
    relations = {report.table: report.accepted_relation for report in tape.files}
    present = {report.table: frozenset(report.present) for report in tape.files}
    for name, query in servicing.normal_views(relations, present, currency).items():
        engine.execute(exp.Create(this=exp.to_table(name), kind=kind, expression=query, replace=True))


def is_foreign(engine: Engine, currency: str) -> bool:
    """Whether a loan of the relations is in another currency than the reporting one."""
    other = exp.column("currency").neq(exp.Literal.string(currency))
    return bool(engine.rows(exp.select(exp.Literal.number(1)).from_(servicing.LOANS).where(other).limit(1)))


def make_facts(engine: Engine, definition: Definition, dates: Sequence[date], currency: str, *, foreign: bool) -> None:
    """Make the tables `panel.LOANS` and `panel.FACTS` over the relations of `normal_relations`."""
    for name, query in panel_steps(definition, dates, currency, foreign=foreign).items():
        engine.execute(later(created, name, "TABLE", query, True))


def make_panel(tape: ReadTape, engine: Engine, definition: Definition, dates: Sequence[date], currency: str) -> None:
    """Make the relation ``panel`` at once, in the engine: for few dates."""
    check_method(tape, definition)
    normal_relations(tape, engine, currency, kind="TABLE")
    foreign = is_foreign(engine, currency)
    make_facts(engine, definition, dates, currency, foreign=foreign)
    source = PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=foreign, definition=definition)
    engine.execute(later(created, PANEL, "VIEW", later(panel_of, source), True))


def servicing_warnings(engine: Engine, day: date) -> list[Warned]:
    """What is odd between the files of a servicing extract, with counts and amounts; nothing is refused for it."""
    found = []
    for code, text, check in SERVICING_CHECKS:
        count, amount = engine.rows(filled(check, day=date_node(day)))[0]
        if count:
            worth = None if amount is None else Decimal(amount)
            found.append(Warned(code=code, text=text, count=int(count), amount=worth))
    return found

"""Roll rates: where the loans of a state at one date of the panel are at the next [OCC, Retail Lending; DEFINITIONS].

rate i → j = Σ balance at t-1 of loans in i that are in j at t / Σ balance at t-1 of loans in i; also by count.
Balance = outstanding + written-off balance, in reporting currency at the rate of t-1. A loan with a row at t-1 and
none at t is missing. A loan counts for its segment at t-1.

The table lists the moves that were made: what is not listed is 0 % of a state that is listed, and nothing is said of
a state without loans. Repaid loans stay repaid, so their rows are left out, unless one of them left that state.
The average pools the periods: Σ numerators / Σ denominators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import pairwise

from abaco_loans.portfolio.columns import MISSING, REPAID
from abaco_loans.portfolio.interval import wilson
from abaco_loans.portfolio.states import UNCOUNTED, order
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, exact, keyed, percent, segment_node
from abaco_loans.tape.template import date_node, filled
from abaco_loans.tape.tree import exp

_HELD = """
SELECT loan_id, as_of, :segment AS segment, COALESCE(state, :uncounted) AS state,
       outstanding_principal_reporting + written_off_balance_reporting AS balance
FROM panel
"""
_MOVES = """
WITH held AS (:held),
periods AS (SELECT UNNEST(:starts) AS period_start, UNNEST(:ends) AS as_of)
SELECT f.segment, p.period_start, p.as_of, f.state, COALESCE(t.state, :missing), COUNT(*), SUM(f.balance)
FROM periods p JOIN held f ON f.as_of = p.period_start
LEFT JOIN held t ON t.loan_id = f.loan_id AND t.as_of = p.as_of
GROUP BY f.segment, p.period_start, p.as_of, f.state, COALESCE(t.state, :missing)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The loans that went from one state to another, with their balance at ``period_start``."""

    segment: str
    period_start: date
    as_of: date
    from_state: str
    to_state: str
    loans: int
    balance: Decimal | None


def moves_query(held: exp.Query, periods: Sequence[tuple[date, date]]) -> exp.Select:
    """Moves between states over any table of entities, one row of `Move`'s fields a pair of states and period.

    Args:
        held: gives ``loan_id, as_of, segment, state, balance``, one row an entity and date.
        periods: the two dates of each; not empty.
    """
    return filled(
        _MOVES,
        held=held,
        starts=exp.array(*(date_node(start) for start, _ in periods)),
        ends=exp.array(*(date_node(end) for _, end in periods)),
        missing=exp.Literal.string(MISSING),
    )


def _moves(asked: Asked, periods: Sequence[tuple[date, date]]) -> list[Move]:
    if not periods:
        return []
    held = filled(_HELD, segment=segment_node(asked), uncounted=exp.Literal.string(UNCOUNTED))
    return [
        Move(
            segment=segment,
            period_start=start,
            as_of=end,
            from_state=before,
            to_state=after,
            loans=loans,
            balance=balance,
        )
        for segment, start, end, before, after, loans, balance in asked.rows(moves_query(held, periods))
    ]


def _pooled(moves: Iterable[Move], start: date, end: date) -> list[Move]:
    """The moves of many periods as those of one."""
    alike: dict[tuple[str, str, str], list[Move]] = defaultdict(list)
    for move in moves:
        alike[move.segment, move.from_state, move.to_state].append(move)
    return [
        replace(
            group[0],
            period_start=start,
            as_of=end,
            loans=sum(move.loans for move in group),
            balance=_sum(group),
        )
        for group in alike.values()
    ]


def _sum(moves: Sequence[Move]) -> Decimal | None:
    """Their balance; None where none of them has one."""
    known = [move.balance for move in moves if move.balance is not None]
    with exact():
        return sum(known, Decimal(0)) if known else None


def _rows(asked: Asked, moves: Iterable[Move]) -> tuple[tuple[Value, ...], ...]:
    states: dict[tuple[str, date, str], list[Move]] = defaultdict(list)
    for move in moves:
        states[move.segment, move.as_of, move.from_state].append(move)
    rows: list[tuple[Value, ...]] = []
    for segment, day, state in sorted(states, key=lambda key: (key[0], key[1], order(key[2]))):
        group = sorted(states[segment, day, state], key=lambda move: order(move.to_state))
        if state == REPAID and all(move.to_state == REPAID for move in group):
            continue
        loans, balance = sum(move.loans for move in group), _sum(group)
        for move in group:
            keys = (move.period_start, day, state, move.to_state)
            rates = (percent(move.balance, balance), percent(move.loans, loans))
            rows.append(keyed(asked, segment, *keys, move.loans, move.balance, *rates, *wilson(move.loans, loans)))
    return tuple(rows)


def _roll_rates(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    return _rows(asked, _moves(asked, list(pairwise(asked.dates))))


def _roll_rates_average(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    periods = list(pairwise(asked.dates))[-asked.window :]
    return _rows(asked, _pooled(_moves(asked, periods), periods[0][0], periods[-1][1])) if periods else ()


_COLUMNS = (
    Column(name="from_state", unit=Unit.TEXT, text="state at the beginning", key=True),
    Column(name="to_state", unit=Unit.TEXT, text="state at the end: a state, repaid or missing", key=True),
    Column(name="loans", unit=Unit.COUNT, text="loans that made the move"),
    Column(name="balance", unit=Unit.AMOUNT, text="their outstanding and written-off balance at the beginning"),
    Column(name="rate_by_balance", unit=Unit.PERCENT, text="of the balance in from_state"),
    Column(name="rate_by_count", unit=Unit.PERCENT, text="of the loans in from_state"),
    Column(name="rate_by_count_low", unit=Unit.PERCENT, text="low end of its 95 % interval (Wilson)"),
    Column(name="rate_by_count_high", unit=Unit.PERCENT, text="high end of its 95 % interval (Wilson)"),
)
ROLL_RATES = View(
    name="roll_rates",
    title="Roll rates",
    text="Where the loans of each state are at the next date, by balance and by count.",
    columns=(
        Column(name="period_start", unit=Unit.DATE, text="the date before", key=True),
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        *_COLUMNS,
    ),
    compute=_roll_rates,
)
ROLL_RATES_AVERAGE = View(
    name="roll_rates_average",
    title="Average roll rates",
    text="Roll rates over the last periods together: sums of numerators over sums of denominators.",
    columns=(
        Column(name="period_start", unit=Unit.DATE, text="beginning of the first period", key=True),
        Column(name="as_of", unit=Unit.DATE, text="end of the last period", key=True),
        *_COLUMNS,
    ),
    compute=_roll_rates_average,
)

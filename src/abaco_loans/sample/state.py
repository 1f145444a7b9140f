"""What a loan looks like on a date: slow and obvious on purpose, straight from the definitions.

Outstanding = disbursed - principal paid. Due = instalments with a due date before the day, of the schedule in
force. Covered = all components of all payments up to the day. Days past due run from the oldest instalment
whose cumulative due is above what is covered (``rolling``, ``cover: total_due``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from abaco_loans.sample.book import Instalment, Kind, Loan, Movement

WRITE_OFF_AFTER_DAYS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanState:
    """A loan on a day; cents of the loan's currency.

    ``outstanding`` is 0 for a loan that is written off: its balance stands in ``written_off_balance``.
    """

    on: date
    outstanding: int
    written_off_balance: int
    days_past_due: int
    is_restructured: bool
    accrued_interest: int

    @property
    def is_written_off(self) -> bool:
        """Whether the balance has left the book without being paid."""
        return self.written_off_balance > 0

    @property
    def is_repaid(self) -> bool:
        """Whether nothing is owed any more."""
        return self.outstanding == 0 and self.written_off_balance == 0


def schedule_in_force(schedules: Iterable[tuple[Instalment, ...]], on: date) -> tuple[Instalment, ...]:
    """The latest schedule version whose ``valid_from`` is not after the day; versions come oldest first."""
    in_force: tuple[Instalment, ...] = ()
    for version in schedules:
        if version[-1].valid_from <= on:
            in_force = version
    return in_force


def oldest_unpaid(schedule: Iterable[Instalment], covered: int) -> date | None:
    """Due date of the first instalment that ``covered`` cents do not reach; None when all are covered."""
    due = 0
    for row in schedule:
        due += row.total
        if due > covered:
            return row.due
    return None


def principal_left(disbursed: int, movements: Iterable[Movement], on: date) -> int:
    """Disbursed less principal paid up to and including the day, before any write-off."""
    return disbursed - sum(item.principal for item in movements if item.kind is Kind.PAYMENT and item.on <= on)


def days_past_due(schedule: Iterable[Instalment], covered: int, on: date) -> int:
    """Days from the oldest unpaid due date to the day; an instalment due on the day is not late."""
    oldest = oldest_unpaid(schedule, covered)
    return max(0, (on - oldest).days) if oldest else 0


def state_at(loan: Loan, on: date) -> LoanState:
    """The loan at the end of a day that is not before its disbursement."""
    paid = [item for item in loan.movements if item.kind is Kind.PAYMENT and item.on <= on]
    schedule = schedule_in_force(loan.schedules, on)
    left = principal_left(loan.draft.disbursed, loan.movements, on)
    late = days_past_due(schedule, sum(item.total for item in paid), on) if left > 0 else 0
    gone = left > 0 and loan.written_off_on is not None and loan.written_off_on <= on
    return LoanState(
        on=on,
        outstanding=0 if gone else max(0, left),
        written_off_balance=left if gone else 0,
        days_past_due=late,
        is_restructured=loan.restructured_on is not None and loan.restructured_on <= on,
        accrued_interest=0 if gone else _accrued(loan, schedule, max(0, left), on),
    )


def _accrued(loan: Loan, schedule: tuple[Instalment, ...], left: int, on: date) -> int:
    """Simple interest on what is left since the last due date; it stops 90 days after that date."""
    since = max([loan.draft.disbursed_on, *(row.due for row in schedule if row.due < on)])
    days = min(90, (on - since).days)
    return left * loan.draft.rate_bp * days // (360 * 10_000)


def write_off_day(
    disbursed: int,
    schedules: tuple[tuple[Instalment, ...], ...],
    movements: Iterable[Movement],
    end: date,
) -> date | None:
    """The first day up to ``end`` on which the loan is more than 180 days past due, if there is one."""
    payments = sorted((item for item in movements if item.kind is Kind.PAYMENT), key=lambda item: item.on)
    turns = sorted({item.on for item in payments} | {version[-1].valid_from for version in schedules})
    for turn, until in zip(turns, [*turns[1:], end + timedelta(days=1)], strict=True):
        if principal_left(disbursed, payments, turn) <= 0:
            continue
        covered = sum(item.total for item in payments if item.on <= turn)
        oldest = oldest_unpaid(schedule_in_force(schedules, turn), covered)
        if oldest is None:
            continue
        crossed = max(turn, oldest + timedelta(days=WRITE_OFF_AFTER_DAYS + 1))
        if crossed < until:
            return crossed
    return None

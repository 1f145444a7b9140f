"""The loan at a date D: a slow, obvious reading of DEFINITIONS, one loan and one day at a time."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from abaco_loans.tape.definition import Cover, Definition, DpdMethod, Restructured, WriteOff

DAY = timedelta(days=1)
ZERO = Decimal(0)
PARTS = ("principal", "interest", "fees", "taxes", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    due_date: date
    principal: Decimal
    interest: Decimal = ZERO
    fees: Decimal = ZERO
    taxes: Decimal = ZERO
    other: Decimal = ZERO
    valid_from: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    type: str
    date: date
    principal: Decimal = ZERO
    interest: Decimal = ZERO
    fees: Decimal = ZERO
    taxes: Decimal = ZERO
    other: Decimal = ZERO
    penalties: Decimal = ZERO
    add_balance: Decimal = ZERO
    reduce_balance: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    loan_id: str
    disbursement_date: date
    disbursed_principal: Decimal
    schedule: tuple[Due, ...]
    moves: tuple[Move, ...]
    currency: str = "USD"
    frequency: str | None = None
    written_off_date: date | None = None
    restructured_date: date | None = None


Rates = Mapping[str, Mapping[date, Decimal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What `panel_query` says of a loan and date; ``days_past_due`` is None where it cannot be counted."""

    disbursed: Decimal
    adjusted: Decimal
    principal_paid: Decimal
    received: Decimal
    due_total: Decimal | None
    balance: Decimal
    outstanding_principal: Decimal
    written_off_balance: Decimal
    dust_forgiven: Decimal
    written_off: bool
    restructured: bool
    days_past_due: int | None
    oldest_unpaid_due_date: date | None
    ninety_at: date | None
    first_missed_at: date | None
    disbursed_usd: Decimal
    principal_paid_usd: Decimal
    received_usd: Decimal
    interest_fees_usd: Decimal
    unpriced_moves: int


def total(item: Due | Move) -> Decimal:
    return sum((getattr(item, part) for part in PARTS), ZERO)


def covering(item: Due | Move, definition: Definition) -> Decimal:
    return total(item) if definition.cover is Cover.TOTAL_DUE else item.principal


def all_moves(loan: Loan) -> list[Move]:
    """The moves; a loan whose disbursement is nowhere in them is disbursed as its own row says."""
    if any(move.type == "disbursement" for move in loan.moves):
        return list(loan.moves)
    return [Move(type="disbursement", date=loan.disbursement_date, principal=loan.disbursed_principal), *loan.moves]


def in_force(loan: Loan, day: date) -> list[Due]:
    """The instalments of the schedule in force on a day, oldest first."""
    starts = [item.valid_from or date.min for item in loan.schedule if (item.valid_from or date.min) <= day]
    latest = max(starts, default=None)
    rows = [item for item in loan.schedule if (item.valid_from or date.min) == latest]
    return sorted(rows, key=lambda item: item.due_date)


def covered_at(loan: Loan, day: date, definition: Definition) -> Decimal:
    return sum((covering(move, definition) for move in loan.moves if move.type == "payment" and move.date <= day), ZERO)


def oldest_unpaid(schedule: list[Due], covered: Decimal, day: date, definition: Definition) -> date | None:
    """Due date of the oldest instalment due before the day whose cumulative due is above what is covered."""
    cumulative = ZERO
    for item in schedule:
        cumulative += covering(item, definition)
        if item.due_date < day and cumulative > covered + definition.arrears_tolerance:
            return item.due_date
    return None


def following_due_dates(schedule: list[Due], after: date) -> Iterator[date]:
    """The due dates after one: of the schedule, then month by month on the loan's own day of the month."""
    dates = [item.due_date for item in schedule]
    yield from (day for day in dates if day > after)
    anchor, last = max(day.day for day in dates), dates[-1]
    year, month = last.year, last.month
    while year < 2200:
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        yield date(year, month, min(anchor, monthrange(year, month)[1]))


def months_missed(schedule: list[Due], oldest: date, day: date, method: DpdMethod) -> int:
    counted_to = day + DAY if method is DpdMethod.MONTHLY_MBA else day
    missed = 0
    for following in following_due_dates(schedule, oldest):
        if following > counted_to:
            break
        missed += 1
    return missed


def days_late(loan: Loan, day: date, definition: Definition) -> int | None:
    """Days past due before grace; None for a loan that the method does not count."""
    schedule = in_force(loan, day)
    oldest = oldest_unpaid(schedule, covered_at(loan, day, definition), day, definition)
    if definition.dpd_method in (DpdMethod.MONTHLY_MBA, DpdMethod.MONTHLY_OTS):
        if loan.frequency != "monthly":
            return None
        return 30 * months_missed(schedule, oldest, day, definition.dpd_method) if oldest else 0
    if oldest is None:
        return 0
    if definition.dpd_method is DpdMethod.STRICT:
        then, first_missed = day, oldest
        while (missed := oldest_unpaid(schedule, covered_at(loan, then, definition), then, definition)) is not None:
            first_missed = min(first_missed, missed)
            then -= DAY
        return (day - first_missed).days
    return (day - oldest).days


def days_past_due(loan: Loan, day: date, definition: Definition) -> int | None:
    late = days_late(loan, day, definition)
    return late if late is None or late > definition.grace_days else 0


def balance_at(loan: Loan, day: date) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Disbursed, adjusted, principal paid, and the balance that they make."""
    moves = [move for move in all_moves(loan) if move.date <= day]
    lent = sum((move.principal for move in moves if move.type == "disbursement"), ZERO)
    adjusted = sum((move.principal for move in moves if move.type in ("capitalisation", "adjustment")), ZERO)
    adjusted += sum((move.add_balance - move.reduce_balance for move in moves), ZERO)
    paid = sum((move.principal for move in moves if move.type == "payment"), ZERO)
    return lent, adjusted, paid, lent + adjusted - paid


def is_repaid(loan: Loan, day: date, definition: Definition) -> bool:
    lent, _, _, balance = balance_at(loan, day)
    return balance <= 0 or balance < definition.dust_share * lent


def first_day_past(loan: Loan, day: date, definition: Definition, days: int) -> date | None:
    """The first day, up to ``day``, on which the loan is not repaid and at least so many days past due."""
    at = loan.disbursement_date
    while at <= day:
        late = days_past_due(loan, at, definition)
        if late is not None and late >= days and not is_repaid(loan, at, definition):
            return at
        at += DAY
    return None


def first_instalment_missed(loan: Loan, day: date, definition: Definition) -> date | None:
    """The first day on which the loan's first instalment is 30 days past due, counted rolling."""
    at = loan.disbursement_date
    days = max(definition.reaches(30), definition.grace_days + 1)
    while at <= day:
        schedule = in_force(loan, at)
        oldest = oldest_unpaid(schedule, covered_at(loan, at, definition), at, definition)
        first = schedule[0].due_date if schedule else None
        if oldest and oldest == first and (at - oldest).days >= days and not is_repaid(loan, at, definition):
            return at
        at += DAY
    return None


def rate_at(rates: Rates, currency: str, day: date) -> Decimal | None:
    """The last rate on or before the day; 1 for the reporting currency; None when there is none."""
    if currency == "USD":
        return Decimal(1)
    known = [since for since in rates.get(currency, {}) if since <= day]
    return rates[currency][max(known)] if known else None


def state_at(loan: Loan, day: date, definition: Definition, rates: Rates) -> State:
    lent, adjusted, paid, balance = balance_at(loan, day)
    repaid = is_repaid(loan, day, definition)
    late = days_past_due(loan, day, definition)
    flagged = any(move.type == "write_off" and move.date <= day for move in loan.moves)
    flagged = flagged or (loan.written_off_date is not None and loan.written_off_date <= day)
    after = definition.write_off_after_days
    gone = flagged
    if after is not None and definition.write_off is WriteOff.STICKY:
        gone = gone or first_day_past(loan, day, definition, after + 1) is not None
    elif after is not None:
        gone = gone or (late is not None and late > after)
    gone = gone and not repaid
    schedule = in_force(loan, day)
    payments = [move for move in loan.moves if move.type == "payment" and move.date <= day]
    priced = [(move, rate_at(rates, loan.currency, move.date)) for move in all_moves(loan) if move.date <= day]
    oldest = oldest_unpaid(schedule, covered_at(loan, day, definition), day, definition)
    return State(
        disbursed=lent,
        adjusted=adjusted,
        principal_paid=paid,
        received=sum((total(move) for move in payments), ZERO),
        due_total=sum((total(item) for item in schedule if item.due_date <= day), ZERO) if schedule else None,
        balance=balance,
        outstanding_principal=ZERO if repaid or gone else balance,
        written_off_balance=balance if gone else ZERO,
        dust_forgiven=balance if repaid else ZERO,
        written_off=gone,
        restructured=loan.restructured_date is not None and loan.restructured_date <= day,
        days_past_due=0 if repaid else late,
        oldest_unpaid_due_date=None if repaid or late == 0 else oldest,
        ninety_at=first_day_past(loan, day, replace(definition, dpd_method=DpdMethod.ROLLING), definition.reaches(90)),
        first_missed_at=first_instalment_missed(loan, day, definition),
        disbursed_usd=_priced(priced, "disbursement", ("principal",)),
        principal_paid_usd=_priced(priced, "payment", ("principal",)),
        received_usd=_priced(priced, "payment", PARTS),
        interest_fees_usd=_priced(priced, "payment", ("interest", "fees")),
        unpriced_moves=len({move.date for move, rate in priced if rate is None}),
    )


def _priced(priced: list[tuple[Move, Decimal | None]], kind: str, parts: tuple[str, ...]) -> Decimal:
    return sum(
        (getattr(move, part) * rate for move, rate in priced if move.type == kind and rate for part in parts), ZERO
    )


def risk_days(loan: Loan, state: State, definition: Definition) -> int | None:
    """Days past due as buckets count them; a restructured loan may be at risk whatever its days."""
    if definition.restructured is Restructured.AT_RISK and state.restructured and state.outstanding_principal > 0:
        return 36_500
    return state.days_past_due

"""The loan at a date D: a slow, obvious reading of DEFINITIONS, one loan and one day at a time."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

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
    """What the panel says of a loan, a date and the period before it; ``*_reporting`` is None where a rate lacks."""

    disbursed_principal: Decimal
    outstanding_principal: Decimal
    written_off_balance: Decimal
    dust_forgiven: Decimal
    written_off: bool
    restructured: bool
    days_past_due: int | None
    oldest_unpaid_due_date: date | None
    opening_principal: Decimal
    opening_written_off: Decimal
    disbursed_in_period: Decimal
    capitalised_in_period: Decimal
    adjusted_in_period: Decimal
    principal_paid_in_period: Decimal
    received_in_period: Decimal
    interest_fees_in_period: Decimal
    recovered_in_period: Decimal
    recovered_principal_in_period: Decimal
    scheduled_in_period: Decimal
    scheduled_principal_in_period: Decimal
    first_30_on: date | None
    first_60_on: date | None
    first_90_on: date | None
    first_90_balance: Decimal | None
    recovered_after_90: Decimal
    first_due_date: date | None
    first_missed_on: date | None
    defaulted_on: date | None
    defaulted_balance: Decimal | None
    unpriced: bool
    outstanding_principal_reporting: Decimal | None
    disbursed_principal_reporting: Decimal | None
    received_in_period_reporting: Decimal | None
    recovered_in_period_reporting: Decimal | None
    scheduled_in_period_reporting: Decimal | None


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


def first_due(loan: Loan) -> date | None:
    """Due date of the first instalment of the loan's first schedule."""
    starts = [item.valid_from or date.min for item in loan.schedule]
    return min((i.due_date for i in loan.schedule if (i.valid_from or date.min) == min(starts)), default=None)


def first_instalment_missed(loan: Loan, day: date, definition: Definition) -> date | None:
    """The first day on which the loan's first instalment is 30 days past due, counted rolling."""
    at, first = loan.disbursement_date, first_due(loan)
    days = max(definition.reaches(30), definition.grace_days + 1)
    start = min((item.valid_from or date.min for item in loan.schedule), default=None)
    while at <= day:
        schedule = in_force(loan, at)
        if not schedule or (schedule[0].valid_from or date.min) != start:
            at += DAY
            continue
        oldest = oldest_unpaid(schedule, covered_at(loan, at, definition), at, definition)
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


def is_flagged(loan: Loan, day: date) -> bool:
    flagged = any(move.type == "write_off" and move.date <= day for move in loan.moves)
    return flagged or (loan.written_off_date is not None and loan.written_off_date <= day)


def is_gone(loan: Loan, day: date, definition: Definition) -> bool:
    """Whether the loan is written off at the end of a day."""
    if is_repaid(loan, day, definition):
        return False
    after = definition.write_off_after_days
    if after is None or is_flagged(loan, day):
        return is_flagged(loan, day)
    if definition.write_off is WriteOff.STICKY:
        return first_day_past(loan, day, definition, after + 1) is not None
    late = days_past_due(loan, day, definition)
    return late is not None and late > after


def first_default(loan: Loan, day: date, definition: Definition) -> date | None:
    """The first day on which the loan was 90 days past due or more, late enough to be written off, or flagged."""
    after = definition.write_off_after_days
    edges = [definition.reaches(90), *([] if after is None else [after + 1])]
    days = [first_day_past(loan, day, definition, edge) for edge in edges]
    days += [move.date for move in loan.moves if move.type == "write_off" and move.date <= day]
    days += [loan.written_off_date] if loan.written_off_date and loan.written_off_date <= day else []
    return min((found for found in days if found is not None), default=None)


def state_at(loan: Loan, day: date, since: date, definition: Definition, rates: Rates) -> State:
    """The loan at a day, in a period that begins after ``since``."""
    lent, _, paid, balance = balance_at(loan, day)
    repaid, gone = is_repaid(loan, day, definition), is_gone(loan, day, definition)
    late = days_past_due(loan, day, definition)
    opening = balance_at(loan, since)[3] if loan.disbursement_date <= since else ZERO
    was_repaid, was_gone = is_repaid(loan, since, definition), is_gone(loan, since, definition)
    rolling = replace(definition, dpd_method=DpdMethod.ROLLING)
    moves = all_moves(loan)
    # What moved before the loan was disbursed counts with its first period.
    now = [m for m in moves if m.date <= day and (m.date > since or loan.disbursement_date > since)]
    lendings = [m for m in moves if m.type == "disbursement" and m.date <= day]
    payments = [m for m in now if m.type == "payment"]
    recoveries = [m for m in payments if is_gone(loan, m.date - DAY, rolling)]
    oldest = oldest_unpaid(in_force(loan, day), covered_at(loan, day, definition), day, definition)
    due = [item for item in in_force(loan, day) if since < item.due_date <= day]
    first_90_on = first_day_past(loan, day, rolling, definition.reaches(90))
    defaulted_on = first_default(loan, day, rolling)
    recovered = _principal(recoveries, "payment")
    needed = [day, *(m.date for m in moves if m.date <= day), *(item.due_date for item in due)]
    unpriced = any(rate_at(rates, loan.currency, at) is None for at in needed)
    outstanding = ZERO if repaid or gone else balance

    def priced(items: list[tuple[Decimal, date]]) -> Decimal | None:
        return (
            None if unpriced else _money(sum((a * (rate_at(rates, loan.currency, at) or 0) for a, at in items), ZERO))
        )

    return State(
        disbursed_principal=lent,
        outstanding_principal=outstanding,
        written_off_balance=balance if gone else ZERO,
        dust_forgiven=balance if repaid else ZERO,
        written_off=gone,
        restructured=loan.restructured_date is not None and loan.restructured_date <= day,
        days_past_due=0 if repaid else late,
        oldest_unpaid_due_date=None if repaid or late == 0 else oldest,
        opening_principal=ZERO if was_repaid or was_gone else opening,
        opening_written_off=opening if was_gone else ZERO,
        disbursed_in_period=_principal(now, "disbursement"),
        capitalised_in_period=_principal(now, "capitalisation"),
        adjusted_in_period=_principal(now, "adjustment") + sum((m.add_balance - m.reduce_balance for m in now), ZERO),
        principal_paid_in_period=_principal(now, "payment") - recovered,
        received_in_period=sum((total(m) for m in payments), ZERO),
        interest_fees_in_period=sum((m.interest + m.fees for m in payments), ZERO),
        recovered_in_period=sum((total(m) for m in recoveries), ZERO),
        recovered_principal_in_period=recovered,
        scheduled_in_period=sum((total(item) for item in due), ZERO),
        scheduled_principal_in_period=sum((item.principal for item in due), ZERO),
        first_30_on=first_day_past(loan, day, rolling, definition.reaches(30)),
        first_60_on=first_day_past(loan, day, rolling, definition.reaches(60)),
        first_90_on=first_90_on,
        first_90_balance=balance_at(loan, first_90_on)[3] if first_90_on else None,
        recovered_after_90=paid - balance_at(loan, first_90_on)[2] if first_90_on else ZERO,
        first_due_date=first_due(loan),
        first_missed_on=first_instalment_missed(loan, day, definition),
        defaulted_on=defaulted_on,
        defaulted_balance=balance_at(loan, defaulted_on)[3] if defaulted_on else None,
        unpriced=unpriced,
        outstanding_principal_reporting=priced([(outstanding, day)]),
        disbursed_principal_reporting=priced([(m.principal, m.date) for m in lendings]),
        received_in_period_reporting=priced([(total(m), m.date) for m in payments]),
        recovered_in_period_reporting=priced([(total(m), m.date) for m in recoveries]),
        scheduled_in_period_reporting=priced([(total(item), item.due_date) for item in due]),
    )


def _principal(moves: list[Move], kind: str) -> Decimal:
    return sum((move.principal for move in moves if move.type == kind), ZERO)


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP)


def risk_days(loan: Loan, state: State, definition: Definition) -> int | None:
    """Days past due as buckets count them; a restructured loan may be at risk whatever its days."""
    if definition.restructured is Restructured.AT_RISK and state.restructured and state.outstanding_principal > 0:
        return 36_500
    return state.days_past_due

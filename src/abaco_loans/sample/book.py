"""The records of the sample book: loans, their schedules, and what was paid.

All amounts are integer cents of the loan's currency, rates are integer basis points a year.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

REPORTING_CURRENCY = "USD"
SECOND_CURRENCY = "HNL"
RATE_UNIT = 100_000_000
"""An exchange rate is an integer count of 1/RATE_UNIT."""


class Kind(StrEnum):
    """Type of a movement, as ``transactions.csv`` spells it."""

    DISBURSEMENT = "disbursement"
    PAYMENT = "payment"
    WRITE_OFF = "write_off"


class Quality(StrEnum):
    """Hidden quality of a borrower; no tape shows it."""

    GOOD = "good"
    FAIR = "fair"
    WEAK = "weak"


class Trouble(StrEnum):
    """What goes wrong with a loan, if anything."""

    NONE = "none"
    SLUMP = "slump"
    RESTRUCTURE = "restructure"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instalment:
    """One due date of one schedule version; cents."""

    due: date
    principal: int
    interest: int
    fees: int
    taxes: int
    valid_from: date

    @property
    def total(self) -> int:
        """Everything that falls due on that date."""
        return self.principal + self.interest + self.fees + self.taxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One transaction of a loan; cents; negative components are rebates and reversals."""

    kind: Kind
    on: date
    principal: int
    interest: int = 0
    fees: int = 0
    taxes: int = 0

    @property
    def total(self) -> int:
        """All components together."""
        return self.principal + self.interest + self.fees + self.taxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A borrower; ``size`` shifts tickets towards the larger bands."""

    customer_id: str
    company: str
    region: str
    currency: str
    quality: Quality
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A loan as agreed: terms and first schedule, before anybody pays."""

    loan_id: str
    customer: Customer
    product: str
    facility: str
    disbursed_on: date
    disbursed: int
    rate_bp: int
    schedule: tuple[Instalment, ...]

    @property
    def is_one_time(self) -> bool:
        """Whether the loan is repaid in one payment."""
        return len(self.schedule) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """A loan with all that happened to it up to the end of the book.

    ``schedules`` are whole versions, oldest first, each in force from the ``valid_from`` of its rows;
    ``movements`` are in order of date.
    """

    draft: Draft
    schedules: tuple[tuple[Instalment, ...], ...]
    movements: tuple[Movement, ...]
    written_off_on: date | None
    restructured_on: date | None

    @property
    def matures_on(self) -> date:
        """Last due date of the latest schedule version."""
        return self.schedules[-1][-1].due


@dataclass(frozen=True, slots=True, kw_only=True)
class Stumble:
    """The trouble of one loan and the index of the instalment that is the first not to be paid on time."""

    trouble: Trouble
    at: int


# Dates and amounts


def months_after(start: date, count: int) -> date:
    """The same day ``count`` months later, or the last day of a shorter month."""
    month0 = start.year * 12 + start.month - 1 + count
    year, month = divmod(month0, 12)
    return date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))


def rounded(numerator: int, denominator: int) -> int:
    """Quotient of non-negative integers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _instalment(due: date, principal: int, interest: int, fees: int, valid_from: date) -> Instalment:
    taxes = rounded((interest + fees) * 13, 100)
    return Instalment(due=due, principal=principal, interest=interest, fees=fees, taxes=taxes, valid_from=valid_from)


def level_schedule(*, principal: int, rate_bp: int, count: int, start: date, fees: int) -> tuple[Instalment, ...]:
    """Monthly instalments whose principal and interest together are level; the last one takes the cents."""
    grown, base = (120_000 + rate_bp) ** count, 120_000**count
    payment = rounded(principal * rate_bp * grown, 120_000 * (grown - base))
    balance, rows = principal, []
    for number in range(1, count + 1):
        interest = rounded(balance * rate_bp, 120_000)
        part = balance if number == count else min(balance, payment - interest)
        rows.append(_instalment(months_after(start, number), part, interest, fees, start))
        balance -= part
    return tuple(rows)


def single_schedule(*, principal: int, rate_bp: int, days: int, start: date) -> tuple[Instalment, ...]:
    """One payment of everything after ``days`` days; interest on 360 days."""
    interest = rounded(principal * rate_bp * days, 360 * 10_000)
    return (_instalment(start + timedelta(days=days), principal, interest, rounded(principal * 5, 1000), start),)

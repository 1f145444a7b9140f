"""The factoring book worked out loan by loan in plain Python, from the words of DEFINITIONS and the raw CSVs.

Nothing of the product is used here: no mapping, no SQL, no formula. It is slow and simple on purpose, so that
an agreement to the last digit says something.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A preset of DEFINITIONS."""

    boundary: str = "at_least"
    written_off_after: int | None = None
    cover: str = "total_due"
    dust_share: Decimal = ZERO


PRESETS = {
    "original": Rules(),
    "investor": Rules(written_off_after=180, dust_share=Decimal("0.01")),
    "iris": Rules(boundary="more_than", cover="principal"),
    "mfrs": Rules(cover="principal"),
}


@dataclass(kw_only=True)
class Movement:
    day: date
    kind: str
    principal: Decimal
    interest: Decimal
    fees: Decimal
    taxes: Decimal
    other: Decimal
    more: Decimal
    less: Decimal

    @property
    def total(self) -> Decimal:
        return self.principal + self.interest + self.fees + self.taxes + self.other

    def covers(self, rules: Rules) -> Decimal:
        return self.total if rules.cover == "total_due" else self.principal


@dataclass(kw_only=True)
class Loan:
    loan_id: str
    customer: str
    company: str
    opened: date
    stated: Decimal
    rate: Decimal
    instalments: list[Movement] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class State:
    """A loan at a date."""

    balance: Decimal
    outstanding: Decimal
    written_off: Decimal
    days: int


def money(text: str) -> Decimal:
    """Four decimals, half away from zero."""
    return Decimal(text or "0").quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP)


def read_book(folder: Path) -> list[Loan]:
    loans: dict[str, Loan] = {}
    with (folder / "loans.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            assert row["currency"] == "USD"
            loans[row["loan_id"]] = Loan(
                loan_id=row["loan_id"],
                customer=row["customer_id"],
                company=row["company"],
                opened=date.fromisoformat(row["disburse_date"]),
                stated=money(row["disburse_principal"]),
                rate=Decimal(row["interest_rate"]),
            )
    with (folder / "schedules.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            loans[row["loan_id"]].instalments.append(_movement(row, "date_due", "due"))
    with (folder / "transactions.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            loans[row["loan_id"]].movements.append(_movement(row, "date_paid", row["transaction_type"]))
    for loan in loans.values():
        loan.instalments.sort(key=lambda item: item.day)
        loan.movements.sort(key=lambda item: item.day)
    return list(loans.values())


def _movement(row: dict[str, str], day: str, kind: str) -> Movement:
    return Movement(
        day=date.fromisoformat(row[day]),
        kind=kind,
        principal=money(row["principal"]),
        interest=money(row["interest"]),
        fees=money(row["fees"]),
        taxes=money(row["to_tax"]),
        other=money(row["other"]),
        more=money(row["add_balance"]),
        less=money(row["reduce_balance"]),
    )


def disbursed(loan: Loan, day: date) -> Decimal:
    return sum((item.principal for item in loan.movements if item.kind == "DISBURSEMENT" and item.day <= day), ZERO)


def paid(loan: Loan, day: date) -> list[Movement]:
    return [item for item in loan.movements if item.kind == "PAYMENT" and item.day <= day]


def state(loan: Loan, day: date, rules: Rules) -> State | None:
    """The loan at the end of a day; None before it is disbursed."""
    if loan.opened > day:
        return None
    lent = disbursed(loan, day)
    payments = paid(loan, day)
    balance = lent - sum((item.principal for item in payments), ZERO)
    balance += sum((item.more - item.less for item in loan.movements if item.day <= day), ZERO)
    if balance <= 0 or balance < rules.dust_share * lent:
        return State(balance=balance, outstanding=ZERO, written_off=ZERO, days=0)
    covered = sum((item.covers(rules) for item in payments), ZERO)
    days, due = 0, ZERO
    for instalment in loan.instalments:
        if instalment.day >= day:
            break
        due += instalment.covers(rules)
        if due > covered:
            days = (day - instalment.day).days
            break
    if rules.written_off_after is not None and days > rules.written_off_after:
        return State(balance=balance, outstanding=ZERO, written_off=balance, days=days)
    return State(balance=balance, outstanding=balance, written_off=ZERO, days=days)


def first_reached(loan: Loan, days: int, day: date, rules: Rules) -> date | None:
    """The first day up to ``day`` on which the loan stood at that many days past due, write-off left aside."""
    reach = timedelta(days=days if rules.boundary == "at_least" else days + 1)
    moments = {item.day + reach for item in loan.instalments} | {item.day for item in loan.movements}
    for moment in sorted(moments):
        if moment <= day:
            found = state(loan, moment, rules)
            if found is not None and found.days >= reach.days:
                return moment
    return None


def first_instalment_missed(loan: Loan, day: date, rules: Rules) -> bool:
    """Whether the first instalment ever stood at 30 days past due."""
    first = loan.instalments[0]
    reach = timedelta(days=30 if rules.boundary == "at_least" else 31)
    for moment in sorted({first.day + reach} | {item.day for item in loan.movements}):
        if first.day + reach <= moment <= day:
            found = state(loan, moment, rules)
            if found is not None and found.days == (moment - first.day).days:
                return True
    return False


def share(part: Decimal | int, whole: Decimal | int) -> Fraction:
    return Fraction(part) / Fraction(whole) * 100


def past(states: dict[str, State], days: int, rules: Rules) -> Fraction:
    """PAR: the whole outstanding of loans at or past so many days, as a percentage."""
    reach = days if rules.boundary == "at_least" else days + 1
    late = sum((item.outstanding for item in states.values() if item.days >= reach), ZERO)
    return share(late, sum((item.outstanding for item in states.values()), ZERO))


def states_at(loans: list[Loan], day: date, rules: Rules) -> dict[str, State]:
    return {loan.loan_id: found for loan in loans if (found := state(loan, day, rules)) is not None}


def newly_written_off(
    loan: Loan, before: date, day: date, now: dict[str, State], then: dict[str, State], rules: Rules
) -> Decimal:
    """What a loan was written off by since a date: the change of its written-off balance, and what it recovered."""
    held = then[loan.loan_id].written_off if loan.loan_id in then else ZERO
    lost = now[loan.loan_id].written_off - held
    for item in loan.movements:
        if item.kind == "PAYMENT" and before < item.day <= day:
            just_before = state(loan, item.day - timedelta(days=1), rules)
            lost += item.principal if just_before and just_before.written_off else ZERO
    return max(lost, ZERO)


def kpis(loans: list[Loan], day: date, rules: Rules) -> dict[str, Fraction]:
    """Every KPI of the catalogue that a servicing extract can answer, exact."""
    before = day.replace(day=1) - timedelta(days=1)
    now, then = states_at(loans, day, rules), states_at(loans, before, rules)
    here = [loan for loan in loans if loan.loan_id in now]
    outstanding = sum((item.outstanding for item in now.values()), ZERO)
    opening = sum((item.outstanding for item in then.values()), ZERO)
    found = {f"risk.par_{days}": past(now, days, rules) for days in (7, 15, 30, 60, 90, 180)}
    found["risk.npl_ratio"] = found["risk.par_90"]
    found["finance.outstanding"] = Fraction(outstanding)
    found["risk.written_off_balance"] = Fraction(sum((item.written_off for item in now.values()), ZERO))
    newly = sum((newly_written_off(loan, before, day, now, then, rules) for loan in here), ZERO)
    found["risk.write_off_rate"] = share(newly, opening)
    found |= _flows(here, before, day) | _customers(here, now, then, day) | _defaults(here, day, rules)
    weighted = sum((Fraction(loan.rate) * Fraction(now[loan.loan_id].outstanding) for loan in here), Fraction(0))
    found["finance.weighted_apr"] = weighted / Fraction(outstanding) * 100
    return found


def _flows(loans: list[Loan], before: date, day: date) -> dict[str, Fraction]:
    moves = [item for loan in loans for item in loan.movements if before < item.day <= day]
    payments = [item for item in moves if item.kind == "PAYMENT"]
    lent = sum((item.principal for item in moves if item.kind == "DISBURSEMENT"), ZERO)
    opened = sum(before < loan.opened <= day for loan in loans)
    due = sum((item.total for loan in loans for item in loan.instalments if before < item.day <= day), ZERO)
    return {
        "growth.origination_volume": Fraction(lent),
        "growth.average_ticket": Fraction(lent) / opened,
        "finance.annualised_recurring_revenue": 12
        * Fraction(sum((item.interest + item.fees for item in payments), ZERO)),
        "finance.scheduled_collection_rate": share(sum((item.total for item in payments), ZERO), due),
    }


def _customers(loans: list[Loan], now: dict[str, State], then: dict[str, State], day: date) -> dict[str, Fraction]:
    balances: dict[str, Decimal] = defaultdict(lambda: ZERO)
    openings: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for loan in loans:
        balances[loan.customer] += now[loan.loan_id].outstanding
        if loan.loan_id in then:
            openings[loan.customer] += then[loan.loan_id].outstanding
    total = Fraction(sum(balances.values(), ZERO))
    active = {name for name, balance in balances.items() if balance > 0}
    were = {name for name, balance in openings.items() if balance > 0}
    hhi = sum((Fraction(balance) ** 2 for balance in balances.values()), Fraction(0)) / total**2
    top = sorted(balances.values(), reverse=True)[:10]
    return {
        "growth.active_clients": Fraction(len(active)),
        "growth.active_clients_disbursed_90": Fraction(
            len({loan.customer for loan in loans if loan.opened > day - timedelta(days=90)})
        ),
        "growth.client_retention": share(len(active & were), len(were)),
        "concentration.top_10_customers": Fraction(sum(top, ZERO)) / total * 100,
        "concentration.hhi_customers": hhi,
        "concentration.hhi_customers_normalised": (hhi - Fraction(1, len(active))) / (1 - Fraction(1, len(active))),
    }


def _defaults(loans: list[Loan], day: date, rules: Rules) -> dict[str, Fraction]:
    tested = [loan for loan in loans if loan.instalments and loan.instalments[0].day + timedelta(days=30) <= day]
    missed = sum(first_instalment_missed(loan, day, rules) for loan in tested)
    balances = recovered = ZERO
    for loan in loans:
        at = first_reached(loan, 90, day, rules)
        if at is not None:
            reached = state(loan, at, rules)
            assert reached is not None
            balances += reached.balance
            recovered += sum((item.principal for item in paid(loan, day) if item.day > at), ZERO)
    return {
        "risk.first_payment_default": share(missed, len(tested)),
        "risk.recovered_default_rate_90": share(recovered, balances),
    }

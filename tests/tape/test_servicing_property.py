"""The rebuilt loan equals the slow reference, for any small book, under any definition."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from abaco_loans.sample.book import months_after
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.definition import Boundary, Cover, Definition, DpdMethod, Restructured, WriteOff
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import (
    Due,
    Loan,
    Move,
    Rates,
    State,
    all_moves,
    balance_at,
    in_force,
    rate_at,
    risk_days,
    state_at,
    total,
)

START = date(2024, 1, 1)
END = date(2025, 3, 31)
DAYS = st.integers(0, (END - START).days).map(lambda days: START + timedelta(days=days))
RATES: Rates = {"HNL": {date(2024, 2, 10): Decimal("0.0400"), date(2024, 8, 1): Decimal("0.0395")}}
LOANS = 30
SEEDS = st.integers(0, 2**32)
# Loans do not touch each other, so a failing one is shown alone, and shrinking (minutes) would add nothing.
QUICK = settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder: Path = tmp_path_factory.mktemp("books")
    return Bench(folder)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    method = draw(st.sampled_from([DpdMethod.ROLLING, DpdMethod.ROLLING, *DpdMethod]))
    return Definition(
        name="drawn",
        version="1",
        boundary=draw(st.sampled_from(Boundary)),
        cover=draw(st.sampled_from(Cover)),
        dpd_method=method,
        arrears_tolerance=draw(st.sampled_from([Decimal(0), Decimal(0), Decimal(5), Decimal("0.25")])),
        grace_days=draw(st.sampled_from([0, 0, 3, 35, 120])),
        dust_share=draw(st.sampled_from([Decimal(0), Decimal("0.01"), Decimal("0.25")])),
        write_off_after_days=draw(st.sampled_from([None, 30, 90, 180])),
        write_off=draw(st.sampled_from(WriteOff)) if method is DpdMethod.ROLLING else WriteOff.REINSTATABLE,
        restructured=draw(st.sampled_from(Restructured)),
    )


def some_day(rng: Random, start: date = START, span: int = (END - START).days) -> date:
    return start + timedelta(days=rng.randint(0, span))


def cents(rng: Random) -> Decimal:
    return Decimal(rng.choice([0, 0, rng.randint(0, 400), 100])) / 4


def some_schedule(rng: Random, start: date, *, monthly: bool) -> tuple[Due, ...]:
    rows: list[Due] = []
    starts: list[date | None] = [None, *{some_day(rng) for _ in range(rng.choice([0, 0, 1, 2]))}]
    for valid_from in starts:
        first, step = rng.randint(0, 40), rng.randint(1, 45)
        for number in range(rng.randint(1, 8)):
            day = months_after(start, number + 1) if monthly else start + timedelta(days=first + step * number)
            parts = {name: cents(rng) for name in ("principal", "interest", "fees", "taxes", "other")}
            rows.append(Due(due_date=day, valid_from=valid_from, **parts))
    return tuple(rows)


def some_moves(rng: Random, start: date) -> list[Move]:
    found: list[Move] = []
    for _ in range(rng.randint(0, 9)):
        day = some_day(rng) if rng.random() < 0.3 else some_day(rng, start, 120)
        sign = rng.choice([1, 1, 1, -1])
        parts = {name: sign * cents(rng) for name in ("principal", "interest", "taxes", "penalties")}
        extra = rng.choice([{}, {}, {"add_balance": Decimal(3)}, {"reduce_balance": Decimal("7.5")}])
        kind = rng.choice(["payment"] * 6 + ["capitalisation", "adjustment"])
        found.append(Move(type=kind, date=day, **parts, **extra))
    if rng.random() < 0.1:
        found.append(Move(type="write_off", date=some_day(rng)))
    return found


def some_loan(rng: Random, number: int) -> Loan:
    monthly = rng.random() < 0.5
    start = rng.choice([some_day(rng), START, date(2024, 1, 31), date(2024, 1, 30)])
    amount = Decimal(rng.choice(["100", "400", "12.5"]))
    history = some_moves(rng, start)
    if rng.random() < 0.5:
        history.append(Move(type="disbursement", date=start, principal=amount))
    return Loan(
        loan_id=f"L{number}",
        disbursement_date=start,
        disbursed_principal=amount,
        schedule=some_schedule(rng, start, monthly=monthly) if rng.random() < 0.95 else (),
        moves=tuple(history),
        currency=rng.choice(["USD", "USD", "HNL", "GTQ"]),
        frequency="monthly" if monthly else rng.choice([None, "weekly"]),
        written_off_date=some_day(rng) if rng.random() < 0.1 else None,
        restructured_date=some_day(rng) if rng.random() < 0.3 else None,
    )


def some_book(seed: int) -> list[Loan]:
    rng = Random(seed)
    return [some_loan(rng, number) for number in range(LOANS)]


def differences(said: State, meant: State) -> dict[str, tuple[object, object]]:
    left, right = asdict(said), asdict(meant)
    left["unpriced_moves"], right["unpriced_moves"] = bool(said.unpriced_moves), bool(meant.unpriced_moves)
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}


@QUICK
@given(seed=SEEDS, definition=definitions(), dates=st.lists(DAYS, min_size=2, max_size=2, unique=True))
def test_the_rebuilt_loan_is_the_loan_of_the_definitions(
    bench: Bench, seed: int, definition: Definition, dates: list[date]
) -> None:
    book = some_book(seed)
    bench.load(book, RATES)
    found = bench.panel(definition, dates)
    assert set(found) == {(loan.loan_id, day) for loan in book for day in dates if loan.disbursement_date <= day}
    for loan in book:
        for day in dates:
            if loan.disbursement_date <= day:
                said, meant = found[loan.loan_id, day], state_at(loan, day, definition, RATES)
                assert not differences(said, meant), (day, loan)
                held = said.outstanding_principal + said.written_off_balance + said.dust_forgiven
                assert held == said.disbursed + said.adjusted - said.principal_paid
                assert [said.outstanding_principal, said.written_off_balance, said.dust_forgiven].count(Decimal(0)) >= 2


PERIOD_USD = {
    "disbursed_in_period_usd": "disbursed_usd",
    "received_in_period_usd": "received_usd",
    "principal_paid_in_period_usd": "principal_paid_usd",
    "interest_fees_in_period_usd": "interest_fees_usd",
}
EDGES = {"dpd_0_7_usd": 0, "dpd_7_30_usd": 7, "dpd_30_60_usd": 30, "dpd_60_90_usd": 60, "dpd_90_plus_usd": 90}
FOUR = Decimal("0.0001")


def money(amount: Decimal) -> Decimal:
    return amount.quantize(FOUR, rounding=ROUND_HALF_UP)


def scheduled_between(loan: Loan, after: date, day: date) -> Decimal:
    dues = [item for item in in_force(loan, day) if after < item.due_date <= day]
    return sum((total(item) * (rate_at(RATES, loan.currency, item.due_date) or 0) for item in dues), Decimal(0))


def expected_row(loan: Loan, day: date, definition: Definition) -> dict[str, object]:
    """The calculation row of a loan whose currency has every rate that it needs."""
    before = month_end_before(day)
    now = state_at(loan, day, definition, RATES)
    then = state_at(loan, before, definition, RATES) if loan.disbursement_date <= before else None
    rate, rate_then = rate_at(RATES, loan.currency, day), rate_at(RATES, loan.currency, before)
    assert rate is not None
    first = in_force(loan, day)[0].due_date if in_force(loan, day) else None
    ripe = first is not None and first + timedelta(days=30) <= day
    recovered = [m for m in loan.moves if m.type == "payment" and now.ninety_at and now.ninety_at < m.date <= day]
    row: dict[str, object] = {
        "outstanding_usd": money(now.outstanding_principal * rate),
        "written_off_usd": money(now.written_off_balance * rate),
        "days_past_due": now.days_past_due,
        "opening_outstanding_usd": money(then.outstanding_principal * (rate_then or 0)) if then else 0,
        "opened_in_period": int(loan.disbursement_date > before),
        "disbursed_last_90_days": int(loan.disbursement_date > day - timedelta(days=90)),
        "scheduled_in_period_usd": money(scheduled_between(loan, before, day)),
        "written_off_in_period_usd": money(now.written_off_balance * rate)
        if now.written_off and not (then and then.written_off)
        else 0,
        "reached_90_balance_usd": money(balance_at(loan, now.ninety_at)[3] * rate) if now.ninety_at else 0,
        "recovered_after_90_usd": money(sum((m.principal for m in recovered), Decimal(0)) * rate),
        "first_due_30_days_ago": int(ripe),
        "first_payment_default": int(ripe and now.first_missed_at is not None),
    }
    for name, total_name in PERIOD_USD.items():
        row[name] = money(getattr(now, total_name) - (getattr(then, total_name) if then else 0))
    return row


@QUICK
@given(seed=SEEDS, definition=definitions(), day=DAYS.filter(lambda day: day >= date(2024, 3, 1)))
def test_the_calculation_table_is_the_loan_of_the_definitions(
    bench: Bench, seed: int, definition: Definition, day: date
) -> None:
    book = some_book(seed)
    bench.load(book, RATES)
    rows = bench.calculation(definition, day)
    assert set(rows) == {loan.loan_id for loan in book if loan.disbursement_date <= day}
    for loan in book:
        if loan.disbursement_date > day:
            continue
        row = rows[loan.loan_id]
        moved = [move.date for move in all_moves(loan) if move.date <= day]
        needed = [day, *moved, *(i.due_date for i in in_force(loan, day) if month_end_before(day) < i.due_date <= day)]
        priced = all(rate_at(RATES, loan.currency, at) is not None for at in needed)
        assert bool(row["unpriced"]) is not priced, loan
        days = risk_days(loan, state_at(loan, day, definition, RATES), definition)
        edges = [(name, row[name], definition.reaches(edge) if edge else 0) for name, edge in EDGES.items()]
        if not priced or days is None:
            assert days is not None or all(amount is None for _, amount, _ in edges)
            continue
        meant = expected_row(loan, day, definition)
        assert {name: row[name] for name in meant} == meant, (loan, day)
        home = [name for name, _, low in edges if days >= low][-1]
        assert {name: amount for name, amount, _ in edges if amount} == (
            {home: row["outstanding_usd"]} if row["outstanding_usd"] else {}
        )
        assert sum(amount for _, amount, _ in edges) == row["total_receivable_usd"] == row["outstanding_usd"]
        for k in (15, 180):
            past = row["outstanding_usd"] if days >= definition.reaches(k) else 0
            assert row[f"past_due_{k}_usd"] == past

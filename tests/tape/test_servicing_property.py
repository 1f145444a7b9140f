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
    first_due,
    rate_at,
    risk_days,
    state_at,
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
    wanted = [name for name in left if not (meant.unpriced and name.endswith("_reporting"))]
    return {name: (left[name], right[name]) for name in wanted if left[name] != right[name]}


@pytest.mark.slow
@QUICK
@given(seed=SEEDS, definition=definitions(), dates=st.lists(DAYS, min_size=2, max_size=2, unique=True))
def test_the_rebuilt_loan_is_the_loan_of_the_definitions(
    bench: Bench, seed: int, definition: Definition, dates: list[date]
) -> None:
    book = some_book(seed)
    bench.load(book, RATES)
    dates = sorted(dates)
    found = bench.panel(definition, dates)
    since = dict(zip(dates, [month_end_before(dates[0]), *dates], strict=False))
    assert set(found) == {(loan.loan_id, day) for loan in book for day in dates if loan.disbursement_date <= day}
    for loan in book:
        for day in dates:
            if loan.disbursement_date <= day:
                said, meant = found[loan.loan_id, day], state_at(loan, day, since[day], definition, RATES)
                assert not differences(said, meant), (day, loan)
                stands = (said.outstanding_principal, said.written_off_balance, said.dust_forgiven)
                assert stands.count(Decimal(0)) >= 2


EDGES = {"dpd_0_7_usd": 0, "dpd_7_30_usd": 7, "dpd_30_60_usd": 30, "dpd_60_90_usd": 60, "dpd_90_plus_usd": 90}
FOUR = Decimal("0.0001")


def money(amount: Decimal) -> Decimal:
    return amount.quantize(FOUR, rounding=ROUND_HALF_UP)


def expected_row(loan: Loan, day: date, definition: Definition) -> dict[str, object]:
    """The calculation row of a loan whose currency has every rate that it needs."""
    before = month_end_before(day)
    now = state_at(loan, day, before, definition, RATES)
    rate, rate_then = rate_at(RATES, loan.currency, day), rate_at(RATES, loan.currency, before)
    assert rate is not None
    first = first_due(loan)
    ripe = first is not None and first + timedelta(days=30) <= day
    lost = now.written_off_balance - now.opening_written_off + now.recovered_principal_in_period
    return {
        "outstanding_usd": now.outstanding_principal_reporting,
        "written_off_usd": money(now.written_off_balance * rate),
        "days_past_due": now.days_past_due,
        "opening_outstanding_usd": money(now.opening_principal * (rate_then or 0)),
        "opened_in_period": int(loan.disbursement_date > before),
        "disbursed_last_90_days": int(loan.disbursement_date > day - timedelta(days=90)),
        "received_in_period_usd": now.received_in_period_reporting,
        "scheduled_in_period_usd": now.scheduled_in_period_reporting,
        "written_off_in_period_usd": money(max(lost, Decimal(0)) * rate),
        "reached_90_balance_usd": money((now.first_90_balance or Decimal(0)) * rate),
        "recovered_after_90_usd": money(now.recovered_after_90 * rate),
        "first_due_30_days_ago": int(ripe),
        "first_payment_default": int(ripe and now.first_missed_on is not None),
    }


@pytest.mark.slow
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
        now = state_at(loan, day, month_end_before(day), definition, RATES)
        priced = not now.unpriced
        assert bool(row["unpriced"]) is now.unpriced, loan
        days = risk_days(loan, now, definition)
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

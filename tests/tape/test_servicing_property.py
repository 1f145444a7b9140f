"""The rebuilt loan equals the slow reference, for any small book, under any definition."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abaco_loans.sample.book import months_after
from abaco_loans.tape.definition import Boundary, Cover, Definition, DpdMethod, Restructured, WriteOff
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import Due, Loan, Move, Rates, State, risk_days, state_at

START = date(2024, 1, 1)
END = date(2025, 3, 31)
CENTS = st.integers(0, 400).map(lambda count: Decimal(count) / 4)
DAYS = st.integers(0, (END - START).days).map(lambda days: START + timedelta(days=days))
RATES: Rates = {"HNL": {date(2024, 2, 10): Decimal("0.0400"), date(2024, 8, 1): Decimal("0.0395")}}
BOTH = ("ninety_at", "first_missed_at")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder: Path = tmp_path_factory.mktemp("books")
    return Bench(folder)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    return Definition(
        name="drawn",
        version="1",
        boundary=draw(st.sampled_from(Boundary)),
        cover=draw(st.sampled_from(Cover)),
        dpd_method=draw(st.sampled_from([DpdMethod.ROLLING, *DpdMethod])),
        arrears_tolerance=draw(st.sampled_from([Decimal(0), Decimal(0), Decimal(5), Decimal("0.25")])),
        grace_days=draw(st.sampled_from([0, 0, 3, 35, 120])),
        dust_share=draw(st.sampled_from([Decimal(0), Decimal("0.01"), Decimal("0.25")])),
        write_off_after_days=draw(st.sampled_from([None, 30, 90, 180])),
        write_off=draw(st.sampled_from(WriteOff)),
        restructured=draw(st.sampled_from(Restructured)),
    )


@st.composite
def schedules(draw: st.DrawFn, start: date, monthly: bool) -> tuple[Due, ...]:
    rows: list[Due] = []
    versions: list[date | None] = [None, *draw(st.lists(DAYS, max_size=2, unique=True))]
    for valid_from in versions:
        count = draw(st.integers(1, 8))
        first = draw(st.integers(0, 40))
        step = draw(st.integers(1, 45))
        for number in range(count):
            day = months_after(start, number + 1) if monthly else start + timedelta(days=first + step * number)
            amounts = {name: draw(CENTS) for name in ("principal", "interest", "fees")}
            rows.append(Due(due_date=day, valid_from=valid_from, **amounts))
    return tuple(rows)


@st.composite
def moves(draw: st.DrawFn, start: date) -> tuple[Move, ...]:
    found: list[Move] = []
    for _ in range(draw(st.integers(0, 9))):
        kind = draw(st.sampled_from(["payment"] * 6 + ["capitalisation", "adjustment"]))
        sign = draw(st.sampled_from([1, 1, 1, -1]))
        day = draw(st.one_of(DAYS, st.integers(0, 120).map(lambda days: start + timedelta(days=days))))
        parts = {name: sign * draw(CENTS) for name in ("principal", "interest", "penalties")}
        extra = draw(st.sampled_from([{}, {}, {"add_balance": Decimal(3)}, {"reduce_balance": Decimal("7.5")}]))
        found.append(Move(type=kind, date=day, **parts, **extra))
    if draw(st.integers(0, 9)) == 0:
        found.append(Move(type="write_off", date=draw(DAYS)))
    return tuple(found)


@st.composite
def loans(draw: st.DrawFn, number: int) -> Loan:
    monthly = draw(st.booleans())
    start = draw(st.one_of(DAYS, st.sampled_from([START, date(2024, 1, 31), date(2024, 1, 30)])))
    amount = draw(st.sampled_from([Decimal(100), Decimal(400), Decimal("12.5")]))
    history = draw(moves(start))
    if draw(st.booleans()):
        history = (Move(type="disbursement", date=start, principal=amount), *history)
    return Loan(
        loan_id=f"L{number}",
        disbursement_date=start,
        disbursed_principal=amount,
        schedule=draw(schedules(start, monthly)),
        moves=history,
        currency=draw(st.sampled_from(["USD", "USD", "HNL", "GTQ"])),
        frequency="monthly" if monthly else draw(st.sampled_from([None, "weekly"])),
        written_off_date=draw(st.one_of(st.none(), st.none(), st.none(), DAYS)),
        restructured_date=draw(st.one_of(st.none(), st.none(), DAYS)),
    )


@st.composite
def books(draw: st.DrawFn) -> list[Loan]:
    return [draw(loans(number)) for number in range(draw(st.integers(1, 4)))]


def differences(said: State, meant: State) -> dict[str, tuple[object, object]]:
    left, right = asdict(said), asdict(meant)
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(book=books(), definition=definitions(), dates=st.lists(DAYS, min_size=1, max_size=3, unique=True))
def test_the_rebuilt_loan_is_the_loan_of_the_definitions(
    bench: Bench, book: list[Loan], definition: Definition, dates: list[date]
) -> None:
    bench.load(book, RATES)
    found = bench.panel(definition, dates)
    wanted = {(loan.loan_id, day) for loan in book for day in dates if loan.disbursement_date <= day}
    assert set(found) == wanted
    for loan in book:
        for day in dates:
            if loan.disbursement_date <= day:
                said, meant = found[loan.loan_id, day], state_at(loan, day, definition, RATES)
                assert not differences(said, meant), (day, loan)

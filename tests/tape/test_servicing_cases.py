"""Loans worked out by hand: one fact of DEFINITIONS each."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.errors import ConfigError
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.definition import (
    Boundary,
    Cover,
    Definition,
    DpdMethod,
    Restructured,
    WriteOff,
)
from abaco_loans.tape.definition_file import read_definitions
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import Due, Loan, Move, Rates, State

PLAIN = Definition(name="plain", version="1")
STRICT = replace(PLAIN, dpd_method=DpdMethod.STRICT)
LOSES_90 = replace(PLAIN, write_off_after_days=90)
HUNDRED = Decimal(100)
DUE = date(2024, 3, 1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder: Path = tmp_path_factory.mktemp("cases")
    return Bench(folder)


def pay(day: date, principal: int | str, interest: int | str = 0) -> Move:
    return Move(type="payment", date=day, principal=Decimal(principal), interest=Decimal(interest))


def due(day: date, principal: int = 100, interest: int = 10, valid_from: date | None = None) -> Due:
    return Due(due_date=day, principal=Decimal(principal), interest=Decimal(interest), valid_from=valid_from)


ONE = Loan(
    loan_id="A",
    disbursement_date=date(2024, 1, 1),
    disbursed_principal=HUNDRED,
    schedule=(due(DUE),),
    moves=(),
    frequency="monthly",
)


def state(bench: Bench, loan: Loan, day: date, definition: Definition = PLAIN, rates: Rates | None = None) -> State:
    bench.load([loan], rates or {})
    return bench.panel(definition, [day])[loan.loan_id, day]


def dpd(bench: Bench, loan: Loan, day: date, definition: Definition = PLAIN) -> int | None:
    return dpds(bench, loan, [day], definition)[0]


def dpds(bench: Bench, loan: Loan, days: list[date], definition: Definition = PLAIN) -> list[int | None]:
    bench.load([loan], {})
    found = bench.panel(definition, days)
    return [found[loan.loan_id, day].days_past_due for day in days]


def facts(*values: object) -> tuple[object, ...]:
    """Decimals and whole numbers side by side, to be compared by value."""
    return values


def after(days: int, day: date = DUE) -> date:
    return day + timedelta(days=days)


def with_moves(*moves: Move, loan: Loan = ONE) -> Loan:
    return replace(loan, moves=moves)


def test_due_on_the_day_is_not_late_and_a_day_later_is_one_day(bench: Bench) -> None:
    assert dpds(bench, ONE, [after(days) for days in (-1, 0, 1, 30)]) == [0, 0, 1, 30]


def test_paid_on_the_due_date_is_never_late(bench: Bench) -> None:
    paid = with_moves(pay(DUE, 100, 10))
    assert dpds(bench, paid, [after(days) for days in (0, 1, 400)]) == [0, 0, 0]


def test_half_paid_is_late_from_the_due_date_with_the_whole_rest_outstanding(bench: Bench) -> None:
    half = state(bench, with_moves(pay(DUE, 50)), after(10))
    assert facts(half.days_past_due, half.outstanding_principal, half.oldest_unpaid_due_date) == (10, 50, DUE)


def test_principal_paid_and_interest_not_is_late_only_where_the_total_is_covered(bench: Bench) -> None:
    loan = replace(ONE, schedule=(due(DUE, 60), due(after(31), 40)), moves=(pay(DUE, 60),))
    assert dpd(bench, loan, after(5)) == 5
    assert dpd(bench, loan, after(5), replace(PLAIN, cover=Cover.PRINCIPAL)) == 0


def test_tolerance_forgives_up_to_itself_and_not_a_hundredth_more(bench: Bench) -> None:
    tolerant = replace(PLAIN, arrears_tolerance=Decimal("0.50"))
    assert dpd(bench, with_moves(pay(DUE, "99.50", 10)), after(20), tolerant) == 0
    assert dpd(bench, with_moves(pay(DUE, "99.49", 10)), after(20), tolerant) == 20


def test_grace_hides_days_up_to_itself_then_counts_from_the_due_date(bench: Bench) -> None:
    graceful = replace(PLAIN, grace_days=5)
    assert dpds(bench, ONE, [after(days) for days in (5, 6)], graceful) == [0, 6]
    assert state(bench, ONE, after(5), graceful).oldest_unpaid_due_date is None


def test_cash_moves_the_oldest_date_when_rolling_and_not_when_strict(bench: Bench) -> None:
    dues = tuple(due(date(2024, month, 1), 20, 0) for month in (2, 3, 4))
    loan = replace(ONE, schedule=dues, moves=(pay(date(2024, 3, 10), 20),))
    day = date(2024, 3, 20)
    assert dpd(bench, loan, day) == (day - date(2024, 3, 1)).days == 19
    assert dpd(bench, loan, day, STRICT) == (day - date(2024, 2, 1)).days == 48
    healed = replace(loan, moves=(*loan.moves, pay(date(2024, 3, 15), 20)))
    assert dpd(bench, healed, day, STRICT) == 0
    assert dpd(bench, healed, date(2024, 4, 3), STRICT) == 2, "a new spell begins with its own first missed date"


def test_a_reversal_is_a_payment_back_at_its_own_date(bench: Bench) -> None:
    dues = tuple(due(date(2024, month, 1), 20, 0) for month in (2, 3))
    loan = replace(ONE, schedule=dues, moves=(pay(date(2024, 2, 1), 20), pay(date(2024, 2, 20), -20)))
    assert dpds(bench, loan, [date(2024, 2, day) for day in (19, 20)]) == [0, 19]
    paid_again = replace(loan, moves=(*loan.moves, pay(date(2024, 3, 5), 20)))
    assert dpd(bench, paid_again, date(2024, 3, 11)) == 10
    assert dpd(bench, paid_again, date(2024, 3, 11), STRICT) == 39, "the arrears began on 1 February"


@pytest.mark.parametrize(
    ("method", "first_due", "day", "days"),
    [
        (DpdMethod.MONTHLY_MBA, DUE, date(2024, 3, 30), 0),
        (DpdMethod.MONTHLY_MBA, DUE, date(2024, 3, 31), 30),
        (DpdMethod.MONTHLY_OTS, DUE, date(2024, 3, 31), 0),
        (DpdMethod.MONTHLY_OTS, DUE, date(2024, 4, 1), 30),
        (DpdMethod.MONTHLY_MBA, DUE, date(2024, 4, 30), 60),
        (DpdMethod.MONTHLY_OTS, DUE, date(2024, 4, 30), 30),
        # A loan due on the 31st: its next due date is the last day of a shorter month.
        (DpdMethod.MONTHLY_MBA, date(2024, 1, 31), date(2024, 2, 27), 0),
        (DpdMethod.MONTHLY_MBA, date(2024, 1, 31), date(2024, 2, 28), 30),
        (DpdMethod.MONTHLY_OTS, date(2024, 1, 31), date(2024, 2, 28), 0),
        (DpdMethod.MONTHLY_OTS, date(2024, 1, 31), date(2024, 2, 29), 30),
        (DpdMethod.MONTHLY_OTS, date(2024, 1, 31), date(2024, 3, 30), 30),
        (DpdMethod.MONTHLY_OTS, date(2024, 1, 31), date(2024, 3, 31), 60),
    ],
)
def test_monthly_days_step_by_thirty_at_the_next_due_date_or_the_day_before(
    bench: Bench, method: DpdMethod, first_due: date, day: date, days: int
) -> None:
    loan = replace(ONE, schedule=(due(first_due),))
    assert dpd(bench, loan, day, replace(PLAIN, dpd_method=method)) == days


def test_monthly_counts_from_the_schedules_own_dates_after_a_short_month(bench: Bench) -> None:
    dues = tuple(due(day, 20, 0) for day in (date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)))
    loan = replace(ONE, schedule=dues, moves=(pay(date(2024, 1, 31), 20),))
    ots = replace(PLAIN, dpd_method=DpdMethod.MONTHLY_OTS)
    assert dpds(bench, loan, [date(2024, 3, day) for day in (29, 30, 31)], ots) == [0, 0, 30]


def test_monthly_days_of_a_loan_that_is_not_monthly_are_unknown_never_zero(bench: Bench) -> None:
    ots = replace(PLAIN, dpd_method=DpdMethod.MONTHLY_OTS, write_off_after_days=90)
    weekly = state(bench, replace(ONE, frequency="weekly"), after(200), ots)
    assert weekly.days_past_due is None
    assert weekly.outstanding_principal == HUNDRED and not weekly.written_off


def test_dust_is_under_the_share_not_at_it(bench: Bench) -> None:
    dusty = replace(PLAIN, dust_share=Decimal("0.01"))
    at = state(bench, with_moves(pay(DUE, 99)), after(30), dusty)
    assert facts(at.outstanding_principal, at.dust_forgiven, at.days_past_due) == (1, 0, 30)
    under = state(bench, with_moves(pay(DUE, "99.0001")), after(30), dusty)
    assert facts(under.outstanding_principal, under.dust_forgiven) == (0, Decimal("0.9999"))
    assert facts(under.days_past_due, under.written_off, under.oldest_unpaid_due_date) == (0, False, None)


def test_overpaid_is_repaid(bench: Bench) -> None:
    over = state(bench, with_moves(pay(DUE, 101)), after(30))
    assert facts(over.outstanding_principal, over.days_past_due, over.dust_forgiven, over.written_off) == (
        0,
        0,
        -1,
        False,
    )


def test_written_off_is_past_the_days_not_at_them(bench: Bench) -> None:
    at, past = state(bench, ONE, after(90), LOSES_90), state(bench, ONE, after(91), LOSES_90)
    assert facts(at.written_off, at.outstanding_principal, at.written_off_balance) == (False, 100, 0)
    assert facts(past.written_off, past.outstanding_principal, past.written_off_balance) == (True, 0, 100)


def test_a_payment_reinstates_unless_the_write_off_is_sticky(bench: Bench) -> None:
    loan = replace(ONE, schedule=(due(DUE, 50, 0), due(after(60), 50, 0)), moves=(pay(after(100), 50),))
    sticky = replace(LOSES_90, write_off=WriteOff.STICKY)
    assert [state(bench, loan, after(days), LOSES_90).written_off for days in (99, 100)] == [True, False]
    kept = state(bench, loan, after(100), sticky)
    assert kept.written_off and facts(kept.written_off_balance, kept.days_past_due) == (50, 40)


def test_sticky_survives_a_new_schedule_and_ninety_days_are_not_forgotten(bench: Bench) -> None:
    """The bug one fears: a restructuring that hides that a loan was once in default."""
    changed = after(120)
    loan = replace(ONE, schedule=(due(DUE), due(after(300), valid_from=changed)))
    sticky = state(bench, loan, after(130), replace(LOSES_90, write_off=WriteOff.STICKY))
    assert sticky.written_off and sticky.days_past_due == 0
    assert sticky.first_90_on == after(90) and sticky.first_missed_on == after(30)
    assert not state(bench, loan, after(130), LOSES_90).written_off


def test_the_schedule_in_force_counts_from_its_first_day(bench: Bench) -> None:
    loan = replace(ONE, schedule=(due(DUE), due(after(60), valid_from=after(20))))
    assert dpds(bench, loan, [after(days) for days in (19, 20, 60, 61)]) == [19, 0, 0, 1]


def test_flagged_in_the_source_by_movement_or_by_date(bench: Bench) -> None:
    day = after(5)
    by_move = with_moves(Move(type="write_off", date=day, principal=HUNDRED))
    by_date = replace(ONE, written_off_date=day)
    for loan in (by_move, by_date):
        assert not state(bench, loan, after(4)).written_off
        gone = state(bench, loan, day)
        assert facts(gone.written_off, gone.outstanding_principal, gone.written_off_balance) == (True, 0, 100)
    recovered = state(bench, replace(by_date, moves=(pay(after(9), 30),)), after(9))
    assert recovered.written_off_balance == 70, "cash on a written-off loan is recovered"


def test_every_kind_of_movement_moves_the_balance_as_defined(bench: Bench) -> None:
    moves = (
        Move(type="disbursement", date=date(2024, 1, 1), principal=HUNDRED),
        Move(type="capitalisation", date=DUE, principal=Decimal(7)),
        Move(type="adjustment", date=DUE, principal=Decimal(-2)),
        Move(type="payment", date=DUE, principal=Decimal(30), penalties=Decimal(50), reduce_balance=Decimal(4)),
        Move(type="payment", date=DUE, interest=Decimal(3), fees=Decimal(2), taxes=Decimal(1), add_balance=Decimal(9)),
    )
    found = state(bench, with_moves(*moves), DUE)
    assert facts(found.disbursed_principal, found.capitalised_in_period, found.adjusted_in_period) == (100, 7, 3)
    assert facts(found.principal_paid_in_period, found.received_in_period) == (30, 36)
    assert found.outstanding_principal == 80


def test_a_disbursement_that_is_only_in_the_loans_file_counts_once_also_in_reporting_currency(bench: Bench) -> None:
    rates: Rates = {"HNL": {date(2024, 1, 1): Decimal("0.04"), date(2024, 2, 1): Decimal("0.05")}}
    loan = replace(ONE, currency="HNL")
    both = with_moves(Move(type="disbursement", date=date(2024, 1, 1), principal=HUNDRED), loan=loan)
    for each in (loan, both):
        found = state(bench, each, DUE, PLAIN, rates)
        assert facts(found.disbursed_principal, found.disbursed_principal_reporting, found.unpriced) == (100, 4, False)
    assert state(bench, loan, DUE, PLAIN, {}).unpriced


def test_flows_are_at_the_rate_of_their_date_and_balances_at_the_rate_of_the_day(bench: Bench) -> None:
    rates: Rates = {"HNL": {date(2024, 1, 1): Decimal("0.04"), date(2024, 3, 15): Decimal("0.05")}}
    loan = with_moves(pay(DUE, 50, 10), loan=replace(ONE, currency="HNL", schedule=(due(DUE), due(after(29)))))
    bench.load([loan], rates)
    row = bench.calculation(PLAIN, date(2024, 3, 31))["A"]
    assert row["outstanding_usd"] == Decimal("2.5")
    assert row["received_in_period_usd"] == Decimal("2.4")
    assert row["scheduled_in_period_usd"] == Decimal("4.4") + Decimal("5.5")
    assert row["opening_outstanding_usd"] == Decimal(4)


def test_cash_scheduled_in_a_month_is_of_the_new_schedule_alone(bench: Bench) -> None:
    """A schedule that pushes old instalments out must not make the month's scheduled cash negative."""
    loan = replace(ONE, schedule=(due(DUE), due(date(2024, 4, 20), 100, 20, valid_from=date(2024, 4, 10))))
    bench.load([loan], {})
    assert bench.calculation(PLAIN, date(2024, 4, 30))["A"]["scheduled_in_period_usd"] == 120


@pytest.mark.parametrize(("boundary", "bucket"), [("at_least", "dpd_30_60_usd"), ("more_than", "dpd_7_30_usd")])
def test_thirty_days_past_due_under_both_boundaries(bench: Bench, boundary: str, bucket: str) -> None:
    bench.load([ONE], {})
    row = bench.calculation(replace(PLAIN, boundary=Boundary(boundary)), after(30))["A"]
    assert [name for name, value in row.items() if name.startswith("dpd_") and value] == [bucket]


def test_restructured_is_at_risk_whatever_its_days_only_where_the_definition_says_so(bench: Bench) -> None:
    bench.load([replace(ONE, restructured_date=after(-10))], {})
    by_schedule = bench.calculation(PLAIN, DUE)["A"]
    at_risk = bench.calculation(replace(PLAIN, restructured=Restructured.AT_RISK), DUE)["A"]
    assert (by_schedule["dpd_0_7_usd"], by_schedule["dpd_90_plus_usd"]) == (100, 0)
    assert (at_risk["dpd_0_7_usd"], at_risk["dpd_90_plus_usd"], at_risk["past_due_180_usd"]) == (0, 100, 100)


def test_recovered_after_ninety_days_counts_what_came_later_over_the_balance_then(bench: Bench) -> None:
    moves = (pay(DUE, 10), pay(after(90), 5), pay(after(91), 20, 7))
    bench.load([with_moves(*moves)], {})
    row = bench.calculation(PLAIN, after(100))["A"]
    assert (row["reached_90_balance_usd"], row["recovered_after_90_usd"]) == (85, 20)


def test_a_sticky_write_off_by_days_is_refused_for_methods_that_cannot_date_it() -> None:
    text = "definitions:\n  odd:\n    version: '1'\n    write_off: sticky\n    write_off_after_days: 90\n"
    assert read_definitions(parse(text, name="d.yml"))["odd"].write_off is WriteOff.STICKY
    with pytest.raises(ConfigError, match="sticky") as caught:
        read_definitions(parse(text + "    dpd_method: strict\n", name="d.yml"))
    assert (caught.value.code, caught.value.where) == ("CFG-401", "d.yml:2")

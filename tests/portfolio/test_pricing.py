"""Pricing: hand-computed; a yield needs its twelve months."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from abaco_loans.portfolio.pricing import PRICING
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

JANUARY, BEFORE = day("2025-01-31"), day("2023-12-31")
LATER, GONE = day("2025-03-02"), day("2024-12-01")
OLD = {"as_of": JANUARY, "period_start": day("2024-12-31"), "disbursement_date": day("2024-06-01")}
NEW = {**OLD, "disbursement_date": day("2025-01-01")}


def test_averages_are_over_the_loans_that_say_it() -> None:
    rows: list[Row] = [
        {**OLD, "loan_id": "1", "outstanding_principal": 300, "interest_rate": "0.10", "maturity_date": LATER},
        {**OLD, "loan_id": "2", "outstanding_principal": 100, "interest_rate": "2.30", "maturity_date": GONE},
        {**OLD, "loan_id": "3", "outstanding_principal": 600, "term_days": 9000},
        {**NEW, "loan_id": "4", "disbursed_in_period": 100, "term_days": 60},
        {**NEW, "loan_id": "5", "disbursed_in_period": 300, "term_days": 20},
        {**NEW, "loan_id": "6", "disbursed_in_period": 200},
    ]  # fmt: skip
    with engine_in_scratch() as engine:
        (row,) = said(PRICING, asked(engine, rows))
    assert row == {
        "as_of": JANUARY,
        "weighted_apr": 65,  # (0.10 × 300 + 2.30 × 100) / 400
        "remaining_days": Decimal("22.5"),  # (30 × 300 + 0 × 100) / 400
        "average_ticket": 200,
        "average_term_days": 30,  # (60 × 100 + 20 × 300) / 400
        "realised_yield": None,
    }


def test_large_loans() -> None:
    large = {**NEW, "outstanding_principal": 10**13, "disbursed_in_period": 10**13, "term_days": 5000}
    rows = [{**large, "loan_id": str(number), "interest_rate": "0.3", "maturity_date": LATER} for number in range(2)]
    with engine_in_scratch() as engine:
        (row,) = said(PRICING, asked(engine, rows))
    assert (row["weighted_apr"], row["remaining_days"], row["average_term_days"]) == (30, 30, 5000)


def month_ends(count: int) -> list[date]:
    """Month ends from January 2024 on."""
    firsts = [date(2024 + month // 12, month % 12 + 1, 1) for month in range(1, count + 1)]
    return [date.fromordinal(first.toordinal() - 1) for first in firsts]


def monthly(ends: list[date], start: date = BEFORE) -> list[Row]:
    """A loan of 1,000 that earns 10 a period."""
    return [
        {"loan_id": "1", "as_of": end, "period_start": before, "outstanding_principal": 1000,
         "interest_fees_in_period": 10}
        for before, end in zip([start, *ends], ends, strict=False)
    ]  # fmt: skip


def yields(rows: list[Row], **options: object) -> list[object]:
    with engine_in_scratch() as engine:
        return [row["realised_yield"] for row in said(PRICING, asked(engine, rows, **options))]


def test_a_yield_needs_twelve_month_ends() -> None:
    assert yields(monthly(month_ends(13))) == [None] * 11 + [12, 12]


def test_a_date_between_month_ends_adds_its_cash_and_no_balance() -> None:
    ends = month_ends(12)
    assert yields(monthly([*ends[:3], day("2024-04-15"), *ends[3:]]))[-1] == 13
    assert yields(monthly([*ends, day("2025-01-15")]))[-1] is None


def test_a_gap_before_or_in_the_year_leaves_no_yield() -> None:
    ends = month_ends(13)
    assert yields(monthly(ends[1:], start=day("2023-11-30")))[-1] is None
    assert yields(monthly([*ends[:4], *ends[5:]]))[-1] is None


def test_months_without_loans_have_no_balance() -> None:
    ends = month_ends(12)
    assert yields(monthly(ends)[6:], dates=tuple(ends))[-1] == 12

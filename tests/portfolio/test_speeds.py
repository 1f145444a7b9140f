from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.speeds import SPEEDS, annualised, level_payment_balance_factor, psa, smm
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

ENDS = tuple(day(text) for text in ("2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


# --- the formulas --------------------------------------------------------------------------------------------


def test_the_example_of_the_standard_formulas_to_its_printed_digits() -> None:
    """BMA Standard Formulas, SF-7: 9.5 %, 360 months, pool factors at the ages 16 and 17."""
    opening, closing = Decimal("0.85150625"), Decimal("0.84732282")
    rate = Decimal("0.095")
    before, after = (level_payment_balance_factor(annual_rate=rate, term=360, age=age) for age in (16, 17))
    scheduled = opening - opening * after / before
    month = smm(opening=opening, scheduled=scheduled, paid=opening - closing)
    year = annualised(month)
    assert month is not None and year is not None
    assert round(month * 100, 6) == Decimal("0.435270")
    assert round(year * 100, 4) == Decimal("5.1000")
    assert round(psa(year, 17)) == 150


def test_a_balance_falls_from_one_to_nothing() -> None:
    for rate in ("0", "0.095", "1.2"):
        factors = [level_payment_balance_factor(annual_rate=Decimal(rate), term=24, age=age) for age in range(25)]
        assert factors[0] == 1 and factors[-1] == 0
        assert all(before > after for before, after in pairwise(factors))
    assert level_payment_balance_factor(annual_rate=Decimal(0), term=24, age=6) == Decimal("0.75")


def test_edges_of_the_formulas() -> None:
    assert smm(opening=Decimal(10), scheduled=Decimal(10), paid=Decimal(10)) is None
    assert annualised(None) is None
    assert annualised(Decimal(0)) == 0
    assert annualised(Decimal(1)) == annualised(Decimal(3)) == 1
    assert psa(Decimal("0.06"), 30) == psa(Decimal("0.06"), 300) == 100


# --- the view ------------------------------------------------------------------------------------------------


def loan(name: str, flows: Sequence[tuple[int, int]], first: int = 1, **more: object) -> list[Row]:
    """A loan of 1200 with (principal due, principal paid) a period; disbursed in the ``first``, if that is not 0."""
    rows: list[Row] = []
    outstanding = 0 if first else 1200
    for (start, end), (due, paid) in zip(list(pairwise(ENDS))[max(first - 1, 0) :], flows, strict=False):
        disbursed = 0 if rows or not first else 1200
        opening, outstanding = outstanding, outstanding + disbursed - paid
        row = {
            "loan_id": name,
            "as_of": end,
            "period_start": start,
            "disbursement_date": "2024-01-10" if first else "2022-01-10",
            "first_due_date": "2024-02-10",
            "opening_principal": opening,
            "opening_days_past_due": None if disbursed else 0,
            "disbursed_in_period": disbursed,
            "scheduled_principal_in_period": due,
            "principal_paid_in_period": paid,
            "outstanding_principal": outstanding,
            **more,
        }
        rows.append(row)
    return rows


def prepaying(engine: Engine, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """Month, opening, scheduled and prepaid principal, of the months that have an opening."""
    names = ("opening_with_plan", "scheduled", "prepaid")
    found = said(SPEEDS, asked(engine, rows))
    return [(row["as_of"], *(row[name] for name in names)) for row in found if row["opening"]]


def test_who_pays_the_plan_prepays_nothing(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (100, 100), (100, 100)])
    assert prepaying(engine, rows) == [(ENDS[2], 1200, 100, 0), (ENDS[3], 1100, 100, 0)]


def test_after_a_prepayment_the_plan_is_amortised_from_what_is_left(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (100, 650), (100, 100), (100, 0)])
    assert prepaying(engine, rows) == [
        (ENDS[2], 1200, 100, 550),
        (ENDS[3], 550, 50, 50),
        (ENDS[4], 450, 45, 0),
    ]
    february = said(SPEEDS, asked(engine, rows))[1]
    assert (february["smm"], february["cpr"]) == (50, Decimal("99.9755859375"))
    assert prepaying(engine, loan("a", [(0, 0), (0, 1100), (400, 34)])) == [
        (ENDS[2], 1200, 0, 1100),
        (ENDS[3], 100, Decimal("33.3333"), Decimal("0.6667")),
    ]


def test_arrears_paid_are_no_prepayment(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (100, 0), (100, 200), (100, 300)])
    assert prepaying(engine, rows) == [(ENDS[2], 1200, 100, 0), (ENDS[3], 1200, 200, 0), (ENDS[4], 1000, 100, 200)]


def test_all_that_is_left_is_due_at_the_end_of_the_plan_and_at_maturity(engine: Engine) -> None:
    late = loan("a", [(0, 0), (1200, 0), (0, 1200)])
    assert prepaying(engine, late) == [(ENDS[2], 1200, 1200, 0), (ENDS[3], 1200, 1200, 0)]
    assert said(SPEEDS, asked(engine, late))[2]["smm"] is None
    matured = loan("a", [(0, 0), (100, 1200)], maturity_date="2024-02-20")
    assert prepaying(engine, matured) == [(ENDS[2], 1200, 1200, 0)]


def test_an_older_loan_is_followed_from_its_first_opening_without_arrears(engine: Engine) -> None:
    rows = loan("a", [(100, 300), (100, 150)], first=0)
    assert prepaying(engine, rows)[:2] == [
        (ENDS[1], 1200, 100, 200),
        (ENDS[2], 900, Decimal("81.8181"), Decimal("68.1819")),
    ]
    rows[0] = {**rows[0], "opening_days_past_due": 5}
    assert prepaying(engine, rows)[:2] == [(ENDS[1], 0, 0, 0), (ENDS[2], 900, 100, 50)]


def test_a_loan_without_a_plan_is_left_out(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (0, 500)], first_due_date=None)
    february = said(SPEEDS, asked(engine, rows))[1]
    assert (february["opening"], february["opening_with_plan"], february["smm"]) == (1200, 0, None)


def test_defaults_of_the_month_over_what_was_performing_before_it(engine: Engine) -> None:
    defaulted = {"defaulted_on": "2024-03-05", "defaulted_balance": 600}
    bad = loan("a", [(0, 0), (100, 0), (100, 0), (100, 0)])
    bad[2:] = [{**row, **defaulted} for row in bad[2:]]
    rows = bad + loan("b", [(0, 0), (0, 0), (0, 0), (0, 0)])
    found = said(SPEEDS, asked(engine, rows))
    assert [(row["opening"], row["defaulted"], row["mdr"]) for row in found] == [
        (0, 0, None),
        (2400, 0, 0),
        (2400, 600, 25),
        (1200, 0, 0),
    ]
    assert found[2]["cdr"] == Decimal("96.8323647975921630859375")


def test_exchange_is_no_speed(engine: Engine) -> None:
    rows = [
        {
            **row,
            "currency": "PEN",
            "fx_rate": rate,
            "opening_principal_reporting": 1,
            "principal_paid_in_period_reporting": 9,
        }
        for row, rate in zip(loan("a", [(0, 0), (100, 650)]), ("0.5", "0.25"), strict=True)
    ]
    february = said(SPEEDS, asked(engine, rows))[1]
    assert (february["opening_with_plan"], february["prepaid"], february["smm"]) == (300, Decimal("137.5"), 50)
    rows[1] = {**rows[1], "fx_rate": None}
    assert said(SPEEDS, asked(engine, rows))[1]["smm"] is None


def test_only_whole_months_have_speeds(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (100, 100), (100, 100)])
    rows[1] = {**rows[1], "period_start": day("2024-02-15")}
    rows[2] = {**rows[2], "as_of": day("2024-03-30")}
    assert [row["as_of"] for row in said(SPEEDS, asked(engine, rows))] == [ENDS[1]]


def test_by_segment(engine: Engine) -> None:
    rows = loan("a", [(0, 0), (100, 650)], region="x") + loan("b", [(0, 0), (100, 100)], region="y")
    found = said(SPEEDS, asked(engine, rows, by="region"))
    assert [(row["region"], row["as_of"], row["smm"]) for row in found] == [
        ("x", ENDS[1], None),
        ("x", ENDS[2], 50),
        ("y", ENDS[1], None),
        ("y", ENDS[2], 0),
    ]

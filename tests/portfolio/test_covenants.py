"""Covenants: breached at or beyond, cured in time, and where the trend leads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest

from abaco_loans.kpi.catalogue import Direction
from abaco_loans.portfolio.covenants import COVENANTS, days_to_breach
from abaco_loans.portfolio.policy import Covenant, Policy
from tests.portfolio.panels import asked, engine_in_scratch, said

PAR = Covenant(name="PAR", kpi="risk.par_30", limit=Decimal(10), direction=Direction.HIGH_IS_BAD, cure_days=30)
RETENTION = Covenant(name="R", kpi="growth.client_retention", limit=Decimal(50), direction=Direction.LOW_IS_BAD)
START = date(2025, 1, 1)


def every_ten_days(*values: str | None) -> dict[date, Decimal | None]:
    return {START + timedelta(days=10 * n): None if value is None else Decimal(value) for n, value in enumerate(values)}


def row(covenant: Covenant, series: dict[date, Decimal | None]) -> dict[str, object]:
    policy = Policy(covenants=(covenant,))
    with engine_in_scratch() as engine:
        rows = [{"loan_id": "1", "as_of": day} for day in series]
        (found,) = said(COVENANTS, asked(engine, rows, policy=policy, series={covenant.kpi: series}))
    return dict(found)


def test_a_covenant_that_is_met() -> None:
    assert row(PAR, every_ten_days("7", "8", "9")) == {
        "covenant": "PAR", "kpi": "risk.par_30", "as_of": START + timedelta(days=20), "value": 9, "limit": 10,
        "direction": "high_is_bad", "headroom": 1, "state": "met", "breached_since": None, "cure_by": None,
        "days_to_breach": 10,
    }  # fmt: skip


def test_at_the_limit_it_is_breached_and_below_a_floor_too() -> None:
    found = row(PAR, every_ten_days("9", "10"))
    assert (found["state"], found["headroom"], found["days_to_breach"]) == ("in cure", 0, None)
    assert row(RETENTION, every_ten_days("51", "50"))["state"] == "breached"
    assert row(RETENTION, every_ten_days("49", "51"))["headroom"] == 1


def test_the_cure_period_begins_with_the_breach_that_still_stands() -> None:
    found = row(PAR, every_ten_days("12", "9", "10", "11", "11"))
    assert (found["breached_since"], found["cure_by"]) == (START + timedelta(days=20), START + timedelta(days=50))
    assert found["state"] == "in cure"
    assert row(PAR, every_ten_days("12", "9", "10", "11", "11", "10.5"))["state"] == "breached"


def test_a_date_without_value_neither_begins_nor_ends_a_breach() -> None:
    assert row(PAR, every_ten_days("11", None, "11"))["breached_since"] == START
    found = row(PAR, every_ten_days("11", None))
    assert (found["value"], found["state"], found["days_to_breach"]) == (None, "not computable", None)


def test_a_kpi_that_nobody_computed() -> None:
    with engine_in_scratch() as engine:
        (found,) = said(COVENANTS, asked(engine, [{"loan_id": "1", "as_of": START}], policy=Policy(covenants=(PAR,))))
    assert (found["value"], found["state"]) == (None, "not computable")


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (("7", "8"), 20),
        (("7", "8.5"), 10),
        (("7", "7.7"), 33),  # 2.3 at 0.07 a day is 32.9 days
        (("1", "1", "1", "2", "3", "4", "5", "6"), 40),  # the last six only
        (("5", "6", "7", "3", "9"), 10),  # slopes a day: -.4, -.15, -.07, six of .1, .6
        (("8", "7"), None),
        (("8", "8"), None),
        (("8",), None),
        ((), None),
    ],
)
def test_days_to_breach_at_the_median_slope(values: Sequence[str], days: int | None) -> None:
    points = [(day, value) for day, value in every_ten_days(*values).items() if value is not None]
    assert days_to_breach(PAR, points) == days
    fall = [(day, 60 - value) for day, value in points]
    assert days_to_breach(RETENTION, fall) == days

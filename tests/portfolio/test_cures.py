from __future__ import annotations

from collections.abc import Iterator

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.cures import CURES
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

MONTHS = tuple(day(text) for text in ("2024-01-31", "2024-02-29", "2024-03-31"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def path(loan: str, balance: int, *days: int | str, **more: object) -> list[Row]:
    """A loan's rows: its DPD at each date, or ``repaid``, ``off`` (written off), ``-`` (no row)."""
    rows: list[Row] = []
    for date, late in zip(MONTHS, days, strict=False):
        row = {"loan_id": loan, "as_of": date, "state": "current" if late == 0 else "some"}
        if late == "repaid":
            row |= {"state": "repaid", "days_past_due": 0}
        elif late == "off":
            row |= {"state": "written off", "written_off": True, "days_past_due": 200, "written_off_balance": balance}
        else:
            row |= {"days_past_due": late, "outstanding_principal": balance}
        rows += [] if late == "-" else [{**row, **more}]
    return rows


BOOK = [
    *path("cured", 50, 5, 0, 0),
    *path("late", 30, 40, 70, 0),
    *path("repaid", 10, 3, "repaid", "repaid"),
    *path("lost", 6, 120, "off", 0),
    *path("gone", 4, 9, "-", "-"),
    *path("good", 1000, 0, 0, 0),
    *path("lost before", 1000, "off", 0, 0),
]


def test_cured_and_repaid_by_count_and_by_the_balance_of_the_beginning(engine: Engine) -> None:
    first, second = said(CURES, asked(engine, BOOK))
    assert (first["as_of"], first["until"], first["loans"], first["balance"]) == (*MONTHS[:2], 5, 100)
    assert (first["cured_by_count"], first["cured_by_balance"]) == (20, 50)
    assert (first["repaid_by_count"], first["repaid_by_balance"]) == (20, 10)
    assert (second["loans"], second["balance"], second["cured_by_count"]) == (1, 30, 100)


def test_the_horizon_is_in_periods(engine: Engine) -> None:
    (only,) = said(CURES, asked(engine, BOOK, horizon=2))
    assert (only["as_of"], only["until"]) == (MONTHS[0], MONTHS[2])
    assert (only["cured_by_count"], only["cured_by_balance"]) == (60, 86)
    assert said(CURES, asked(engine, BOOK, horizon=3)) == []


def test_a_loan_that_is_at_risk_whatever_its_days_is_not_cured(engine: Engine) -> None:
    rows = [*path("a", 10, 5, 0), *path("b", 10, 5, 0, at_risk=True, restructured=True)]
    (only,) = said(CURES, asked(engine, rows))
    assert only["cured_by_count"] == 50


def test_a_loan_counts_for_the_segment_that_it_was_late_in(engine: Engine) -> None:
    rows = [*path("a", 10, 5, 0, region="x"), *path("b", 10, 5, 9, region="y")]
    rows[1] = {**rows[1], "region": "y"}
    found = said(CURES, asked(engine, rows, by="region"))
    assert [(row["region"], row["loans"], row["cured_by_count"]) for row in found] == [("x", 1, 100), ("y", 1, 0)]

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.vintages import VINTAGES
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

DATES = tuple(
    day(text) for text in ("2023-12-31", "2024-01-31", "2024-02-15", "2024-02-29", "2024-03-31", "2024-04-10")
)
EVENTS = ("first_30", "first_60", "first_90")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def loan(name: str, disbursed_on: str, amount: int, *late: tuple[str, int], **flows: dict[str, int]) -> list[Row]:
    """A loan's rows from disbursement on.

    ``late``: day and balance of the first 30, 60, 90 days past due, known from that day on; ``flows``: by date.
    """
    rows: list[Row] = []
    for start, end in pairwise(DATES):
        row = {
            "loan_id": name,
            "as_of": end,
            "period_start": start,
            "region": name[0],
            "disbursement_date": disbursed_on,
            "disbursed_principal": amount,
            **{flow: values.get(end.isoformat(), 0) for flow, values in flows.items()},
        }
        for event, (date, balance) in zip(EVENTS, late, strict=False):
            if day(date) <= end:
                row |= {f"{event}_on": date, f"{event}_balance": balance}
        rows += [row] if day(disbursed_on) <= end else []
    return rows


BOOK = [
    *loan("a1", "2024-01-05", 600, ("2024-02-10", 500), ("2024-03-11", 480)),
    *loan(
        "a2",
        "2024-01-31",
        400,
        ("2024-03-31", 300),
        written_off_in_period={"2024-02-15": 250, "2024-04-10": 1},
        recovered_principal_in_period={"2024-02-29": 50},
        reinstated_in_period={"2024-03-31": 100},
    ),
    *loan("b1", "2024-02-20", 50, ("2024-03-30", 5), ("2024-03-30", 5), ("2024-03-30", 5)),
    *loan("b2", "2024-04-02", 70),
]


def test_cohorts_by_month_on_book(engine: Engine) -> None:
    found = said(VINTAGES, asked(engine, BOOK))
    shares = ("late_30", "late_60", "late_90", "net_loss")
    assert [(row["cohort"], row["month"], row["loans"], row["disbursed"]) for row in found] == [
        ("2024-01", 0, 2, 1000),
        ("2024-01", 1, 2, 1000),
        ("2024-01", 2, 2, 1000),
        ("2024-02", 0, 1, 50),
        ("2024-02", 1, 1, 50),
    ]
    assert [tuple(row[name] for name in shares) for row in found] == [
        (0, 0, 0, 0),
        (50, 0, 0, 20),
        (80, 48, 0, 10),
        (0, 0, 0, 0),
        (10, 10, 10, 0),
    ]
    assert [row["as_of"] for row in found] == [DATES[1], DATES[3], DATES[4], DATES[3], DATES[4]]


def test_by_segment(engine: Engine) -> None:
    found = said(VINTAGES, asked(engine, BOOK, by="region"))
    assert [(row["region"], row["cohort"], row["month"]) for row in found] == [
        ("a", "2024-01", 0),
        ("a", "2024-01", 1),
        ("a", "2024-01", 2),
        ("b", "2024-02", 0),
        ("b", "2024-02", 1),
    ]


def test_losses_of_a_cohort_older_than_the_panel_are_not_known(engine: Engine) -> None:
    older = loan("c", "2023-12-31", 100, ("2024-01-30", 90), written_off_in_period={"2024-01-31": 90})
    found = said(VINTAGES, asked(engine, older))
    assert [(row["cohort"], row["month"], row["late_30"], row["net_loss"]) for row in found] == [
        ("2023-12", 1, 90, None),
        ("2023-12", 2, 90, None),
        ("2023-12", 3, 90, None),
    ]


def test_a_cohort_without_an_amount_has_no_shares(engine: Engine) -> None:
    found = said(VINTAGES, asked(engine, loan("a", "2024-01-05", 0)))
    assert {row["late_30"] for row in found} == {row["net_loss"] for row in found} == {None}

"""Collections: hand-computed."""

from __future__ import annotations

from abaco_loans.portfolio.collections import COLLECTIONS
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

JANUARY, FEBRUARY = day("2025-01-31"), day("2025-02-28")
ROWS: list[Row] = [
    {"loan_id": "1", "as_of": JANUARY, "product": "a", "scheduled_in_period": 110, "scheduled_principal_in_period": 100,
     "received_in_period": 66},
    {"loan_id": "2", "as_of": JANUARY, "product": "b", "scheduled_in_period": 22, "scheduled_principal_in_period": 20,
     "received_in_period": 33, "recovered_in_period": 3},
    {"loan_id": "1", "as_of": FEBRUARY, "product": "a", "received_in_period": -5},
]  # fmt: skip


def test_cash_of_each_period_against_what_fell_due() -> None:
    with engine_in_scratch() as engine:
        january, february = said(COLLECTIONS, asked(engine, ROWS))
    assert january == {
        "as_of": JANUARY,
        "scheduled": 132,
        "scheduled_principal": 120,
        "received": 99,
        "recovered": 3,
        "collection_rate": 75,
    }
    assert (february["received"], february["collection_rate"]) == (-5, None)


def test_by_segment() -> None:
    with engine_in_scratch() as engine:
        rows = said(COLLECTIONS, asked(engine, ROWS, by="product"))
    assert [(row["product"], row["as_of"], row["collection_rate"]) for row in rows] == [
        ("a", JANUARY, 60),
        ("a", FEBRUARY, None),
        ("b", JANUARY, 150),
    ]


def test_a_segment_without_rate_has_no_amount() -> None:
    unpriced = {"scheduled_in_period_reporting": None, "received_in_period_reporting": None}
    rows: list[Row] = [
        *ROWS,
        {"loan_id": "3", "as_of": FEBRUARY, "currency": "GTQ", "received_in_period": 7, **unpriced},
    ]
    with engine_in_scratch() as engine:
        of_gtq, *_ = said(COLLECTIONS, asked(engine, rows, by="currency"))
    assert (of_gtq["currency"], of_gtq["received"], of_gtq["collection_rate"]) == ("GTQ", None, None)

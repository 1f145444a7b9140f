"""Growth: hand-computed."""

from __future__ import annotations

from abaco_loans.portfolio.growth import GROWTH
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

JANUARY, FEBRUARY = day("2025-01-31"), day("2025-02-28")


def row(as_of: str, loan: str, customer: str | None, opened: str, outstanding: int, lent: int = 0) -> Row:
    end = day(as_of)
    return {
        "as_of": end,
        "period_start": {JANUARY: day("2024-12-31"), FEBRUARY: JANUARY}[end],
        "loan_id": loan,
        "customer_id": customer,
        "disbursement_date": day(opened),
        "outstanding_principal": outstanding,
        "disbursed_in_period": lent,
        "product": "x" if loan in {"1", "2", "4"} else "y",
    }


# a stays; b repays; c comes back in another product; d is new; a loan names no customer.
BOOK = [
    row("2025-01-31", "1", "a", "2024-11-01", 100),
    row("2025-01-31", "2", "b", "2024-12-10", 50),
    row("2025-01-31", "3", "c", "2024-05-01", 0),
    row("2025-02-28", "1", "a", "2024-11-01", 80),
    row("2025-02-28", "2", "b", "2024-12-10", 0),
    row("2025-02-28", "3", "c", "2024-05-01", 0),
    row("2025-02-28", "4", "c", "2025-02-01", 60, 60),
    row("2025-02-28", "5", "d", "2025-02-28", 30, 30),
    row("2025-02-28", "6", None, "2025-02-02", 10, 15),
]


def test_who_came_and_who_stayed() -> None:
    with engine_in_scratch() as engine:
        january, february = said(GROWTH, asked(engine, BOOK))
    assert january == {
        "as_of": JANUARY, "originations": 0, "loans_disbursed": 0, "average_ticket": None, "active_clients": 2,
        "clients_disbursed_90": 1, "new_clients": None, "retained_clients": None, "retention": None,
    }  # fmt: skip
    assert february == {
        "as_of": FEBRUARY, "originations": 105, "loans_disbursed": 3, "average_ticket": 35, "active_clients": 3,
        "clients_disbursed_90": 3, "new_clients": 1, "retained_clients": 1, "retention": 50,
    }  # fmt: skip


def test_the_ninety_days_end_at_the_date_and_begin_after_the_90th_day_before() -> None:
    rows = [row("2025-01-31", "1", "a", "2024-11-02", 1), row("2025-01-31", "2", "b", "2024-11-03", 1)]
    with engine_in_scratch() as engine:
        (said_of_it,) = said(GROWTH, asked(engine, rows))
    assert said_of_it["clients_disbursed_90"] == 1


def test_by_segment_a_client_is_new_where_the_first_loan_ever_was() -> None:
    with engine_in_scratch() as engine:
        rows = {(item["product"], item["as_of"]): item for item in said(GROWTH, asked(engine, BOOK, by="product"))}
    assert [rows["x", FEBRUARY][name] for name in ("active_clients", "new_clients", "retention")] == [2, 0, 50]
    assert [rows["y", FEBRUARY][name] for name in ("active_clients", "new_clients", "retention")] == [1, 1, None]


def test_clients_are_not_counted_where_no_loan_names_one() -> None:
    with engine_in_scratch() as engine:
        (found,) = said(GROWTH, asked(engine, [row("2025-01-31", "1", None, "2025-01-05", 9, 9)]))
    assert (found["originations"], found["loans_disbursed"], found["active_clients"]) == (9, 1, None)

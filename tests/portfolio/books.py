"""Books of loans for properties: drawn at random, and doubled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from hypothesis import strategies as st

from tests.portfolio.panels import Row, day

DATES = (day("2025-01-31"), day("2025-02-28"), day("2025-03-31"))
BEFORE = day("2024-12-31")
CENTS = st.integers(0, 1_000_000).map(lambda cents: Decimal(cents) / 100)


@st.composite
def loans(draw: st.DrawFn, number: int) -> list[Row]:
    """One loan: a row a date from disbursement on."""
    opened = draw(st.dates(date(2024, 11, 1), DATES[-1]))
    customer = draw(st.sampled_from(["a", "b", "c", "d", None]))
    fixed = {
        "loan_id": f"L{number}",
        "customer_id": customer,
        "product": draw(st.sampled_from(["factoring", "leasing", None])),
        "region": draw(st.sampled_from(["north", "south"])),
        "disbursement_date": opened,
        "maturity_date": draw(st.none() | st.dates(date(2025, 1, 1), date(2029, 1, 1))),
        "interest_rate": draw(st.none() | st.integers(0, 3_000_000).map(lambda micro: Decimal(micro) / 1_000_000)),
        "term_days": draw(st.none() | st.integers(1, 900)),
        "restructured": draw(st.booleans()),
    }
    rows: list[Row] = []
    for before, as_of in zip((BEFORE, *DATES), DATES, strict=False):
        if opened > as_of:
            continue
        row = {
            **fixed,
            "as_of": as_of,
            "period_start": before,
            "outstanding_principal": draw(CENTS),
            "disbursed_in_period": draw(CENTS) if opened > before else 0,
            "scheduled_in_period": draw(CENTS),
            "received_in_period": draw(CENTS) - 100,
            "interest_fees_in_period": draw(CENTS),
            "days_past_due": draw(st.none() | st.sampled_from([0, 1, 29, 30, 31, 90, 91])),
        }
        rows.append(row)
    return rows


@st.composite
def books(draw: st.DrawFn) -> list[Row]:
    """Up to a dozen loans over three months; at least one row."""
    count = draw(st.integers(1, 12))
    rows = [row for number in range(count) for row in draw(loans(number))]
    always = {"loan_id": "L", "customer_id": "a", "as_of": DATES[-1], "period_start": DATES[-2]}
    return [*rows, {**always, "outstanding_principal": 100, "days_past_due": 0, "disbursement_date": DATES[0]}]


def doubled(rows: Sequence[Row]) -> list[Row]:
    """The book and a copy of it: other loans and other customers, the same amounts."""
    copies = [
        {**row, "loan_id": f"{row['loan_id']}'", "customer_id": row.get("customer_id") and f"{row['customer_id']}'"}
        for row in rows
    ]
    return [*rows, *copies]

"""Runs of loan snapshots: what a tape does not say must not make a number better."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.operations.desk import Desk, write_csv

LOANS = [("A", "1000", "0"), ("B", "3000", "45"), ("C", "0", "0")]


@pytest.mark.parametrize("disbursed", [None, "", "5000"], ids=["no column", "empty", "given"])
def test_par_does_not_depend_on_whether_the_disbursed_amount_is_known(desk: Desk, disbursed: str | None) -> None:
    """The bug one fears: a missing amount that makes every loan look repaid, and PAR 0."""
    rows = [
        {
            "loan_id": loan,
            "measurement_date": "2025-11-30",
            "outstanding_principal": balance,
            "days_past_due": days,
            **({} if disbursed is None else {"disbursed_principal": disbursed}),
        }
        for loan, balance, days in LOANS
    ]
    kpis = desk.kpis(desk.run(write_csv(desk.workspace.root / "tape.csv", rows)))["kpis"]
    assert Decimal(kpis["risk.par_30"]["value"]) == 75
    assert Decimal(kpis["finance.outstanding"]["value"]) == 4000


def test_a_loan_of_ten_million_is_no_overflow(desk: Desk) -> None:
    row = {
        "loan_id": "A",
        "measurement_date": "2025-11-30",
        "outstanding_principal": "10000000000",
        "days_past_due": "1",
    }
    kpis = desk.kpis(desk.run(write_csv(desk.workspace.root / "tape.csv", [row])))["kpis"]
    assert Decimal(kpis["finance.outstanding"]["value"]) == 10**10

"""Runs of loan snapshots: what a tape does not say must not make a number better."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from abaco_loans.errors import InputError
from tests.operations.desk import Desk, write_csv
from tests.operations.panel_desk import build, values_of

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


def loan(number: int, outstanding: object = 1000, days: object = 0, **more: object) -> dict[str, object]:
    return {
        "loan_id": f"L{number}",
        "measurement_date": "2025-11-30",
        "customer_id": f"c{number}",
        "outstanding_principal": outstanding,
        "days_past_due": days,
        **more,
    }


def run(desk: Desk, *rows: dict[str, object], **request: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """The KPIs of a tape, and what was warned of."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    outcome = desk.run(write_csv(desk.workspace.root / "tape.csv", rows, header), **request)
    return desk.kpis(outcome)["kpis"], {item.code: item.count for item in outcome.warnings}


@pytest.mark.parametrize(
    ("more", "written_off", "par_30", "codes"),
    [
        ({}, None, "50.00", set()),  # nobody says what was written off
        ({"written_off": "true"}, "1000.00", "0.00", set()),
        ({"written_off": "true", "written_off_balance": "400"}, "400.00", "0.00", set()),
        ({"written_off_balance": "400"}, "400.00", "0.00", set()),
        ({"written_off": "", "written_off_balance": "400"}, "400.00", "0.00", set()),
        ({"written_off": "false", "written_off_balance": "400"}, "0.00", "50.00", {"TAPE-267"}),
        ({"written_off": "", "written_off_balance": "0"}, "0.00", "50.00", set()),
    ],
)
def test_what_was_written_off_is_never_0_for_want_of_a_flag(
    desk: Desk, more: dict[str, object], written_off: str | None, par_30: str, codes: set[str]
) -> None:
    rows = [loan(1), loan(2, days=45, **more)]
    kpis, warned = run(desk, *rows)
    assert (kpis["risk.written_off_balance"]["value"], kpis["risk.par_30"]["value"]) == (written_off, par_30)
    assert set(warned) == codes
    if written_off is None:
        assert "has no written_off" in kpis["risk.written_off_balance"]["reason"]
        by_days, _ = run(desk, *rows, definition="investor")
        assert by_days["risk.written_off_balance"]["value"] == "0.00", "the definition says it by days"
    panel = build(desk, desk.workspace.root / "tape.csv")
    said = {row.kpi_id: row.value for row in values_of(desk, panel.record.run_id) if not row.segment}
    assert said["risk.written_off_balance"] == (None if written_off is None else Decimal(written_off))
    assert said["risk.par_30"] == Decimal(par_30)


def test_what_is_ranked_by_customer_misses_none(desk: Desk) -> None:
    rows = [loan(number) for number in range(20)]
    kpis, warned = run(desk, *rows)
    assert (kpis["concentration.top_10_customers"]["value"], warned) == ("50.00", {})
    kpis, warned = run(desk, *rows, loan(20, outstanding=50_000) | {"customer_id": ""})
    assert (kpis["finance.outstanding"]["value"], warned) == ("70000.00", {"WARN-110": 1})
    assert kpis["growth.active_clients"]["value"] == "20"
    for name in ("concentration.top_10_customers", "concentration.hhi_customers"):
        assert (kpis[name]["value"], kpis[name]["reason"]) == (None, "1 row(s) name no customer")


def test_a_loan_of_which_nobody_says_how_much_makes_no_ticket_smaller(desk: Desk) -> None:
    new = {"disbursement_date": "2025-11-10"}
    rows = [loan(1, disbursed_principal="9000", **new), loan(2, disbursed_principal="", disbursement_date="2024-01-01")]
    kpis, _ = run(desk, *rows)
    assert kpis["growth.average_ticket"]["value"] == kpis["growth.origination_volume"]["value"] == "9000.00"
    kpis, _ = run(desk, *rows, loan(3, disbursed_principal="", **new))
    for name in ("growth.average_ticket", "growth.origination_volume"):
        assert kpis[name]["reason"] == "1 row(s) of loans disbursed in the period do not say how much"


def test_a_loan_disbursed_after_the_date_is_said(desk: Desk) -> None:
    _, warned = run(desk, loan(1, disbursement_date="2025-11-30"), loan(2, disbursement_date="2025-12-01"))
    assert warned == {"TAPE-266": 1}


def test_one_date_written_wrong_does_not_move_the_book(desk: Desk) -> None:
    rows = [loan(number) for number in range(21)]
    with pytest.raises(InputError, match="TAPE-110: only 1 of 22 rows are of the latest date, 2052-11-30"):
        run(desk, *rows, loan(21) | {"measurement_date": "2052-11-30"})
    _, warned = run(desk, *rows, loan(21) | {"measurement_date": "2052-11-30"}, as_of=date(2025, 11, 30))
    assert warned == {"WARN-104": 1}
    _, warned = run(desk, *rows[:20], loan(21) | {"measurement_date": "2025-12-31"})
    assert warned == {"WARN-104": 20}, "a book may begin small"


def test_a_currency_without_a_rate_is_named(desk: Desk) -> None:
    rows = [loan(number, currency="USD") for number in range(3)]
    assert run(desk, *rows)[1] == {}
    more = [loan(3, currency="EUR"), loan(4, currency="EUR"), loan(5, currency="HNL"), loan(6, currency="")]
    outcome = desk.run(write_csv(desk.workspace.root / "more.csv", [*rows, *more]))
    assert [(item.code, item.count, item.text.split()[2]) for item in outcome.warnings] == [
        ("WARN-109", 2, "EUR"),
        ("WARN-109", 1, "HNL"),
    ]
    assert desk.kpis(outcome)["kpis"]["risk.par_30"]["reason"] == "3 row(s) are in a currency without a rate"

"""SPEC §3 to the digit, from a CSV to ``kpis.json``."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.operations.desk import Desk, bucketed_row, read_csv, worked_example, write_csv


def test_the_worked_example(desk: Desk, tmp_path: Path) -> None:
    rows = worked_example()
    for short, total in {
        "total_receivable_usd": 175_000,
        "total_eligible_usd": 140_000,
        "cash_available_usd": 8_750,
        "dpd_30_60_usd": 1_750,
        "dpd_60_90_usd": 1_400,
        "dpd_90_plus_usd": 1_050,
    }.items():
        assert sum(Decimal(str(row[short])) for row in rows) == total
    outcome = desk.run(write_csv(tmp_path / "tape.csv", rows))
    found = desk.kpis(outcome)["kpis"]
    for kpi_id, value, exact, status in (
        ("risk.par_30", "2.40", "2.4", "ok"),
        ("risk.par_90", "0.60", "0.6", "ok"),
        ("risk.collection_rate", "6.25", "6.25", "ok"),
        ("risk.portfolio_health", "6.10", "6.1", "ok"),
    ):
        assert (found[kpi_id]["value"], found[kpi_id]["value_exact"]) == (value, exact)
        assert (found[kpi_id]["low"], found[kpi_id]["high"], found[kpi_id]["status"]) == (value, value, status)
    assert found["risk.par_30"]["components"] == {
        "dpd_30_60_usd": "1750.0000",
        "dpd_60_90_usd": "1400.0000",
        "dpd_90_plus_usd": "1050.0000",
        "total_receivable_usd": "175000.0000",
    }
    assert found["risk.par_30"]["rows_used"] == 3
    assert found["risk.par_30"]["null_counts"] == dict.fromkeys(found["risk.par_30"]["components"], 0)
    assert desk.kpis(outcome)["as_of"] == "2025-11-30"
    assert desk.kpis(outcome)["definition"]["name"] == "original"


def test_health_is_held_at_ten_and_says_so(desk: Desk, tmp_path: Path) -> None:
    tape = write_csv(tmp_path / "tape.csv", [bucketed_row("A", "10000", eligible="10000", cash="1197", b30="221")])
    found = desk.kpis(desk.run(tape))["kpis"]
    assert found["risk.par_30"]["value"] == "2.21"
    assert found["risk.collection_rate"]["value"] == "11.97"
    health = found["risk.portfolio_health"]
    assert (health["value"], health["value_exact"], health["status"]) == ("10.00", "10", "ok")
    assert health["held"] == "held at 10; computed 11.7055"


def test_values_are_kept_to_28_digits(desk: Desk, tmp_path: Path) -> None:
    tape = write_csv(tmp_path / "tape.csv", [bucketed_row("A", "3", eligible="7", cash="2", b90="1", b30="1")])
    found = desk.kpis(desk.run(tape))["kpis"]
    assert found["risk.par_90"]["value_exact"] == "33.33333333333333333333333333"
    assert found["risk.par_30"]["value_exact"] == "66.66666666666666666666666667"
    assert found["risk.collection_rate"]["value_exact"] == "28.57142857142857142857142857"
    # The score is made of the exact parts, not of the shown ones: (10 - 20/3) * (20/7).
    assert found["risk.portfolio_health"]["value_exact"] == "9.523809523809523809523809524"


@pytest.mark.parametrize(
    ("amounts", "wanted"),
    [
        (
            {"b30": "499.9999", "cash": "150.0001"},
            {"risk.par_30": ("5.00", "ok"), "risk.collection_rate": ("1.50", "ok")},
        ),
        (
            {"b30": "500", "cash": "150"},
            {"risk.par_30": ("5.00", "warning"), "risk.collection_rate": ("1.50", "warning")},
        ),
        (
            {"b30": "800", "cash": "100"},
            {"risk.par_30": ("8.00", "critical"), "risk.collection_rate": ("1.00", "critical")},
        ),
        ({"b90": "300"}, {"risk.par_90": ("3.00", "warning")}),
        ({"b90": "500"}, {"risk.par_90": ("5.00", "critical")}),
        ({"cash": "500"}, {"risk.portfolio_health": ("5.00", "warning")}),
        ({"cash": "300"}, {"risk.portfolio_health": ("3.00", "critical")}),
    ],
)
def test_thresholds_of_the_original_catalogue(
    desk: Desk, tmp_path: Path, amounts: dict[str, str], wanted: dict[str, tuple[str, str]]
) -> None:
    row = bucketed_row("A", "10000", **{"eligible": "10000", "cash": "1000", **amounts})
    found = desk.kpis(desk.run(write_csv(tmp_path / "tape.csv", [row])))["kpis"]
    assert {kpi_id: (found[kpi_id]["value"], found[kpi_id]["status"]) for kpi_id in wanted} == wanted


def test_nothing_to_divide_by_is_not_computable(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.run(write_csv(tmp_path / "tape.csv", [bucketed_row("A", "0"), bucketed_row("B", "0")]))
    found = desk.kpis(outcome)["kpis"]
    for kpi_id in ("risk.par_30", "risk.collection_rate"):
        assert (found[kpi_id]["status"], found[kpi_id]["value"]) == ("not_computable", None)
        assert found[kpi_id]["reason"] == "the denominator is zero"
    assert found["risk.portfolio_health"]["reason"] == "risk.par_30 is not computable: the denominator is zero"
    assert found["finance.outstanding"]["reason"] == "needs outstanding_usd: a bucketed tape does not have it"
    (listed,) = [row for row in read_csv(desk.folder(outcome) / "kpis.csv") if row["kpi_id"] == "risk.par_30"]
    assert (listed["value"], listed["status"]) == ("", "not_computable")


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("iris", "the tape's buckets begin at a day (at least), the definition counts more than"),
        ("investor", "a bucketed tape has no days past due to write off by"),
        ("mfrs", "a bucketed tape does not say which loans are restructured"),
    ],
)
def test_a_bucketed_tape_bears_not_every_definition(desk: Desk, tmp_path: Path, definition: str, reason: str) -> None:
    outcome = desk.run(write_csv(tmp_path / "tape.csv", worked_example()), definition=definition)
    found = desk.kpis(outcome)["kpis"]
    assert found["risk.par_30"]["status"] == "not_computable"
    assert found["risk.par_30"]["reason"] == f"needs dpd_30_60_usd: {reason}"
    assert found["risk.collection_rate"]["value"] == "6.25"


SNAPSHOT = {
    "loan_id": "L1",
    "measurement_date": "2025-11-30",
    "outstanding_principal": "100",
    "days_past_due": "0",
    "currency": "USD",
    "fx_rate": "",
    "interest_rate": "",
    "product": "a",
}


def test_a_currency_without_a_rate(desk: Desk, tmp_path: Path) -> None:
    rows = [SNAPSHOT | {"loan_id": f"L{index}"} for index in range(4)]
    rows += [SNAPSHOT | {"loan_id": f"G{index}", "currency": "GTQ"} for index in range(3)]
    found = desk.kpis(desk.run(write_csv(tmp_path / "tape.csv", rows)))
    assert found["kpis"]["finance.outstanding"]["status"] == "not_computable"
    assert found["kpis"]["finance.outstanding"]["reason"] == "3 row(s) are in a currency without a rate"
    by_currency = found["segments"]["currency"]
    assert by_currency["USD"]["finance.outstanding"]["value"] == "400.00"
    assert by_currency["GTQ"]["finance.outstanding"]["reason"] == "3 row(s) are in a currency without a rate"


def test_a_column_that_is_empty_is_not_a_zero(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.run(write_csv(tmp_path / "tape.csv", [SNAPSHOT, SNAPSHOT | {"loan_id": "L2"}]))
    apr = desk.kpis(outcome)["kpis"]["finance.weighted_apr"]
    assert apr["status"] == "not_computable"
    assert apr["reason"].endswith("no row has a value")
    assert apr["null_counts"]["interest_rate"] == 2


def test_a_loan_whose_days_cannot_be_counted_makes_the_par_not_computable(desk: Desk, tmp_path: Path) -> None:
    """A mix of monthly and other loans under a monthly method: no PAR, rather than one that leaves loans out."""
    folder = tmp_path / "extract"
    folder.mkdir()
    (folder / "loans.csv").write_text(
        "loan_id,disbursement_date,disbursed_principal,frequency\nA,2025-01-01,100,monthly\nB,2025-01-01,100,weekly\n"
    )
    (folder / "schedules.csv").write_text("loan_id,due_date,principal\nA,2025-02-01,100\nB,2025-02-01,100\n")
    (folder / "transactions.csv").write_text(
        "loan_id,type,date,principal\nA,disbursement,2025-01-01,100\nB,disbursement,2025-01-01,100\n"
        "A,payment,2025-03-31,1\n"
    )
    path = desk.release / "definitions.yml"
    path.write_text(path.read_text() + '  ots:\n    version: "1"\n    dpd_method: monthly_ots\n')
    kpis = desk.kpis(desk.run(folder, definition="ots"))["kpis"]
    assert kpis["risk.par_30"]["status"] == "not_computable"
    assert kpis["risk.par_30"]["reason"] == "1 row(s) have no days past due under this definition"
    assert kpis["finance.outstanding"]["value"] == "199.00"

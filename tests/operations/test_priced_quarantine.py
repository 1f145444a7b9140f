"""Priced quarantine: what the KPIs would be, at best and at worst, if the refused rows came back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operations.desk import Desk, Row, bucketed_row, write_csv

PRICED = ("risk.par_30", "risk.par_90", "risk.collection_rate", "risk.portfolio_health", "risk.par_7", "risk.par_60")
SHORT = ("b0", "b7", "b30", "b60", "b90")


def good(count: int = 120) -> list[dict[str, object]]:
    """Accepted rows, so many that a few refused ones stay under the limit."""
    return [
        bucketed_row(
            f"G{index:04}", "100000", eligible="50000", cash="900", b0="90000", b30="1500", b60="700", b90="300"
        )
        for index in range(count)
    ]


def run(desk: Desk, path: Path, rows: Sequence[Row], **request: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = desk.kpis(desk.run(write_csv(path, rows), **request))["kpis"]
    for result in found.values():
        if result["value"] is not None and result["low"] is not None:
            assert Decimal(result["low"]) <= Decimal(result["value"]) <= Decimal(result["high"])
            assert result["bound_reason"] == ""
        elif result["value"] is not None:
            assert result["high"] is None
            assert result["bound_reason"]
    return found


def total(rows: Sequence[Row], *names: str) -> Decimal:
    return sum((Decimal(str(row[name])) for row in rows for name in names), Decimal(0))


def par_30(rows: Sequence[Row]) -> Decimal:
    late = total(rows, "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
    return 100 * late / total(rows, "total_receivable_usd")


def par_90(rows: Sequence[Row]) -> Decimal:
    return 100 * total(rows, "dpd_90_plus_usd") / total(rows, "total_receivable_usd")


def collection(rows: Sequence[Row]) -> Decimal:
    return 100 * total(rows, "cash_available_usd") / total(rows, "total_eligible_usd")


BY_HAND = {"risk.par_30": par_30, "risk.par_90": par_90, "risk.collection_rate": collection}


def holds(found: dict[str, dict[str, Any]], rows: Sequence[Row]) -> None:
    """Low and high hold what comes out with these rows."""
    for kpi_id, by_hand in BY_HAND.items():
        assert Decimal(found[kpi_id]["low"]) <= by_hand(rows) <= Decimal(found[kpi_id]["high"]), kpi_id


def test_nothing_quarantined_means_no_doubt(desk: Desk, tmp_path: Path) -> None:
    found = run(desk, tmp_path / "tape.csv", good())
    for kpi_id in PRICED:
        assert found[kpi_id]["low"] == found[kpi_id]["high"] == found[kpi_id]["value"]


def test_a_readable_row_counts_as_it_stands(desk: Desk, tmp_path: Path) -> None:
    """Refused because its buckets are more than its receivable: every amount is known."""
    bad = bucketed_row("B", "100000", eligible="1000", cash="1", b90="150000")
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    holds(found, [*good(), bad])
    assert found["risk.par_90"]["low"] == "0.30"  # the value itself: 300 of 100,000
    assert found["risk.par_90"]["high"] == "1.54"  # 186,000 of 12,100,000, rounded up
    assert found["technology.data_quality_score"]["low"] is None
    assert found["technology.data_quality_score"]["bound_reason"] == "counts the quarantine itself"


def test_an_unreadable_bucket_lies_between_nothing_and_the_receivable(desk: Desk, tmp_path: Path) -> None:
    bad = bucketed_row("B", "100000", eligible="50000", cash="900", b90="n/a")
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    for amount in ("0", "50000", "100000"):
        holds(found, [*good(), bad | {"dpd_90_plus_usd": amount}])
    assert found["risk.par_90"]["low"] == "0.29"  # 36,000 of 12,100,000
    assert found["risk.par_90"]["high"] == "1.13"  # 136,000 of 12,100,000
    assert found["risk.collection_rate"]["low"] == found["risk.collection_rate"]["high"] == "1.80"


def test_an_unreadable_bucket_of_a_negative_receivable_keeps_its_ends_in_order(desk: Desk, tmp_path: Path) -> None:
    bad = bucketed_row("B", "-100000", eligible="50000", cash="900", b90="n/a")
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    for amount in ("0", "-100000"):
        holds(found, [*good(), bad | {"dpd_90_plus_usd": amount}])


def test_an_unreadable_receivable_cannot_be_priced(desk: Desk, tmp_path: Path) -> None:
    bad = bucketed_row("B", "n/a", eligible="50000", cash="100", b30="5")
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    assert found["risk.par_30"]["low"] is None
    assert found["risk.par_30"]["bound_reason"].startswith("1 quarantined row(s) give no ")
    assert found["risk.portfolio_health"]["bound_reason"] == "risk.par_30 cannot be priced"
    assert found["risk.collection_rate"]["low"] == "1.78"
    assert found["risk.collection_rate"]["high"] == "1.80"


def test_of_two_rows_in_conflict_one_is_true(desk: Desk, tmp_path: Path) -> None:
    one = bucketed_row("B", "100000", eligible="50000", cash="900", b90="0")
    two = one | {"dpd_90_plus_usd": "40000"}
    found = run(desk, tmp_path / "tape.csv", [*good(), one, two])
    holds(found, [*good(), one])
    holds(found, [*good(), two])
    assert found["risk.par_90"]["low"] == "0.29"
    assert found["risk.par_90"]["high"] == "0.63"  # 76,000 of 12,100,000, not of 12,200,000


@pytest.mark.parametrize("written", ["", "31.13.2025", "2225-11-30"])
def test_a_row_without_a_good_date_may_be_of_this_date_or_not(desk: Desk, tmp_path: Path, written: str) -> None:
    bad = bucketed_row("B", "100000", eligible="50000", cash="900", b90="100000") | {"measurement_date": written}
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    holds(found, good())
    holds(found, [*good(), bad])
    assert found["risk.par_90"]["low"] == "0.29"
    assert found["risk.par_90"]["high"] == "1.14"  # each sum by itself: 136,000 of 12,000,000


def test_a_refused_row_of_another_date_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    bad = bucketed_row("B", "100000", eligible="50000", b90="150000") | {"measurement_date": "2025-10-31"}
    found = run(desk, tmp_path / "tape.csv", [*good(), bad])
    for kpi_id in PRICED:
        assert found[kpi_id]["low"] == found[kpi_id]["high"] == found[kpi_id]["value"]


def test_a_tape_without_loan_ids_is_priced_row_by_row(desk: Desk, tmp_path: Path) -> None:
    rows = [
        {name: value for name, value in row.items() if name != "loan_id"} | {"product": index % 60}
        for index, row in enumerate(good())
    ]
    bad = [rows[0] | {"dpd_90_plus_usd": amount} for amount in ("150000", "160000", "n/a")]
    found = run(desk, tmp_path / "tape.csv", [*rows[:60], *bad])
    assert found["risk.par_90"]["high"] == "6.80"  # 18,000 + 150,000 + 160,000 + 100,000 of 6,300,000


amounts = st.sampled_from(["0", "1", "5000", "99999.99", "100000", "150000", "-7", "n/a", ""])
refused_row = st.fixed_dictionaries(
    {
        "loan_id": st.sampled_from(["B1", "B2", "B3"]),
        "total_receivable_usd": st.sampled_from(["100000", "5000", "-100", "n/a"]),
        "total_eligible_usd": amounts,
        "cash_available_usd": amounts,
        "dpd_30_60_usd": amounts,
        "dpd_90_plus_usd": amounts,
        "measurement_date": st.sampled_from(["2025-11-30", "2025-10-31", "soon"]),
    }
)


@given(refused=st.lists(refused_row, min_size=1, max_size=3, unique_by=lambda row: row["loan_id"]), data=st.data())
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bounds_hold_whatever_the_refused_rows_meant(
    tmp_path_factory: pytest.TempPathFactory, refused: list[dict[str, str]], data: st.DataObject
) -> None:
    """Whatever a person would write over the unreadable cells, the value then lies within the bounds."""
    folder = tmp_path_factory.mktemp("bounds")
    desk = Desk(folder / "workspace")
    desk.edit(
        "contracts/bucketed.yml",
        lambda text: text.replace("{property: limitUnmeasured, value: 0}", "{property: limitUnmeasured, value: 9}"),
    )
    desk.edit(
        "contracts/bucketed.yml",
        lambda text: text.replace('{property: limitAmount, value: "0.05"}', '{property: limitAmount, value: "0.9"}'),
    )
    base = bucketed_row("G")
    rows = [base | row for row in refused]
    found = run(desk, folder / "tape.csv", [*good(80), *rows])
    nothing_refused = found["technology.data_quality_score"]["value_exact"] == "100"
    meant = []
    for row in rows:
        receivable = str(row["total_receivable_usd"])
        if not _number(receivable):
            return  # nobody can say what it was worth, and the bounds say so
        mended = dict(row)
        for name in ("dpd_30_60_usd", "dpd_90_plus_usd"):
            if not _number(str(row[name])):
                mended[name] = data.draw(st.sampled_from(["0", receivable]))
        if row["measurement_date"] == "2025-11-30" or (row["measurement_date"] == "soon" and data.draw(st.booleans())):
            meant.append(mended)
    for kpi_id in ("risk.par_30", "risk.par_90"):
        low, high = Decimal(found[kpi_id]["low"]), Decimal(found[kpi_id]["high"])
        true = BY_HAND[kpi_id]([*good(80), *meant])
        if nothing_refused:
            assert low == high == Decimal(found[kpi_id]["value"]) == round(true, 2)
        else:
            assert low <= true <= high


def _number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()


# --- loan snapshots -----------------------------------------------------------------------------------------

LOAN: dict[str, object] = {
    "measurement_date": "2025-11-30",
    "outstanding_principal": "1000",
    "days_past_due": "0",
    "disbursed_principal": "2000",
    "disbursement_date": "2025-11-15",
    "interest_rate": "0.5",
    "written_off": "false",
    "currency": "USD",
    "fx_rate": "1",
}


def loans() -> list[dict[str, object]]:
    return [LOAN | {"loan_id": f"G{index:04}", "days_past_due": "95" if index < 10 else "0"} for index in range(100)]


def test_unreadable_days_past_due_may_be_any(desk: Desk, tmp_path: Path) -> None:
    bad = LOAN | {"loan_id": "B", "days_past_due": "many"}
    found = run(desk, tmp_path / "tape.csv", [*loans(), bad])
    assert (found["risk.par_90"]["low"], found["risk.par_90"]["high"]) == ("9.90", "10.90")  # 10 or 11 of 101
    assert (found["risk.par_15"]["low"], found["risk.par_15"]["high"]) == ("9.90", "10.90")
    assert found["finance.outstanding"]["high"] == "101000.00"


def test_unreadable_days_may_also_mean_written_off(desk: Desk, tmp_path: Path) -> None:
    bad = LOAN | {"loan_id": "B", "days_past_due": "many"}
    found = run(desk, tmp_path / "tape.csv", [*loans(), bad], definition="investor")
    assert found["finance.outstanding"]["low"] is None
    assert found["risk.par_90"]["bound_reason"].startswith("1 quarantined row(s) give no ")


@pytest.mark.parametrize(
    ("column", "kpi_id"),
    [
        ("fx_rate", "finance.outstanding"),
        ("written_off", "finance.outstanding"),
        ("written_off", "risk.written_off_balance"),
        ("interest_rate", "finance.weighted_apr"),
        ("disbursement_date", "growth.origination_volume"),
        ("disbursed_principal", "growth.average_ticket"),
    ],
)
def test_a_cell_that_a_sum_is_made_of_cannot_be_guessed(desk: Desk, tmp_path: Path, column: str, kpi_id: str) -> None:
    bad = LOAN | {"loan_id": "B", column: "?"}
    found = run(desk, tmp_path / "tape.csv", [*loans(), bad])
    assert found[kpi_id]["low"] is None
    assert "quarantined row(s) give no" in found[kpi_id]["bound_reason"]


def test_a_refused_loan_in_a_currency_without_a_rate_cannot_be_priced(desk: Desk, tmp_path: Path) -> None:
    bad = LOAN | {"loan_id": "B", "currency": "GTQ", "fx_rate": "", "interest_rate": "99"}
    found = run(desk, tmp_path / "tape.csv", [*loans(), bad])
    assert found["finance.outstanding"]["low"] is None
    assert found["risk.first_payment_default"]["status"] == "not_computable"


def test_servicing_records_and_broken_lines_say_why_they_have_no_price(desk: Desk, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "tape.csv", good())
    path.write_text(path.read_text() + "B,2025-11-30,1\n")
    found = desk.kpis(desk.run(path, strict=False))["kpis"] if _allow_lines(desk) else {}
    assert found["risk.par_30"]["low"] is None
    assert found["risk.par_30"]["bound_reason"] == "1 line(s) could not be read as rows at all"


def _allow_lines(desk: Desk) -> bool:
    """One line that cannot be measured is allowed."""
    limit = "{property: limitUnmeasured, value: "
    desk.edit("contracts/bucketed.yml", lambda text: text.replace(limit + "0}", limit + "1}"))
    return True

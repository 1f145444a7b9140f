"""The factoring book against `plain_book`: another program, written from DEFINITIONS."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from abaco_loans.kpi.formula import as_decimal, rounded
from tests.operations.desk import Desk
from tests.operations.plain_book import PRESETS, Loan, kpis, past, read_book, states_at

# Worked out once with `plain_book`, and kept, so that a change of both sides at once is seen too.
INVESTOR_2025_11_30 = {
    "finance.outstanding": "7813806.55",
    "risk.written_off_balance": "244630.69",
    "risk.par_30": "3.305403561597004215570194786",
    "risk.par_90": "1.594018218943493040533490044",
}
NEVER = {"risk.collection_rate", "risk.portfolio_health"}
OF_THE_RUN = {"compliance.audit_flags": "0", "technology.data_quality_score": "100"}


@pytest.fixture(scope="module")
def loans(factoring_dir: Path) -> list[Loan]:
    return read_book(factoring_dir)


def exact(value: Fraction) -> Decimal:
    return as_decimal((value.numerator, value.denominator))


def test_every_kpi_of_the_investor_preset(desk: Desk, factoring_dir: Path, loans: list[Loan]) -> None:
    day = date(2025, 11, 30)
    outcome = desk.run(factoring_dir, as_of=day, definition="investor")
    found = desk.kpis(outcome)["kpis"]
    wanted = kpis(loans, day, PRESETS["investor"])
    assert set(found) - set(wanted) == NEVER | set(OF_THE_RUN)
    for kpi_id, value in wanted.items():
        assert Decimal(found[kpi_id]["value_exact"]) == exact(value), kpi_id
        places = -int(Decimal(found[kpi_id]["value"]).as_tuple().exponent)
        assert Decimal(found[kpi_id]["value"]) == rounded(exact(value), places)
        assert found[kpi_id]["low"] == found[kpi_id]["high"] == found[kpi_id]["value"]
    for kpi_id in NEVER:
        assert found[kpi_id]["status"] == "not_computable"
    for kpi_id, text in OF_THE_RUN.items():
        assert found[kpi_id]["value_exact"] == text
    for kpi_id, text in INVESTOR_2025_11_30.items():
        assert found[kpi_id]["value_exact"] == text
    assert outcome.record.rows is not None
    assert (outcome.record.rows.rows_in, outcome.record.rows.quarantined) == (72_165, 0)
    _companies_add_up(desk.kpis(outcome)["segments"]["company"], loans, day)


def _companies_add_up(segment: dict[str, dict[str, dict[str, str]]], loans: list[Loan], day: date) -> None:
    states = states_at(loans, day, PRESETS["investor"])
    for company, results in segment.items():
        own = [states[loan.loan_id] for loan in loans if loan.company == company and loan.loan_id in states]
        if results["finance.outstanding"]["status"] != "suppressed":
            wanted = sum((item.outstanding for item in own), Decimal(0))
            assert Decimal(results["finance.outstanding"]["value_exact"]) == wanted


@pytest.mark.parametrize(
    ("day", "preset"),
    [
        (date(2025, 11, 30), "original"),
        (date(2025, 11, 30), "iris"),
        (date(2025, 11, 30), "mfrs"),
        (date(2024, 2, 29), "investor"),
        (date(2025, 6, 14), "investor"),
    ],
)
def test_other_dates_and_presets(desk: Desk, factoring_dir: Path, loans: list[Loan], day: date, preset: str) -> None:
    found = desk.kpis(desk.run(factoring_dir, as_of=day, definition=preset))["kpis"]
    rules = PRESETS[preset]
    states = states_at(loans, day, rules)
    outstanding = sum((item.outstanding for item in states.values()), Decimal(0))
    written_off = sum((item.written_off for item in states.values()), Decimal(0))
    assert Decimal(found["finance.outstanding"]["value_exact"]) == outstanding
    assert Decimal(found["risk.written_off_balance"]["value_exact"]) == written_off
    for days in (30, 90):
        assert Decimal(found[f"risk.par_{days}"]["value_exact"]) == exact(past(states, days, rules))

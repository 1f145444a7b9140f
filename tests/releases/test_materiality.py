"""Loans whose IFRS 9 stage differs between two sides, counted on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.policy import Provisions, RiskTable, StageRisk
from abaco_loans.releases.materiality import StageMove, stage_moves_query
from tests.kpi.tables import engine_in_scratch, put

RISK = StageRisk(pd=(Decimal(1),), lgd=Decimal(1))
PROVISIONS = Provisions(default=RiskTable(stage_1=RISK, stage_2=RISK, stage_3=RISK))
COLUMNS = ("loan_id", "outstanding_usd", "days_past_due")
Loan = tuple[str, int, int | None]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as found:
        yield found


def moves(engine: Engine, baseline: list[Loan], candidate: list[Loan]) -> list[StageMove]:
    for table, loans in (("old_side", baseline), ("new_side", candidate)):
        put(engine, COLUMNS, [dict(zip(COLUMNS, loan, strict=True)) for loan in loans], table)
    query = stage_moves_query("old_side", "new_side", PROVISIONS, restructured=False)
    names = ("baseline", "candidate", "loans", "balance_usd")
    return [StageMove(**dict(zip(names, row, strict=True))) for row in engine.rows(query)]


def test_stages_are_those_of_ifrs_9(engine: Engine) -> None:
    baseline: list[Loan] = [("a", 10, 30), ("b", 10, 30), ("c", 10, 91), ("d", 10, 5), ("e", 10, 95), ("f", 1, 1)]
    candidate: list[Loan] = [("a", 10, 31), ("b", 11, 45), ("c", 10, 90), ("d", 12, 30), ("e", 0, 0), ("g", 1, 95)]
    found = moves(engine, baseline, candidate)
    assert found == [
        StageMove(baseline=1, candidate=2, loans=2, balance_usd=Decimal(21)),
        StageMove(baseline=3, candidate=2, loans=1, balance_usd=Decimal(10)),
        StageMove(baseline=3, candidate=None, loans=1, balance_usd=Decimal(0)),
    ]
    assert found[0].words == "2 loan(s) of 21.0000 go stage 1 → stage 2"
    assert found[2].words.endswith("stage 3 → not staged")
    assert moves(engine, baseline, baseline) == []


def test_a_restructured_loan_is_of_stage_2_where_the_release_says_so(engine: Engine) -> None:
    for provisions, stage in ((PROVISIONS, "2"), (replace(PROVISIONS, restructured_is_stage_2=False), "1")):
        text = stage_moves_query("a", "b", provisions, restructured=True).sql(dialect="duckdb")
        assert ("restructured" in text) is (stage == "2")
        assert "restructured" not in stage_moves_query("a", "b", provisions, restructured=False).sql(dialect="duckdb")

"""Provisions: expected credit loss by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from abaco_loans.portfolio.policy import DEFAULTED, Policy, Provisions, RiskTable, StageRisk
from abaco_loans.portfolio.provisions import NOT_STAGED, PROVISIONS, loss_share
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

TODAY = day("2025-01-31")


def table(pd: str, *lifetime: str, lgd: str = "0.5") -> RiskTable:
    return RiskTable(
        stage_1=StageRisk(pd=(Decimal(pd),), lgd=Decimal(lgd)),
        stage_2=StageRisk(pd=tuple(Decimal(item) for item in lifetime), lgd=Decimal(lgd)),
        stage_3=StageRisk(pd=DEFAULTED, lgd=Decimal("0.6")),
    )


PROVISION = Provisions(default=table("0.02", "0.10", "0.16", "0.20"), products={"leasing": table("0.04", "0.30")})


def loan(number: int, outstanding: int, days_past_due: int | None = 0, **more: object) -> Row:
    return {
        "loan_id": str(number), "as_of": TODAY, "outstanding_principal": outstanding,
        "days_past_due": days_past_due, **more,
    }  # fmt: skip


def provisions(*rows: Row, policy: Provisions = PROVISION, **options: object) -> list[dict[str, object]]:
    with engine_in_scratch() as engine:
        return [dict(row) for row in said(PROVISIONS, asked(engine, rows, policy=Policy(provisions=policy), **options))]


def test_stage_1_is_the_12_month_pd_discounted_by_no_more_than_the_whole_years_left() -> None:
    (row,) = provisions(
        loan(1, 1000, maturity_date=day("2025-03-12"), interest_rate="2.3"),  # 40 days: 1000 × 2 % × 50 % = 10
        loan(2, 1000, maturity_date=day("2026-01-31"), interest_rate="0.25"),  # one year: 10 / 1.25 = 8
        loan(3, 2000, maturity_date=day("2030-06-30"), interest_rate=None),  # no rate: 20
    )
    assert row == {
        "as_of": TODAY, "stage": "1", "loans": 3, "ead": 4000, "pd": 2, "lgd": 50, "ecl": 38,
        "coverage": Decimal("0.95"),
    }  # fmt: skip


def test_stage_2_is_the_loss_of_every_year_left() -> None:
    (row,) = provisions(loan(1, 1000, 31, maturity_date=day("2027-01-31"), interest_rate="0.25"))
    # 1000 × 50 % × (10 % / 1.25 + 6 % / 1.25²) = 500 × (0.08 + 0.0384)
    assert (row["stage"], row["pd"], row["ecl"]) == ("2", 16, Decimal("59.2"))


def test_a_begun_year_counts_for_the_pd_and_not_for_the_discount() -> None:
    (row,) = provisions(loan(1, 1000, 31, maturity_date=day("2026-02-01"), interest_rate="0.25"))
    # 500 × (10 % / 1.25 + 6 % / 1.25)
    assert (row["pd"], row["ecl"]) == (16, 64)


def test_a_loan_without_maturity_lives_as_long_as_the_table_and_is_not_discounted() -> None:
    (row,) = provisions(loan(1, 1000, 31, interest_rate="0.25"))
    assert (row["pd"], row["ecl"]) == (20, 100)


def test_a_loan_past_its_maturity_has_one_year() -> None:
    (row,) = provisions(loan(1, 1000, 31, maturity_date=day("2024-12-31"), interest_rate="0.25"))
    assert (row["pd"], row["ecl"]) == (10, 50)


def test_stages_begin_after_30_and_90_days_and_with_restructuring() -> None:
    rows = provisions(
        loan(1, 100, 30), loan(2, 200, 31), loan(3, 400, 90), loan(4, 800, 91, interest_rate="0.5",
             maturity_date=day("2028-01-31")), loan(5, 1600, 0, restructured=True), loan(6, 3200, None),
        loan(7, 0, 200, written_off=True, written_off_balance=9),
    )  # fmt: skip
    assert [(row["stage"], row["loans"], row["ead"]) for row in rows] == [
        ("1", 1, 100),
        ("2", 3, 2200),
        ("3", 1, 800),
        (NOT_STAGED, 1, 3200),
    ]
    assert (rows[2]["pd"], rows[2]["lgd"], rows[2]["ecl"], rows[2]["coverage"]) == (100, 60, 480, 60)
    assert rows[3]["ecl"] is None


def test_the_presumptions_can_be_rebutted() -> None:
    other = Provisions(
        default=PROVISION.default, stage_2_after_days=60, stage_3_after_days=180, restructured_is_stage_2=False
    )
    rows = provisions(loan(1, 100, 60), loan(2, 100, 180), loan(3, 100, 5, restructured=True), policy=other)
    assert [(row["stage"], row["loans"]) for row in rows] == [("1", 2), ("2", 1)]


def test_a_product_has_its_own_table() -> None:
    rows = provisions(loan(1, 100, product="leasing"), loan(2, 100, product="factoring"), loan(3, 100), by="product")
    assert [(row["product"], row["ecl"]) for row in rows] == [("(none)", 1), ("factoring", 1), ("leasing", 2)]
    (row,) = provisions(loan(1, 100, product="leasing"), loan(2, 300, product="factoring"))
    assert (row["pd"], row["ecl"]) == (Decimal("2.5"), 5)


def test_without_tables_there_is_no_provision() -> None:
    with engine_in_scratch() as engine:
        assert said(PROVISIONS, asked(engine, [loan(1, 100)])) == []


@pytest.mark.parametrize("rate", ["-1", "-0.5", "0"])
def test_a_rate_below_zero_does_not_raise_the_loss(rate: str) -> None:
    risk = StageRisk(pd=(Decimal("0.1"), Decimal("0.3")), lgd=Decimal("0.5"))
    assert loss_share(risk, 2, 2, Decimal(rate)) == (Decimal("0.3"), Decimal("0.15"))

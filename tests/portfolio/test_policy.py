"""The policy file: read strictly, and a digest of what can change a number."""

from __future__ import annotations

import re
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from abaco_loans.errors import ConfigError
from abaco_loans.portfolio.policy import Policy, read_policy
from abaco_loans.strict_yaml import parse

SHIPPED = resources.files("abaco_loans.builtin").joinpath("portfolio.yml").read_text(encoding="utf-8")


def policy(text: str) -> Policy:
    return read_policy(parse(text, name="portfolio.yml"))


def changed(old: str, new: str) -> str:
    assert SHIPPED.count(old) == 1, old
    return SHIPPED.replace(old, new)


def test_the_shipped_policy() -> None:
    found = policy(SHIPPED)
    assert found.provisions and found.borrowing_base
    assert found.provisions.table("factoring").of(1).pd == (Decimal("0.02"),)
    assert found.provisions.table(None).of(2).pd == (Decimal("0.20"), Decimal("0.28"), Decimal("0.33"))
    assert found.provisions.table("leasing").of(3).pd == (Decimal(1),)
    assert found.borrowing_base.rules[0].days == 30
    assert found.borrowing_base.advance_rate == Decimal("0.85")
    assert [(item.kpi, int(item.limit)) for item in found.covenants] == [
        ("risk.par_30", 10),
        ("risk.par_90", 5),
        ("concentration.top_10_customers", 50),
    ]


def test_each_section_may_be_left_out() -> None:
    assert policy("covenants: []") == policy("{}") == Policy()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("advance_rate: 0.85", "advance_rate: 0.8"),
        ("drawn: 3500000", "drawn: 3500001"),
        ("customer_share_max: 0.10", "customer_share_max: 0.11"),
        ("kind: past_due, days: 30", "kind: past_due, days: 31"),
        ("values: [USD]", "values: [USD, EUR]"),
        ("limit: 50", "limit: 51"),
        ("cure_days: 60", "cure_days: 61"),
        ("stage_2_after_days: 30", "stage_2_after_days: 31"),
        ("restructured_is_stage_2: true", "restructured_is_stage_2: false"),
        ("pd: 0.03, lgd: 0.45", "pd: 0.03, lgd: 0.46"),
        ("pd: [0.20], lgd: 0.40", "pd: [0.21], lgd: 0.40"),
        ("factoring:\n", "leasing:\n"),
    ],
)
def test_the_digest_changes_with_every_number(old: str, new: str) -> None:
    assert policy(changed(old, new)).digest() != policy(SHIPPED).digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("advance_rate: 0.85", "advance_rate: 0.850"),
        ("name: PAR 30 below 10 %", "name: another name"),
        ("name: restructured", "name: another name"),
        ("reserves: 100000", "reserves: 100000.00"),
    ],
)
def test_the_digest_does_not_change_with_words_or_zeros(old: str, new: str) -> None:
    assert policy(changed(old, new)).digest() == policy(SHIPPED).digest()


def test_the_order_of_rules_changes_a_line_and_the_digest() -> None:
    lines = SHIPPED.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if "kind: past_due" in line)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    assert policy("".join(lines)).digest() != policy(SHIPPED).digest()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("advance_rate: 0.85", "advance_rate: 85", "less than or equal to 1"),
        ("advance_rate: 0.85", "advance_rat: 0.85", "unknown key"),
        ("pd: [0.20, 0.28, 0.33]", "pd: [0.20, 0.18, 0.33]", "cumulative"),
        ("pd: [0.20, 0.28, 0.33]", "pd: []", "at least 1"),
        ("stage_3_after_days: 90", "stage_3_after_days: 30", "more than stage_2_after_days"),
        ("kind: past_due, days: 30", "kind: past_due", "days belong"),
        ("kind: restructured}", "kind: restructured, days: 3}", "days belong"),
        ("column: currency, values: [USD]", "column: currency", "needs both"),
        ("column: currency, values", "column: loan_id, values", "column"),
        ("name: restructured", "name: not factoring", "stands twice"),
        ("limit: 50", "limit: NaN", "finite"),
        ("commitment: 5000000", "commitment: -1", "greater than or equal to 0"),
    ],
)
def test_what_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        policy(changed(old, new))
    assert refused.value.code == "CFG-501"
    assert str(refused.value.where).startswith("portfolio.yml:")


def test_the_examples_of_the_page_are_read(repository: Path) -> None:
    text = (repository / "docs" / "portfolio.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found = policy("".join(examples))
    assert found.provisions and found.borrowing_base and len(found.covenants) == 1

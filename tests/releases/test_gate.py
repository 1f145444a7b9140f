"""Gates and expected differences: read strictly, sealed, and no way of loosening them goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import ConfigError
from abaco_loans.releases.expected import Expected, Measure, Way, digest_of_ledger
from abaco_loans.releases.gate import Gates, Rule, loosened
from abaco_loans.releases.gate_file import read_expected, read_gates
from abaco_loans.strict_yaml import parse
from tests.kpi.tables import builtin_release
from tests.releases.sides import COLLECTION, PAR_30, PAR_90, key

KPIS = [kpi.id for kpi in builtin_release().catalogue.kpis]
SHIPPED = resources.files("abaco_loans").joinpath("builtin_releases")
FULL = "{kpi: risk.par_30, direction: up, min: 0, max: 1, why: w, until: 2026-12-31, author: a}"


def gates(text: str) -> Gates:
    return read_gates(parse(text, name="gates.yml"), kpis=KPIS)


def expected(text: str) -> tuple[Expected, ...]:
    return read_expected(parse(text, name="expected.yml"), kpis=KPIS)


def test_the_shipped_files() -> None:
    found = gates(SHIPPED.joinpath("gates.yml").read_text(encoding="utf-8"))
    assert found.metrics[PAR_30] == Rule(critical=True, must_have_data=True, weight=3)
    assert found == replace(Gates(), metrics=found.metrics)
    assert found.tolerances().of("growth.active_clients") == found.tolerances().of(PAR_30)
    ledger = expected(SHIPPED.joinpath("expected.yml").read_text(encoding="utf-8"))
    assert {item.key.kpi for item in ledger} >= {PAR_30, PAR_90, COLLECTION}
    assert all(item.greatest == Decimal("0.05") and item.way is Way.EITHER for item in ledger)


def test_empty_files_are_the_original_tolerances_and_no_predictions() -> None:
    assert gates("{}") == Gates()
    assert Gates().others == Rule(pass_percent=Decimal("0.1"), halt_percent=Decimal(1))
    assert expected("{}") == ()


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("others: {pass_percent: NaN}", 1, "finite"),
        ("others: {pass_percent: -1}", 1, "greater than or equal to 0"),
        ("others: {pass_percent: 2}", 1, "above halt_percent"),
        ("others: {critical: true}", 1, "unknown key"),
        ("metrics:\n  risk.par_30: {weight: 0}", 2, "greater than or equal to 1"),
        ("metrics:\n  risk.par_30: {pass: 1}", 2, "unknown key"),
        ("pass_score: 80\nfail_score: 90", 1, "fail_score is above pass_score"),
        ("consecutive_passes: 0", 1, "greater than or equal to 1"),
        ("dry_run: maybe", 1, "boolean"),
    ],
)
def test_gates_are_read_strictly(text: str, where: int, words: str) -> None:
    with pytest.raises(ConfigError, match="GATE-101") as caught:
        gates(text)
    assert caught.value.where == f"gates.yml:{where}"
    assert words in caught.value.what


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min: 0", "min: 2", "min is above max"),
        ("until: 2026-12-31", "until: 20261231", "write a date"),
        ("until: 2026-12-31", "until: 2026-02-30", "date"),
        ("why: w", 'why: ""', "at least 1 character"),
        ("author: a", "author: null", "author: empty"),
        ("direction: up", "direction: sideways", "up"),
        ("max: 1", "max: Infinity", "finite"),
        ("max: 1", "max: 1, segment: product", "go together"),
        ("max: 1", "max: 1, segments: true, segment: product, segment_value: x", "as a whole"),
    ],
)
def test_expected_differences_are_read_strictly(old: str, new: str, words: str) -> None:
    assert expected(f"expected:\n  - {FULL}")
    with pytest.raises(ConfigError, match="GATE-102") as caught:
        expected(f"expected:\n  - {FULL.replace(old, new)}")
    assert caught.value.where == "expected.yml:2"
    assert words in caught.value.what


def test_a_kpi_that_nobody_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"GATE-103.*gates.yml:2.*did you mean 'risk.par_30'"):
        gates("metrics:\n  risk.par_3: {}")
    with pytest.raises(ConfigError, match=r"GATE-103.*expected.yml:2.*did you mean 'risk.par_30'"):
        expected(f"expected:\n  - {FULL.replace('risk.par_30', 'risk.par_3')}")


# --- sealing -------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_the_gates_say_and_not_of_how() -> None:
    first = gates("metrics:\n  risk.par_30: {pass_percent: 0.10}\n  risk.par_90: {}")
    second = gates("# said differently\nmetrics: {risk.par_90: {weight: 1}, risk.par_30: {}}")
    assert first.digest() == second.digest()
    ledger = expected(f"expected:\n  - {FULL}\n  - {FULL.replace('up', 'down')}")
    assert digest_of_ledger(ledger) == digest_of_ledger(ledger[::-1])
    again = expected(f"expected:\n  - {FULL.replace('max: 1', 'max: 1.0')}\n  - {FULL.replace('up', 'down')}")
    assert digest_of_ledger(ledger) == digest_of_ledger(again)


ENTRY = Expected(
    key=key(PAR_30), way=Way.UP, least=Decimal(0), greatest=Decimal(1), why="w", until=date(2026, 1, 1), author="a"
)


def test_every_part_of_the_ledger_is_in_its_digest() -> None:
    other: dict[str, Any] = {
        "key": key(PAR_90),
        "way": Way.DOWN,
        "least": Decimal("0.5"),
        "greatest": Decimal(2),
        "why": "x",
        "until": date(2027, 1, 1),
        "author": "b",
        "measure": Measure.PERCENT,
        "segments": True,
        "stage_loans_max": 1,
    }
    assert set(other) == {field.name for field in fields(Expected)}
    digests = {digest_of_ledger([replace(ENTRY, **{name: value})]) for name, value in other.items()}
    assert len(digests | {digest_of_ledger([ENTRY]), digest_of_ledger([])}) == len(other) + 2


OLD = Gates(
    metrics={
        PAR_30: Rule(critical=True, must_have_data=True, weight=3),
        PAR_90: Rule(pass_percent=Decimal("0.05")),
    },
    others=Rule(),
    pass_score=Decimal(90),
    fail_score=Decimal(80),
    tapes_min=3,
    consecutive_passes=3,
    evidence_days_max=7,
)


def rule_of(kpi: str, **given_: Any) -> Gates:
    return replace(OLD, metrics={**OLD.metrics, kpi: replace(OLD.rule(kpi), **given_)})


LOOSER: dict[str, tuple[Gates, str]] = {
    "pass_score": (replace(OLD, pass_score=Decimal(89)), "pass_score: 90 → 89"),
    "fail_score": (replace(OLD, fail_score=Decimal(0)), "fail_score: 80 → 0"),
    "tapes_min": (replace(OLD, tapes_min=2), "tapes_min: 3 → 2"),
    "consecutive_passes": (replace(OLD, consecutive_passes=1), "consecutive_passes: 3 → 1"),
    "evidence_days_max": (replace(OLD, evidence_days_max=8), "evidence_days_max: 7 → 8"),
    "dry_run": (replace(OLD, dry_run=True), "dry_run: false → true"),
    "metrics": (replace(OLD, metrics={PAR_90: OLD.metrics[PAR_90]}), "risk.par_30: no longer listed"),
    "others": (
        replace(OLD, others=Rule(pass_percent=Decimal("0.2"))),
        "others: pass_percent 0.1 → 0.2",
    ),
    "pass_percent": (rule_of(PAR_90, pass_percent=Decimal("0.06")), "risk.par_90: pass_percent 0.05 → 0.06"),
    "halt_percent": (rule_of(PAR_30, halt_percent=Decimal(2)), "risk.par_30: halt_percent 1 → 2"),
    "weight": (rule_of(PAR_30, weight=2), "risk.par_30: weight 3 → 2"),
    "critical": (rule_of(PAR_30, critical=False), "risk.par_30: critical true → false"),
    "must_have_data": (rule_of(PAR_30, must_have_data=False), "risk.par_30: must_have_data true → false"),
    "segments": (rule_of(PAR_30, segments=False), "risk.par_30: segments true → false"),
    "newly listed": (rule_of(COLLECTION, halt_percent=Decimal(5)), "risk.collection_rate: halt_percent 1 → 5"),
}


@pytest.mark.parametrize("name", LOOSER)
def test_each_way_of_loosening_is_found(name: str) -> None:
    new, words = LOOSER[name]
    assert words in loosened(OLD, new)
    assert new.digest() != OLD.digest()


def test_no_field_is_left_out() -> None:
    assert {field.name for kind in (Gates, Rule) for field in fields(kind)} <= set(LOOSER)


def test_tightening_is_no_loosening() -> None:
    tighter = replace(
        OLD,
        metrics={
            PAR_30: replace(OLD.metrics[PAR_30], pass_percent=Decimal(0), halt_percent=Decimal("0.5")),
            PAR_90: replace(OLD.metrics[PAR_90], critical=True, must_have_data=True),
            COLLECTION: Rule(),
        },
        pass_score=Decimal(100),
        fail_score=Decimal(90),
        tapes_min=4,
        consecutive_passes=5,
        evidence_days_max=1,
    )
    assert loosened(OLD, tighter) == ()
    assert loosened(tighter, OLD)


PERCENTS = st.integers(0, 40).map(lambda tenths: Decimal(tenths) / 10)
RULES = st.builds(
    Rule,
    pass_percent=PERCENTS,
    halt_percent=PERCENTS,
    weight=st.integers(1, 3),
    critical=st.booleans(),
    must_have_data=st.booleans(),
    segments=st.booleans(),
)
GATES = st.builds(
    Gates,
    metrics=st.dictionaries(st.sampled_from([PAR_30, PAR_90, COLLECTION]), RULES, max_size=3),
    others=RULES,
    pass_score=PERCENTS,
    fail_score=PERCENTS,
    tapes_min=st.integers(1, 3),
    consecutive_passes=st.integers(1, 3),
    evidence_days_max=st.integers(0, 3),
    dry_run=st.booleans(),
)
LOOSEN: list[Callable[[Gates, str], Gates]] = [
    lambda old, kpi: replace(old, tapes_min=old.tapes_min - 1),
    lambda old, kpi: replace(old, consecutive_passes=old.consecutive_passes - 1),
    lambda old, kpi: replace(old, pass_score=old.pass_score - 1),
    lambda old, kpi: replace(old, evidence_days_max=old.evidence_days_max + 1),
    lambda old, kpi: replace(old, others=replace(old.others, halt_percent=old.others.halt_percent + 1)),
    lambda old, kpi: replace(
        old, metrics={**old.metrics, kpi: replace(old.rule(kpi), pass_percent=old.rule(kpi).pass_percent + 1)}
    ),
    lambda old, kpi: replace(
        old, metrics={**old.metrics, kpi: replace(old.rule(kpi), halt_percent=old.rule(kpi).halt_percent + 1)}
    ),
    lambda old, kpi: replace(
        old, metrics={**old.metrics, kpi: replace(old.rule(kpi), weight=old.rule(kpi).weight + 1)}
    ),
]


@given(old=GATES, kpi=st.sampled_from([PAR_30, PAR_90, COLLECTION]), loosen=st.sampled_from(LOOSEN), other=GATES)
def test_a_random_loosening_is_found(old: Gates, kpi: str, loosen: Callable[[Gates, str], Gates], other: Gates) -> None:
    assert loosened(old, old) == ()
    assert loosened(old, loosen(old, kpi))
    # Of two different rules for a KPI, one is looser than the other in something.
    if set(old.metrics) == set(other.metrics) and (old.metrics, old.others) != (other.metrics, other.others):
        assert loosened(old, other) or loosened(other, old)

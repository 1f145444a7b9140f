"""Figures of a checkpoint: what is not there is unknown, what grows or lasts is seen, one odd value is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.watch.check import Status
from abaco_loans.watch.checkpoint import Before, Figures, growth_percent, judged_figures, no_latency, status_of
from abaco_loans.watch.metric import METRICS

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
GOOD = Figures(
    at=NOON,
    numbers={
        "kpi_latency_ms": Decimal("0.7"),
        "error_rate_percent": Decimal(0),
        "memory_mb": Decimal(105),
        "cpu_percent": Decimal(3),
        "audit_trail_events": Decimal(8),
        "kpi_variance_percent": Decimal(0),
    },
    pipeline_status="running",
    validation_status=Status.PASS,
)


def before(*values: tuple[float, str, str]) -> list[Before]:
    """Earlier checkpoints: hours ago, memory, CPU."""
    return [
        Before(at=NOON - timedelta(hours=ago), memory_mb=Decimal(memory), cpu_percent=Decimal(cpu))
        for ago, memory, cpu in values
    ]


def odd(figures: Figures, earlier: Sequence[Before] = (), baseline: dict[str, Decimal] | None = None) -> dict[str, str]:
    """The figures that are not PASS."""
    found = judged_figures(figures, earlier, baseline or {})
    assert set(found) == {*METRICS, "pipeline_status", "validation_status"}
    return {name: item.status.value for name, item in found.items() if item.status is not Status.PASS}


def test_all_is_well_and_the_nine_figures_are_there() -> None:
    assert odd(GOOD) == {}
    assert list(GOOD.as_dict()) == [
        "timestamp", "kpi_latency_ms", "error_rate_percent", "memory_mb", "cpu_percent", "audit_trail_events",
        "kpi_variance_percent", "pipeline_status", "validation_status",
    ]  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_is_missing_is_unknown(name: str) -> None:
    without = replace(GOOD, numbers=dict(GOOD.numbers) | {name: None})
    found = judged_figures(without, [], {})
    assert {key for key, item in found.items() if item.status is not Status.PASS} == {name}
    assert status_of(found) is Status.UNKNOWN
    assert without.as_dict()[name] is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"pipeline_status": None}, {"pipeline_status": "UNKNOWN"}),
        ({"pipeline_status": "held"}, {"pipeline_status": "WARN"}),
        ({"pipeline_status": "stalled"}, {"pipeline_status": "FAIL"}),
        ({"validation_status": Status.FAIL}, {"validation_status": "FAIL"}),
        ({"validation_status": Status.UNKNOWN}, {"validation_status": "UNKNOWN"}),
        ({"not_applicable": no_latency()}, {"kpi_latency_ms": "NOT_APPLICABLE"}),
    ],
)
def test_what_is_no_number(changed: dict[str, Any], expected: dict[str, str]) -> None:
    assert odd(replace(GOOD, **changed)) == expected


def test_cpu_is_critical_only_when_it_lasts() -> None:
    busy = replace(GOOD, numbers=dict(GOOD.numbers) | {"cpu_percent": Decimal(95)})
    assert odd(busy) == {"cpu_percent": "WARN"}
    assert odd(busy, before((2, "105", "95"), (1, "105", "20"))) == {"cpu_percent": "WARN"}
    assert odd(busy, before((1, "105", "90"))) == {"cpu_percent": "FAIL"}


def test_memory_that_grows_and_memory_over_the_baseline() -> None:
    growing = before((3, "60", "1"), (2, "80", "1"), (1, "100", "1"))
    assert odd(replace(GOOD, numbers=dict(GOOD.numbers) | {"memory_mb": Decimal(120)}), growing) == {
        "memory_mb": "FAIL"
    }
    once = before((4, "105", "1"), (3, "180", "1"), (2, "104", "1"), (1, "106", "1"))
    assert odd(GOOD, once) == {}
    assert odd(GOOD, (), {"memory_mb": Decimal(105)}) == {}
    assert odd(GOOD, (), {"memory_mb": Decimal(99)}) == {"memory_mb": "WARN"}


@given(
    start=st.integers(50, 500),
    slope=st.integers(-5, 50),
    spoiled=st.integers(0, 8),
    spoil=st.integers(1, 5000),
)
def test_growth_is_the_slope_whatever_one_value_says(start: int, slope: int, spoiled: int, spoil: int) -> None:
    values = [(NOON + timedelta(hours=n), Decimal(start + n * slope)) for n in range(9)]
    if spoiled:  # the first is what the growth is a percentage of
        values[spoiled] = values[spoiled][0], Decimal(spoil)
    found = growth_percent(values)
    assert found is not None
    assert abs(found - Decimal(slope * 100) / start) < Decimal("0.01")


def test_growth_is_not_known_too_early() -> None:
    values = [(NOON + timedelta(minutes=30 * n), Decimal(100 + n)) for n in range(4)]
    assert growth_percent(values) is None  # an hour and a half
    assert growth_percent([*values, (NOON + timedelta(hours=2), Decimal(104))]) == 2
    assert growth_percent(values[:3]) is None

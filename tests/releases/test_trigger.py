"""What calls production back; what was not measured is never calm."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.releases.trigger import Cause, ErrorRate, ProductionMetrics, triggers
from tests.releases.plans import NOW


def minutes(count: float) -> datetime:
    """So many minutes ago."""
    return NOW - timedelta(minutes=count)


def rates(*said: tuple[float, Any]) -> tuple[ErrorRate, ...]:
    """Minutes ago, percent."""
    return tuple(
        ErrorRate(at=minutes(ago), percent=None if percent is None else Decimal(percent)) for ago, percent in said
    )


CALM = ProductionMetrics(
    at=NOW,
    error_rates=rates((6, 0), (3, 0), (0, 0)),
    lost_jobs=0,
    crashes=(),
    kpi_variances_percent={"risk.par_30": Decimal(5), "risk.par_90": Decimal(0)},
    ledger_verified=True,
    audit_events=6,
)


def found(**said: Any) -> dict[Cause, bool]:
    """Every cause that is not calm, and whether it fired."""
    return {item.cause: item.fired for item in triggers(replace(CALM, **said))}


def test_all_measured_and_calm_is_calm() -> None:
    assert triggers(CALM) == ()


def test_whatever_is_missing_is_unknown_and_nothing_measured_is_all_of_them() -> None:
    names = {item.name for item in fields(ProductionMetrics)} - {"at"}
    for name in names:
        assert list(found(**{name: None}).values()) == [False], name
    assert found(**dict.fromkeys(names)) == dict.fromkeys(Cause, False)


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        (((6, 9), (3, 9), (0, 9)), True),
        (((5, 9), (0, 9)), True),
        (((5, "5.001"), (0, "5.001")), True),
        (((60, 0), (5, 9), (0, 9)), True),  # what was before does not matter
        (((6, 9), (3, 5), (0, 9)), None),  # 5 % is not more than 5 %
        (((6, 5), (3, 9), (0, 9)), None),  # it began less than five minutes ago
        (((0, 0),), None),  # just begun, and good
        (((4.9, 9), (0, 9)), False),  # high since the beginning, which is not five minutes ago
        (((60, 9), (0, 9)), False),  # and nobody looked between
        ((), False),
        (((6, 0),), False),  # nothing in the last five minutes
        (((6, 0), (3, None), (0, 0)), False),
        (((6, 9), (3, "NaN"), (0, 9)), False),
        (((6, 0), (0, "Infinity")), False),
        (((6, 0), (0, "-1")), False),
        (((6, 0), (3, 0), (-1, 0)), False),  # in the future
    ],
)
def test_the_error_rate_must_be_high_for_five_minutes(said: tuple[tuple[float, Any], ...], fires: bool | None) -> None:
    given = rates(*said)
    assert found(error_rates=given).get(Cause.ERROR_RATE) is fires
    assert found(error_rates=given[::-1]).get(Cause.ERROR_RATE) is fires


@pytest.mark.parametrize(
    ("said", "cause", "fires"),
    [
        ({"lost_jobs": 1}, Cause.DATA_LOSS, True),
        ({"lost_jobs": -1}, Cause.DATA_LOSS, False),
        ({"crashes": (minutes(15), minutes(1), minutes(0))}, Cause.CRASHES, True),
        ({"crashes": (minutes(15.1), minutes(1), minutes(0))}, Cause.CRASHES, None),
        ({"crashes": (minutes(-60), minutes(1), minutes(0))}, Cause.CRASHES, True),
        ({"kpi_variances_percent": {}}, Cause.KPI_VARIANCE, False),
        ({"kpi_variances_percent": {"a.b": None, "a.c": Decimal(0)}}, Cause.KPI_VARIANCE, False),
        ({"kpi_variances_percent": {"a.b": None, "a.c": Decimal("5.01")}}, Cause.KPI_VARIANCE, True),
        ({"kpi_variances_percent": {"a.b": Decimal("NaN")}}, Cause.KPI_VARIANCE, False),
        ({"kpi_variances_percent": {"a.b": Decimal(-6)}}, Cause.KPI_VARIANCE, False),
        ({"kpi_variances_percent": {"a.b": Decimal("Infinity")}}, Cause.KPI_VARIANCE, True),
        ({"ledger_verified": False, "audit_events": None}, Cause.AUDIT_TRAIL, True),
        ({"ledger_verified": None, "audit_events": 0}, Cause.AUDIT_TRAIL, True),
    ],
)
def test_the_other_causes(said: dict[str, Any], cause: Cause, fires: bool | None) -> None:
    assert found(**said).get(cause) is fires
    assert found(**said).keys() <= {cause}


PERCENT = st.one_of(st.none(), st.decimals(allow_nan=True, allow_infinity=True))
RATES = st.lists(st.tuples(st.integers(-2, 20), PERCENT), max_size=6)


@given(RATES, st.integers(0, 5))
def test_losing_a_measurement_never_makes_production_calm(said: list[tuple[int, Any]], lost: int) -> None:
    """Unless what is lost is older than five minutes, and what is left speaks for itself."""
    kept = [(ago, None if index == lost and ago < 5 else percent) for index, (ago, percent) in enumerate(said)]
    before = found(error_rates=rates(*said)).get(Cause.ERROR_RATE)
    after = found(error_rates=rates(*kept)).get(Cause.ERROR_RATE)
    assert before is None or after is not None

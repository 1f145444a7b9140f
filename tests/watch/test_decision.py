"""Decision points: what passes, what never does, and where each choice leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from abaco_loans.errors import InvariantError
from abaco_loans.watch.check import Status
from abaco_loans.watch.decision import (
    FREQUENCY,
    MOVES,
    Choice,
    Criterion,
    Facts,
    Point,
    Seen,
    judged_point,
    may_choose,
    passes,
    point_at,
    points,
    sign_off_point,
)
from abaco_loans.watch.schedule import schedule

DAY_1 = sign_off_point(1)
CALM = {"kpi_variance_percent": Status.PASS, "memory_mb": Status.PASS}


def facts(point: Point, changed: Mapping[str, Any]) -> Facts:
    """All is well up to a point, but for one checkpoint in the middle, which is changed."""
    seen = [Seen(hour=hour, status=Status.PASS, metrics=CALM) for hour in schedule() if hour <= point.hour]
    seen[3] = replace(seen[3], **changed)
    return Facts(checkpoints=tuple(seen), fired=(), ledger_verified=True)


def unmet(point: Point, given: Facts) -> set[Criterion]:
    found = judged_point(point, given)
    assert all(bool(item.words) is not item.met for item in found)
    return {item.criterion for item in found if not item.met}


def metrics(**statuses: Status) -> dict[str, Status]:
    return CALM | statuses


ALL, PASSED, ODD, STABLE = (
    Criterion.ALL_DONE,
    Criterion.ALL_PASS,
    Criterion.NO_ANOMALY,
    Criterion.BASELINE_STABLE,
)
CRITICAL, LEDGER = Criterion.NOTHING_CRITICAL, Criterion.LEDGER_VERIFIED
MISSED: dict[str, Any] = {"status": None, "metrics": {}}
WARNED = {"status": Status.WARN, "metrics": metrics(memory_mb=Status.WARN)}
FAILED = {"status": Status.FAIL, "metrics": metrics(memory_mb=Status.FAIL)}
UNKNOWN = {"status": Status.UNKNOWN, "metrics": metrics(memory_mb=Status.UNKNOWN)}
DRIFT = {"status": Status.WARN, "metrics": metrics(kpi_variance_percent=Status.WARN)}
UNCOMPARED = {"status": Status.UNKNOWN, "metrics": metrics(kpi_variance_percent=Status.UNKNOWN)}


@pytest.mark.parametrize(
    ("point", "changed", "expected"),
    [
        (FREQUENCY, {}, set()),
        (FREQUENCY, MISSED, {ALL, PASSED, STABLE}),
        (FREQUENCY, WARNED, {PASSED, ODD}),
        (FREQUENCY, FAILED, {PASSED, ODD, CRITICAL}),
        (FREQUENCY, UNKNOWN, {PASSED, CRITICAL}),
        (FREQUENCY, DRIFT, {PASSED, ODD, STABLE}),
        (FREQUENCY, UNCOMPARED, {PASSED, STABLE, CRITICAL}),
        (DAY_1, {}, set()),
        (DAY_1, WARNED, set()),
        (DAY_1, DRIFT, set()),
        (DAY_1, MISSED, {ALL}),
        (DAY_1, FAILED, {CRITICAL}),
        (DAY_1, UNKNOWN, {CRITICAL}),
    ],
)
def test_what_passes(point: Point, changed: dict[str, Any], expected: set[Criterion]) -> None:
    given = facts(point, changed)
    assert unmet(point, given) == expected
    met = judged_point(point, given)
    assert passes(met) is not bool(expected)
    for choice in Choice:
        trusted = choice in (Choice.REDUCE, Choice.SIGN_OFF)
        allowed = choice in point.choices and (not trusted or not expected)
        assert may_choose(point, choice, met) is allowed
    assert may_choose(point, point.default, met), "the default needs nothing"


@pytest.mark.parametrize("verified", [None, False])
def test_a_ledger_that_is_not_verified_is_not_signed_off(verified: bool | None) -> None:
    assert unmet(DAY_1, replace(facts(DAY_1, {}), ledger_verified=verified)) == {LEDGER}


def test_a_trigger_that_fired_is_critical() -> None:
    for point in (FREQUENCY, DAY_1):
        assert unmet(point, replace(facts(point, {}), fired=("2 tapes are lost",))) == {CRITICAL}


def test_nothing_seen_is_no_pass() -> None:
    nothing = Facts(checkpoints=(), fired=(), ledger_verified=True)
    assert not passes(judged_point(FREQUENCY, nothing))
    assert not passes(judged_point(DAY_1, nothing))


def test_the_points_and_their_declared_defaults() -> None:
    assert [(int(item.hour), int(item.since), item.default.value) for item in points(2)] == [
        (8, 0, "keep"), (24, 0, "extend"), (48, 24, "extend"), (72, 48, "extend"),
    ]  # fmt: skip
    assert points(500)[-1].hour == 28 * 24
    assert point_at(Decimal(8)) == FREQUENCY
    with pytest.raises(InvariantError):
        point_at(Decimal(9))
    for item in points(2):
        assert item.default in item.choices
        assert item.default not in item.trusting, "a default never trusts the release"


def test_every_pair_of_status_and_choice() -> None:
    for status, choice in product(("watching", "extended", "signed_off", "ended"), Choice):
        to = MOVES.get((status, choice))
        if status in ("signed_off", "ended"):
            assert to is None, "nothing is decided after the end"
        elif choice is Choice.SIGN_OFF:
            assert to == "signed_off"
        elif choice is Choice.EXTEND:
            assert to == "extended"
        else:
            assert to == ("watching" if status == "watching" else None)

"""Plans: everything in one is in its hash, and a stored one that was touched is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.releases.gate import digest_of
from abaco_loans.releases.plan import Phase, Plan, PlanFacts, PlanKind, StepKind, cutover_plan, plan_of, rollback_plan
from tests.releases.plans import NOW, facts

BACK = facts(from_release="v2", to_release="v1", undoes="c1", reason="PAR 30 is wrong")
PLANS = [cutover_plan(facts()), rollback_plan(BACK), rollback_plan(BACK, drill=True)]
BY_KIND = pytest.mark.parametrize("plan", PLANS, ids=[plan.kind.value for plan in PLANS])


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    return value + 1 if isinstance(value, int) else (*value, "s3") if isinstance(value, tuple) else value + "x"


@pytest.mark.parametrize("name", [item.name for item in fields(PlanFacts)])
def test_the_hash_changes_with_every_fact(name: str) -> None:
    plan = cutover_plan(facts())
    changed = replace(plan.facts, **{name: other(getattr(plan.facts, name))})
    assert cutover_plan(changed).hash() != plan.hash()


def test_the_hash_changes_with_every_field_of_every_step() -> None:
    plan = cutover_plan(facts())
    hashes = {plan.hash()}
    changes: dict[str, Any] = {
        "number": 99, "phase": Phase.STAGING, "name": "other", "kind": StepKind.REQUEUE, "evidence": ("other",),
        "undo": StepKind.REQUEUE, "timeout_s": 1,
    }  # fmt: skip
    assert changes.keys() == {item.name for item in fields(plan.steps[0])}
    for where in ("steps", "way_back"):
        for name, value in changes.items():
            first, *others = getattr(plan, where)
            changed: Any = {where: (replace(first, **{name: value}), *others)}
            hashes.add(replace(plan, **changed).hash())
    hashes.add(replace(plan, kind=PlanKind.ROLLBACK).hash())
    hashes.add(replace(plan, steps=plan.steps[:-1]).hash())
    hashes.add(replace(plan, steps=plan.steps[::-1]).hash())
    assert len(hashes) == 1 + 2 * len(changes) + 3


def test_the_same_moment_in_another_zone_is_the_same_plan() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert cutover_plan(facts(planned_at=there)).hash() == cutover_plan(facts()).hash()


@BY_KIND
def test_a_plan_comes_back_from_json(plan: Plan) -> None:
    stored = json.loads(json.dumps(plan.as_dict()))
    assert plan_of(stored) == plan
    assert stored["hash"] == plan.hash() == digest_of({name: stored[name] for name in stored if name != "hash"})


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value that is no container."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*path, key))
    else:
        yield path


PLACES = list(places(cutover_plan(facts()).as_dict()))


@given(st.sampled_from(PLACES), st.sampled_from(["", "other", None, 7, -1, True, [], {}, "2026-03-01", "ops\ud800"]))
def test_a_stored_plan_that_was_touched_is_refused(path: tuple[Any, ...], value: Any) -> None:
    stored = cutover_plan(facts()).as_dict()
    touched = deepcopy(stored)
    place: Any = touched
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    if touched != stored:
        with pytest.raises(WorldError, match="CUT-102"):
            plan_of(touched)


@pytest.mark.parametrize("data", [None, 1, "x", [], {}, {"kind": "cutover"}, {**PLANS[0].as_dict(), "more": 1}])
def test_what_is_no_plan_is_refused(data: Any) -> None:
    with pytest.raises(WorldError, match="CUT-102"):
        plan_of(data)


@pytest.mark.parametrize(
    "said",
    [
        {"to_release": "v1"},
        {"planned_by": " "},
        {"workspace_id": ""},
        {"reason": "two\nlines"},
        {"planned_by": "ana\udcff"},
        {"shadow_ids": ("a\x00",)},
        {"planned_at": NOW.replace(tzinfo=None)},
        {"pointer_epoch": -1},
    ],
)
def test_facts_that_cannot_stand_in_a_plan_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="CUT-103"):
        facts(**said)


@BY_KIND
def test_numbers_run_through_and_phases_go_forward(plan: Plan) -> None:
    steps = (*plan.steps, *plan.way_back)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert [plan.step(step.number) for step in steps] == list(steps)
    assert [step.phase for step in steps] == sorted(step.phase for step in steps)
    assert all(step.evidence and step.name and step.timeout_s > 0 for step in steps)


def test_a_cutover_has_six_phases_and_undoes_what_it_does() -> None:
    plan = cutover_plan(facts())
    assert {step.phase for step in plan.steps} == set(Phase) - {Phase.WAY_BACK}
    assert {step.undo for step in plan.steps if step.undo} <= {step.kind for step in plan.way_back}
    assert not [step for step in plan.steps if step.undo and step.phase < Phase.SHUTDOWN]
    everything = {step.kind for step in (*plan.steps, *plan.way_back)}
    assert everything == set(StepKind)


def test_the_old_release_serves_before_anything_else_on_the_way_back_can_fail() -> None:
    kinds = [step.kind for step in cutover_plan(facts()).way_back]
    opened = kinds.index(StepKind.OPEN_QUEUE)
    assert kinds[:opened] == [StepKind.HOLD_QUEUE, StepKind.FENCE_RUNNING, StepKind.SWITCH, StepKind.REQUEUE]
    assert {StepKind.RUN_AGAIN, StepKind.VERIFY_SNAPSHOT, StepKind.PROVE_NO_LOSS} < set(kinds[opened:])
    assert sum(step.timeout_s for step in rollback_plan(BACK).steps) <= 300


def test_which_release_a_switch_makes_active_and_what_runs_again() -> None:
    cutover, rollback, drill = PLANS

    def switches(plan: Plan) -> list[str]:
        steps = (*plan.steps, *plan.way_back)
        return [plan.switches_to(step) for step in steps if step.kind is StepKind.SWITCH]

    assert (switches(cutover), switches(rollback), switches(drill)) == (["v2", "v1"], ["v1"], ["v1"])
    assert cutover.requeue_epoch == 2  # the epoch that the cutover itself begins
    assert rollback.requeue_epoch == 1  # the epoch that was there when the rollback was planned

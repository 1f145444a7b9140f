"""Gates are sealed before anything is compared; what loosens them waits for a second person and stands in reports."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from abaco_loans.clock import Clock, FixedClock
from abaco_loans.errors import ConfigError
from abaco_loans.records.shadows import ShadowPlan
from abaco_loans.records.store import Store, open_store
from tests.operations.desk import NOON, Desk
from tests.operations.shadow_desk import gates, printing, shadow, worked_tape

STRICT = "metrics:\n  risk.par_30: {critical: true, must_have_data: true}\n"
LOOSE = "metrics:\n  risk.par_30: {critical: true, must_have_data: true, pass_percent: 6, halt_percent: 7}\n"
PREDICTED = """\
expected:
  - {kpi: risk.par_30, direction: up, min: 0, max: 1, why: a reason, until: 2030-01-01, author: ana}
"""


@pytest.fixture
def pair(desk: Desk) -> Desk:
    printing(desk, "old", '{"kpis": {"risk.par_30": 2.40000}}')
    printing(desk, "new", '{"kpis": {"risk.par_30": 2.50000}}')
    gates(desk, "new", STRICT)
    return desk


def records_of(desk: Desk, actor: str) -> Store:
    clock: Clock = desk.clock
    return open_store(desk.workspace.records_url, clock=clock, actor=actor)


def test_loosened_gates_judge_nothing_until_a_second_person_approves(pair: Desk) -> None:
    tape = worked_tape(pair)
    assert shadow(pair, tape, "old", "new")["verdict"] == "fail"
    gates(pair, "new", LOOSE)
    found = shadow(pair, tape, "old", "new")
    assert found["verdict"] == "inconclusive"
    assert found["gates"]["pending"] == [
        "risk.par_30: pass_percent 0.1 → 6",
        "risk.par_30: halt_percent 1 → 7",
    ]
    with records_of(pair, "ben") as store:
        seal = store.shadow_reader.seals("new")[-1]
        digests = {"gates_digest": seal.gates_digest, "expected_digest": seal.expected_digest}
        store.shadow_writer.approve("new", reason="the old one rounds", **digests)
    found = shadow(pair, tape, "old", "new")
    assert found["verdict"] == "pass"
    assert found["gates"]["pending"] == []
    (loosening,) = found["gates"]["loosened"]
    assert loosening["approved_by"] == "ben"
    assert loosening["what"] == ["risk.par_30: pass_percent 0.1 → 6", "risk.par_30: halt_percent 1 → 7"]


def test_who_loosened_the_gates_cannot_approve_it(pair: Desk) -> None:
    tape = worked_tape(pair)
    shadow(pair, tape, "old", "new")
    gates(pair, "new", LOOSE)
    shadow(pair, tape, "old", "new")
    with records_of(pair, "x") as store:
        seal = store.shadow_reader.seals("new")[-1]
    with records_of(pair, seal.sealed_by) as store, pytest.raises(ConfigError, match="second"):
        store.shadow_writer.approve(
            "new", gates_digest=seal.gates_digest, expected_digest=seal.expected_digest, reason="because"
        )


def test_a_prediction_after_the_fact_loosens_too(pair: Desk) -> None:
    tape = worked_tape(pair)
    shadow(pair, tape, "old", "new")
    gates(pair, "new", STRICT, PREDICTED)
    found = shadow(pair, tape, "old", "new")
    assert found["verdict"] == "fail"  # more than halt_percent is unexplained all the same
    assert [text for text in found["gates"]["pending"] if text.startswith("expected: risk.par_30 up by 0 to 1")]


def test_gates_that_are_tightened_need_nobody(pair: Desk) -> None:
    gates(pair, "new", LOOSE)
    tape = worked_tape(pair)
    assert shadow(pair, tape, "old", "new")["verdict"] == "pass"
    gates(pair, "new", STRICT)
    found = shadow(pair, tape, "old", "new")
    assert (found["verdict"], found["gates"]["pending"], found["gates"]["loosened"]) == ("fail", [], [])
    gates(pair, "new", LOOSE)  # back again is looser than what is in force
    assert shadow(pair, tape, "old", "new")["gates"]["pending"]


def test_a_dry_run_stops_nobody_and_settles_nothing(pair: Desk) -> None:
    gates(pair, "new", STRICT + "dry_run: true\n")
    found = shadow(pair, worked_tape(pair), "old", "new")
    assert (found["verdict"], found["stops"], found["dry_run"]) == ("fail", False, True)
    assert found["settled"]["outcome"] == "inconclusive"


def test_several_passes_on_several_tapes_settle_the_gate(pair: Desk) -> None:
    from tests.operations.desk import bucketed_row, write_csv

    gates(pair, "new", LOOSE + "tapes_min: 2\nconsecutive_passes: 2\n")
    tape = worked_tape(pair)
    assert shadow(pair, tape, "old", "new")["settled"]["outcome"] == "inconclusive"
    assert shadow(pair, tape, "old", "new")["settled"]["outcome"] == "inconclusive"  # the same tape again
    other = write_csv(tape.with_name("other.csv"), [bucketed_row("A", "100", b0="100")])
    assert shadow(pair, other, "old", "new")["settled"]["outcome"] == "pass"


def test_a_release_is_frozen_by_its_first_comparison(pair: Desk) -> None:
    tape = worked_tape(pair)
    shadow(pair, tape, "old", "new")
    (pair.workspace.root / "releases" / "new" / "program.py").write_text("print('{}')", encoding="utf-8")
    with pytest.raises(ConfigError, match="another meaning"):
        shadow(pair, tape, "old", "new")


def test_a_shadow_run_that_broke_or_was_stopped_is_no_pass(pair: Desk) -> None:
    gates(pair, "new", LOOSE + "consecutive_passes: 2\n")
    tape = worked_tape(pair)
    shadow(pair, tape, "old", "new")
    with records_of(pair, "x") as store:
        (done,) = store.shadow_reader.list()
        plan = ShadowPlan(**{item.name: getattr(done, item.name) for item in fields(ShadowPlan)})
        store.shadow_writer.plan(replace(plan, shadow_id="killed"))
    pair.clock = FixedClock(NOON + timedelta(hours=7))
    assert shadow(pair, tape, "old", "new")["settled"]["outcome"] == "inconclusive"
    assert shadow(pair, tape, "old", "new")["settled"]["outcome"] == "pass"

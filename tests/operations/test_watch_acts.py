"""Who may decide, what a watch does by itself, and production when nothing is watched any more."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.account import account
from abaco_loans.errors import ConfigError, UsageError, WorldError
from abaco_loans.operations.cut_over import start_cutover
from abaco_loans.operations.watch_production import decide, sign_off, tick
from abaco_loans.operations.workspace import SETTINGS_FILE, open_workspace
from abaco_loans.wiring import queue_worker, watch_tools
from tests.operations.cutover_desk import CutoverDesk
from tests.operations.desk import NOON
from tests.operations.watch_desk import CALM, Machine, WatchDesk

DRIFT = Machine(metrics={**CALM, "audit_trail_events": 0})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WatchDesk:
    desk = WatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.prepare(rehearsal=False)
    return desk


@pytest.fixture
def desk(made: WatchDesk, tmp_path: Path) -> WatchDesk:
    return made.copied(tmp_path / "workspace")


def people(desk: WatchDesk, roles: str, *accounts: str) -> None:
    text = f"people:\n  Ana:\n    accounts: [{', '.join(accounts)}]\n    roles: [{roles}]\n"
    (desk.workspace.root / "roles.yml").write_text(text, encoding="utf-8")


# --- who may decide ---


def test_what_trusts_the_release_is_decided_by_operations(desk: WatchDesk) -> None:
    desk.walk(0, 8)
    for roles, accounts, said in (
        ("", (), "there is no roles.yml"),
        ("finance", (account(),), "is of operations"),
        ("ops", ("somebody-else",), "is of operations"),
    ):
        if roles:
            people(desk, roles, *accounts)
        with pytest.raises(UsageError, match=said) as refused:
            desk.decide("8", "reduce")
        assert refused.value.code == "WAT-106"
    people(desk, "finance, ops", account())
    assert desk.decide("8", "reduce").decision == "reduce"


def test_whoever_planned_a_cutover_does_not_trust_it(desk: WatchDesk) -> None:
    desk.walk(0, 8)
    people(desk, "ops", "nobody")
    with pytest.raises(UsageError, match="nobody planned this cutover"):
        tick_decide(desk, "nobody", "reduce")
    (desk.workspace.root / "roles.yml").chmod(0o666)
    with pytest.raises(UsageError, match="can be written by nobody"):
        tick_decide(desk, account(), "reduce")
    assert tick_decide(desk, "anybody", "keep") == "keep", "what is careful needs nothing"


def tick_decide(desk: WatchDesk, who: str, choice: str) -> str | None:
    return decide(replace(desk.tools(), who=who), "8", choice, "all is calm").decision


# --- back by itself ---


def test_a_trigger_is_told_or_pulled_as_the_workspace_says(desk: WatchDesk) -> None:
    reasons: list[str] = []

    def back(reason: str) -> str:
        reasons.append(reason)
        return "r1"

    desk.machine = DRIFT
    proposed = desk.at(1)
    assert (proposed.rollback_proposed, proposed.went_back) == (True, "")
    desk.clock.move_to(NOON + timedelta(hours=2))
    pulled = tick(replace(desk.tools(), go_back=back))
    assert (pulled.went_back, reasons) == ("r1", ["by itself: the last run left no event in the audit ledger"])
    assert "ROLLED BACK: r1" in desk.said


def test_a_rollback_that_fails_is_told_and_tried_again(desk: WatchDesk) -> None:
    def stuck(reason: str) -> str:
        raise WorldError("the disk is full", code="OUT-101", where="outputs", hint="make room")

    desk.machine = DRIFT
    for hours in (1, 2):
        desk.clock.move_to(NOON + timedelta(hours=hours))
        outcome = tick(replace(desk.tools(), go_back=stuck))
        assert outcome.stuck is not None and outcome.went_back == ""
    assert sum("THE ROLLBACK FAILED: the disk is full (OUT-101)" in line for line in desk.said) == 2


def test_nothing_unknown_pulls_anything(desk: WatchDesk) -> None:
    def never(reason: str) -> str:
        raise AssertionError(reason)

    desk.machine = Machine(metrics={**CALM, "audit_trail_events": None})
    desk.clock.move_to(NOON + timedelta(hours=1))
    outcome = tick(replace(desk.tools(), go_back=never))
    assert [item.fired for item in outcome.triggers] == [False]


@pytest.mark.slow
def test_after_a_real_cutover_production_is_watched_and_goes_back_by_itself(
    production: CutoverDesk, tmp_path: Path
) -> None:
    """The real wiring: the watch begins with the staging's figures, the old release runs dark, a lost tape pulls."""
    desk = production.copy(tmp_path / "workspace")
    settings = desk.workspace.root / SETTINGS_FILE
    settings.write_text(settings.read_text(encoding="utf-8") + "rollback: automatic\n", encoding="utf-8")
    desk.workspace = open_workspace(desk.workspace.root, desk.environment)
    record = start_cutover(desk.approved().cutover_id, desk.given(real=True))
    assert record.status == "completed"
    with desk.records() as records:
        watch = records.watch_reader.current()
    assert watch is not None, "a completed cutover is watched"
    assert (watch.watch_id, watch.release, watch.baseline_release) == (record.cutover_id, "v2", "v1")
    assert {"kpi_latency_ms", "memory_mb"} <= watch.baseline.keys()
    assert all(Decimal(watch.baseline[name]) > 0 for name in ("kpi_latency_ms", "memory_mb"))
    desk.arrive(4)
    queue_worker(desk.workspace, {**os.environ, **desk.environment}, desk.said.append, desk.clock).work(until_idle=True)
    with desk.records() as records:
        (dark,) = records.shadow_reader.list(1)
    assert (dark.baseline, dark.candidate, dark.status) == ("v2", "v1", "finished"), "v1 goes on in the dark"
    (job,) = desk.arrive(5)
    with desk.records() as records:
        waiting = records.production_reader.job(job)
    assert waiting is not None
    (desk.workspace.root / waiting.spool).unlink()
    outcome = tick(watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock))
    assert "data_loss" in {item.cause.value for item in outcome.triggers if item.fired}
    assert outcome.stuck is None, outcome.stuck
    with desk.records() as records:
        assert records.production_reader.pointer().active == "v1"
    assert desk.record(outcome.went_back).status == "completed"


# --- when nothing is watched ---


def test_production_is_validated_once_a_day_for_ever(desk: WatchDesk) -> None:
    with desk.records() as records:
        records.watch_writer.move("c1", "ended", "28 days are over")
    found = []
    for hours in (1, 2, 30):
        desk.clock.move_to(NOON + timedelta(hours=hours))
        outcome = tick(watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock))
        assert outcome.done is None
        found.append(outcome.validated is not None)
    assert found == [True, False, True]


# --- what follows ---


def test_a_sign_off_is_archived(desk: WatchDesk) -> None:
    """The real wiring: reports, and an evidence pack that its own verifier accepts, named in the ledger."""
    people(desk, "ops", account())
    desk.walk(0, 24)
    made = watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    assert sign_off(replace(desk.tools(), archive=made.archive), "a calm day").decision == "sign_off"
    path = desk.workspace.root / "archive" / "cutover-c1.zip"
    with desk.records() as records:
        event = records.last_event_of("watch.archived")
    assert event is not None
    assert event.payload["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with zipfile.ZipFile(path) as pack:
        assert {f"reports/cutover-c1/{kind}.md" for kind in ("handoff", "onepage", "signoff")} <= set(pack.namelist())
        (desk.workspace.root / "verify_audit.py").write_bytes(pack.read("verify_audit.py"))
    verified = subprocess.run(
        [sys.executable, "-I", str(desk.workspace.root / "verify_audit.py"), str(path)],
        capture_output=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout


def test_a_tick_is_logged_and_alerts_even_where_alerts_yml_is_broken(desk: WatchDesk) -> None:
    (desk.workspace.root / "alerts.yml").write_text("channels: 7\n", encoding="utf-8")
    made = watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    desk.machine = DRIFT
    desk.clock.move_to(NOON + timedelta(hours=1))
    with pytest.raises(ConfigError, match=r"alerts\.yml"):
        tick(replace(desk.tools(), follow=made.follow))
    assert any("ALERTS GO TO THE CONSOLE ONLY" in line for line in desk.said)
    assert any("rollback_proposed" in line or "go back" in line for line in desk.said if "ALERTS GO" not in line)
    with desk.records() as records:
        assert "rollback_proposed" in {item.rule for item in records.alert_reader.open()}
    log = (desk.workspace.root / "logs" / "watch_c1.log").read_text(encoding="utf-8")
    assert log.count("\n") == 1 and "hour=1 mark=FAIL" in log

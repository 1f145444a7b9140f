"""Alerts of production over real records: what is raised, who is told, what resolves; and nothing of it twice."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

from abaco_loans.errors import ConfigError, UsageError, WorldError
from abaco_loans.operations.alert_production import alert_production, due_notices, policy_of, raise_alerts
from abaco_loans.operations.answer_alerts import (
    acknowledge,
    alert_document,
    alerts_document,
    silence,
    try_channels,
)
from abaco_loans.operations.deliver_alerts import message_of
from abaco_loans.operations.production_facts import gather
from abaco_loans.operations.watch_production import TickOutcome
from abaco_loans.operations.workspace import ALERTS_FILE
from abaco_loans.outputs.channels.base import Channel, ChannelError
from abaco_loans.records.cutovers import CutoverStatus, NewCutover
from abaco_loans.releases.trigger import Cause, Trigger
from abaco_loans.watch.alert import Raise, Severity, Signal
from abaco_loans.watch.alert_policy import AlertPolicy
from abaco_loans.watch.check import Status
from abaco_loans.watch.rules import RULES, Ended
from tests.operations.alert_watch_desk import AlertWatchDesk
from tests.operations.desk import NOON
from tests.operations.watch_desk import CALM, Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AlertWatchDesk:
    desk = AlertWatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.prepare()
    return desk


@pytest.fixture
def desk(made: AlertWatchDesk, tmp_path: Path) -> AlertWatchDesk:
    """Production under watch, all calm."""
    desk = made.copied(tmp_path / "workspace")
    assert isinstance(desk, AlertWatchDesk)
    desk.sent = []
    return desk


@pytest.fixture
def steady(tmp_path: Path) -> AlertWatchDesk:
    """Production that was never watched."""
    desk = AlertWatchDesk(tmp_path / "workspace")
    with desk.records() as records:
        records.production_writer.ensure("v2")
    return desk


LATE = Machine(metrics={**CALM, "kpi_latency_ms": Decimal(600)})


def head(desk: AlertWatchDesk) -> object:
    with desk.records() as records:
        return records.head()


# --- under a watch ---


def test_a_calm_day_raises_nothing(desk: AlertWatchDesk) -> None:
    desk.walk(0, 8)
    assert (desk.alerts(), desk.sent) == ((), [])


@pytest.mark.parametrize(("latency_ms", "severity"), [("120", "warning"), ("600", "critical")])
def test_one_fault_is_one_alert_and_resolves_when_it_goes(desk: AlertWatchDesk, latency_ms: str, severity: str) -> None:
    desk.machine = Machine(metrics={**CALM, "kpi_latency_ms": Decimal(latency_ms)})
    desk.at(1)
    assert desk.open() == {"kpi_latency": severity}
    assert desk.told() == ["raise engineering_lead"]
    assert [text for text in desk.sent if "calculation of 1,000 rows" in text and latency_ms in text]
    desk.machine = Machine(metrics=CALM)
    desk.at(1.01)
    assert desk.open() == {"kpi_latency": severity}  # not measured again yet
    desk.at(2)
    assert desk.open() == {}
    (found,) = desk.alerts()
    assert (found.owner, found.runbook, found.resolved_at) == (
        "data_operations", "docs/operations.md#kpi-latency", NOON + timedelta(hours=2),
    )  # fmt: skip


def test_nobody_answers_for_an_hour(desk: AlertWatchDesk) -> None:
    desk.machine = LATE
    desk.at(1)
    for _ in range(12):
        desk.after(minutes=5)
    desk.machine = Machine(metrics=CALM)
    desk.at(2.5)
    assert desk.told() == [
        "raise engineering_lead", "escalate data_operations", "escalate vp_engineering", "escalate all_hands",
        "resolve engineering_lead", "resolve data_operations", "resolve vp_engineering", "resolve all_hands",
    ]  # fmt: skip


def test_what_is_lost_proposes_a_rollback_to_who_decides(desk: AlertWatchDesk) -> None:
    submitted = desk.submit(desk.tape())
    (desk.workspace.root / submitted.job.spool).unlink()
    desk.at(0.5)
    assert desk.open() == {"rollback_proposed[data_loss]": "critical"}
    (found,) = desk.alerts()
    assert (found.owner, found.words) == ("vp_engineering", "1 tapes are lost")


def test_a_trigger_that_is_not_known_any_more_resolves_nothing(desk: AlertWatchDesk) -> None:
    outcome = desk.at(0.5)
    fired = [Trigger(cause=Cause.CRASHES, fired=True, words="3 crashes in 15 minutes")]
    desk.alerted(replace(outcome, triggers=tuple(fired)))
    assert desk.open() == {"rollback_proposed[crashes]": "critical"}
    unknown = [replace(item, fired=False) for item in fired]
    desk.alerted(replace(outcome, triggers=tuple(unknown)))
    assert desk.open() == {"rollback_proposed[crashes]": "critical"}
    desk.alerted(replace(outcome, triggers=()))
    assert desk.open() == {}


def test_what_follows_from_another_alert_is_recorded_and_not_told(desk: AlertWatchDesk) -> None:
    desk.machine = replace(LATE, status=Status.FAIL)
    desk.at(1)
    assert desk.open() == {"kpi_latency": "critical", "validation": "critical"}
    assert desk.told() == ["raise engineering_lead"]
    shown = {item["rule"]: item["follows_from_another"] for item in alerts_document(desk.alert_tools(), whole=False)}
    assert shown == {"kpi_latency": False, "validation": True}
    desk.machine = Machine(metrics=CALM, status=Status.FAIL)
    desk.at(2)
    assert desk.open() == {"validation": "critical"}
    assert desk.told("kpi_latency") == ["raise engineering_lead", "resolve engineering_lead"]
    assert desk.told("validation") == ["raise engineering_lead"]


def test_a_run_without_events_is_one_cause_with_one_message(desk: AlertWatchDesk) -> None:
    desk.machine = Machine(metrics={**CALM, "audit_trail_events": 0}, status=Status.FAIL)
    desk.at(1)
    assert desk.open() == dict.fromkeys(["rollback_proposed[audit_trail]", "audit_trail", "validation"], "critical")
    assert desk.told() == ["raise engineering_lead"]
    assert [item.rule for item in desk.alerts() if item.owner == "vp_engineering"] == ["rollback_proposed"]


def test_missed_checkpoints_are_told_until_one_is_done_in_time(desk: AlertWatchDesk) -> None:
    desk.at(1)
    desk.at(3.1)
    assert desk.open() == {"checkpoint_missed": "warning"}
    assert desk.alerts()[0].words == "not done: the checkpoint at hour 2, 2.5"
    desk.at(3.2)
    assert desk.open() == {"checkpoint_missed": "warning"}
    desk.at(3.5)
    assert desk.open() == {}


def test_a_decision_that_waits(desk: AlertWatchDesk) -> None:
    desk.walk(0, 8)
    desk.at(8.4)
    assert desk.open() == {}
    desk.at(8.5)
    assert desk.open() == {"decision_open[8]": "warning"}
    desk.decide("8", "keep")
    desk.at(8.6)
    assert desk.open() == {}


def test_the_end_of_a_watch_ends_what_only_it_measures(desk: AlertWatchDesk) -> None:
    desk.machine = Machine(metrics=CALM, cpu_percent=None)
    desk.at(1)
    assert desk.open() == {"cpu": "warning"}
    with desk.records() as records:
        records.watch_writer.move("c1", "signed_off", "a test")
        records.watch_writer.move("c1", "ended", "a test")
    desk.at(1.1)
    assert desk.open() == {}
    with desk.records() as records:
        (said,) = [event.payload["words"] for event in records.events() if event.action == "alert.resolved"]
    assert said == "no cutover is watched any more; nobody measures it"


# --- for ever ---


def test_steady_state(steady: AlertWatchDesk) -> None:
    steady.at(0)
    assert steady.open() == {}
    steady.submit(steady.tape(amount=100))
    steady.work()
    steady.at(1)
    assert {cause: how for cause, how in steady.open().items() if "par_30" in cause} == {
        "kpi_threshold[risk.par_30]": "critical"
    }
    (words,) = [item.words for item in steady.alerts() if item.subject == "risk.par_30"]
    assert words == "risk.par_30 is beyond its critical threshold: 33.33 %"
    steady.submit(steady.tape(amount=100_000))
    steady.work()
    steady.at(2)
    assert "kpi_threshold[risk.par_30]" not in steady.open()


def test_nothing_arrives(steady: AlertWatchDesk) -> None:
    steady.submit(steady.tape(amount=100_000))
    steady.work()
    steady.at(26)
    before = steady.open()
    steady.at(26.5)
    assert steady.open() == {**before, "no_tape": "warning"}
    steady.at(53)
    assert steady.open() == {**before, "no_tape": "critical"}
    assert steady.told("no_tape") == ["raise engineering_lead", "raise engineering_lead"]
    steady.submit(steady.tape(amount=90_000))
    steady.work()
    steady.at(53.1)
    assert "no_tape" not in steady.open()


def test_something_arrives_and_nothing_runs(steady: AlertWatchDesk) -> None:
    steady.submit(steady.tape())
    steady.at(1)
    assert steady.open() == {}
    steady.at(1.5)
    assert steady.open() == {"no_run": "warning"}
    steady.at(4.5)
    assert steady.open() == {"no_run": "critical"}
    steady.work()
    steady.at(4.6)
    assert "no_run" not in steady.open()


def test_more_tapes_fail_than_may(steady: AlertWatchDesk) -> None:
    """1 of 1, 2 of 2, 2 of 3, 2 of 4: severity does not fall within an episode."""
    said = []
    for number in range(4):
        tape = steady.tape(f"{number}.csv", amount=100_000 + number)
        if number < 2:
            tape.write_text(f"nothing,{number}\n1,2\n", encoding="utf-8")
        steady.submit(tape)
        steady.work()
        steady.at(0.1 * number)
        said.append(steady.open().get("error_budget"))
    assert said == [None, "critical", "critical", "critical"]
    with steady.records() as records:
        assert gather(records, steady.policy, None, NOON).ended == Ended(looked_at=4, failed=2, failed_max=1)


def test_a_validation_of_every_day(steady: AlertWatchDesk) -> None:
    steady.submit(steady.tape(amount=100_000))
    steady.work()
    steady.machine = Machine(metrics=CALM, status=Status.FAIL)
    steady.at(1)
    assert steady.open()["validation"] == "critical"
    (found,) = [item for item in steady.alerts() if item.rule == "validation"]
    assert found.words == "production validation FAIL: looked, looked"
    steady.alerted(TickOutcome(watch=None))  # nothing was validated now: nothing is known anew
    assert steady.open()["validation"] == "critical"
    steady.machine = Machine(metrics=CALM)
    steady.at(2)
    assert "validation" not in steady.open()


def test_a_channel_that_is_down_is_told_through_another(steady: AlertWatchDesk) -> None:
    with steady.records() as records:
        for name in ("engineering_lead", "gone_from_the_file"):
            records.alert_writer.channel_failed(name, "ALR-205", opens_after=1, open_for=timedelta(minutes=5))
    steady.alerted()
    assert steady.open() == {"channel_down[engineering_lead]": "warning"}
    assert steady.told() == ["raise data_operations"]
    with steady.records() as records:
        records.alert_writer.channel_worked("engineering_lead")
    steady.alerted()
    assert steady.open() == {}
    assert steady.told() == ["raise data_operations", "resolve data_operations"]


def test_a_rollback_that_does_not_come_to_its_end(desk: AlertWatchDesk) -> None:
    outcome = desk.at(0.5)
    stuck = WorldError("the disk is full", code="OUT-101", where="somewhere")
    desk.alerted(replace(outcome, stuck=stuck))
    assert desk.open() == {"rollback_failed": "critical"}
    desk.alerted(outcome)
    assert desk.open() == {}
    with desk.records() as records:
        writer = records.cutover_writer
        writer.add(
            NewCutover(cutover_id="r1", kind="rollback", from_release="v2", to_release="v1", plan="{}", plan_hash="h")
        )
        writer.move("r1", "running", {})
        writer.move("r1", "held", {})
    desk.alerted(outcome)
    assert [item.words for item in desk.alerts() if item.is_open] == ["rollback r1 to v1 is held"]
    with desk.records() as records:
        records.cutover_writer.move("r1", "running", {})
    desk.alerted(outcome)
    assert desk.open() == {"rollback_failed": "critical"}, "it goes on, and nobody knows how it ends"
    with desk.records() as records:
        records.cutover_writer.move("r1", "completed", {})
    desk.alerted(outcome)
    assert desk.open() == {}


@pytest.mark.parametrize("end", ["rollback", "cutover", "pointer"])
def test_a_rollback_that_was_stopped_is_open_until_production_is_whole(desk: AlertWatchDesk, end: str) -> None:
    def plan(name: str, kind: Literal["cutover", "rollback", "drill"], *moves: CutoverStatus) -> None:
        with desk.records() as records:
            new = NewCutover(cutover_id=name, kind=kind, from_release="v2", to_release="v1", plan="{}", plan_hash=name)
            records.cutover_writer.add(new)
            for status in moves:
                records.cutover_writer.move(name, status, {})

    def failed() -> bool:
        desk.alerted(outcome)
        return "rollback_failed" in desk.open()

    outcome = desk.at(0.5)
    plan("r1", "rollback", "running")
    assert not failed(), "one that runs has not failed"
    with desk.records() as records:
        records.cutover_writer.move("r1", "stopped", {})
    assert failed()
    plan("later", "cutover", "running", "stopped")
    plan("back", "cutover", "running", "rolled_back")
    plan("try", "drill", "running", "completed")
    plan("next", "cutover")
    assert failed(), "nothing of that made production whole"
    if end == "pointer":
        with desk.records() as records:
            records.production_writer.hold("next")
            records.production_writer.switch("next", "v1", expected="v2")
        assert failed(), "no job is taken yet"
        with desk.records() as records:
            records.production_writer.unhold("next")
    else:
        plan("good", "rollback" if end == "rollback" else "cutover", "running", "completed")
    assert not failed()
    assert [item.status for item in desk.alerts() if item.rule == "rollback_failed"] == ["resolved"]


# --- safe to repeat ---


def test_the_same_again_records_and_sends_nothing(desk: AlertWatchDesk) -> None:
    desk.machine = replace(LATE, cpu_percent=None)
    desk.at(1)
    before, sent = head(desk), list(desk.sent)
    for _ in range(3):
        again = desk.alerted(desk.at_now())
        assert (again.changed, again.queued) == ((), ())
    assert (head(desk), desk.sent) == (before, sent)
    assert {item.seen for item in desk.alerts()} == {7}


def test_a_process_that_dies_between_raising_and_sending_is_made_good(desk: AlertWatchDesk) -> None:
    desk.machine = LATE

    def dies(name: str) -> Channel:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alert_production(replace(desk.alert_tools(), open_channel=dies), desk.at_quietly(1))
    assert (desk.told(), list(desk.open())) == ([], ["kpi_latency"])
    desk.after(minutes=3)
    assert desk.told() == ["raise engineering_lead"]
    assert len(desk.sent) == 1


def test_two_at_once_raise_one_alert(desk: AlertWatchDesk) -> None:
    desk.machine = LATE
    outcome = desk.at_quietly(1)
    with ThreadPoolExecutor(4) as pool:
        raised = list(pool.map(lambda _: raise_alerts(desk.alert_tools(), outcome), range(4)))
    assert [list(desk.open()), len(desk.alerts())] == [["kpi_latency"], 1]
    assert sum(len(item.queued) for item in raised) == 1


def test_what_was_altered_was_not_measured(steady: AlertWatchDesk) -> None:
    steady.submit(steady.tape(amount=100))
    steady.work()
    steady.at(1)
    before = steady.open()
    assert before["kpi_threshold[risk.par_30]"] == "critical"
    with closing(sqlite3.connect(steady.workspace.root / "records" / "abaco.db")) as raw, raw:
        raw.execute("UPDATE kpi_values SET status = 'ok', value = '1' WHERE kpi_id = 'risk.par_30'")
    steady.alerted()
    with steady.records() as records:
        assert gather(records, steady.policy, None, NOON).kpis is None
        found = {item.subject: item.status for item in records.alert_reader.open()}
    assert found["risk.par_30"] == "firing"


# --- what people do ---


def test_an_answer(desk: AlertWatchDesk) -> None:
    desk.machine = LATE
    desk.at(1)
    (found,) = desk.alerts()
    tools = desk.alert_tools()
    with pytest.raises(UsageError, match="ALR-112"):
        acknowledge(tools, found.alert_id, " ")
    with pytest.raises(UsageError, match="ALR-111"):
        acknowledge(tools, "nobody", "so")
    made = acknowledge(tools, found.alert_id, "I look at it")
    assert (made.status, made.acknowledged_by) == ("acknowledged", "ana")
    with pytest.raises(UsageError, match=r"ALR-113.*by ana"):
        acknowledge(tools, found.alert_id, "again")
    desk.after(minutes=59)
    assert desk.told() == ["raise engineering_lead", "answer engineering_lead"]
    shown = alert_document(tools, found.alert_id)
    assert [item["status"] for item in shown["deliveries"]] == ["sent", "sent"]
    assert shown["meaning"] == "calculating KPIs takes too long"


def test_a_silence(desk: AlertWatchDesk) -> None:
    desk.machine = LATE
    desk.at(1)
    (found,) = desk.alerts()
    tools, end = desk.alert_tools(), desk.clock.now() + timedelta(minutes=30)
    for wrong in (desk.clock.now(), end + timedelta(days=31)):
        with pytest.raises(UsageError, match="ALR-114"):
            silence(tools, found.alert_id, wrong, "known")
    with pytest.raises(UsageError, match="ALR-111"):
        silence(tools, "0" * 16, end, "known")
    assert silence(tools, found.fingerprint, end, "known") == silence(tools, found.alert_id, end, "known")
    (shown,) = alerts_document(tools, whole=True)
    assert shown["silenced"] == {"until": end.isoformat(), "by": "ana", "reason": "known"}
    desk.after(minutes=29)
    assert desk.told() == ["raise engineering_lead"]
    desk.after(minutes=1)
    assert desk.told() == ["raise engineering_lead", "remind engineering_lead"]


def test_every_channel_can_be_tried(desk: AlertWatchDesk) -> None:
    def open_channel(name: str) -> Channel:
        if name == "all_hands":
            raise ChannelError("it is not set", code="ALR-202")
        return desk.alert_tools().open_channel(name)

    before = head(desk)
    tools = replace(desk.alert_tools(), open_channel=open_channel)
    tried = {item.channel: item.error and item.error.code for item in try_channels(tools)}
    assert tried == {"engineering_lead": None, "data_operations": None, "vp_engineering": None, "all_hands": "ALR-202"}
    assert len(desk.sent) == 3
    assert all("THIS IS A TEST" in text for text in desk.sent)
    assert [item.channel for item in try_channels(tools, ["vp_engineering"])] == ["vp_engineering"]
    with pytest.raises(UsageError, match="ALR-115"):
        try_channels(tools, ["pigeon"])
    assert head(desk) == before


def test_the_policy_of_a_workspace(desk: AlertWatchDesk) -> None:
    path = desk.workspace.root / ALERTS_FILE
    assert path.is_file()  # `abaco init` writes it
    assert policy_of(desk.workspace) == AlertPolicy()
    path.write_text("expect_tape_every_h: 5\nchanels: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ALR-101.*alerts\.yml:2"):
        policy_of(desk.workspace)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="ALR-106"):
        policy_of(desk.workspace)
    path.unlink()
    assert policy_of(desk.workspace) == AlertPolicy()


def test_kpis_beyond_their_thresholds_at_once_are_one_message(desk: AlertWatchDesk) -> None:
    """Each is an alert of its own; one message names them all, and silencing the first does not silence the others."""
    kpis = (("risk.par_30", Severity.WARNING), ("risk.par_90", Severity.CRITICAL), ("risk.par_60", Severity.WARNING))
    signals = (
        Signal(rule="kpi_threshold", subject=kpi, severity=severity, words=f"{kpi} is 7 %") for kpi, severity in kpis
    )
    with desk.records() as records:
        made = records.alert_writer.apply(
            tuple(Raise(signal=item) for item in signals),
            owners={name: rule.owner for name, rule in RULES.items()},
            runbooks={name: rule.runbook for name, rule in RULES.items()},
            now=desk.clock.now(),
        )
        due = due_notices(records.alert_reader, desk.policy, desk.clock.now())
        assert [(item.alert_id, item.kind) for item in due] == [(made[1].alert_id, "raise")]
        (queued,) = records.alert_writer.queue(due)
        assert message_of(queued, records.alert_reader, desk.policy).others == ("risk.par_30", "risk.par_60")
        records.alert_writer.silence(made[1].fingerprint, desk.clock.now() + timedelta(days=1), "known")
        due = due_notices(records.alert_reader, desk.policy, desk.clock.now())
        assert [(item.alert_id, item.kind) for item in due] == [(made[0].alert_id, "raise")]

"""The watch after a cutover: a day walked in seconds, late ticks, bad and missing figures, decisions, the end."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import NoAnswer, UsageError, WorldError
from abaco_loans.operations.begin_watch import start_watch
from abaco_loans.operations.watch_document import watch_document
from abaco_loans.operations.watch_production import TickOutcome, sign_off, tick
from abaco_loans.operations.watch_resources import usage
from abaco_loans.watch.check import Report, Status
from abaco_loans.watch.schedule import FIRST_DAY, text_of
from abaco_loans.wiring import watch_tools
from tests.operations.desk import NOON
from tests.operations.shadow_desk import printing, shadow
from tests.operations.watch_desk import CALM, Machine, WatchDesk


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WatchDesk:
    desk = WatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.prepare()
    return desk


@pytest.fixture
def desk(made: WatchDesk, tmp_path: Path) -> WatchDesk:
    return made.copied(tmp_path / "workspace")


def mark(outcome: TickOutcome, name: str = "") -> str:
    """The mark of the checkpoint that was done, or of one of its figures."""
    assert outcome.done is not None
    judged = outcome.done.judged
    return str(judged["figures"][name]["status"] if name else judged["status"])


def fired(outcome: TickOutcome) -> set[str]:
    return {item.cause.value for item in outcome.triggers if item.fired}


# --- a day ---


def test_a_day_with_a_tick_every_half_hour(desk: WatchDesk) -> None:
    desk.walk(0, 8.5)
    first = desk.decisions()["8"]
    assert (first.decision, first.asked_at, first.deadline) == (
        None, NOON + timedelta(hours=8), NOON + timedelta(hours=9),
    )  # fmt: skip
    desk.walk(8.5, 24)
    found = desk.checkpoints()
    assert [item.hour for item in found] == [text_of(hour) for hour in FIRST_DAY]
    assert {(item.status, item.judged["status"]) for item in found} == {("done", "PASS")}
    assert all(item.done_at == item.due_at for item in found)
    assert found[2].metrics == {
        "timestamp": "2025-12-01T14:30:00+00:00",
        "kpi_latency_ms": "0.7",
        "error_rate_percent": "0.000",
        "memory_mb": "105",
        "cpu_percent": "3",
        "audit_trail_events": "8",
        "kpi_variance_percent": "0",
        "pipeline_status": "running",
        "validation_status": "PASS",
    }
    nobody = desk.decisions()["8"]
    assert (nobody.decision, nobody.by_default, nobody.decided_by) == ("keep", True, None)
    assert nobody.reason == "nobody decided in time"
    assert desk.decisions()["24"].decision is None
    assert desk.watch().status == "watching"
    desk.walk(24, 28)
    extended = desk.decisions()["24"]
    assert (extended.decision, extended.by_default, desk.watch().status) == ("extend", True, "extended")
    assert desk.checkpoints()[-1].hour == "28"
    assert [line for line in desk.said if "ROLLBACK" in line] == []
    desk.walk(28, 48, 4)
    assert desk.decisions()["48"].decision is None


def test_a_tick_that_is_repeated_does_nothing(desk: WatchDesk) -> None:
    for hours in (0.5, 1.0, 1.2, 8.0):
        desk.at(hours)
        with desk.records() as records:
            before = records.head()
        again = tick(desk.tools())
        assert (again.done, again.missed, again.asked, again.defaulted) == (None, (), (), ())
        with desk.records() as records:
            assert records.head() == before


def test_two_ticks_at_once_do_one_checkpoint(desk: WatchDesk) -> None:
    desk.clock.move_to(NOON + timedelta(hours=1))
    both = threading.Barrier(2)
    validated: list[str] = []

    def slow(release: str, baseline: Mapping[str, Decimal]) -> Report:
        validated.append(release)
        time.sleep(0.5)
        return desk.tools().validate(release, baseline)

    def one() -> TickOutcome:
        both.wait()
        return tick(replace(desk.tools(), validate=slow))

    with ThreadPoolExecutor(2) as pool:
        outcomes = [work.result() for work in [pool.submit(one), pool.submit(one)]]
    assert sorted(outcome.done is not None for outcome in outcomes) == [False, True]
    assert validated == ["v2"]
    assert [item.hour for item in desk.checkpoints()] == ["1"]


def test_a_late_tick_does_the_latest_and_says_what_was_missed(desk: WatchDesk) -> None:
    desk.at(1)
    late = desk.at(4.4)
    assert late.done is not None
    assert (late.done.hour, [item.hour for item in late.missed]) == ("4", ["2", "2.5", "3", "3.5"])
    assert late.done.done_at == late.done.due_at + timedelta(hours=0.4)
    assert [(item.hour, item.status) for item in desk.checkpoints()] == [
        ("1", "done"), ("2", "missed"), ("2.5", "missed"), ("3", "missed"), ("3.5", "missed"), ("4", "done"),
    ]  # fmt: skip
    desk.at(2)  # the clock is set back
    assert len(desk.checkpoints()) == 6
    desk.walk(4.5, 8)
    with pytest.raises(NoAnswer, match=r"WAT-105.*not done: hour 2, hour 2.5, hour 3, hour 3.5"):
        desk.decide("8", "reduce")
    assert desk.decisions()["8"].decision is None


def test_nobody_is_asked_for_what_is_over(desk: WatchDesk) -> None:
    """The machine was off for two days: the defaults happen, and say why."""
    desk.at(7)
    late = desk.at(50)
    assert [(item.point, item.decision, item.by_default) for item in late.defaulted] == [
        ("8", "keep", True), ("24", "extend", True),
    ]  # fmt: skip
    assert desk.decisions()["24"].reason == "the next decision point came before anybody was asked"
    following = desk.at(50.1)
    assert [(item.point, item.decision) for item in following.asked] == [("48", None)]
    assert late.watch is not None
    assert late.watch.status == "extended"


# --- what is missing, what is bad ---


@pytest.mark.parametrize("name", ["kpi_latency_ms", "memory_mb", "audit_trail_events"])
def test_a_metric_that_is_missing_is_unknown(desk: WatchDesk, name: str) -> None:
    desk.machine = Machine(metrics={metric: value for metric, value in CALM.items() if metric != name})
    outcome = desk.at(1)
    assert (mark(outcome, name), mark(outcome)) == ("UNKNOWN", "UNKNOWN")
    assert outcome.done is not None
    assert outcome.done.metrics[name] is None
    assert not outcome.rollback_proposed


def test_without_a_shadow_of_the_last_tape_the_variance_is_unknown(desk: WatchDesk) -> None:
    assert mark(desk.at(1), "kpi_variance_percent") == "PASS"
    desk.submit(desk.tape())
    desk.work()
    outcome = desk.at(2)
    assert mark(outcome, "kpi_variance_percent") == "UNKNOWN"
    assert {item.cause.value for item in outcome.triggers if not item.fired} == {"kpi_variance"}
    assert not outcome.rollback_proposed


def test_a_report_that_was_altered_says_nothing(desk: WatchDesk) -> None:
    (report,) = desk.workspace.shadows.glob("*/report.json")
    report.write_text(report.read_text(encoding="utf-8").replace("2.4", "2.5"), encoding="utf-8")
    assert mark(desk.at(1), "kpi_variance_percent") == "UNKNOWN"


def test_cpu_that_the_system_does_not_say_is_unknown(desk: WatchDesk) -> None:
    desk.machine = Machine(metrics=CALM, cpu_percent=None)
    assert mark(desk.at(1), "cpu_percent") == "UNKNOWN"


@pytest.mark.parametrize(
    ("machine", "name", "status"),
    [
        ({"kpi_latency_ms": Decimal(120)}, "kpi_latency_ms", "WARN"),
        ({"kpi_latency_ms": Decimal(600)}, "kpi_latency_ms", "FAIL"),
        ({"memory_mb": Decimal(600)}, "memory_mb", "FAIL"),
        ({"memory_mb": Decimal(150)}, "memory_mb", "WARN"),  # over the baseline that was recorded
        ({"audit_trail_events": 0}, "audit_trail_events", "FAIL"),
    ],
)
def test_a_bad_metric_shows(tmp_path: Path, machine: dict[str, Any], name: str, status: str) -> None:
    desk = WatchDesk(tmp_path / "workspace")
    desk.begin(baseline={"memory_mb": Decimal(105)})
    desk.machine = Machine(metrics={**CALM, **machine})
    assert mark(desk.at(1), name) == status


def test_a_validation_that_fails_shows(desk: WatchDesk) -> None:
    desk.machine = Machine(metrics=CALM, status=Status.FAIL)
    outcome = desk.at(1)
    assert (mark(outcome, "validation_status"), mark(outcome)) == ("FAIL", "FAIL")


def test_production_that_cannot_be_validated_is_unknown_and_watched_all_the_same(desk: WatchDesk) -> None:
    real = watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    (desk.release / "catalogue.yml").write_text("kpis: broken", encoding="utf-8")
    desk.clock.move_to(NOON + timedelta(hours=1))
    outcome = tick(real)
    assert mark(outcome, "validation_status") in ("UNKNOWN", "FAIL")
    assert mark(outcome, "kpi_latency_ms") == "UNKNOWN"

    def broken(release: str, baseline: Mapping[str, Decimal]) -> Report:
        raise WorldError("the disk is full", code="OUT-104")

    desk.clock.move_to(NOON + timedelta(hours=2))
    outcome = tick(replace(desk.tools(), validate=broken))
    assert mark(outcome) == "UNKNOWN"
    assert outcome.done is not None
    assert "the disk is full (OUT-104)" in outcome.done.judged["figures"]["validation_status"]["words"]
    assert outcome.done.metrics["cpu_percent"] == "3"


def test_jobs_that_fail_call_for_a_rollback(desk: WatchDesk) -> None:
    desk.at(1)
    bad = desk.workspace.root.parent / "bad.csv"
    bad.write_text("nothing,known\n1,2\n", encoding="utf-8")
    desk.submit(bad)
    desk.work()
    assert fired(tick(desk.tools())) == set(), "five minutes have not passed"
    later = desk.at(1.5)
    assert later.done is None, "between checkpoints it is seen too"
    assert fired(later) == {"error_rate"}
    assert later.rollback_proposed
    assert "ROLLBACK PROPOSED: error_rate: the error rate is 100" in "\n".join(desk.said)
    outcome = desk.at(2)
    assert (mark(outcome, "error_rate_percent"), outcome.rollback_proposed) == ("FAIL", True)
    desk.at(2.5)
    assert desk.checkpoints()[-1].metrics["error_rate_percent"] == "100.000", "no news is not good news"
    desk.submit(desk.tape(amount=7))
    desk.work()
    assert mark(desk.at(3), "error_rate_percent") == "PASS"


def test_kpis_that_differ_call_for_a_rollback(tmp_path: Path, made: WatchDesk) -> None:
    desk = WatchDesk(tmp_path / "workspace")
    printing(desk, "v0", '{"kpis": {"risk.par_30": 2.7, "risk.par_90": 0.6}}')
    desk.begin(baseline_release="v0")
    tape = desk.tape()
    desk.submit(tape)
    desk.work()
    assert mark(desk.at(1), "kpi_variance_percent") == "UNKNOWN"
    shadow(desk, tape, "v2", "v0", repeats=1)
    outcome = desk.at(2)
    assert mark(outcome, "kpi_variance_percent") == "FAIL"
    assert fired(outcome) == {"kpi_variance"}
    stored = desk.checkpoints()[-1].judged["triggers"]
    assert [item["cause"] for item in stored if item["fired"]] == ["kpi_variance"]


def test_a_tape_that_is_lost_and_a_queue_that_stands(desk: WatchDesk) -> None:
    submitted = desk.submit(desk.tape())
    assert mark(desk.at(1), "pipeline_status") == "FAIL"  # an hour, and nobody took it
    (desk.workspace.root / submitted.job.spool).unlink()
    assert fired(desk.at(2)) == {"data_loss"}


def test_workers_that_die_call_for_a_rollback(desk: WatchDesk) -> None:
    desk.submit(desk.tape())
    for minute in range(4):
        desk.clock.move_to(NOON + timedelta(minutes=50 + 2 * minute))
        with desk.records() as records:
            assert records.production_writer.take("dead", lease_s=60.0) is not None
    assert fired(desk.at(1)) == {"crashes"}


def test_a_ledger_that_was_changed_calls_for_a_rollback(desk: WatchDesk) -> None:
    with desk.records() as records, records._database.write() as connection:
        connection.rows("UPDATE events SET actor = 'eve' WHERE seq = 3")
    outcome = desk.at(1)
    assert "audit_trail" in fired(outcome)


# --- decisions ---


def test_reduced_signed_off_and_over(desk: WatchDesk) -> None:
    desk.walk(0, 8)
    reduced = desk.decide("8", "reduce")
    assert (reduced.decision, reduced.by_default, reduced.decided_by) == ("reduce", False, "ana")
    desk.walk(8, 24)
    assert [item.hour for item in desk.checkpoints()][10:] == ["12", "16", "20", "24"]
    signed = sign_off(desk.tools(), "all is calm")
    assert (signed.point, signed.decision, desk.watch().status) == ("24", "sign_off", "signed_off")
    assert desk.at(26).asked == ()
    desk.walk(24, 28 * 24, 24)
    found = desk.checkpoints()
    assert [item.hour for item in found][14:] == [str(24 * day) for day in range(2, 29)]
    assert {item.status for item in found} == {"done"}
    assert (desk.watch().status, desk.watch().ends_at) == ("ended", NOON + timedelta(days=28))
    assert desk.at(28 * 24 + 1).watch is None


def test_what_was_not_measured_is_not_signed_off(desk: WatchDesk) -> None:
    desk.walk(0, 5)
    desk.machine = Machine(metrics={**CALM, "memory_mb": None})
    desk.at(6)
    desk.machine = Machine(metrics=CALM)
    desk.walk(6, 24)
    with pytest.raises(NoAnswer, match=r"WAT-105.*not measured: hour 6"):
        sign_off(desk.tools(), "it looks fine")
    assert desk.decide("24", "extend").decided_by == "ana"
    desk.walk(24, 48, 4)
    assert sign_off(desk.tools(), "a calm day").point == "48"


def test_what_cannot_be_decided(desk: WatchDesk) -> None:
    desk.at(1)
    for hour, choice, reason, code in (
        ("8", "keep", "early", "WAT-102"),
        ("nine", "keep", "early", "WAT-102"),
        ("8", "keep", " ", "WAT-104"),
        ("8", "keep", "two\nlines", "WAT-104"),
    ):
        with pytest.raises(UsageError, match=code):
            desk.decide(hour, choice, reason)
    desk.walk(1, 8)
    for choice in ("sign_off", "burn"):
        with pytest.raises(UsageError, match="WAT-103"):
            desk.decide("8", choice)
    desk.clock.move_to(NOON + timedelta(hours=9))
    with pytest.raises(UsageError, match=r"WAT-102.*the default was recorded"):
        desk.decide("8", "reduce")
    assert desk.decisions()["8"].by_default
    with pytest.raises(UsageError, match="WAT-102"):
        sign_off(desk.tools(), "early")


# --- beginning and end ---


def test_a_watch_begins_once_and_ends_with_its_release(desk: WatchDesk) -> None:
    with desk.records() as records:
        before = records.head()
    again = start_watch(desk.tools(), "c1", release="v2", baseline_release="v1", cutover_at=NOON)
    with desk.records() as records:
        assert (again, records.head()) == (desk.watch(), before)
        records.production_writer.hold("back")
    assert mark(desk.at(1), "pipeline_status") == "WARN"
    with desk.records() as records:
        records.production_writer.switch("back", "v1", expected="v2")
        records.production_writer.unhold("back")
    ended = desk.at(2)
    assert ended.watch is not None
    assert (ended.watch.status, ended.done) == ("ended", None)
    assert desk.at(3).watch is None


def test_nobody_signs_off_a_release_that_is_gone(desk: WatchDesk) -> None:
    desk.walk(0, 8)
    with desk.records() as records:
        records.production_writer.hold("back")
        records.production_writer.switch("back", "v1", expected="v2")
    with pytest.raises(UsageError, match="WAT-101"):
        desk.decide("8", "reduce")
    assert desk.watch().status == "ended"


def test_production_that_was_never_watched(tmp_path: Path) -> None:
    desk = WatchDesk(tmp_path / "workspace")
    assert tick(desk.tools()) == TickOutcome(watch=None)
    assert watch_document(desk.tools()) == {"watch": None}


def test_the_timeline_says_what_was_is_and_comes(desk: WatchDesk) -> None:
    desk.walk(0, 2)
    desk.clock.move_to(NOON + timedelta(hours=3.2))
    overdue = watch_document(desk.tools())
    assert overdue["next"]["hour"] == "3"
    assert [line["hour"] for line in overdue["timeline"] if line.get("mark") == "OVERDUE"] == ["2.5"]
    tick(desk.tools())
    desk.clock.move_to(NOON + timedelta(hours=3.6))
    document = watch_document(desk.tools())
    marks = {(line["kind"], line["hour"]): line.get("mark") for line in document["timeline"]}
    assert {hour: marks["checkpoint", hour] for hour in ("1", "2.5", "3", "3.5", "4", "672")} == {
        "1": "PASS", "2.5": "MISSED", "3": "PASS", "3.5": "DUE", "4": "TO COME", "672": "TO COME",
    }  # fmt: skip
    assert ("decision", "8") in marks
    assert document["next"] == {"hour": "3.5", "due_at": "2025-12-01T15:30:00+00:00"}
    desk.walk(3.5, 8)
    (asked,) = watch_document(desk.tools())["decisions"]
    assert (asked["passes"], asked["default"], asked["decision"]) == (False, "keep", None)
    assert next(item["words"] for item in asked["criteria"] if not item["met"]) == "not done: hour 2.5, hour 3.5"


def test_a_checkpoint_with_the_real_validation(desk: WatchDesk) -> None:
    real = watch_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    desk.clock.move_to(NOON + timedelta(hours=1))
    outcome = tick(real)
    assert outcome.done is not None
    figures = outcome.done.metrics
    assert all(figures[name] is not None for name in figures), figures
    assert figures["validation_status"] in ("PASS", "WARN")
    assert Decimal(figures["audit_trail_events"]) >= 6
    assert (desk.workspace.root / "production_validation_report.json").is_file()


# --- the machine ---


def burn(seconds: float) -> None:
    until = time.perf_counter() + seconds
    block = bytearray(80_000_000)
    while time.perf_counter() < until:
        block[0] = 1


def test_what_children_and_workers_take_is_seen() -> None:
    calm = usage([f"{socket.gethostname()}-{os.getpid()}-abc", "elsewhere-1-abc", "nonsense", ""])
    child = multiprocessing.get_context("fork").Process(target=burn, args=(5,))
    child.start()
    try:
        busy = usage([])
    finally:
        child.kill()
        child.join()
    assert None not in (calm.memory_mb, calm.cpu_percent, busy.memory_mb, busy.cpu_percent)
    assert Decimal(busy.memory_mb or 0) > 80
    assert Decimal(busy.cpu_percent or 0) > Decimal(calm.cpu_percent or 0) + Decimal(10) / (os.cpu_count() or 1)

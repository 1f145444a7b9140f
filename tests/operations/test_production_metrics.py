"""The figures of `/metrics`: what the records say, nothing that was not measured, no more series than there may be."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.errors import InvariantError
from abaco_loans.operations.production_metrics import (
    COLLECTORS,
    KPIS_MAX,
    OUTCOMES,
    RELEASES_MAX,
    Health,
    MetricsTools,
    production_health,
    production_metrics,
)
from abaco_loans.operations.validate_production import REPORT
from abaco_loans.outputs.metrics_page import metrics_page
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.runs import KpiRow, RowCounts, RunFinish, RunStart
from abaco_loans.watch.alert import Raise, Severity, Signal
from abaco_loans.watch.exposed import EXPOSED, STATES, Sample, state
from abaco_loans.wiring import metrics_tools
from tests.operations.desk import NOON
from tests.operations.shadow_desk import shadow, worked_tape
from tests.operations.watch_desk import CALM, Machine, WatchDesk

Values = dict[str, dict[tuple[str, ...], Decimal]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WatchDesk:
    """One tape was run and compared, an hour of the watch has passed, production was validated."""
    desk = WatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.machine = Machine(metrics={**CALM, "memory_mb": Decimal(120)}, cpu_percent=Decimal("12.5"))
    desk.begin(baseline={"memory_mb": Decimal(100)})
    tape = worked_tape(desk)
    desk.submit(tape)
    desk.work()
    shadow(desk, tape, "v2", "v1", repeats=1)
    desk.at(1)
    validated(desk)
    with desk.records() as records:
        records.alert_writer.channel_failed("slack", "ALR-201", opens_after=1, open_for=timedelta(minutes=5))
    return desk


@pytest.fixture
def desk(made: WatchDesk, tmp_path: Path) -> WatchDesk:
    return made.copied(tmp_path / "workspace")


def validated(desk: WatchDesk) -> None:
    """Record a validation, with its report."""
    last = desk.runs()[0].run_id
    performance = {
        "status": "WARN",
        "metrics": {"last_run_memory_mb": 150.5},
        "evidence": {"last_run_memory": {"run": last}},
    }
    text = json.dumps({"status": "WARN", "checks": {"performance": performance, "audit_trail": {}}})
    (desk.workspace.root / REPORT).write_text(text, encoding="utf-8")
    payload = {
        "status": "WARN",
        "checks": {"performance": "WARN", "audit_trail": "PASS"},
        "report_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    with desk.records() as records:
        records.append([NewEvent(action="production.validated", subject="v2", payload=payload)])


def tools(desk: WatchDesk) -> MetricsTools:
    return metrics_tools(desk.workspace, desk.clock)


def look(desk: WatchDesk) -> Values:
    """Every figure, by name and the values of its labels."""
    return by_name(production_metrics(tools(desk)))


def by_name(samples: Sequence[Sample]) -> Values:
    found: Values = {}
    for item in samples:
        key = tuple(item.labels[label] for label in EXPOSED[item.name].labels)
        assert key not in found.setdefault(item.name, {}), f"{item.name}{key} twice"
        found[item.name][key] = Decimal(item.value)
    return found


def holds(values: Values, name: str, *labels: str) -> str:
    """The value of a state: exactly one series is 1."""
    said = {key[-1]: value for key, value in values[name].items() if key[:-1] == labels}
    assert set(said) == set(STATES[name])
    assert sorted(said.values())[-2:] == [0, 1]
    return next(status for status, value in said.items() if value)


def health(desk: WatchDesk) -> Health:
    return production_health(tools(desk))


def edit(desk: WatchDesk, statement: str) -> None:
    """Change the database behind the product's back."""
    with closing(sqlite3.connect(desk.workspace.root / "records" / "abaco.db")) as raw, raw:
        assert raw.execute(statement).rowcount > 0


# --- what is said ---


def test_every_metric_is_had_and_is_what_the_records_say(desk: WatchDesk) -> None:
    values = look(desk)
    assert set(EXPOSED) - set(values) == {"abaco_decision_open", "abaco_decision_deadline_timestamp_seconds"}
    assert all(value == 1 for value in values["abaco_collector_success"].values())
    assert {key[0] for key in values["abaco_collector_success"]} == set(COLLECTORS)
    (run,) = desk.runs()
    assert run.rows is not None
    zeros = {(release, outcome): 0 for release in ("v1", "v2") for outcome in OUTCOMES}
    assert values["abaco_runs_total"] == zeros | {("v2", "finished"): 1}
    assert sum(values["abaco_last_run_rows"].values()) == run.rows.rows_in
    assert values["abaco_last_run_rows"]["accepted",] == run.rows.accepted
    assert values["abaco_last_run_duration_seconds"][()] == sum(
        values["abaco_last_run_phase_duration_seconds"].values()
    )
    assert values["abaco_last_run_memory_bytes"] == {(): 150_500_000}
    assert values["abaco_last_run_end_timestamp_seconds"] == {(): int(NOON.timestamp())}
    with desk.records() as records:
        overall = [row for row in records.reader.kpi_values(run.run_id) if not row.segment and row.value is not None]
        events = records.head().count
    assert values["abaco_kpi_value"] == {(row.kpi_id, row.unit): row.value for row in overall}
    assert holds(values, "abaco_kpi_status", "risk.par_30") == next(
        row.status for row in overall if row.kpi_id == "risk.par_30"
    )
    assert sum(values["abaco_ledger_events_total"].values()) == events
    assert values["abaco_jobs"] == {("queued",): 0, ("leased",): 0, ("done",): 1, ("failed",): 0}
    assert values["abaco_active_release_info"] == {("v2",): 1}


def test_the_nine_figures_of_the_last_checkpoint(desk: WatchDesk) -> None:
    values = look(desk)
    figures = {
        "timestamp_seconds": int((NOON + timedelta(hours=1)).timestamp()),
        "kpi_latency_seconds": Decimal("0.0007"),
        "error_ratio": 0,
        "memory_bytes": 120_000_000,
        "cpu_ratio": Decimal("0.125"),
        "audit_trail_events": 8,
        "kpi_variance_ratio": 0,
    }
    assert {name: values[f"abaco_checkpoint_{name}"][()] for name in figures} == figures
    assert holds(values, "abaco_checkpoint_pipeline_status") == "running"
    assert holds(values, "abaco_checkpoint_validation_status") == "PASS"
    assert holds(values, "abaco_checkpoint_status") == "WARN"
    assert holds(values, "abaco_checkpoint_figure_status", "memory_mb") == "WARN"
    assert values["abaco_watch_baseline_memory_bytes"] == {(): 100_000_000}
    assert values["abaco_watch_checkpoints"] == {("done",): 1, ("missed",): 0}
    assert values["abaco_next_checkpoint_due_timestamp_seconds"] == {(): int((NOON + timedelta(hours=2)).timestamp())}
    assert set(values["abaco_shadow_variance_ratio"].values()) == {0}


def test_what_could_not_be_measured_has_no_series(desk: WatchDesk) -> None:
    desk.machine = Machine(metrics={**CALM, "kpi_latency_ms": None}, cpu_percent=None)
    desk.at(2)
    values = look(desk)
    assert "abaco_checkpoint_kpi_latency_seconds" not in values
    assert "abaco_checkpoint_cpu_ratio" not in values
    assert holds(values, "abaco_checkpoint_figure_status", "cpu_percent") == "UNKNOWN"
    assert holds(values, "abaco_checkpoint_status") == "UNKNOWN"


def test_an_open_decision_and_a_watch_that_is_over(desk: WatchDesk) -> None:
    desk.walk(1, 8)
    values = look(desk)
    assert values["abaco_decision_open"] == {("8",): 1}
    deadline = (NOON + timedelta(hours=9)).timestamp()
    assert values["abaco_decision_deadline_timestamp_seconds"] == {("8",): int(deadline)}
    with desk.records() as records:
        records.watch_writer.move("c1", "ended", "another release is active")
    values = look(desk)
    assert holds(values, "abaco_watch_status") == "ended"
    assert not [name for name in values if name.startswith(("abaco_checkpoint_", "abaco_decision_", "abaco_next"))]


def test_a_counter_never_falls(desk: WatchDesk) -> None:
    start = RunStart(
        run_id="20251130-" + "a" * 20,
        release="v2",
        release_digest="d",
        tape_sha256="t",
        tape_path="t.csv",
        layout="bucketed",
        as_of=date(2025, 11, 30),
        definition="original",
    )
    rows = RowCounts(rows_in=1, accepted=1, quarantined=0, duplicate=0)
    with desk.records() as records:
        records.writer.start(start)
        records.writer.fail(start.run_id, {"code": "RUN-109"})
    before = look(desk)["abaco_runs_total"]
    assert [before["v2", outcome] for outcome in OUTCOMES] == [1, 0, 1]
    with desk.records() as records:
        records.writer.start(start)
        records.writer.finish(start.run_id, RunFinish(rows=rows, output_folder="f", manifest_sha256="m"), [])
    after = look(desk)["abaco_runs_total"]
    assert [after["v2", outcome] for outcome in OUTCOMES] == [2, 0, 1]
    assert "abaco_last_run_memory_bytes" not in look(desk), "the validation looked at the run before"


def test_alerts_that_are_open(desk: WatchDesk) -> None:
    signals = [
        Signal(rule="memory", subject="", severity=Severity.WARNING, words="memory 210 MB"),
        Signal(rule="error_rate", subject="", severity=Severity.CRITICAL, words="6 % failed"),
        Signal(rule="pipeline", subject="", severity=Severity.CRITICAL, words="stalled"),
    ]
    rules = {item.rule: "x" for item in signals}
    with desk.records() as records:
        raised = records.alert_writer.apply(
            [Raise(signal=item) for item in signals], owners=rules, runbooks=rules, now=desk.clock.now()
        )
        records.alert_writer.acknowledge(raised[-1].alert_id, "seen")
    values = look(desk)
    assert values["abaco_alerts"] == {
        ("warning", "firing"): 1,
        ("warning", "acknowledged"): 0,
        ("critical", "firing"): 1,
        ("critical", "acknowledged"): 1,
    }
    assert values["abaco_channel_breaker_open"] == {("slack",): 1}
    with desk.records() as records:
        records.alert_writer.channel_worked("slack")
    assert look(desk)["abaco_channel_breaker_open"] == {("slack",): 0}


# --- what must not be said, and bounds ---


def test_segments_and_suppressed_values_are_never_shown_and_series_are_bounded(desk: WatchDesk) -> None:
    common = {"as_of": date(2025, 11, 30), "recorded_at": NOON, "definition": "original", "unit": "%"}
    values = [
        KpiRow(
            run_id="20251130-" + f"{release:020x}",
            kpi_id=f"kpi.{number}",
            segment=segment,
            segment_value="only one customer" if segment else "",
            release=f"r{release}",
            value=Decimal(7),
            value_exact=Decimal(7),
            status="suppressed" if number == 0 else "ok",
            **common,  # type: ignore[arg-type]
        )
        for release in range(RELEASES_MAX + 9)
        for number in (range(KPIS_MAX + 5) if release == RELEASES_MAX + 8 else ())
        for segment in ("", "region")
    ]
    rows = RowCounts(rows_in=1, accepted=1, quarantined=0, duplicate=0)
    with desk.records() as records:
        for release in range(RELEASES_MAX + 9):
            run_id = "20251130-" + f"{release:020x}"
            records.writer.start(
                RunStart(
                    run_id=run_id,
                    release=f"r{release}",
                    release_digest="d",
                    tape_sha256="t",
                    tape_path="t.csv",
                    layout="bucketed",
                    as_of=date(2025, 11, 30),
                    definition="original",
                )
            )
            finish = RunFinish(rows=rows, output_folder="f", manifest_sha256="m")
            records.writer.finish(run_id, finish, [item for item in values if item.run_id == run_id])
    samples = production_metrics(tools(desk))
    page = metrics_page(samples, "")[0].decode()
    assert "only one customer" not in page and "region" not in page
    said = by_name(samples)
    assert ("kpi.0", "%") not in said["abaco_kpi_value"]
    assert holds(said, "abaco_kpi_status", "kpi.0") == "suppressed"
    assert len(said["abaco_kpi_value"]) == KPIS_MAX - 1
    assert said["abaco_kpis_left_out"] == {(): 5}
    assert len(said["abaco_runs_total"]) == (RELEASES_MAX + 1) * len(OUTCOMES)
    assert said["abaco_runs_total"]["other", "finished"] == 10
    assert said["abaco_runs_total"]["v2", "finished"] == 1, "what was there first keeps its name"


def test_no_label_names_a_loan_a_file_or_a_person(desk: WatchDesk) -> None:
    page = metrics_page(production_metrics(tools(desk)), "")[0].decode()
    (run,) = desk.runs()
    for word in (run.run_id, run.tape_sha256, run.tape_path, str(desk.workspace.root), "w1", "ana"):
        assert word not in page


def test_a_sample_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvariantError):
        Sample(name="abaco_other", value=1)
    with pytest.raises(InvariantError):
        Sample(name="abaco_jobs", value=1, labels={"status": "queued"})
    with pytest.raises(InvariantError):
        state("abaco_pipeline_status", "asleep")


# --- what is broken ---


def test_a_part_that_cannot_be_read_says_so_and_the_others_go_on(desk: WatchDesk) -> None:
    edit(desk, "UPDATE kpi_values SET value = '1' WHERE kpi_id = 'risk.par_30' AND segment = ''")
    values = look(desk)
    success = values["abaco_collector_success"]
    assert [name for (name,), value in success.items() if not value] == ["runs"]
    assert not [name for name in values if name.startswith(("abaco_kpi_", "abaco_last_run", "abaco_runs"))]
    assert holds(values, "abaco_pipeline_status") == "running"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)",
        "DELETE FROM events WHERE seq = (SELECT MAX(seq) - 3 FROM events)",
        "UPDATE events SET actor = 'nobody' WHERE seq = (SELECT MAX(seq) FROM events)",
    ],
)
def test_a_ledger_that_was_changed_at_its_end(desk: WatchDesk, statement: str) -> None:
    desk.tools().anchor()
    assert health(desk) == Health(reasons=(), held=False)
    edit(desk, statement)
    assert look(desk)["abaco_ledger_tail_verified"] == {(): 0}
    assert health(desk).reasons == ("ledger",)


def test_anchors_that_do_not_hold(desk: WatchDesk) -> None:
    desk.tools().anchor()
    last = max(desk.workspace.anchors.glob("anchor-*.json"), key=lambda path: int(path.stem[7:]))
    text = last.read_text(encoding="utf-8")
    last.write_text(text.replace('"signature":"', '"signature":"00'), encoding="utf-8")
    assert health(desk).reasons == ("ledger",)
    last.write_text("{", encoding="utf-8")
    assert health(desk).reasons == ("ledger",)
    assert look(desk)["abaco_collector_success"]["ledger",] == 0


def test_a_report_that_is_not_the_one_that_was_recorded(desk: WatchDesk) -> None:
    assert holds(look(desk), "abaco_validation_status", "all") == "WARN"
    assert holds(look(desk), "abaco_validation_status", "audit_trail") == "PASS"
    path = desk.workspace.root / REPORT
    path.write_text(path.read_text(encoding="utf-8").replace("WARN", "PASS"), encoding="utf-8")
    for check in ("all", "performance", "audit_trail"):
        assert holds(look(desk), "abaco_validation_status", check) == "UNKNOWN"


def test_without_records_nothing_is_made_and_nothing_is_well(tmp_path: Path) -> None:
    desk = WatchDesk(tmp_path / "workspace")
    database = desk.workspace.root / "records" / "abaco.db"
    database.unlink(missing_ok=True)
    values = look(desk)
    assert set(values) == {"abaco_build_info", "abaco_collector_success"}
    assert set(values["abaco_collector_success"].values()) == {0}
    assert health(desk).reasons == ("database",)
    assert not database.exists()
    database.parent.mkdir(exist_ok=True)
    database.write_bytes(b"no database at all, but bytes " * 200)
    assert health(desk).reasons == ("database",)
    assert set(look(desk)["abaco_collector_success"].values()) == {0}


# --- health ---


def test_a_queue_that_nobody_works(desk: WatchDesk) -> None:
    desk.submit(desk.tape(amount=7))
    for minutes, reasons in ((1, ()), (3, ("no_worker",)), (16, ("stalled_queue", "no_worker"))):
        desk.clock.move_to(NOON + timedelta(hours=1, minutes=minutes))
        assert health(desk).reasons == reasons
    assert look(desk)["abaco_oldest_queued_job_age_seconds"] == {(): 16 * 60}
    assert holds(look(desk), "abaco_pipeline_status") == "stalled"
    with desk.records() as records:
        records.production_writer.hold("c1")
    assert health(desk) == Health(reasons=(), held=True), "a cutover that holds production is no fault"
    with desk.records() as records:
        records.production_writer.unhold("c1")
    desk.work()
    assert health(desk).reasons == ()
    assert look(desk)["abaco_oldest_queued_job_age_seconds"] == {(): 0}


def test_a_worker_that_is_at_work_while_others_wait(desk: WatchDesk) -> None:
    desk.submit(desk.tape(amount=7))
    desk.submit(desk.tape(amount=8))
    with desk.records() as records:
        assert records.production_writer.take("w9", lease_s=3600)
    desk.clock.move_to(NOON + timedelta(hours=1, minutes=30))
    assert health(desk).reasons == ()


def test_looks_at_once_give_the_same(desk: WatchDesk) -> None:
    seen: list[Values] = []
    threads = [threading.Thread(target=lambda: seen.append(look(desk))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in seen:
        values.pop("abaco_collector_duration_seconds")
    assert len(seen) == 4
    assert all(values == seen[0] for values in seen)

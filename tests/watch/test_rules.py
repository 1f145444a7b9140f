"""Rules: each metric of the specification raises exactly the severity of its table; what is unmeasured says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.releases.trigger import Cause, Trigger
from abaco_loans.watch.alert import AlertStatus, Severity, fingerprint
from abaco_loans.watch.check import Status
from abaco_loans.watch.checkpoint import Before, Figures, judged_figures
from abaco_loans.watch.metric import METRICS, Judged
from abaco_loans.watch.rules import (
    FIGURES,
    RULES,
    UNWATCHED,
    Arrivals,
    Ended,
    Facts,
    KpiFact,
    OpenDecision,
    inhibited,
    signals,
)
from tests.watch.test_alert import NOON, alert

CALM = {
    "kpi_latency_ms": "0.65",
    "error_rate_percent": "0",
    "memory_mb": "105",
    "cpu_percent": "20",
    "audit_trail_events": "8",
    "kpi_variance_percent": "0",
}
HOUR = timedelta(hours=1)


def said(**facts: Any) -> dict[str, str]:
    """Rule, with its subject if it has one → severity."""
    found = signals(Facts(at=NOON, **facts)).signals
    named = {f"{item.rule}[{item.subject}]" if item.subject else item.rule: item.severity.value for item in found}
    assert len(named) == len(found)
    return named


def figures(
    changed: Mapping[str, str | None], earlier: tuple[Before, ...] = (), baseline: str = "105"
) -> dict[str, str]:
    """What a checkpoint with these figures raises; the others are calm."""
    numbers = {name: None if text is None else Decimal(text) for name, text in {**CALM, **changed}.items()}
    measured = Figures(at=NOON, numbers=numbers, pipeline_status="running", validation_status=Status.PASS)
    return said(figures=judged_figures(measured, earlier, {"memory_mb": Decimal(baseline)}))


def hourly(memory: tuple[str, ...] = (), cpu: tuple[str, ...] = ()) -> tuple[Before, ...]:
    """Checkpoints before this one, one an hour."""
    count = max(len(memory), len(cpu))
    return tuple(
        Before(
            at=NOON - (count - place) * HOUR,
            memory_mb=Decimal(memory[place]) if memory else None,
            cpu_percent=Decimal(cpu[place]) if cpu else None,
        )
        for place in range(count)
    )


# SPEC, "Watching production": the table, a row a line. Limits are passed, unless said otherwise.
TABLE: list[tuple[str, str, str | None]] = [
    ("kpi_latency_ms", "99.9", None),
    ("kpi_latency_ms", "100", None),
    ("kpi_latency_ms", "100.1", "warning"),
    ("kpi_latency_ms", "120", "warning"),
    ("kpi_latency_ms", "500", "warning"),
    ("kpi_latency_ms", "500.1", "critical"),
    ("error_rate_percent", "0.1", None),
    ("error_rate_percent", "0.2", "warning"),
    ("error_rate_percent", "5", "warning"),
    ("error_rate_percent", "5.1", "critical"),
    ("memory_mb", "110.25", None),  # 5 % over the baseline
    ("memory_mb", "110.3", "warning"),
    ("memory_mb", "200.1", "warning"),
    ("memory_mb", "500", "warning"),
    ("memory_mb", "500.1", "critical"),
    ("cpu_percent", "49.9", None),
    ("cpu_percent", "50", "warning"),
    ("cpu_percent", "80", "warning"),
    ("cpu_percent", "80.1", "warning"),  # not sustained
    ("audit_trail_events", "6", None),
    ("audit_trail_events", "0", "critical"),
    ("kpi_variance_percent", "1", None),
    ("kpi_variance_percent", "1.1", "warning"),
    ("kpi_variance_percent", "2", "warning"),
    ("kpi_variance_percent", "5", "warning"),
    ("kpi_variance_percent", "6", "critical"),
]


@pytest.mark.parametrize(("name", "value", "severity"), TABLE)
def test_each_metric_raises_the_severity_of_the_table_and_nothing_else(
    name: str, value: str, severity: str | None
) -> None:
    assert figures({name: value}) == ({FIGURES[name]: severity} if severity else {})


def test_the_table_knows_every_metric() -> None:
    assert {name for name, _, _ in TABLE} == set(METRICS) == set(CALM)
    assert set(FIGURES) == {*METRICS, "pipeline_status", "validation_status"}
    assert set(FIGURES.values()) <= set(RULES)


def test_memory_that_grows_and_processors_that_stay_busy_are_critical() -> None:
    grows = hourly(memory=("100", "125", "150", "175"))
    assert figures({"memory_mb": "190"}, grows, "190") == {"memory": "critical"}
    slower = hourly(memory=("100", "110", "120", "130"))
    assert figures({"memory_mb": "140"}, slower, "190") == {}
    assert figures({"cpu_percent": "85"}, hourly(cpu=("85",))) == {"cpu": "critical"}
    assert figures({"cpu_percent": "85"}, hourly(cpu=("85", "20"))) == {"cpu": "warning"}


@pytest.mark.parametrize("name", METRICS)
def test_a_figure_that_could_not_be_measured_is_a_warning(name: str) -> None:
    assert figures({name: None}) == {FIGURES[name]: "warning"}


def test_a_figure_that_waits_for_a_first_tape_says_nothing_and_resolves_nothing() -> None:
    waits = ("error_rate_percent", "kpi_variance_percent")
    numbers = {name: None if name in waits else Decimal(text) for name, text in CALM.items()}
    found = Figures(at=NOON, numbers=numbers, pipeline_status="running", validation_status=Status.PASS, waiting=waits)
    judged = judged_figures(found, (), {})
    assert {judged[name].status for name in waits} == {Status.UNKNOWN}, "what was not measured does not pass"
    looked = signals(Facts(at=NOON, figures=judged))
    assert looked.signals == ()
    assert looked.looked_at.isdisjoint({"error_rate", "kpi_variance"})
    measured = judged_figures(replace(found, numbers={**numbers, waits[0]: Decimal(6)}), (), {})
    assert measured[waits[0]].status is Status.FAIL, "a figure that is there counts"


def test_pipeline_and_validation() -> None:
    def judged(pipeline: str | None, validation: Status) -> dict[str, str]:
        numbers = {name: Decimal(text) for name, text in CALM.items()}
        measured = Figures(at=NOON, numbers=numbers, pipeline_status=pipeline, validation_status=validation)
        return said(figures=judged_figures(measured, (), {}))

    assert judged("running", Status.PASS) == {}
    assert judged("held", Status.WARN) == {"pipeline": "warning", "validation": "warning"}
    assert judged("stalled", Status.FAIL) == {"pipeline": "critical", "validation": "critical"}
    assert judged(None, Status.UNKNOWN) == {"pipeline": "warning", "validation": "warning"}


def test_a_trigger_that_fired_proposes_a_rollback_and_one_that_is_unknown_resolves_none() -> None:
    facts = Facts(
        at=NOON,
        triggers=(
            Trigger(cause=Cause.CRASHES, fired=True, words="3 crashes in 15 minutes"),
            Trigger(cause=Cause.DATA_LOSS, fired=False, words="not known"),
        ),
    )
    found = signals(facts)
    assert [(item.subject, item.severity, item.words) for item in found.signals] == [
        ("crashes", "critical", "3 crashes in 15 minutes")
    ]
    assert found.looked_at == {"rollback_proposed"}
    assert found.unmeasured == {fingerprint("rollback_proposed", "data_loss")}


def test_without_a_watch_no_trigger_is_looked_for() -> None:
    found = signals(Facts(at=NOON, triggers=(), watched=False))
    assert found.looked_at == {"rollback_proposed"}
    assert found.why_gone == {fingerprint("rollback_proposed", cause.value): UNWATCHED for cause in Cause}


def test_kpis_of_the_last_run() -> None:
    statuses = ("ok", "warning", "critical", "out_of_range", "not_computable", "suppressed")
    kpis = {f"risk.{status}": KpiFact(status=status, value="7.5") for status in statuses}
    found = signals(Facts(at=NOON, kpis=kpis))
    assert {item.subject: (item.severity, item.words) for item in found.signals} == {
        "risk.warning": ("warning", "risk.warning is beyond its warning threshold: 7.5"),
        "risk.critical": ("critical", "risk.critical is beyond its critical threshold: 7.5"),
        "risk.out_of_range": ("warning", "risk.out_of_range is out of the range that is possible: 7.5"),
    }
    assert found.unmeasured == {
        fingerprint("kpi_threshold", f"risk.{status}") for status in ("not_computable", "suppressed")
    }


@pytest.mark.parametrize(
    ("hours_ago", "every", "severity"),
    [(26, 26, None), (26.1, 26, "warning"), (52, 26, "warning"), (52.1, 26, "critical"), (999, None, None)],
)
def test_nothing_arrived(hours_ago: float, every: int | None, severity: str | None) -> None:
    last = Arrivals(last_at=NOON - hours_ago * HOUR, waiting_since=None, last_ended_at=None)
    found = said(arrivals=last, tape_every=every and every * HOUR)
    assert found == ({"no_tape": severity} if severity else {})


def test_where_no_tape_ever_arrived_none_is_missed() -> None:
    assert said(arrivals=Arrivals(last_at=None, waiting_since=None, last_ended_at=None), tape_every=HOUR) == {}


@pytest.mark.parametrize(
    ("waits_h", "ended_h", "severity"),
    [
        (1, None, None),
        (1.1, None, "warning"),
        (4.1, None, "critical"),
        (9, 0.5, None),
        (9, 2, "warning"),
        (2, 9, "warning"),
    ],
)
def test_something_arrived_and_nothing_ran(waits_h: float, ended_h: float | None, severity: str | None) -> None:
    arrivals = Arrivals(
        last_at=NOON,
        waiting_since=NOON - waits_h * HOUR,
        last_ended_at=None if ended_h is None else NOON - ended_h * HOUR,
    )
    assert said(arrivals=arrivals) == ({"no_run": severity} if severity else {})


@pytest.mark.parametrize(
    ("looked_at", "failed", "severity"),
    [(20, 1, None), (20, 2, "warning"), (20, 10, "warning"), (20, 11, "critical"), (1, 1, None), (3, 2, "critical")],
)
def test_the_error_budget(looked_at: int, failed: int, severity: str | None) -> None:
    found = said(ended=Ended(looked_at=looked_at, failed=failed, failed_max=1))
    assert found == ({"error_budget": severity} if severity else {})


def test_a_decision_is_told_when_half_of_its_time_is_gone() -> None:
    asked = OpenDecision(point="8", asked_at=NOON - HOUR / 2, deadline=NOON + HOUR / 2)
    assert said(decisions=(asked,)) == {"decision_open[8]": "warning"}
    assert said(decisions=(replace(asked, deadline=NOON + HOUR),)) == {}


def test_the_rest() -> None:
    assert said(missed_hours=("2", "2.5")) == {"checkpoint_missed": "warning"}
    assert said(breakers={"chat": True, "mail": False}) == {"channel_down[chat]": "warning"}
    assert said(rollback_failed="rollback r1 is held") == {"rollback_failed": "critical"}
    calm = Facts(at=NOON, missed_hours=(), breakers={}, rollback_failed="", decisions=(), kpis={}, triggers=())
    found = signals(calm)
    assert found.signals == ()
    assert found.looked_at == {
        "checkpoint_missed", "channel_down", "rollback_failed", "decision_open", "kpi_threshold", "rollback_proposed",
    }  # fmt: skip


def test_words_are_one_line_that_every_channel_takes() -> None:
    (found,) = signals(Facts(at=NOON, rollback_failed="a\nb\x1b[2J\u202ec" + "x" * 999)).signals
    assert found.words.startswith("a b [2J c")
    assert (found.words.isprintable(), len(found.words)) == (True, 300)


@pytest.mark.parametrize("path", ["/srv/lender/outputs/run.json", "/mnt/book of ana/tape.csv", r"C:\data\tape.csv"])
def test_words_name_no_file_of_the_machine(path: str) -> None:
    (found,) = signals(Facts(at=NOON, rollback_failed=f"{path}: cannot be read (OUT-101)")).signals
    assert found.words == "(a file): cannot be read (OUT-101)"


MEASURED: dict[str, Any] = {
    "figures": {name: Judged(status=Status.PASS, words="") for name in FIGURES},
    "triggers": (),
    "kpis": {},
    "arrivals": Arrivals(last_at=None, waiting_since=None, last_ended_at=None),
    "ended": Ended(looked_at=1, failed=0, failed_max=1),
    "missed_hours": (),
    "decisions": (),
    "breakers": {},
    "rollback_failed": "",
}


@given(st.frozensets(st.sampled_from(sorted(MEASURED))))
def test_only_what_was_measured_was_looked_at(names: frozenset[str]) -> None:
    found = signals(Facts(at=NOON, **{name: MEASURED[name] for name in names}))
    everything = signals(Facts(at=NOON, **MEASURED)).looked_at
    left_out = signals(Facts(at=NOON, **{name: MEASURED[name] for name in MEASURED if name not in names})).looked_at
    assert everything == set(RULES)
    assert found.looked_at == everything - left_out
    assert found.signals == ()
    assert set(MEASURED) == {item.name for item in fields(Facts)} - {"at", "tape_every", "watched"}


@given(st.frozensets(st.sampled_from(sorted(FIGURES))))
def test_a_figure_that_is_not_there_was_not_looked_at(names: frozenset[str]) -> None:
    calm = {name: Judged(status=Status.NOT_APPLICABLE, words="the watch is over") for name in names}
    found = signals(Facts(at=NOON, figures=calm))
    assert found.looked_at == {FIGURES[name] for name in names}
    assert found.why_gone == {fingerprint(FIGURES[name], ""): "the watch is over" for name in names}


# --- one cause ---


def test_what_follows_from_another_alert() -> None:
    critical = Severity.CRITICAL
    proposed = alert("rollback_proposed", critical, subject="error_rate")
    assert inhibited(alert("error_rate", critical), [proposed])
    assert inhibited(alert("error_budget"), [proposed])
    assert not inhibited(alert("kpi_variance", critical), [proposed])
    assert not inhibited(proposed, [alert("error_rate", critical), proposed])
    assert inhibited(alert("validation", critical), [alert("audit_trail", critical)])
    assert inhibited(alert("no_run"), [alert("pipeline", critical)])
    assert not inhibited(alert("cpu"), [alert("memory", critical)])


def test_what_is_worse_than_its_cause_or_outlives_it_is_told() -> None:
    assert not inhibited(alert("validation", Severity.CRITICAL), [alert("memory", Severity.WARNING)])
    assert not inhibited(alert("validation"), [alert("memory", status=AlertStatus.RESOLVED)])
    assert inhibited(alert("validation"), [alert("memory", status=AlertStatus.ACKNOWLEDGED)])


def test_no_rule_follows_from_itself_and_every_cause_is_one_of_a_rule() -> None:
    causes = {name: {rule for rule, _ in item.inhibited_by} for name, item in RULES.items()}
    for name in RULES:
        reached, found = {name}, set(causes[name])
        while found:
            assert name not in found
            reached |= found
            found = {cause for rule in found for cause in causes[rule]} - (reached - {name})
        assert causes[name] <= set(RULES)
        assert RULES[name].runbook == "docs/operations.md#" + name.replace("_", "-")


def test_every_runbook_link_leads_to_a_heading(repository: Path) -> None:
    text = (repository / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    assert {item.runbook.split("#")[1] for item in RULES.values()} <= headings


def test_every_rule_stands_in_the_table_of_the_docs(repository: Path) -> None:
    text = (repository / "docs" / "alerts.md").read_text(encoding="utf-8")
    table = text.split("## Rules")[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == [*RULES]

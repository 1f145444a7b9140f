"""The dashboard and the rules of Prometheus: the figures that they name exist, their limits are those of production."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from abaco_loans.watch.alert import OPEN, Severity
from abaco_loans.watch.exposed import EXPOSED, STATES, Kind
from abaco_loans.watch.metric import CPU, ERROR_RATE, KPI_LATENCY, KPI_VARIANCE, MEMORY, METRICS, Metric

# What Prometheus itself says of whom it asks.
OF_PROMETHEUS = {"up"}
ALWAYS = {"instance", "job"}
# The unit of a metric in the unit of what is exposed.
LIMITS: dict[str, tuple[Metric, Decimal]] = {
    "abaco_checkpoint_kpi_latency_seconds": (KPI_LATENCY, Decimal("0.001")),
    "abaco_checkpoint_error_ratio": (ERROR_RATE, Decimal("0.01")),
    "abaco_checkpoint_memory_bytes": (MEMORY, Decimal(1_000_000)),
    "abaco_checkpoint_cpu_ratio": (CPU, Decimal("0.01")),
    "abaco_checkpoint_kpi_variance_ratio": (KPI_VARIANCE, Decimal("0.01")),
}
VALUES = {
    **STATES,
    "abaco_alerts": tuple(OPEN),
    "abaco_jobs": ("queued", "leased", "done", "failed"),
}


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repository / "deploy/grafana/abaco.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def rules(repository: Path) -> list[dict[str, Any]]:
    text = (repository / "deploy/prometheus/abaco_rules.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (item for item in dashboard["panels"] if item["type"] != "row")


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Names of figures with what stands in their braces."""
    bare = re.sub(r'"[^"]*"', lambda found: found[0].replace("abaco_", "_"), expression)
    yield from re.findall(r"\b(abaco_\w+|up)\b(?:\{([^}]*)\})?", bare)


def check(expression: str) -> None:
    """Every figure exists, with the labels and values that are asked of it; a counter is read as one."""
    found = list(selectors(expression))
    assert found, expression
    for name, inside in found:
        if name in OF_PROMETHEUS:
            continue
        assert name in EXPOSED, expression
        for label, sign, text in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', inside):
            assert label in {*EXPOSED[name].labels, *ALWAYS}, f"{name} has no {label}: {expression}"
            if label in ("status", "state"):
                assert set(text.split("|") if "~" in sign else [text]) <= set(VALUES.get(name, ())), expression
            if label == "severity":
                assert text in set(Severity)
            if label == "figure":
                assert text in METRICS
        counted = f"increase({name}" in expression or f"changes({name}" in expression
        assert EXPOSED[name].kind is not Kind.COUNTER or counted, expression
        assert EXPOSED[name].kind is Kind.COUNTER or f"increase({name}" not in expression, expression


# --- the dashboard ---


def test_every_panel_can_be_drawn(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["uid"] and dashboard["title"] and dashboard["id"] is None
    ids = [item["id"] for item in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [item["title"] for item in panels(dashboard)]
    assert len(titles) > 25 and len(set(titles)) == len(titles) and all(titles)
    for item in panels(dashboard):
        assert item["type"] in {"stat", "timeseries", "table"}
        assert item["fieldConfig"]["defaults"]["unit"], item["title"]
        steps = item["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values)
        assert item["targets"] and item["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in item["targets"]]
        assert len(set(refs)) == len(refs)
    variables = {item["name"] for item in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) <= variables


def test_no_panel_lies_over_another(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for item in dashboard["panels"]:
        place = item["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{item['title']} lies over {taken[x, y]}"
                taken[x, y] = item["title"]


def test_what_the_dashboard_asks_for_exists(dashboard: dict[str, Any]) -> None:
    for item in panels(dashboard):
        for target in item["targets"]:
            if item["title"] != "Release changes":  # the number itself
                check(target["expr"])
            assert '{instance=~"$instance"' in target["expr"]
    for item in dashboard["annotations"]["list"]:
        if "expr" in item:
            check(item["expr"])


@pytest.mark.parametrize("name", LIMITS)
def test_the_lines_in_the_dashboard_are_the_limits_of_production(dashboard: dict[str, Any], name: str) -> None:
    metric, unit = LIMITS[name]
    (panel,) = [item for item in panels(dashboard) if name in item["targets"][0]["expr"]]
    assert metric.warning is not None
    assert metric.critical is not None
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    said = [(step["color"], None if step["value"] is None else Decimal(str(step["value"]))) for step in steps]
    assert said == [("green", None), ("orange", metric.warning.value * unit), ("red", metric.critical.value * unit)]


def test_every_kind_of_figure_is_shown(dashboard: dict[str, Any]) -> None:
    text = json.dumps(dashboard)
    left_out = {name for name in EXPOSED if name not in text}
    assert left_out == {
        "abaco_last_run_info",
        "abaco_production_held",
        "abaco_kpis_left_out",
        "abaco_collector_duration_seconds",
        "abaco_last_job_taken_timestamp_seconds",
        "abaco_watch_start_timestamp_seconds",
        "abaco_decision_open",
        "abaco_checkpoint_timestamp_seconds",
        "abaco_checkpoint_pipeline_status",
        "abaco_checkpoint_validation_status",
    }


# --- the rules ---


def test_what_the_rules_ask_for_exists(rules: list[dict[str, Any]]) -> None:
    names = [rule["alert"] for rule in rules]
    assert len(names) > 30 and len(set(names)) == len(names)
    for rule in rules:
        check(rule["expr"])
        assert rule["labels"]["severity"] in set(Severity)
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("severity", list(Severity))
def test_the_rules_have_the_limits_of_production(rules: list[dict[str, Any]], name: str, severity: Severity) -> None:
    metric, unit = LIMITS[name]
    limit = metric.warning if severity is Severity.WARNING else metric.critical
    assert limit is not None
    plain = re.compile(rf"{name} (>=?) ([\d.e]+)")
    found = [
        (said[1], Decimal(said[2]))
        for rule in rules
        if rule["labels"]["severity"] == severity and (said := plain.fullmatch(rule["expr"]))
    ]
    if metric.sustained and severity is Severity.CRITICAL:  # a single value cannot show that it lasts
        assert found == []
        assert any('figure="cpu_percent", status="FAIL"' in rule["expr"] for rule in rules)
    else:
        assert found == [(">=" if limit.reached else ">", limit.value * unit)]


def test_promtool_reads_them(repository: Path, promtool: str) -> None:
    folder = repository / "deploy" / "prometheus"
    done = subprocess.run([promtool, "check", "config", "prometheus.yml"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_name_that_does_not_exist_would_be_seen() -> None:
    for wrong in (
        "abaco_checkpoint_latency_seconds > 1",
        'abaco_kpi_status{state="ok"} == 1',
        'abaco_pipeline_status{status="asleep"} == 1',
        "increase(abaco_jobs[1h]) > 0",
        "abaco_runs_total > 1",
        'abaco_checkpoint_figure_status{figure="memory"} == 1',
        "vector(1)",
    ):
        with pytest.raises(AssertionError):
            check(wrong)

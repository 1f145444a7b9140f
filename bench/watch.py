"""Watching production, measured: `abaco validate` on the demo book, and the latency that it finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

from bench.measure import Bench
from bench.process import BenchError, abaco, took
from bench.table import Budget, Line

VALIDATE_S = 5.0
LATENCY_MS = 100.0


def measure_watches(bench: Bench) -> Iterator[Line]:
    """All lines of the table of validations."""
    bench.tell("making the demo book")
    place = bench.folder / "demo"
    took(abaco("demo", str(place), "--no-rehearsal", "--json"))
    found = []
    for number in range(bench.validations + 1):
        bench.tell(f"abaco validate, {number} of {bench.validations}")
        found.append(took(abaco("validate", "--workspace", str(place), "--json")))
    shutil.rmtree(place)
    reports = [json.loads(item.text) for item in found]
    whole(reports)
    first, *rest = found
    yield Line(
        what="`abaco validate` on the demo book",
        measured=[item.wall_s for item in rest],
        cpu_s=[item.cpu_s for item in rest],
        budget=Budget(at_most=VALIDATE_S),
    )
    yield Line(what="the first of a workspace", measured=[first.wall_s], cpu_s=[first.cpu_s])
    yield Line(what="peak memory of `abaco validate`", measured=[item.peak_mb for item in rest], unit="MB")
    yield Line(
        what="latency of 1,000 rows that it finds",
        measured=[item["checks"]["performance"]["metrics"]["kpi_latency_ms"] for item in reports],
        unit="ms",
        budget=Budget(at_most=LATENCY_MS, unit="ms"),
    )


def whole(reports: list[dict[str, Any]]) -> None:
    """A validation that did not look at everything is not measured: all five checks passed."""
    for report in reports:
        said = {name: check["status"] for name, check in report["checks"].items()}
        if len(said) != 5 or set(said.values()) != {"PASS"}:
            raise BenchError(f"abaco validate did not pass: {said} {report['issues']}")

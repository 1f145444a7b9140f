"""A checkpoint: the nine figures of SPEC, "Watching production", and what each of them means. Pure.

A figure that could not be measured is None, and unknown; one that this release cannot have is not applicable. One that
waits for a first tape is unknown, too, and says that this is why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations
from statistics import median

from abaco_loans.watch.check import Status, added_up
from abaco_loans.watch.metric import CPU, KPI_LATENCY, MEMORY, METRICS, Judged, judged

PIPELINE, VALIDATION = "pipeline_status", "validation_status"
_GROWTH_POINTS = 4
_GROWTH_OVER = timedelta(hours=2)
_DIGITS = Decimal("0.01")
_PIPELINE = {"running": Status.PASS, "held": Status.WARN, "stalled": Status.FAIL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured at a checkpoint; None: it could not be.

    Attributes:
        numbers: by name, the metrics of `watch.metric`.
        pipeline_status: ``running``, ``held`` (by a cutover) or ``stalled`` (tapes wait, and nobody takes them).
        not_applicable: names of figures that the release cannot have.
        waiting: names of metrics that nothing has run for yet since the cutover.
        compared: of figures of which more was measured than the baseline has, the part that is like it.
    """

    at: datetime
    numbers: Mapping[str, Decimal | None]
    pipeline_status: str | None
    validation_status: Status
    not_applicable: Collection[str] = ()
    waiting: Collection[str] = ()
    compared: Mapping[str, Decimal | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, str | None]:
        """The nine figures, JSON-ready: numbers as exact text."""
        numbers = {name: self.numbers.get(name) for name in METRICS}
        return {
            "timestamp": self.at.isoformat(),
            **{name: None if value is None else f"{value:f}" for name, value in numbers.items()},
            PIPELINE: self.pipeline_status,
            VALIDATION: self.validation_status.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """An earlier checkpoint: what growth and what lasts are judged by."""

    at: datetime
    memory_mb: Decimal | None
    cpu_percent: Decimal | None


def judged_figures(figures: Figures, earlier: Sequence[Before], baseline: Mapping[str, Decimal]) -> dict[str, Judged]:
    """What every figure means.

    Args:
        earlier: checkpoints that were done before, earliest first.
        baseline: metrics that were recorded before the cutover, by name; may be empty.
    """
    memory = [(item.at, item.memory_mb) for item in earlier] + [(figures.at, figures.numbers.get(MEMORY.name))]
    growth = growth_percent([(at, value) for at, value in memory if value is not None])
    last_cpu = earlier[-1].cpu_percent if earlier else None
    found = {
        name: judged(
            metric,
            figures.numbers.get(name),
            baseline.get(name),
            growth_percent=growth if metric is MEMORY else None,
            lasting=metric is CPU and _beyond_critical(last_cpu),
            compared=figures.compared.get(name),
        )
        for name, metric in METRICS.items()
    }
    for name in figures.waiting:
        if figures.numbers.get(name) is None:
            words = f"{METRICS[name].text} is not known: no tape has come to its end since the cutover"
            found[name] = Judged(status=Status.UNKNOWN, words=words, waits=True)
    found[PIPELINE] = _pipeline(figures.pipeline_status)
    found[VALIDATION] = Judged(
        status=figures.validation_status, words=f"production validation {figures.validation_status}"
    )
    for name in figures.not_applicable:
        found[name] = Judged(status=Status.NOT_APPLICABLE, words=f"{name} is not applicable to this release")
    return found


def status_of(found: Mapping[str, Judged]) -> Status:
    """The worst of all figures; where nothing is applicable nothing was measured, and that is unknown."""
    worst = added_up(item.status for item in found.values())
    return Status.UNKNOWN if worst is Status.NOT_APPLICABLE else worst


def growth_percent(values: Sequence[tuple[datetime, Decimal]]) -> Decimal | None:
    """Percent of the first value that is added in an hour: the median of the slopes of all pairs (Theil and Sen), so
    that one odd value says nothing. None with fewer than 4 values, or over less than 2 hours."""
    if len(values) < _GROWTH_POINTS or values[-1][0] - values[0][0] < _GROWTH_OVER or not values[0][1]:
        return None
    slopes = [
        (later - sooner) / Decimal((after - before) // timedelta(milliseconds=1)) * 3_600_000
        for (before, sooner), (after, later) in combinations(values, 2)
        if after > before
    ]
    return (median(slopes) / values[0][1] * 100).quantize(_DIGITS) if slopes else None


def no_latency() -> frozenset[str]:
    """What a release that is a program cannot have: its calculation is not apart from its reading."""
    return frozenset({KPI_LATENCY.name})


def _beyond_critical(cpu_percent: Decimal | None) -> bool:
    limit = CPU.critical
    return limit is not None and cpu_percent is not None and limit.breached(cpu_percent, low_is_bad=False)


def _pipeline(said: str | None) -> Judged:
    if said is None:
        return Judged(status=Status.UNKNOWN, words="it could not be found out whether the pipeline runs")
    return Judged(status=_PIPELINE[said], words=f"the pipeline is {said}")

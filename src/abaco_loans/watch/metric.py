"""The metrics of production and their limits (SPEC, "Watching production"): data, and one function that judges.

A limit is breached beyond it, unless ``reached``: then at it. Without a value nothing passes: it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from abaco_loans.watch.check import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a metric is no longer good: above ``value``, or below it where low is bad."""

    value: Decimal
    reached: bool = False

    def breached(self, value: Decimal, *, low_is_bad: bool) -> bool:
        """Whether the value lies beyond the limit (or at it, where reaching it is enough)."""
        if value == self.value:
            return self.reached
        return value < self.value if low_is_bad else value > self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. ``baseline`` and ``target`` are words; the rest is what `judged` goes by.

    Attributes:
        rise_percent: more than so much over the baseline that was recorded is a warning.
        growth_percent: more than so much in an hour is critical.
        sustained: critical only when it lasts, which a single value cannot show.
    """

    name: str
    unit: str
    text: str
    baseline: str
    target: str
    warning: Limit | None = None
    critical: Limit | None = None
    low_is_bad: bool = False
    rise_percent: Decimal | None = None
    growth_percent: Decimal | None = None
    sustained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a value means: PASS, WARN, FAIL (critical) or UNKNOWN, and why.

    Attributes:
        waits: it is unknown only because nothing has run yet that it could be measured by; nothing is broken.
    """

    status: Status
    words: str
    waits: bool = False


KPI_LATENCY = Metric(
    name="kpi_latency_ms",
    unit="ms",
    text="calculation of 1,000 rows",
    baseline="0.65",
    target="under 100",
    warning=Limit(value=Decimal(100)),
    critical=Limit(value=Decimal(500)),
)
ERROR_RATE = Metric(
    name="error_rate_percent",
    unit="%",
    text="error rate",
    baseline="0",
    target="0",
    warning=Limit(value=Decimal("0.1")),
    critical=Limit(value=Decimal(5)),
)
MEMORY = Metric(
    name="memory_mb",
    unit="MB",
    text="memory peak of 1,000 rows",
    baseline="105",
    target="under 200",
    warning=Limit(value=Decimal(200)),
    critical=Limit(value=Decimal(500)),
    rise_percent=Decimal(5),
    growth_percent=Decimal(20),
)
CPU = Metric(
    name="cpu_percent",
    unit="%",
    text="CPU",
    baseline="under 50",
    target="under 80",
    warning=Limit(value=Decimal(50), reached=True),
    critical=Limit(value=Decimal(80)),
    sustained=True,
)
AUDIT_EVENTS = Metric(
    name="audit_trail_events",
    unit="events",
    text="audit events of a run",
    baseline="6 or more",
    target="present",
    critical=Limit(value=Decimal(0), reached=True),
    low_is_bad=True,
)
KPI_VARIANCE = Metric(
    name="kpi_variance_percent",
    unit="%",
    text="KPI variance",
    baseline="under 5",
    target="stable",
    warning=Limit(value=Decimal(1)),
    critical=Limit(value=Decimal(5)),
)
METRICS = {item.name: item for item in (KPI_LATENCY, ERROR_RATE, MEMORY, CPU, AUDIT_EVENTS, KPI_VARIANCE)}


def judged(
    metric: Metric,
    value: Decimal | None,
    baseline: Decimal | None = None,
    *,
    growth_percent: Decimal | None = None,
    lasting: bool = False,
    compared: Decimal | None = None,
) -> Judged:
    """What a value means.

    Args:
        metric: one of `METRICS`.
        value: in the metric's unit; None: it could not be measured.
        baseline: what was recorded before, in the same unit; None: nothing was, and no rise is judged.
        growth_percent: percent that it grew in an hour; None: not known, and no growth is judged.
        lasting: whether it has been so for a while; only then a `sustained` metric can be critical.
        compared: what is held against the baseline, measured as that was; None: the value itself.
    """
    if value is None:
        return Judged(status=Status.UNKNOWN, words=f"{metric.text} could not be measured")
    said = f"{metric.text} {value:,f} {metric.unit}"
    critical, warning = (
        limit is not None and limit.breached(value, low_is_bad=metric.low_is_bad)
        for limit in (metric.critical, metric.warning)
    )
    if critical and (lasting or not metric.sustained):
        return Judged(status=Status.FAIL, words=f"{said}: beyond what is critical")
    if growth_percent is not None and metric.growth_percent is not None and growth_percent > metric.growth_percent:
        return Judged(status=Status.FAIL, words=f"{said}, growing by {growth_percent:,f} % an hour")
    if critical or warning:
        return Judged(status=Status.WARN, words=f"{said}; the target is {metric.target}")
    like = value if compared is None else compared
    if baseline and metric.rise_percent is not None and like > baseline * (1 + metric.rise_percent / 100):
        words = f"{said}: {like:,f} is more than {metric.rise_percent} % over {baseline:,f}"
        return Judged(status=Status.WARN, words=words)
    return Judged(status=Status.PASS, words=said)


RUN_MEMORY_MAX_MB = Decimal(1_000)
"""What no run may take, however large its tape."""


def run_budget_s(rows: int) -> Decimal:
    """Seconds that a run may take, end to end: 10 for 100,000 rows (the original's target), and for any fewer."""
    return Decimal(10) * max(Decimal(1), Decimal(rows) / 100_000)

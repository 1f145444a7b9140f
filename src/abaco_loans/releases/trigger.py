"""When production must go back by itself. What was not measured is unknown, never calm.

A trigger that fired means: go back. An unknown one means: hold until it is measured, and go back at the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

ERROR_RATE_PERCENT_MAX = Decimal(5)
ERROR_RATE_FOR = timedelta(minutes=5)
KPI_VARIANCE_PERCENT_MAX = Decimal(5)
CRASHES_REPEATED = 3
CRASHES_WITHIN = timedelta(minutes=15)


class Cause(StrEnum):
    """What can call production back (SPEC, "Rollback")."""

    ERROR_RATE = "error_rate"
    DATA_LOSS = "data_loss"
    CRASHES = "crashes"
    KPI_VARIANCE = "kpi_variance"
    AUDIT_TRAIL = "audit_trail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A cause that is not calm: it ``fired``, or it is unknown."""

    cause: Cause
    fired: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """Jobs that failed, in percent of those that ended, at a time; None where it could not be measured."""

    at: datetime
    percent: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionMetrics:
    """What is known of production at the time ``at``; None is "not measured". All times have a zone.

    Attributes:
        error_rates: in any order, those of the last ten minutes at least.
        lost_jobs: acknowledged, and neither waiting, running nor ended.
        crashes: when a worker or run died.
        kpi_variances_percent: by KPI, against what the other release gives on the same tape.
        ledger_verified: whether the chain and the seals hold.
        audit_events: of the last run.
    """

    at: datetime
    error_rates: tuple[ErrorRate, ...] | None
    lost_jobs: int | None
    crashes: tuple[datetime, ...] | None
    kpi_variances_percent: Mapping[str, Decimal | None] | None
    ledger_verified: bool | None
    audit_events: int | None


def triggers(metrics: ProductionMetrics) -> tuple[Trigger, ...]:
    """Every cause that fired or is unknown; empty only when everything was measured and is calm."""
    found = (_error_rate(metrics), _data_loss(metrics), _crashes(metrics), _variance(metrics), _audit_trail(metrics))
    return tuple(item for item in found if item)


def _error_rate(metrics: ProductionMetrics) -> Trigger | None:
    """Fires when every rate of the last five minutes, and the one that held when they began, is too high."""
    cause = Cause.ERROR_RATE
    rates = sorted(metrics.error_rates or (), key=lambda item: item.at)
    begins = metrics.at - ERROR_RATE_FOR
    recent = [item for item in rates if item.at > begins]
    if not recent:
        return _unknown(cause, "the error rate was not measured in the last 5 minutes")
    if recent[-1].at > metrics.at:
        return _unknown(cause, "an error rate lies in the future: the clock has jumped")
    window = [*(item for item in rates if item.at <= begins), *recent][-len(recent) - 1 :]
    percents = [item.percent for item in window if item.percent is not None and 0 <= _number(item.percent) <= 100]
    if len(percents) < len(window):
        return _unknown(cause, "an error rate of the last 5 minutes is missing")
    if min(percents) <= ERROR_RATE_PERCENT_MAX:
        return None
    words = f"the error rate is {min(percents):f} % or more"
    if window[0].at > begins or any(after.at - before.at > ERROR_RATE_FOR for before, after in pairwise(window)):
        return _unknown(cause, f"{words}, and was not measured for 5 minutes in a row")
    return _fired(cause, f"{words} for 5 minutes")


def _data_loss(metrics: ProductionMetrics) -> Trigger | None:
    if metrics.lost_jobs is None or metrics.lost_jobs < 0:
        return _unknown(Cause.DATA_LOSS, "it is not known whether a tape was lost")
    return _fired(Cause.DATA_LOSS, f"{metrics.lost_jobs} tapes are lost") if metrics.lost_jobs else None


def _crashes(metrics: ProductionMetrics) -> Trigger | None:
    if metrics.crashes is None:
        return _unknown(Cause.CRASHES, "it is not known whether a worker crashed")
    # One that seems to lie in the future has happened all the same.
    count = sum(1 for at in metrics.crashes if metrics.at - at <= CRASHES_WITHIN)
    return _fired(Cause.CRASHES, f"{count} crashes in 15 minutes") if count >= CRASHES_REPEATED else None


def _variance(metrics: ProductionMetrics) -> Trigger | None:
    cause, said = Cause.KPI_VARIANCE, metrics.kpi_variances_percent or {}
    known = {kpi: size for kpi, size in said.items() if size is not None and not size.is_nan() and size >= 0}
    over = sorted(kpi for kpi, size in known.items() if size > KPI_VARIANCE_PERCENT_MAX)
    if over:
        return _fired(cause, "; ".join(f"{kpi} differs by {known[kpi]:f} %" for kpi in over))
    missing = sorted(said.keys() - known.keys())
    if missing or not said:
        return _unknown(cause, f"the variance of {', '.join(missing) or 'every KPI'} is not known")
    return None


def _audit_trail(metrics: ProductionMetrics) -> Trigger | None:
    if metrics.ledger_verified is False:
        return _fired(Cause.AUDIT_TRAIL, "the audit ledger does not verify")
    if metrics.audit_events is not None and metrics.audit_events <= 0:
        return _fired(Cause.AUDIT_TRAIL, "the last run left no event in the audit ledger")
    if metrics.ledger_verified is None or metrics.audit_events is None:
        return _unknown(Cause.AUDIT_TRAIL, "the audit ledger was not verified")
    return None


def _number(percent: Decimal) -> Decimal:
    """The percentage; one that is no number becomes one that no rate can be."""
    return Decimal(-1) if percent.is_nan() else percent


def _fired(cause: Cause, words: str) -> Trigger:
    return Trigger(cause=cause, fired=True, words=words)


def _unknown(cause: Cause, words: str) -> Trigger:
    return Trigger(cause=cause, fired=False, words=words)

"""What fired since a cutover began, the rules that fire, and whom alerts go to, for the reports of the cutover."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from abaco_loans.operations.watch_checkpoint import WatchRecords, WatchTools
from abaco_loans.records.alerts import AlertReader
from abaco_loans.records.cutovers import CutoverRecord
from abaco_loans.watch.alert import Alert
from abaco_loans.watch.alert_policy import AlertPolicy
from abaco_loans.watch.metric import METRICS, Limit, Metric
from abaco_loans.watch.rules import FIGURES, RULES, RUNS_LATE, RUNS_MISSING

_ALERTS = 10_000
_NEVER = "never"


class ReportRecords(WatchRecords, Protocol):
    """What a report needs of the records; it writes nothing."""

    @property
    def alert_reader(self) -> AlertReader:
        """Reads alerts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTools:
    """What `wiring` picks for a report."""

    watch: WatchTools
    open_records: Callable[[], AbstractContextManager[ReportRecords]]
    policy: AlertPolicy


def alert_facts(records: ReportRecords, record: CutoverRecord) -> dict[str, Any]:
    """The alerts that were open at some time since the cutover began, the oldest first.

    ``fired`` is None, with the reason, while the cutover has not begun: then nothing was looked for.
    """
    if record.started_at is None:
        return {"fired": None, "why": "the cutover has not begun"}
    since = record.started_at
    found = [
        item for item in records.alert_reader.list(_ALERTS) if item.resolved_at is None or item.resolved_at > since
    ]
    return {
        "fired": [_alert(item) for item in sorted(found, key=lambda item: (item.first_seen, item.alert_id))],
        "why": "",
    }


def _alert(item: Alert) -> dict[str, Any]:
    return {
        "id": item.alert_id,
        "rule": item.rule,
        "subject": item.subject,
        "severity": item.severity.value,
        "status": item.status.value,
        "words": item.words,
        "owner": item.owner,
        "first_seen": item.first_seen.isoformat(),
        "acknowledged_by": item.acknowledged_by,
        "resolved_at": item.resolved_at.isoformat() if item.resolved_at else None,
        "source": f"alert {item.alert_id}, event {item.event_seq}",
    }


def policy_facts(policy: AlertPolicy) -> dict[str, Any]:
    """The rules with when they fire and who owns them, and the escalation chain; no address and no secret."""
    when = thresholds(policy)
    return {
        "rules": [
            {
                "name": rule.name,
                "text": rule.text,
                "warning": when[rule.name][0],
                "critical": when[rule.name][1],
                "owner": policy.owner(rule.name),
                "runbook": rule.runbook,
            }
            for rule in RULES.values()
        ],
        "chain": [
            {
                "who": step.who,
                "channels": list(step.channels),
                "warning_after_min": _minutes(step.warning_after),
                "critical_after_min": _minutes(step.critical_after),
            }
            for step in policy.chain
        ],
    }


def thresholds(policy: AlertPolicy) -> dict[str, tuple[str, str]]:
    """When each rule warns, and when it is critical, in words; what could not be measured warns, too."""
    every, budget = policy.tape_every, policy.error_budget
    tape = (f"none for {_hours(every)}", f"none for {_hours(2 * every)}") if every else (_NEVER, _NEVER)
    said = {FIGURES[item.name]: (_warning(item), _critical(item)) for item in METRICS.values()}
    return said | {
        "pipeline": ("held by a cutover", "stalled: a tape waits, and nobody takes it"),
        "validation": ("WARN, or not measured", "FAIL"),
        "rollback_proposed": (_NEVER, "a cause of a rollback fired"),
        "rollback_failed": (_NEVER, "it is held, or failed"),
        "kpi_threshold": ("beyond its warning threshold", "beyond its critical threshold"),
        "no_tape": tape,
        "no_run": (f"a tape waits for {_hours(RUNS_LATE)}", f"a tape waits for {_hours(RUNS_MISSING)}"),
        "error_budget": (f"more than {budget.failed} of the last {budget.runs}", "more than half of them"),
        "checkpoint_missed": ("one or more", _NEVER),
        "decision_open": ("half of its time is gone", _NEVER),
        "channel_down": ("its breaker is open", _NEVER),
    }


def _warning(item: Metric) -> str:
    said = [_limit(item, item.warning)] if item.warning else []
    if item.rise_percent is not None:
        said.append(f"{item.rise_percent} % over what was recorded before")
    return ", or ".join(said) or _NEVER


def _critical(item: Metric) -> str:
    said = [_limit(item, item.critical) + (", lasting" if item.sustained else "")] if item.critical else []
    if item.growth_percent is not None:
        said.append(f"growing by more than {item.growth_percent} % an hour")
    return ", or ".join(said) or _NEVER


def _limit(item: Metric, limit: Limit) -> str:
    if limit.reached and not limit.value:
        return f"0 {item.unit}"
    side = "below" if item.low_is_bad else "from" if limit.reached else "above"
    return f"{side} {limit.value:f} {item.unit}"


def _hours(time: timedelta) -> str:
    return f"{int(time.total_seconds() // 3600)} h"


def _minutes(after: timedelta | None) -> int | None:
    return None if after is None else int(after.total_seconds() // 60)

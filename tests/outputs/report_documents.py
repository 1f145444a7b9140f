"""Facts of a cutover as `operations.cutover_facts` gives them, in every state that a report can meet."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from abaco_loans.operations.alert_facts import policy_facts
from abaco_loans.operations.watch_facts import trigger_facts
from abaco_loans.watch.alert_policy import AlertPolicy
from tests.outputs.book_document import planted

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
HOURS = ("1", "2", "2.5", "3", "3.5", "4", "5", "6", "7", "8", "10", "12", "14", "16", "20", "24")
DIGEST = "407177ab8b8d96a99cd0af44a4c2235983609b975d6f25b8983b6cb2e13e319f"
CRITERIA = ("all checkpoints are done", "nothing was critical", "the audit ledger is verified")
_PHASES = (
    "pre-cutover validation",
    "backup and snapshots",
    "staging validation",
    "graceful shutdown",
    "activation",
    "post-cutover validation",
)
_KPIS = ("Collection rate", "PAR 30", "PAR 60", "PAR 7", "PAR 90", "Portfolio health", "Write-off rate", "Clients")


def at(hours: float) -> str:
    """A moment so many hours after the cutover."""
    return (NOON + timedelta(hours=hours)).isoformat()


def checkpoint(hour: str, event: int, status: str = "PASS", **metrics: str | None) -> dict[str, Any]:
    """A checkpoint that was done; a metric that is None was not measured."""
    said: dict[str, str | None] = {
        "timestamp": at(float(hour)),
        "kpi_latency_ms": "0.71",
        "error_rate_percent": "0.000",
        "memory_mb": "105.2",
        "cpu_percent": "3.1",
        "audit_trail_events": "8",
        "kpi_variance_percent": "0",
        "pipeline_status": "running",
        "validation_status": "PASS",
    }
    figures = {name: {"status": "PASS", "words": f"{name} is fine"} for name in said if name != "timestamp"}
    for name, value in metrics.items():
        said[name] = value
        mark = "UNKNOWN" if value is None else status
        figures[name] = {
            "status": mark,
            "words": f"{name} could not be measured" if value is None else f"{name} {value}",
        }
    return {
        "hour": hour,
        "due_at": at(float(hour)),
        "done_at": at(float(hour) + 0.01),
        "mark": status,
        "metrics": said,
        "judged": {"status": status, "figures": figures, "triggers": []},
        "event": event,
    }


def decision(hour: str, made: str | None, **more: Any) -> dict[str, Any]:
    """A decision that was asked for."""
    return {
        "hour": hour,
        "asked_at": at(float(hour)),
        "deadline": at(float(hour) + 1),
        "decision": made,
        "decided_by": "ana" if made else None,
        "by_default": False,
        "reason": "all is calm" if made else "",
        "event": 300 + int(hour),
        **more,
    }


def point(hour: str, asked: dict[str, Any] | None, *, unmet: str = "") -> dict[str, Any]:
    """A decision point; ``unmet`` is what stands against its last criterion."""
    first = hour == "8"
    return {
        "hour": hour,
        "since": "0",
        "due_at": at(float(hour)),
        "question": "reduce the frequency, keep it, or investigate?" if first else "sign off, or extend?",
        "choices": ["reduce", "keep", "investigate"] if first else ["sign_off", "extend"],
        "trusting": ["reduce"] if first else ["sign_off"],
        "default": "keep" if first else "extend",
        "allowed_hours": "1" if first else "4",
        "passes": not unmet,
        "criteria": [
            {
                "criterion": name,
                "met": name != CRITERIA[-1] or not unmet,
                "words": unmet if name == CRITERIA[-1] else "",
            }
            for name in CRITERIA
        ],
        "asked": asked,
    }


def kpi(name: str, number: int) -> dict[str, Any]:
    """A KPI that differs by the rounding of the old release."""
    return {
        "id": f"risk.kpi_{number}",
        "name": name,
        "unit": "%",
        "before": f"{number}.2",
        "after": f"{number}.1834465719239",
        "verdict": "explained",
        "outcome": "pass",
        "words": "explained by rounding of the output",
        "variance_percent": "0.7524285489",
        "unexplained_percent": "0",
        "causes": [{"cause": "rounding of the output", "text": f"the baseline printed {number}.2"}],
    }


def step(number: int, phase: int, status: str = "done", words: str = "") -> dict[str, Any]:
    """A step of the journal."""
    return {
        "number": number,
        "phase": phase,
        "name": f"step {number} of the plan",
        "status": status,
        "attempt": 1,
        "started_at": at(-0.01),
        "seconds": "0.51",
        "words": words,
        "source": f"step {number}, event {100 + number}",
    }


def phase(number: int, *, begun: bool = True, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    """A phase of one step."""
    name = _PHASES[number] if number < len(_PHASES) else "way back"
    return {
        "phase": number,
        "name": name,
        "steps": 1,
        "done": int(begun and not failed),
        "failed": list(failed),
        "started_at": at(-0.01) if begun else None,
        "seconds": "0.51" if begun else None,
        "allowed_seconds": 300,
        "source": f"steps {number + 1} to {number + 1}, event {101 + number}" if begun else "",
    }


def signed() -> dict[str, Any]:
    """A cutover that was watched for a day and signed off."""
    keep, sign = decision("8", "keep"), decision("24", "sign_off")
    return {
        "format": 1,
        "generated_at": at(25),
        "workspace": "book",
        "state": "signed_off",
        "cutover": {
            "id": "20260203-120000-0391ae",
            "status": "completed",
            "from": "v1",
            "to": "v2",
            "from_meaning": DIGEST,
            "to_meaning": DIGEST[::-1],
            "plan_hash": DIGEST,
            "planned_by": "olga",
            "planned_at": at(-2),
            "started_at": at(-0.01),
            "finished_at": at(0),
            "rehearsal": False,
            "source": "event 127",
        },
        "active_release": "v2",
        "approvals": {
            "source": "step 6, event 79",
            "missing": [],
            "roles": [
                {"role": role, "person": person, "source": f"event {60 + number}"}
                for number, (role, person) in enumerate(
                    (("ops", "ana"), ("finance", "bo"), ("security", "cy"), ("governance", "di"))
                )
            ],
        },
        "evidence": [
            {"what": "shadow run", "said": "pass", "source": "shadow run 20251130-dac304bc5180, event 57"},
            {"what": "rollback drill", "said": "completed", "source": "drill 20260203-110000-9ab316, event 60"},
            {"what": "check suite of the new release", "said": "PASS", "source": "step 11, event 89"},
        ],
        "phases": [phase(number) for number in range(6)],
        "steps": [step(number + 1, number) for number in range(6)],
        "idle": {"seconds": "0.251", "why": "", "source": "step 17, event 104"},
        "rollback": None,
        "watch": {
            "status": "signed_off",
            "release": "v2",
            "baseline_release": "v1",
            "started_at": at(0),
            "ends_at": None,
            "extended_days": 0,
            "baseline": {},
            "source": "watch 20260203-120000-0391ae, event 153",
            "checkpoints": [
                *(checkpoint(hour, 130 + number) for number, hour in enumerate(HOURS)),
                *({"hour": str(day * 24), "due_at": at(day * 24), "mark": "TO COME"} for day in range(2, 29)),
            ],
            "decisions": [keep, sign],
            "points": [point("8", keep), point("24", sign)],
        },
        "triggers": trigger_facts(),
        "kpis": {
            "why": "",
            "source": "shadow run 20251130-792481b18118, event 123",
            "tape": "book_2025-11.csv",
            "as_of": "2025-11-30",
            "verdict": "pass",
            "items": [kpi(name, number) for number, name in enumerate(_KPIS, 1)],
            "not_compared": 21,
        },
        "no_loss": {
            "acknowledged": 3,
            "counts": {"done": 3, "failed": 0, "leased": 0, "queued": 0},
            "lost": 0,
            "ran_after_the_switch": 1,
            "ran_source": "step 18, event 116",
            "fenced": 0,
            "fenced_source": "step 15, event 98",
            "snapshot_files": "21",
            "snapshot_source": "step 10, event 87",
            "ledger_verified": True,
            "source": "ledger to event 155",
        },
        "alerts": {"fired": [], "why": ""},
        "policy": policy_facts(AlertPolicy()),
    }


def troubled() -> dict[str, Any]:
    """Eight hours after the cutover: a checkpoint critical, one not measured, one missed; alerts; an open decision."""
    found = signed()
    odd = {
        "2": checkpoint("2", 131, "FAIL", kpi_latency_ms="612"),
        "3": checkpoint("3", 133, "UNKNOWN", kpi_variance_percent=None, validation_status=None),
        "5": {
            "hour": "5",
            "due_at": at(5),
            "done_at": None,
            "mark": "MISSED",
            "metrics": {},
            "judged": {},
            "event": 136,
        },
    }
    odd["2"]["judged"]["triggers"] = [
        {"cause": "kpi_variance", "fired": True, "words": "risk.par_30 differs by 6 %"},
        {"cause": "error_rate", "fired": False, "words": "the error rate is not measured"},
    ]
    eight = [odd.get(item["hour"], item) for item in found["watch"]["checkpoints"][:10]]
    to_come = [{"hour": hour, "due_at": at(float(hour)), "mark": "TO COME"} for hour in HOURS[10:]]
    open_ = decision("8", None)
    alert = {
        "id": "a1b2c3",
        "rule": "kpi_latency",
        "subject": "",
        "severity": "critical",
        "status": "acknowledged",
        "words": "calculation of 1,000 rows 612 ms",
        "owner": "data_operations",
        "first_seen": at(2),
        "acknowledged_by": "ana",
        "resolved_at": None,
        "source": "alert a1b2c3, event 140",
    }
    gone = alert | {"id": "d4", "rule": "kpi_threshold", "subject": "risk.par_30", "severity": "warning"}
    gone |= {"status": "resolved", "acknowledged_by": None, "resolved_at": at(4), "source": "alert d4, event 141"}
    found |= {"state": "watching", "generated_at": at(8.2), "alerts": {"fired": [alert, gone], "why": ""}}
    found["watch"] |= {
        "status": "watching",
        "checkpoints": [*eight, *to_come, *found["watch"]["checkpoints"][16:]],
        "decisions": [open_],
        "points": [point("8", open_, unmet="it does not verify"), point("24", None, unmet="it could not be verified")],
    }
    found["no_loss"] |= {
        "lost": None,
        "ledger_verified": None,
        "counts": {"done": 2, "failed": 1, "leased": 0, "queued": 1},
    }
    return found


def unmeasured() -> dict[str, Any]:
    """A cutover that completed, and of which nothing more is known."""
    found = signed()
    none = {"ran_after_the_switch": None, "fenced": None, "snapshot_files": None, "lost": None, "ledger_verified": None}
    found["no_loss"] |= none | {"ran_source": "", "fenced_source": "", "snapshot_source": ""}
    found["evidence"] = [{"what": "check suite of the new release", "said": "not measured", "source": ""}]
    found |= {
        "state": "unwatched",
        "watch": None,
        "idle": {"seconds": None, "why": "the queue was not held and opened again", "source": ""},
        "kpis": {"why": "the releases were not compared", "source": "", "items": [], "not_compared": None},
        "alerts": {"fired": None, "why": "the cutover has not begun"},
    }
    return found


def planned() -> dict[str, Any]:
    """A plan that waits for two approvals."""
    found = unmeasured()
    found["cutover"] |= {"status": "planned", "started_at": None, "finished_at": None}
    found["approvals"]["missing"] = ["finance", "security"]
    for item in found["approvals"]["roles"][1:3]:
        item |= {"person": None, "source": ""}
    phases = [phase(number, begun=False) for number in range(6)]
    return found | {"state": "planned", "active_release": "v1", "steps": [], "phases": phases}


def rolled_back() -> dict[str, Any]:
    """A cutover that was gone back from, hours later."""
    found = troubled()
    found["watch"] |= {"status": "ended", "ends_at": at(6)}
    back = {
        "id": "20260203-180000-77aa11",
        "status": "completed",
        "reason": "risk.par_30 differs by 6 %",
        "seconds": "12.5",
        "idle": {"seconds": "0.4", "why": "", "source": "step 6, event 210"},
        "lost": "0",
        "unfit": "0",
        "steps": [step(1, 0), step(2, 6)],
        "source": "step 9, event 215",
    }
    steps = [*found["steps"], step(7, 6, "failed", "disk full")]
    return found | {"state": "rolled_back", "active_release": "v1", "rollback": back, "steps": steps}


STATES = {item.__name__: item for item in (signed, troubled, unmeasured, planned, rolled_back)}
_OURS = {"state", "status", "mark", "severity", "outcome", "decision", "default", "format", "cause", "fired"}


def hostile(value: Any, key: str = "") -> Any:
    """Facts with markup in every text that is neither ours, nor a number or time."""
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    return planted(value) if isinstance(value, str) and key not in _OURS and not _is_plain(value) else value


def _is_plain(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except ArithmeticError:
        pass
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return text in ("sign_off", "reduce", "keep", "investigate", "extend")


def longest() -> dict[str, Any]:
    """The most that one page has to hold: long names and reasons, many points."""
    found = deepcopy(rolled_back())
    long = "a reason that somebody wrote down at length, because much had happened that night " * 2
    found["rollback"]["reason"] = long.strip()
    for item in found["kpis"]["items"]:
        item["causes"] = [{"cause": "definition", "text": long}, *item["causes"]]
    found["cutover"]["planned_by"] = "Wilhelmina van der Bergen-Hohenstein"
    return found

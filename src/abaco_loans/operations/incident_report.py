"""What is written about a cutover while it runs, and about a rollback when it is over.

The log (``logs/cutover_<started>.log``) is for people who follow: a line a step; the journal in the records is what
counts. The incident report says what happened, what shows that nothing was lost, and what a person should do next; it
is written twice, ``incident.md`` to read and ``incident.json`` for programs, each whole or not at all.

Names and words come from tapes and errors: what is not printable, and what Markdown would take as markup, is escaped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.operations.carry_out import Told
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.lines import append_line, printable
from abaco_loans.outputs.publish import world, write_whole
from abaco_loans.records.cutovers import StepRecord

LOG_FOLDER = "logs"
INCIDENT_JSON = "incident.json"
INCIDENT_MARKDOWN = "incident.md"
_FORMAT = 1
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


# --- the log ------------------------------------------------------------------------------------------------


def write_cutover_log(workspace: Workspace, log: Path | None, told: Told) -> Path:
    """Append a line, durably; gives the log. Half a line that a dead process left is ended first.

    Args:
        log: the log that was begun; None begins ``logs/cutover_YYYYMMDD_HHMMSS.log`` (UTC), or goes on in it where two
            begin in one second.
        told: what is told; its words may hold anything.

    Raises:
        WorldError: ``OUT-1xx`` it cannot be written.
    """
    path = log or workspace.root / LOG_FOLDER / f"cutover_{told.at.astimezone(UTC):%Y%m%d_%H%M%S}.log"
    append_line(path, _line(told))
    return path


def _line(told: Told) -> str:
    phase = told.step.phase
    seconds = "-" if told.seconds is None else f"{told.seconds:.3f}"
    said = (
        f"{_moment(told.at)} phase={phase.value} {phase.name.lower()} step={told.step.number}"
        f" status={printable(told.status)} seconds={seconds} {printable(told.step.name)}"
    )
    return f"{said}: {printable(told.words)}" if told.words else said


# --- the incident report ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAgain:
    """A job that the release before had to run again.

    Args:
        was: the run whose result no longer counts; it stays as history.
        now: the run whose result counts instead; None while there is none.
    """

    job_id: str
    tape_name: str
    as_of: date | None
    was: str
    now: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was served before the rollback, and what is served after it: an entry a tape and date.

    The entries are texts, the same for the same tape and date under whatever release.
    """

    before: frozenset[str]
    after: frozenset[str]

    @property
    def lost(self) -> tuple[str, ...]:
        """What is served no longer; nothing, if all went well."""
        return tuple(sorted(self.before - self.after))

    def as_dict(self) -> dict[str, Any]:
        """Both sets with their SHA-256 (of the sorted entries, a line each), and what was lost."""
        return {"before": _set(self.before), "after": _set(self.after), "lost": list(self.lost)}


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    """What an incident report says.

    Attributes:
        at: when it was written; ``reason`` why it was gone back, ``who`` planned it.
        from_release: that was found bad; ``to_release`` is to serve again.
        steps: the journal; the errors in its evidence are told.
        errors: others: ``code``, ``what``, ``where``.
        metrics: production's at the moment of the decision, by name; None is one that was not known.
        jobs: what ran again.
        proof: that nothing was lost; None while it could not be made.
        inactive_seconds: how long no job was taken; None when that is not known.
        next_steps: what a person should do besides what the facts say by themselves.
    """

    at: datetime
    cutover_id: str
    reason: str
    who: str
    from_release: str
    to_release: str
    steps: Sequence[StepRecord]
    jobs: Sequence[RunAgain]
    proof: Proof | None
    errors: Sequence[Mapping[str, str]] = ()
    metrics: Mapping[str, str | None] = field(default_factory=dict)
    inactive_seconds: str | None = None
    next_steps: Sequence[str] = ()

    @property
    def closed(self) -> bool:
        """Whether all that was served is served again: proven, and every job has its result."""
        return self.proof is not None and not self.proof.lost and all(job.now for job in self.jobs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers as text, None where something is not known."""
        journalled = [step.evidence.get("error") for step in self.steps]
        errors = [*self.errors, *(error for error in journalled if isinstance(error, Mapping))]
        return {
            "format": _FORMAT,
            "cutover_id": self.cutover_id,
            "at": _moment(self.at),
            "reason": self.reason,
            "who": self.who,
            "from_release": self.from_release,
            "active_release": self.to_release,
            "closed": self.closed,
            "inactive_seconds": self.inactive_seconds,
            "errors": [{name: str(error.get(name, "")) for name in ("code", "what", "where")} for error in errors],
            "metrics": dict(self.metrics),
            "timeline": [_timeline(step) for step in self.steps],
            "jobs": [
                {
                    "job_id": job.job_id,
                    "tape": job.tape_name,
                    "as_of": job.as_of.isoformat() if job.as_of else None,
                    "was": job.was,
                    "now": job.now,
                }
                for job in self.jobs
            ],
            "proof": self.proof.as_dict() if self.proof else None,
            "next_steps": next_steps(self),
        }


def next_steps(facts: IncidentFacts) -> list[str]:
    """What a person should do, the most urgent first."""
    found = []
    if facts.proof is None:
        found.append("It is not proven that nothing was lost: resume the rollback until it is.")
    elif facts.proof.lost:
        found.append(f"{len(facts.proof.lost)} tape(s) that were served are not: look at each job, then resume.")
    waiting = [job for job in facts.jobs if not job.now]
    if waiting:
        found.append(f"{len(waiting)} job(s) have no result of {facts.to_release}; the table says which.")
    failed = [step.name for step in facts.steps if step.status == "failed"]
    if failed:
        found.append(f"{len(failed)} step(s) failed, the first: {failed[0]}.")
    if facts.jobs:
        found.append(f"Tell whoever was given numbers of {facts.from_release} since the cutover: they are withdrawn.")
    found.append(f"Find out why {facts.from_release} failed before a new cutover is planned; its results are kept.")
    return [*found, *facts.next_steps, "Run `abaco audit verify`, and keep this report with the ledger's export."]


def write_incident(folder: Path, facts: IncidentFacts) -> Path:
    """Write the report of a rollback into a folder, over an earlier one of it; gives the path of the readable one.

    Raises:
        WorldError: ``OUT-1xx`` it cannot be written.
    """
    document = facts.as_dict()
    with world(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n"
        write_whole(folder / INCIDENT_JSON, text.encode())
        write_whole(folder / INCIDENT_MARKDOWN, _markdown(document).encode())
    return folder / INCIDENT_MARKDOWN


def _timeline(step: StepRecord) -> dict[str, Any]:
    took = None if step.finished_at is None else _between(step.started_at, step.finished_at)
    return {
        "number": step.number,
        "phase": step.phase,
        "name": step.name,
        "status": step.status,
        "attempt": step.attempt,
        "started_at": _moment(step.started_at),
        "seconds": None if took is None else f"{took:.3f}",
    }


def _between(start: datetime, end: datetime) -> Decimal | None:
    """Seconds; None when the clock was set back meanwhile."""
    took = end - start
    exact = Decimal(took.days * 86_400 + took.seconds) + Decimal(took.microseconds).scaleb(-6)
    return exact if exact >= 0 else None


def _set(entries: frozenset[str]) -> dict[str, Any]:
    listed = sorted(entries)
    digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    return {"count": len(listed), "sha256": digest, "entries": listed}


def _markdown(said: Mapping[str, Any]) -> str:
    proof, errors = said["proof"], said["errors"]
    parts = [
        f"# Rollback of {_text(said['from_release'])} to {_text(said['active_release'])}",
        _table(
            ("what", "value"),
            [
                ("rollback", said["cutover_id"]),
                ("time", said["at"]),
                ("reason", said["reason"]),
                ("decided by", said["who"]),
                ("active release", said["active_release"]),
                ("seconds without an active release", said["inactive_seconds"]),
                ("everything is served again", "yes" if said["closed"] else "NO"),
            ],
        ),
        "## What to do next",
        "\n".join(f"{number}. {_text(step)}" for number, step in enumerate(said["next_steps"], 1)),
        "## Errors",
        _table(("code", "what", "where"), [(item["code"], item["what"], item["where"]) for item in errors]),
        "## Metrics at that moment",
        _table(("metric", "value"), sorted(said["metrics"].items())),
        "## Timeline",
        _rows(said["timeline"], ("started_at", "phase", "number", "name", "status", "attempt", "seconds")),
        "## Jobs that ran again",
        _rows(said["jobs"], ("job_id", "tape", "as_of", "was", "now")),
        "## Proof that nothing was lost",
        _proof(proof),
    ]
    return "\n\n".join(parts) + "\n"


def _proof(proof: Mapping[str, Any] | None) -> str:
    if proof is None:
        return "There is none yet."
    table = _table(
        ("set", "tapes and dates", "SHA-256"),
        [(f"served {name}", proof[name]["count"], proof[name]["sha256"]) for name in ("before", "after")],
    )
    lost = "\n".join(f"- {_text(entry)}" for entry in proof["lost"])
    return f"{table}\n\nLost: {'nothing.' if not lost else ''}\n\n{lost}".rstrip()


def _rows(items: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> str:
    head = tuple(name.replace("_", " ") for name in columns)
    return _table(head, [[item[name] for name in columns] for item in items])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *([_text(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """Text as Markdown shows it as it is, on one line."""
    return "unknown" if value is None else _MARKUP.sub(r"\\\1", printable(str(value)))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")

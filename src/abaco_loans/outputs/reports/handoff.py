"""The handoff document: all that the operations team needs to run what a cutover has made active."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.layout import Commands, Heading, Listed, Note, Part, Section
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.alert_parts import alert_parts, escalation_parts, rollback_parts, rule_parts
from abaco_loans.outputs.reports.shared import no_loss, numbers
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import (
    Facts,
    as_of,
    badge,
    counts,
    cover_facts,
    footer,
    mark_cell,
    moment,
    seconds,
    verdict,
)
from abaco_loans.outputs.tables import Cell, Table, cell

_TASKS = {
    "1": "The critical validation: read every figure, and that each was measured.",
    "8": "Decision: reduce the frequency, keep it, or investigate. Without an answer it is kept.",
    "24": "Decision: sign off, or extend. Without an answer it is extended.",
}
_FIRST_HOURS = "Read the mark; what is not PASS has an alert and a page in the runbook."
_DAILY = "abaco validate and abaco watch status; read the alerts that are open."


def handoff(facts: Facts) -> Sheet:
    """The sheet."""
    word, tone, means = verdict(facts)
    return Sheet(
        kind="handoff",
        kicker="Handoff to operations",
        word=word,
        tone=tone,
        means=means,
        badge=badge(facts),
        when=as_of(facts),
        facts=cover_facts(facts),
        sections=[*_record(facts), *_work(facts)],
        footer=footer(facts),
    )


def _record(facts: Facts) -> list[Section]:
    """What happened, as it is recorded."""
    return [
        Section(name="happened", title="What happened", lead=_lead(facts), parts=[*_happened(facts)]),
        Section(
            name="timeline",
            title="Timeline",
            lead="Phases in seconds, checkpoints by the hour since the cutover. Times are UTC.",
            parts=[*parts.phase_parts(facts), *parts.checkpoint_parts(facts), *parts.decision_parts(facts)],
        ),
        numbers(facts),
        no_loss(facts),
    ]


def _work(facts: Facts) -> list[Section]:
    """What operations works with."""
    return [
        Section(
            name="checklist",
            title="Checklist by hour",
            lead="What to look at, and what was found; the tick does the checkpoints by itself.",
            parts=[*_checklist(facts)],
        ),
        Section(
            name="alerts",
            title="Alerts",
            lead="What fired, and what fires. docs/operations.md says what to do, rule by rule.",
            parts=[*alert_parts(facts), *rule_parts(facts)],
        ),
        Section(
            name="escalation",
            title="Escalation",
            lead="Who is told, and who is told next when nobody answers.",
            parts=[*escalation_parts(facts)],
        ),
        Section(
            name="rollback",
            title="Rollback in three steps",
            lead="One command, and nothing is lost.",
            parts=[*rollback_parts(facts)],
        ),
        Section(name="commands", title="Commands", lead="To copy.", parts=[*_commands(facts)]),
        Section(
            name="open",
            title="Open points",
            lead="What the records leave open.",
            parts=[*parts.open_parts(facts)],
        ),
    ]


def _lead(facts: Facts) -> str:
    cutover = facts["cutover"]
    if cutover["started_at"] is None:
        return f"The change from {cutover['from']} to {cutover['to']} is planned, and has not begun."
    return f"Release {cutover['to']} was to take over from {cutover['from']}. {facts['active_release']} is active now."


def _happened(facts: Facts) -> Iterator[Part]:
    idle, back = facts["idle"], facts["rollback"]
    people = ", ".join(f"{item['person'] or 'nobody'} ({item['role']})" for item in facts["approvals"]["roles"])
    told = [
        f"Approved by {people}: {facts['approvals']['source']}.",
        f"No job was taken for {seconds(idle['seconds'])}: {idle['source'] or idle['why']}.",
    ]
    if facts["watch"]:
        told.append(f"{counts(facts['watch']['checkpoints'])[:-1]} ({facts['watch']['source']}).")
    if back:
        told.append(f"Rollback {back['id']}, {back['status']}, in {seconds(back['seconds'])}: {back['reason']}.")
    yield Listed(items=told)
    yield Table(
        title="What was shown",
        head=(cell("What"), cell("Said"), cell("Source")),
        rows=[(cell(item["what"]), cell(item["said"]), cell(item["source"])) for item in facts["evidence"]],
        css="plain",
    )


def _checklist(facts: Facts) -> Iterator[Part]:
    watch = facts["watch"]
    if watch is None:
        yield Note(text="The watch begins when the cutover is complete; its hours are those of docs/watch.md.")
        return
    first = [item for item in watch["checkpoints"] if Decimal(item["hour"]) <= 24]
    later = [item for item in watch["checkpoints"] if Decimal(item["hour"]) > 24]
    yield Table(
        title="The first day",
        head=(cell("Hour"), cell("Due"), cell("Found"), cell("What to do")),
        rows=[_task(item) for item in first],
        css="plain tasks",
    )
    done = [item for item in later if item["mark"] not in ("TO COME", "NOT DONE")]
    if later:
        yield Heading(text="Until day 28")
        yield Note(text=f"{len(done)} of {len(later)} checkpoints are done; the next is due {_next(later)}. {_DAILY}")


def _next(later: list[dict[str, Any]]) -> str:
    return next((moment(item["due_at"]) for item in later if item["mark"] == "TO COME"), "no more")


def _task(item: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        cell(item["hour"]),
        cell(moment(item["due_at"])),
        mark_cell(item["mark"], f"event {item['event']}" if "event" in item else ""),
        cell(_TASKS.get(item["hour"], _FIRST_HOURS)),
    )


def _commands(facts: Facts) -> Iterator[Part]:
    identity = facts["cutover"]["id"]
    yield Heading(text="See how it stands")
    yield Commands(
        lines=["abaco watch status", "abaco worker status", "abaco alert list", f"abaco cutover status {identity}"]
    )
    yield Heading(text="Check it")
    yield Commands(lines=["abaco validate", "abaco audit verify"])
    yield Heading(text="Decide")
    yield Commands(
        lines=[
            'abaco watch decide 8 reduce --reason "what was looked at"',
            'abaco watch decide 24 sign_off --reason "what was looked at"',
        ]
    )
    yield Heading(text="Write this again")
    yield Commands(lines=[f"abaco report handoff --cutover {identity}"])

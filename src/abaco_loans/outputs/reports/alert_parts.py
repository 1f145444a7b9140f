"""What reports say of alerts: what fired, what fires, who is told, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from abaco_loans.outputs.layout import Absent, Commands, Listed, Note, Part
from abaco_loans.outputs.reports.words import NOT_MEASURED, Facts, moment, person
from abaco_loans.outputs.tables import Cell, Table, cell

_SEVERITIES = {"warning": "watch", "critical": "bad"}


def alert_parts(facts: Facts) -> Iterator[Part]:
    """What fired."""
    alerts = facts["alerts"]
    if alerts["fired"] is None:
        yield Absent(title="Alerts", words=NOT_MEASURED, reason=f"{alerts['why'][:1].upper()}{alerts['why'][1:]}.")
    elif not alerts["fired"]:
        yield Note(text="No alert is recorded since the cutover began.")
    else:
        yield Table(
            title="Alerts since the cutover began",
            head=(cell("First seen"), cell("Rule"), cell("Severity"), cell("What"), cell("Until"), cell("Source")),
            rows=[_alert_row(item) for item in alerts["fired"]],
            css="plain",
        )


def _alert_row(item: Mapping[str, Any]) -> tuple[Cell, ...]:
    by = item["acknowledged_by"]
    return (
        cell(moment(item["first_seen"])),
        Cell(text=item["rule"], note=item["subject"]),
        Cell(text=item["severity"], tone=_SEVERITIES.get(item["severity"], "none")),
        cell(item["words"]),
        Cell(
            text=moment(item["resolved_at"]) if item["resolved_at"] else item["status"],
            note=f"acknowledged by {by}" if by else "",
        ),
        cell(item["source"]),
    )


def rule_parts(facts: Facts) -> Iterator[Part]:
    """Rules with their thresholds, and what calls production back."""
    yield Table(
        title="Rules and thresholds",
        head=(cell("Rule"), cell("Means"), cell("Warning"), cell("Critical"), cell("Owner")),
        rows=[
            (
                Cell(text=rule["name"], note=rule["runbook"]),
                cell(rule["text"]),
                cell(rule["warning"]),
                cell(rule["critical"]),
                cell(person(rule["owner"])),
            )
            for rule in facts["policy"]["rules"]
        ],
        css="plain",
    )
    yield Table(
        title="What calls for a rollback",
        head=(cell("Cause"), cell("When")),
        rows=[(cell(item["cause"].replace("_", " ")), cell(item["words"])) for item in facts["triggers"]],
        css="plain",
    )


def escalation_parts(facts: Facts) -> Iterator[Part]:
    """Who is told next when nobody answers."""
    yield Table(
        title="Escalation chain",
        head=(cell("Step"), cell("Who"), cell("A warning after"), cell("A critical alert after"), cell("Through")),
        rows=[
            (
                cell(str(number_)),
                cell(person(step["who"])),
                cell(_after(step["warning_after_min"])),
                cell(_after(step["critical_after_min"])),
                cell(", ".join(step["channels"])),
            )
            for number_, step in enumerate(facts["policy"]["chain"], 1)
        ],
        note="Minutes without an answer. An answer is: abaco alert ack ID. It stops the next step.",
        css="plain",
    )


def _after(minutes: int | None) -> str:
    if minutes is None:
        return "never"
    return "at once" if minutes == 0 else f"{minutes} min"


def rollback_parts(facts: Facts) -> Iterator[Part]:
    """The rollback in three steps."""
    cutover = facts["cutover"]
    yield Listed(
        items=[
            "Decide. Somebody of the escalation chain does; a tick that says ROLLBACK PROPOSED is a reason by itself.",
            (
                f"Go back: the queue is held, {cutover['from']} becomes active again, and all that {cutover['to']} has"
                " served runs again. It takes less than five minutes."
            ),
            (
                "Look: the incident report says what ran again and proves that nothing was lost. Tell whoever was given"
                f" numbers of {cutover['to']}."
            ),
        ],
        numbered=True,
    )
    yield Commands(
        lines=["abaco watch status", 'abaco rollback --reason "what is wrong, in one line"', "abaco cutover status"]
    )
    yield Note(text="If it is held, it says why: abaco cutover resume goes on, while the old release serves.")

"""The briefing before a cutover: the plan and its evidence from the records, and blanks for what people agree on."""

from __future__ import annotations

from collections.abc import Iterator

from abaco_loans.outputs.layout import Commands, Listed, Part, Section
from abaco_loans.outputs.numbers import grouped
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.alert_parts import escalation_parts, rollback_parts
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import Facts, badge, cover_facts, footer, moment, verdict
from abaco_loans.outputs.tables import Cell, Table, cell, number

_AGREED = ("Begins at", "Who carries it out", "Who may stop it", "Who is told when it is over", "Room or call")


def briefing(facts: Facts) -> Sheet:
    """The sheet."""
    word, tone, means = verdict(facts)
    cutover = facts["cutover"]
    return Sheet(
        kind="briefing",
        kicker="Briefing before the cutover",
        word=word,
        tone=tone,
        means=means,
        badge=badge(facts),
        when=f"{cutover['from']} → {cutover['to']}, planned {moment(cutover['planned_at'])}",
        facts=cover_facts(facts),
        sections=[
            Section(
                name="agreed",
                title="To be agreed",
                lead="Filled in by those who meet.",
                parts=[blank_table("The appointment", ("What", "Agreed"), _AGREED)],
            ),
            Section(
                name="plan",
                title="The plan",
                lead="Each phase is gated. A failure in 0 to 2 changes nothing; in 3 to 5 it goes back by itself.",
                parts=[_plan(facts)],
            ),
            Section(
                name="evidence",
                title="What was shown",
                lead="What is not done yet stops phase 0.",
                parts=[*_evidence(facts)],
            ),
            Section(
                name="kpis",
                title="The numbers",
                lead="Both releases on the same tape, before the cutover.",
                parts=[*parts.kpi_parts(facts)],
            ),
            Section(
                name="back",
                title="When we go back",
                lead="These call for a rollback; none of them needs a discussion.",
                parts=[_triggers(facts), *rollback_parts(facts)],
            ),
            Section(
                name="escalation",
                title="Escalation",
                lead="Who is told, and who is told next when nobody answers.",
                parts=[*escalation_parts(facts)],
            ),
            Section(name="commands", title="Commands", lead="To copy.", parts=[_commands(facts)]),
        ],
        footer=footer(facts),
    )


def blank_table(title: str, head: tuple[str, ...], rows: tuple[str, ...]) -> Table:
    """A table that people fill in."""
    blanks = (parts.BLANK,) * (len(head) - 1)
    return Table(
        title=title, head=[cell(name) for name in head], rows=[(cell(row), *blanks) for row in rows], css="sign"
    )


def _plan(facts: Facts) -> Table:
    return Table(
        title="Phases",
        head=(cell("Phase"), number("Steps"), number("May take"), cell("A failure")),
        rows=[
            (
                cell(f"{item['phase']} {item['name']}"),
                number(str(item["steps"])),
                number(f"{grouped(item['allowed_seconds'])} s"),
                cell("changes nothing" if item["phase"] < 3 else "goes back by itself"),
            )
            for item in facts["phases"]
            if item["phase"] < 6
        ],
        css="plain",
    )


def _evidence(facts: Facts) -> Iterator[Part]:
    yield Table(
        title="Evidence",
        head=(cell("What"), cell("Said"), cell("Source")),
        rows=[(cell(item["what"]), cell(item["said"]), cell(item["source"])) for item in facts["evidence"]],
        css="plain",
    )
    yield Table(
        title="Approvals",
        head=(cell("Role"), cell("Person"), cell("Source")),
        rows=[
            (
                cell(item["role"]),
                cell(item["person"]) if item["person"] else Cell(text="missing", tone="watch"),
                cell(item["source"]),
            )
            for item in facts["approvals"]["roles"]
        ],
        note=f"Source: {facts['approvals']['source']}.",
        css="plain",
    )


def _triggers(facts: Facts) -> Listed:
    return Listed(items=[f"{item['cause'].replace('_', ' ')}: {item['words']}." for item in facts["triggers"]])


def _commands(facts: Facts) -> Commands:
    identity = facts["cutover"]["id"]
    return Commands(
        lines=[
            *(f"abaco cutover approve {identity} --as {role}" for role in facts["approvals"]["missing"]),
            f"abaco cutover start {identity} --dry-run",
            f"abaco cutover start {identity}",
            f"abaco cutover status {identity}",
        ]
    )

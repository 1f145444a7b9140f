"""The retrospective after a cutover: what happened, from the records, and blanks for what people make of it."""

from __future__ import annotations

from collections.abc import Iterator

from abaco_loans.outputs.layout import Note, Part, Section
from abaco_loans.outputs.numbers import grouped
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.alert_parts import alert_parts
from abaco_loans.outputs.reports.briefing import blank_table
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import Facts, as_of, badge, cover_facts, footer, seconds, verdict
from abaco_loans.outputs.tables import Table, cell, number

_LINES = ("1", "2", "3")


def retrospective(facts: Facts) -> Sheet:
    """The sheet."""
    word, tone, means = verdict(facts)
    return Sheet(
        kind="retrospective",
        kicker="Retrospective",
        word=word,
        tone=tone,
        means=means,
        badge=badge(facts),
        when=as_of(facts),
        facts=cover_facts(facts),
        sections=[
            Section(
                name="happened",
                title="What happened",
                lead="From the records alone.",
                parts=[
                    *parts.phase_parts(facts),
                    *parts.checkpoint_parts(facts),
                    *parts.decision_parts(facts),
                    *alert_parts(facts),
                ],
            ),
            Section(
                name="planned",
                title="Planned and measured",
                lead="Where it took longer than half of what it may, the plan was close.",
                parts=[_times(facts), *parts.no_loss_parts(facts)],
            ),
            Section(
                name="odd",
                title="What was not as planned",
                lead="What the records leave open, or answered by default.",
                parts=[*parts.open_parts(facts)],
            ),
            Section(name="said", title="What people say", lead="Filled in by those who meet.", parts=[*_said()]),
        ],
        footer=footer(facts),
    )


def _times(facts: Facts) -> Table:
    return Table(
        title="Time",
        head=(cell("Phase"), number("Took"), number("May take"), cell("Source")),
        rows=[
            (
                cell(f"{item['phase']} {item['name']}"),
                number(seconds(item["seconds"])),
                number(f"{grouped(item['allowed_seconds'])} s"),
                cell(item["source"]),
            )
            for item in facts["phases"]
        ],
        css="plain",
    )


def _said() -> Iterator[Part]:
    yield blank_table("What went well", ("No.", "What"), _LINES)
    yield blank_table("What did not", ("No.", "What", "Why"), _LINES)
    yield blank_table("What we change", ("No.", "Action", "Who", "Until"), _LINES)
    yield Note(text="An action without a name and a date is a wish.")

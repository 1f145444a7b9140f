"""The sign-off of hour 24 (or of the day by which the watch was extended): criteria, facts, signatures."""

from __future__ import annotations

from collections.abc import Iterator

from abaco_loans.outputs.layout import Note, Part, Section
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.brief import asked_facts, asked_parts, point_at, standing, upto
from abaco_loans.outputs.reports.shared import alerts, no_loss, numbers
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import Facts, as_of, badge, counts, cover_facts, footer
from abaco_loans.outputs.tables import Cell, Table, cell


def signoff(facts: Facts) -> Sheet:
    """The sheet."""
    point = point_at(facts, "sign_off")
    hour = point["hour"] if point else "24"
    word, tone, means = standing(facts, point, f"hour {hour}")
    return Sheet(
        kind="signoff",
        kicker=f"Sign-off at hour {hour}",
        word="SIGNED OFF" if word == "SIGN OFF" else word,
        tone=tone,
        means=means,
        badge=badge(facts),
        when=as_of(facts),
        facts=[*cover_facts(facts), *asked_facts(point)],
        sections=[
            Section(
                name="criteria",
                title="Criteria",
                lead="As the recorded checkpoints meet them.",
                parts=[*asked_parts(facts, point, hour)],
            ),
            Section(
                name="signatures",
                title="Signatures",
                lead="The decision stands in the ledger; the others sign on paper.",
                parts=[*_signatures(facts, hour)],
            ),
            Section(
                name="facts",
                title="The watch",
                lead=counts(upto(facts, hour)) if facts["watch"] else "Production was not watched.",
                parts=[*parts.checkpoint_parts(facts, until=hour), *parts.decision_parts(facts)],
            ),
            no_loss(facts),
            numbers(facts),
            alerts(facts),
            Section(
                name="open", title="Open points", lead="What the records leave open.", parts=[*parts.open_parts(facts)]
            ),
        ],
        footer=footer(facts),
    )


def _signatures(facts: Facts, hour: str) -> Iterator[Part]:
    """Who decided, from the ledger; a line for each of the four roles."""
    point = point_at(facts, "sign_off")
    made = point["asked"] if point else None
    decided = made is not None and made["decision"] == "sign_off" and not made["by_default"]
    rows = [
        (
            cell(f"decision at hour {hour}"),
            cell(parts.decider(made) if made and decided else "nobody yet"),
            Cell(text="recorded", note=f"event {made['event']}") if made and decided else parts.BLANK,
            parts.BLANK,
        )
    ]
    rows += [
        (cell(item["role"]), _name(item["person"]), parts.BLANK, parts.BLANK) for item in facts["approvals"]["roles"]
    ]
    yield Table(
        title="Who signs",
        head=(cell("Role"), cell("Name"), cell("Signature"), cell("Date")),
        rows=rows,
        css="sign",
    )
    yield Note(text=f"The names are of those who approved the cutover ({facts['approvals']['source']}).")


def _name(person: str | None) -> Cell:
    return cell(person) if person else parts.BLANK

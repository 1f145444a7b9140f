"""The sections of the book in their order, and what each says first. Words on terms are those of the definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from abaco_loans.outputs import parts
from abaco_loans.outputs.layout import Absent, Part, Section

Document = Mapping[str, Any]
NO_REASON = "no values were recorded, and no reason either"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A section before there is a document: each part is its key in the document, its title, and what makes it."""

    name: str
    title: str
    lead: str
    parts: tuple[tuple[str, str, Callable[[Document, Any], Iterator[parts.Shown]]], ...]


_PLANS = (
    _Plan(
        name="par",
        title="Portfolio at risk",
        lead="PAR k is the whole outstanding principal of loans k or more days past due (more than k days where "
        "the definition says so), as a share of all outstanding principal.",
        parts=(("par", "PAR trend", parts.par_parts),),
    ),
    _Plan(
        name="ageing",
        title="Ageing and roll-forward",
        lead="Where the outstanding principal stands by days past due, and what moved it from the opening to the "
        "closing balance. Nothing is plugged: what does not close is shown as a break.",
        parts=(("ageing", "Ageing", parts.ageing_parts), ("waterfall", "Roll-forward", parts.waterfall_parts)),
    ),
    _Plan(
        name="roll-rates",
        title="Roll rates",
        lead="Of the balance in a state at the start of a month, the share that is in each state at its end.",
        parts=(("roll_rates", "Roll rates", parts.roll_rates_parts),),
    ),
    _Plan(
        name="vintages",
        title="Vintages",
        lead="Loans by month of disbursement: the balance of those that have ever been so late, as a share of "
        "what the cohort disbursed, by months on book. A cell that not the whole cohort has reached is blank.",
        parts=(("vintages", "Vintage curves", parts.vintages_parts),),
    ),
    _Plan(
        name="concentration",
        title="Concentration",
        lead="How much of the outstanding principal the largest members of each dimension hold.",
        parts=(("concentration", "Concentration", parts.concentration_parts),),
    ),
    _Plan(
        name="collections",
        title="Collections",
        lead="Cash received in the month against cash scheduled for it.",
        parts=(("collections", "Collections", parts.collections_parts),),
    ),
    _Plan(
        name="quality",
        title="Data quality",
        lead="What came in, what was used, and what the checks found.",
        parts=(("quality", "Rows", parts.quality_parts), ("checks", "Checks", parts.checks_parts)),
    ),
    _Plan(
        name="definitions",
        title="Definitions",
        lead="Every number of this book, with what made it.",
        parts=(
            ("definition", "The definition", parts.definition_parts),
            ("definitions", "KPIs", parts.definitions_parts),
            ("notes", "Notes", parts.notes_parts),
        ),
    ),
)


def sections(document: Document) -> list[Section]:
    """Every section after the cover, in the order of the book."""
    return [
        Section(
            name=plan.name,
            title=plan.title,
            lead=plan.lead,
            parts=[part for key, title, make in plan.parts for part in _made(document, key, title, make)],
        )
        for plan in _PLANS
    ]


def _made(
    document: Document, key: str, title: str, make: Callable[[Document, Any], Iterator[parts.Shown]]
) -> list[Part]:
    """The parts that come of one key of the document; where nothing comes of it, why not."""
    value = document.get(key)
    found: list[Part] = [*make(document, value)] if value else []
    if found or key == "notes":
        return found
    return [Absent(title=title, reason=document["absent"].get(key) or NO_REASON)]

"""One page for management: it prints on one sheet of A4, and names no loan and no customer."""

from __future__ import annotations

from collections.abc import Iterator

from abaco_loans.outputs.layout import Listed, Note, Part, Section
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import (
    NOT_MEASURED,
    Facts,
    as_of,
    badge,
    cover_facts,
    footer,
    measured,
    seconds,
    short,
    verdict,
)

_KPIS, _POINTS, _LETTERS = 6, 5, 240


def onepage(facts: Facts) -> Sheet:
    """The sheet."""
    word, tone, means = verdict(facts)
    return Sheet(
        kind="onepage",
        kicker="One page for management",
        word=word,
        tone=tone,
        means=short(means, _LETTERS),
        badge=badge(facts),
        when=as_of(facts),
        facts=cover_facts(facts),
        sections=[
            Section(name="changed", title="What changed", lead="", parts=[*_changed(facts)]),
            Section(
                name="kpis", title="The numbers before and after", lead="", parts=[*parts.kpi_parts(facts, most=_KPIS)]
            ),
            Section(name="no-loss", title="Is anything lost?", lead="", parts=[*_lost(facts)]),
            Section(name="open", title="Open points", lead="", parts=[*_open(facts)]),
        ],
        footer=footer(facts),
        compact=True,
    )


def _changed(facts: Facts) -> Iterator[Part]:
    cutover, back, idle = facts["cutover"], facts["rollback"], facts["idle"]
    told = [
        f"{_maker(facts)} ({cutover['source']}).",
        f"No release took tapes for: {seconds(idle['seconds'])} ({idle['source'] or idle['why']}).",
    ]
    if back:
        told.append(f"It was rolled back in {seconds(back['seconds'])} ({back['id']}).")
    yield Listed(items=told)


def _maker(facts: Facts) -> str:
    """Which release makes the numbers."""
    active, cutover = facts["active_release"], facts["cutover"]
    if active == cutover["to"]:
        return f"Release {active} makes the numbers; before it {cutover['from']} did"
    return f"Release {active or 'none'} makes the numbers, and not {cutover['to']}"


def _lost(facts: Facts) -> Iterator[Part]:
    found = facts["no_loss"]
    ledger = {True: "verified", False: "DOES NOT VERIFY", None: NOT_MEASURED}[found["ledger_verified"]]
    lost, after = measured(found["lost"]), measured(found["ran_after_the_switch"])
    told = [
        f"Tapes that were acknowledged: {found['acknowledged']}, lost: {lost} ({found['source']}). Ledger: {ledger}.",
        f"Arrived during the switch, and ran after it: {after} ({found['ran_source'] or 'no source'}).",
    ]
    if facts["rollback"]:
        told.append(
            f"Served by {facts['cutover']['to']} and not served again: {measured(facts['rollback']['lost'])}"
            f" ({facts['rollback']['source'] or 'no source'})."
        )
    yield Listed(items=told)


def _open(facts: Facts) -> Iterator[Part]:
    found = parts.open_points(facts)
    if not found:
        yield Note(text="The records hold no open point.")
        return
    yield Listed(items=found[:_POINTS])
    if len(found) > _POINTS:
        yield Note(text=f"{len(found) - _POINTS} more stand in the handoff document.")

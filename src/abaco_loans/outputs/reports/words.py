"""How a cutover stands in words, and small words that all of its reports use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.layout import Fact
from abaco_loans.outputs.numbers import NONE, grouped
from abaco_loans.outputs.tables import Cell

Facts = Mapping[str, Any]
NOT_MEASURED = "not measured"
_TONES = {"PASS": "good", "WARN": "watch", "FAIL": "bad", "UNKNOWN": "bad", "MISSED": "bad", "NOT DONE": "bad"}
_MARKS = {
    "UNKNOWN": NOT_MEASURED,
    "MISSED": "missed",
    "NOT DONE": "not done",
    "NOT_APPLICABLE": "not applicable",
    "TO COME": "to come",
}
# State of the facts → what stands on the cover, how it is marked, what it means.
_STATES = {
    "planned": ("PLANNED", "none", "Nothing has changed yet: {from} is active."),
    "running": ("UNDER WAY", "watch", "The cutover from {from} to {to} is being carried out."),
    "held": ("HELD", "watch", "The cutover waits for something that is missing; it can be resumed or aborted."),
    "stopped": ("STOPPED", "bad", "The cutover was stopped before anything changed: {from} goes on serving."),
    "going_back": ("GOING BACK", "bad", "A rollback to {from} is under way."),
    "rolled_back": ("ROLLED BACK", "bad", "{from} is active again: {reason}."),
    "unwatched": ("ACTIVE, NOT WATCHED", "watch", "{to} is active. Nothing was measured since the cutover."),
    "watching": ("UNDER WATCH", "watch", "{to} is active. {counts}"),
    "extended": ("WATCH EXTENDED", "watch", "{to} is active, and nobody has signed off yet. {counts}"),
    "signed_off": ("SIGNED OFF", "good", "{to} is active; {who} signed off at hour {hour}. {counts}"),
    "ended": ("ENDED UNSIGNED", "watch", "The watch has ended, and nobody signed off. {counts}"),
}


def verdict(facts: Facts) -> tuple[str, str, str]:
    """Word, tone and sentence of how the cutover stands."""
    word, tone, means = _STATES[facts["state"]]
    watch = facts["watch"]
    signed = [item for item in (watch["decisions"] if watch else ()) if item["decision"] == "sign_off"]
    said = means.format(
        **{"from": facts["cutover"]["from"], "to": facts["cutover"]["to"]},
        reason=facts["rollback"]["reason"] if facts["rollback"] else "",
        counts=counts(watch["checkpoints"]) if watch else "",
        who=(signed[-1]["decided_by"] or "nobody") if signed else "",
        hour=signed[-1]["hour"] if signed else "",
    )
    bad = watch is not None and any(item["mark"] == "FAIL" for item in watch["checkpoints"])
    return word, "bad" if bad and tone == "watch" else tone, said


def counts(checkpoints: Sequence[Mapping[str, Any]]) -> str:
    """``Of 16 checkpoints that were due, 14 are PASS, 1 WARN, 1 missed.`` Those to come are not counted."""
    found = Counter(item["mark"] for item in checkpoints if item["mark"] != "TO COME")
    if not found:
        return "No checkpoint was done yet: nothing is measured."
    order = [*_TONES, *sorted(set(found) - set(_TONES))]
    listed = ", ".join(f"{found[mark]} {mark_words(mark)}" for mark in order if found[mark])
    total = sum(found.values())
    return f"{total} checkpoint{'' if total == 1 else 's'} so far: {listed}."


def mark_words(mark: str) -> str:
    """A mark as people read it: what is unknown was not measured."""
    return _MARKS.get(mark, mark)


def mark_cell(mark: str, note: str = "") -> Cell:
    """A mark with its tone."""
    return Cell(text=mark_words(mark), tone=_TONES.get(mark, "none"), note=note)


def moment(text: str | None) -> str:
    """``2026-11-22 08:37 UTC``."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC" if text else NONE


def to_the_second(text: str | None) -> str:
    """``2026-11-22 08:37:28``, in UTC."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}" if text else NONE


def seconds(text: str | None) -> str:
    """``12.3 s``; ``not measured`` where it is None."""
    if text is None:
        return NOT_MEASURED
    value = Decimal(text)
    return f"{grouped(text, 2 if value < 10 else 0)} s"


def measured(value: object, unit: str = "") -> str:
    """A count or text; ``not measured`` where it is None."""
    return NOT_MEASURED if value is None else f"{value} {unit}".rstrip()


def cover_facts(facts: Facts) -> list[Fact]:
    """What stands at the top of every report."""
    cutover, idle = facts["cutover"], facts["idle"]
    said = [
        Fact(term="Cutover", text=f"{cutover['from']} → {cutover['to']}", note=cutover["id"]),
        Fact(term="Planned by", text=cutover["planned_by"], codes=[("plan", cutover["plan_hash"][:12])]),
        Fact(term="Carried out", text=moment(cutover["started_at"]), note=_ended(cutover)),
        Fact(term="No job was taken for", text=seconds(idle["seconds"]), note=idle["source"] or idle["why"]),
    ]
    if facts["watch"]:
        watch = facts["watch"]
        said.append(Fact(term="Watched since", text=moment(watch["started_at"]), note=watch["source"]))
    return said


def _ended(cutover: Mapping[str, Any]) -> str:
    if cutover["started_at"] is None:
        return "not begun"
    return f"{cutover['status'].replace('_', ' ')} {moment(cutover['finished_at'])}, {cutover['source']}"


def as_of(facts: Facts) -> str:
    """Which releases, and when it was written."""
    cutover = facts["cutover"]
    return f"{cutover['from']} → {cutover['to']}, as the records stand at {moment(facts['generated_at'])}"


def badge(facts: Facts) -> str:
    """What must not be overlooked."""
    return "A rehearsal: production was not touched" if facts["cutover"]["rehearsal"] else ""


def footer(facts: Facts) -> str:
    """Where the report comes from."""
    return (
        f"{facts['workspace']}, cutover {facts['cutover']['id']}, written {moment(facts['generated_at'])} from records"
        f" ({facts['no_loss']['source']}): abaco audit export shows every event."
    )


def short(text: str, most: int) -> str:
    """The text, cut where it is longer than so many letters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def person(name: str) -> str:
    """A step of the escalation chain as people say it."""
    return name.replace("_", " ")

"""The brief for hour 8: what is asked, until when, what happens without an answer, and the facts to decide by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.layout import Absent, Commands, Fact, Listed, Note, Part, Section
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.shared import alerts, numbers
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.reports.words import NOT_MEASURED, Facts, badge, counts, cover_facts, footer, moment

_HOUR = "8"


def brief(facts: Facts) -> Sheet:
    """The sheet."""
    point = point_at(facts, _HOUR)
    word, tone, means = standing(facts, point, "hour 8")
    return Sheet(
        kind="brief",
        kicker="Brief for hour 8",
        word=word,
        tone=tone,
        means=means,
        badge=badge(facts),
        when=f"{facts['cutover']['to']} since {moment(facts['watch']['started_at'] if facts['watch'] else None)},"
        f" as the records stand at {moment(facts['generated_at'])}",
        facts=[*cover_facts(facts), *asked_facts(point)],
        sections=[
            Section(
                name="asked",
                title="What is asked",
                lead="A choice that trusts the new release needs every criterion.",
                parts=[*asked_parts(facts, point, _HOUR)],
            ),
            Section(
                name="facts",
                title="The facts",
                lead=counts(upto(facts, _HOUR)) if facts["watch"] else "Production was not watched.",
                parts=[*parts.checkpoint_parts(facts, until=_HOUR)],
            ),
            numbers(facts),
            alerts(facts),
        ],
        footer=footer(facts),
    )


def point_at(facts: Facts, hour: str) -> Mapping[str, Any] | None:
    """The decision point of an hour; ``sign_off`` is the one at the end of a day. None: nothing was watched."""
    if facts["watch"] is None:
        return None
    points: Sequence[Mapping[str, Any]] = facts["watch"]["points"]
    return next(item for item in points if (item["hour"] == _HOUR) == (hour == _HOUR))


def upto(facts: Facts, hour: str) -> list[Mapping[str, Any]]:
    """The checkpoints of a point: up to its hour."""
    return [item for item in facts["watch"]["checkpoints"] if Decimal(item["hour"]) <= Decimal(hour)]


def standing(facts: Facts, point: Mapping[str, Any] | None, at: str) -> tuple[str, str, str]:
    """Word, tone and sentence of a decision point."""
    if point is None:
        return "NOT WATCHED", "bad", "Production was not watched after this cutover: there is nothing to decide by."
    asked = point["asked"]
    unmet = sum(not item["met"] for item in point["criteria"])
    said = (
        "Every criterion is met." if point["passes"] else f"{unmet} of {len(point['criteria'])} criteria are not met."
    )
    if (asked is None or asked["decision"] is None) and parts.ended(facts["watch"]):
        return "NOT DECIDED", "watch", f"The watch ended before anybody decided at {at}. {said}"
    if asked is None:
        return "NOT ASKED YET", "none", f"It is asked at {at}, {moment(point['due_at'])}. So far: {said}"
    if asked["decision"] is None:
        until = f"Answer until {moment(asked['deadline'])}; then {_words(point['default'])} is recorded."
        return "DECISION OPEN", "good" if point["passes"] else "watch", f"{said} {until}"
    who = "Nobody answered: the default was recorded" if asked["by_default"] else f"Decided by {parts.decider(asked)}"
    tone = "good" if asked["decision"] in point["trusting"] else "watch"
    return _words(asked["decision"]).upper(), tone, f"{who} (event {asked['event']}): {asked['reason']}. {said}"


def asked_facts(point: Mapping[str, Any] | None) -> list[Fact]:
    """Question, deadline and default, for the cover."""
    if point is None:
        return []
    asked = point["asked"]
    until = moment(asked["deadline"]) if asked else f"{point['allowed_hours']} h from when it is asked"
    return [
        Fact(
            term="Asked at", text=moment(asked["asked_at"] if asked else point["due_at"]), note=f"hour {point['hour']}"
        ),
        Fact(term="Answer until", text=until, note=f"then: {_words(point['default'])}"),
    ]


def asked_parts(facts: Facts, point: Mapping[str, Any] | None, hour: str) -> Iterator[Part]:
    """The question, the choices, the criteria, and how to answer."""
    if point is None:
        yield Absent(title="Criteria", words=NOT_MEASURED, reason="Production was not watched after this cutover.")
        return
    question = f"{point['question'][:1].upper()}{point['question'][1:]}"
    yield Note(text=f"{question} Without an answer in {point['allowed_hours']} h: {_words(point['default'])}.")
    decided = point["asked"] is not None and point["asked"]["decision"] is not None
    if not decided and not parts.ended(facts["watch"]):
        yield Listed(items=[_choice(point, choice) for choice in point["choices"]])
    yield parts.criteria_table(point)
    if point["asked"] is not None and not decided and not parts.ended(facts["watch"]):
        yield Commands(lines=[f'abaco watch decide {hour} {choice} --reason "..."' for choice in point["choices"]])


def _choice(point: Mapping[str, Any], choice: str) -> str:
    if choice not in point["trusting"]:
        return f"{_words(choice)}: can always be chosen."
    return f"{_words(choice)}: {'can be chosen now' if point['passes'] else 'is refused as the records stand'}."


def _words(choice: str) -> str:
    return choice.replace("_", " ")

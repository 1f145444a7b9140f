"""The first page of a shadow report: the verdict in a word, why, and what was compared with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abaco_loans.outputs.layout import Fact
from abaco_loans.outputs.numbers import THIN, brief
from abaco_loans.outputs.shadow_bridge import names_loans
from abaco_loans.outputs.shadow_words import (
    Document,
    capital,
    counted,
    digest,
    failure,
    kpi_name,
    moment,
    outcome_tone,
)

_COUNTED = ("same", "within tolerance", "explained", "unexplained", "not comparable")
_REASONS_MAX = 12
_MEANS = {
    "pass": "Nothing stands against the candidate on this tape.",
    "fail": "The candidate may not take over.",
    "dry fail": "The candidate would be stopped.",
    "inconclusive": "There is not enough to judge the candidate by, and that is no pass.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why the verdict is what it is."""

    tone: str
    place: str
    words: str
    halts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A run that did not end well."""

    title: str
    what: str
    where: str
    hint: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosening:
    """Gates that were loosened: what, by whom, and who approved it (empty: nobody)."""

    what: Sequence[str]
    said: str
    approved: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """All that stands before the sections."""

    word: str
    tone: str
    means: str
    counts: Sequence[tuple[str, int]]
    reasons: Sequence[Reason]
    more_reasons: Sequence[Reason]
    troubles: Sequence[Trouble]
    loosenings: Sequence[Loosening]
    facts: Sequence[Fact]
    settled: str
    settled_tone: str
    restricted: bool


def cover(document: Document) -> Cover:
    """The cover of a document."""
    reasons = sorted(_reasons(document), key=lambda reason: (not reason.halts, reason.tone != "bad"))
    found = Counter(item["verdict"] for item in document["kpis"].values())
    settled = document["settled"]
    return Cover(
        word=document["verdict"].upper(),
        tone=outcome_tone(document["verdict"]),
        means=_means(document),
        counts=[(verdict, found[verdict]) for verdict in _COUNTED] if found else [],
        reasons=reasons[:_REASONS_MAX],
        more_reasons=reasons[_REASONS_MAX:],
        troubles=list(_troubles(document)),
        loosenings=list(_loosenings(document["gates"])),
        facts=list(_facts(document)),
        settled=f"{capital(settled['outcome'])}: {settled['words']}",
        settled_tone=outcome_tone(settled["outcome"]),
        restricted=names_loans(document),
    )


def _means(document: Document) -> str:
    if document["candidate"]["runs"] and document["candidate"]["runs"][0]["status"] != "ok":
        said = "There is nothing to judge: the candidate did not give a result."
    elif any(run["status"] != "ok" for run in document["baseline"]["runs"]):
        said = "There is nothing to judge by: the baseline itself did not give a result."
    else:
        dry = document["dry_run"] and document["verdict"] == "fail"
        said = _MEANS.get("dry fail" if dry else document["verdict"], "")
    halting = sum(bool(reason["halts"]) for reason in document["reasons"])
    if halting:
        said += f" {capital(counted(halting, 'finding'))} {'halts' if halting == 1 else 'halt'} it."
    return said


def _reasons(document: Document) -> Iterator[Reason]:
    for reason in document["reasons"]:
        if reason["outcome"] == "not judged":
            continue
        place = kpi_name(document, reason["kpi"]) if reason["kpi"] else ""
        if reason["segment"]:
            place += f", {reason['segment']} = {reason['segment_value']}"
        yield Reason(
            tone=outcome_tone(reason["outcome"]),
            place=place,
            words=reason["words"] if place else capital(reason["words"]),
            halts=bool(reason["halts"]),
        )


def _troubles(document: Document) -> Iterator[Trouble]:
    for side in ("candidate", "baseline"):
        for run in document[side]["runs"]:
            error = run["error"]
            if error or run["status"] != "ok":
                given: Mapping[str, Any] = error or {}
                yield Trouble(
                    title=f"The {side} {document[side]['release']} {failure(run['status'])}",
                    what=capital(given.get("what") or ""),
                    where=given.get("where") or "",
                    hint=given.get("hint") or "",
                    code=given.get("code") or "",
                )


def _loosenings(gates: Mapping[str, Any]) -> Iterator[Loosening]:
    told: set[str] = set()
    for item in gates["loosened"]:
        reason = f": {item['reason']}" if item.get("reason") else ""
        approved = ""
        if item["approved_by"]:
            approved = f"Approved by {item['approved_by']}, {moment(item['approved_at'])}"
        else:
            told |= set(item["what"])
        yield Loosening(what=item["what"], said=f"By {item['by']}, {moment(item['at'])}{reason}", approved=approved)
    pending = [text for text in gates["pending"] if text not in told]
    if pending:
        yield Loosening(what=pending, said="Waiting for a second person", approved="")


def _facts(document: Document) -> Iterator[Fact]:
    for side in ("baseline", "candidate"):
        given = document[side]
        definition = f", definition {given['definition']}" if given["definition"] else ""
        yield Fact(
            term=capital(side),
            text=given["release"],
            note=f"{given['kind']}{definition}",
            codes=[("meaning", digest(given["meaning"])), ("policy", digest(given["policy"]))],
        )
    tape = document["tape"]
    yield Fact(term="Tape", text=tape["name"], note=tape["layout"], codes=[("SHA-256", digest(tape["sha256"]))])
    yield Fact(term="As of", text=document["as_of"], note=f"amounts in {document['currency']}")
    gates = document["gates"]
    score = f"{brief(gates['score'], 4)}{THIN}% of weights passed" if gates["score"] is not None else "no score"
    codes = [("gates", digest(gates["digest"])), ("expected", digest(gates["expected_digest"]))]
    yield Fact(term="Score", text=score, note=f"{brief(gates['pass_score'])}{THIN}% needed", codes=codes)
    yield Fact(term="Compared", text=moment(document["compared_at"]), codes=[("run", document["shadow_id"])])

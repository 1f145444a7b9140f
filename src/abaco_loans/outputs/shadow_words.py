"""Words and marks of a shadow report, and what its tables of compared KPIs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.numbers import NONE, THIN, beside, brief
from abaco_loans.outputs.tables import Cell, Row, cell, number

Document = Mapping[str, Any]
VERDICTS = ("unexplained", "explained", "within tolerance", "not comparable", "same")
_OUTCOMES = {"fail": ("fails", "bad"), "inconclusive": ("inconclusive", "watch"), "pass": ("", "good")}
_FAILURES = {
    "crashed": "crashed",
    "timeout": "took longer than it may",
    "flood": "said more than it may",
    "bad_output": "printed no result that can be read",
    "out_of_memory": "ran out of memory",
    "trespassed": "changed files that are not its own",
}
COMPARED_HEAD = (
    number("Baseline"),
    number("Candidate"),
    number("Difference", note="variance"),
    number("Noise floor", note="tolerance"),
    cell("Why"),
)


def outcome_tone(outcome: str) -> str:
    """How an outcome is marked."""
    return _OUTCOMES.get(outcome, ("", "none"))[1]


def failure(status: str) -> str:
    """What a run that is not ok did, in words."""
    return _FAILURES.get(status, status)


def capital(text: str) -> str:
    """The text with a capital first."""
    return text[:1].upper() + text[1:]


def counted(count: int, one: str, many: str = "") -> str:
    """``1 loan``, ``2 loans``."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def digest(text: str) -> str:
    """The first 12 digits of a digest."""
    return text[:12] or NONE


def moment(text: str | None) -> str:
    """An ISO time to the minute, with its zone."""
    if not text:
        return NONE
    when = datetime.fromisoformat(text)
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def kpi_name(document: Document, kpi: str) -> str:
    """What a KPI is called, or else its id."""
    found = document["kpis"].get(kpi)
    return str(found["name"]) if found and found["name"] else kpi


def kpi_cell(kpi: str, item: Mapping[str, Any]) -> Cell:
    """A KPI's name with its id and unit."""
    unit = f", in {item['unit']}" if item["unit"] else ""
    return Cell(text=item["name"] or kpi, note=f"{kpi}{unit}")


def verdict_cell(item: Mapping[str, Any]) -> Cell:
    """What is said of a KPI in one place, marked by what the gate makes of it."""
    words, tone = _OUTCOMES.get(item["outcome"], (item["outcome"], "none"))
    return Cell(text=capital(item["verdict"]), note=words, tone=tone)


def compared_cells(item: Mapping[str, Any]) -> Row:
    """The figures under `COMPARED_HEAD`."""
    baseline, candidate = beside([item["baseline"], item["candidate"]])
    variance = item["variance_percent"]
    ratio = ""
    if item["difference"] is not None and Decimal(item["difference"]):
        ratio = "none beside zero" if variance is None else f"{brief(variance, 3)}{THIN}%"
    limits = item["tolerance"]
    crossed = f"Crosses {', '.join(item['crossed'])}" if item["crossed"] else ""
    return (
        number(baseline),
        number(candidate),
        number(brief(item["difference"], signed=True), note=ratio),
        number(brief(item["noise"]), note=f"{brief(limits['pass_percent'])} to {brief(limits['halt_percent'])}{THIN}%"),
        Cell(text=capital(item["words"]), note=crossed, css="why"),
    )


def worst_first(items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    """What fails, then what is inconclusive, then the rest by verdict; the largest variance first in each."""

    def rank(entry: tuple[str, Mapping[str, Any]]) -> tuple[int, int, Decimal, str]:
        key, item = entry
        order = {"fail": 0, "inconclusive": 1}.get(item["outcome"], 2)
        verdict = VERDICTS.index(item["verdict"]) if item["verdict"] in VERDICTS else 0
        no_ratio = "-Infinity" if item["difference"] is None else "Infinity"
        return order, verdict, -Decimal(item["variance_percent"] or no_ratio), key

    return sorted(items, key=rank)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

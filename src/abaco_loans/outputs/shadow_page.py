"""The shadow report on paper: two releases side by side, one HTML file that opens from disk, without a script.

The document is that of ``report.json``: plain data, decimals as text. Numbers are rounded for reading; the exact
ones stand in ``report.json``. Whatever is missing (no loan rows, no bridge, a candidate that crashed) is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from abaco_loans.outputs.layout import Part, Section, environment, need_packages


def shadow_page(document: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """The whole page. Same document and history, same text.

    Args:
        document: of one shadow run.
        history: shadow runs, newest first, this one included: ``{shadow_id, as_of, tape, compared_at, baseline,
            candidate, verdict, dry_run}``.

    Raises:
        WorldError: ``OUT-110`` a package is missing.
    """
    need_packages("the shadow report", str(document["shadow_id"]))
    from abaco_loans.outputs.drawing import readable
    from abaco_loans.outputs.shadow_cover import cover

    given = readable(document)
    return (
        environment()
        .get_template("shadow.html.j2")
        .render(document=given, cover=cover(given), sections=_sections(given, readable(history)))
    )


def _sections(document: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[Section]:
    from abaco_loans.outputs import shadow_bridge, shadow_parts

    def section(name: str, title: str, lead: str, make: Callable[[Mapping[str, Any]], Iterator[Part]]) -> Section:
        return Section(name=name, title=title, lead=lead, parts=[*make(document)])

    found = [
        section(
            "kpis",
            "KPIs",
            "Both values, by how much they differ, and what is made of it. Rounded for reading; report.json has "
            "every digit. Differences of percentages are in points.",
            shadow_parts.kpi_parts,
        ),
        section(
            "bridge",
            "Where the differences come from",
            "One cause is switched after the other, from what the baseline said to what the candidate said. In "
            "report.json the parts add up to the difference to the last digit.",
            shadow_bridge.bridge_parts,
        ),
        section("loans", "Loans", "The loan rows of both sides, loan by loan.", shadow_parts.loan_parts),
        section("segments", "Segments", shadow_parts.segments_lead(document), shadow_parts.segment_parts),
        section("runs", "Time and memory", "What the two sides took, and what held them.", shadow_parts.run_parts),
        section(
            "history",
            "History",
            "Earlier shadow runs beside this one.",
            lambda given: shadow_parts.history_parts(given, history),
        ),
        section("words", "Notes and words", "What to know when reading this page.", shadow_parts.word_parts),
    ]
    compared = any(document[key] for key in ("kpis", "bridge", "loans")) or document["segments"]["compared"]
    return [item for item in found if compared or item.name not in ("bridge", "loans", "segments")]

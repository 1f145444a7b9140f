"""A report before it is written: one tree, so that its Markdown, its page and its PDF cannot say different things.

The page is one HTML file that opens from disk, without a script or a request; every text is escaped by its template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from abaco_loans.outputs.layout import Fact, Section, environment, need_packages

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A report.

    Attributes:
        kind: its name, and that of its files.
        kicker: what it is; ``word`` how it stands, ``tone`` how that is marked, ``means`` what follows, in a sentence.
        badge: what must not be overlooked, '' for nothing.
        compact: whether it has to fit one sheet of paper.
    """

    kind: str
    kicker: str
    word: str
    tone: str
    means: str
    badge: str
    when: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    footer: str
    compact: bool = False


def html(sheet: Sheet) -> str:
    """The whole page. Same sheet, same text.

    Raises:
        WorldError: ``OUT-110`` a package is missing.
    """
    need_packages(f"the page of {sheet.kind}", sheet.kind, ("jinja2",))
    return environment().get_template("report.html.j2").render(sheet=sheet, sections=sheet.sections)

"""Reports of a cutover: one tree, two faces; nothing is said to pass that was not measured, and every figure has a
source."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from abaco_loans.errors import WorldError
from abaco_loans.operations.write_report import KINDS
from abaco_loans.outputs.layout import Absent, Commands, Folded, Heading, Listed, Note, Part
from abaco_loans.outputs.reports.markdown import BLANK, markdown, text
from abaco_loans.outputs.reports.parts import open_points
from abaco_loans.outputs.reports.pdf import pdf
from abaco_loans.outputs.reports.sheet import Sheet, html
from abaco_loans.outputs.tables import Table
from tests.outputs import report_documents as documents
from tests.outputs.test_book import Reader
from tests.outputs.test_shadow_page import said

EVERY = [(kind, state) for kind in KINDS for state in documents.STATES]
GFM = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])


def sheet(kind: str, facts: Mapping[str, Any]) -> Sheet:
    return KINDS[kind](facts)


def texts(part: Part) -> Iterator[str]:
    """Every text of a part."""
    match part:
        case Note() | Heading():
            yield part.text
        case Absent():
            yield from (part.title, part.words, part.reason)
        case Listed():
            yield from part.items
        case Commands():
            yield from part.lines
        case Folded():
            yield from (text for inside in part.parts for text in texts(inside))
        case Table():
            yield part.title
            yield from (
                text for row in (part.head, *part.rows) for cell in row for text in (cell.text, cell.note) if text
            )
        case _:
            pytest.fail(f"no report holds a {type(part).__name__}")


def tables(made: Sheet) -> Iterator[Table]:
    yield from (part for section in made.sections for part in section.parts if isinstance(part, Table))


def plain(made: str) -> str:
    """Markdown without its marks, with single spaces."""
    return " ".join(re.sub(r"\\([^\w\s])", r"\1", made).replace("\u202f", " ").split())


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_markdown_and_page_say_the_same_and_are_always_the_same(kind: str, state: str) -> None:
    facts = documents.STATES[state]()
    made = sheet(kind, facts)
    page, lines = html(made), markdown(made)
    assert (page, lines) == (html(sheet(kind, documents.STATES[state]())), markdown(made))
    assert facts == documents.STATES[state]()
    seen, read = said(page), plain(lines)
    for section in made.sections:
        assert section.title in seen and section.title in read
        for part in section.parts:
            for one in texts(part):
                wanted = " ".join(one.replace("\u202f", " ").split())
                assert wanted in seen and wanted in read
    assert made.word in seen and made.word in read and made.means in read


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_a_page_needs_nothing_but_itself(kind: str, state: str) -> None:
    page = html(sheet(kind, documents.STATES[state]()))
    reader = Reader(page)
    tags = [tag for tag, _ in reader.tags]
    assert not set(tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
    assert tags.count("h1") == 1 and "http:" not in page and "https:" not in page
    assert all(target.startswith("#") for target in reader.having("href")) and not reader.having("src")
    ids = reader.having("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in reader.having("href")} <= set(ids)


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_every_figure_has_a_source(kind: str, state: str) -> None:
    for table in tables(sheet(kind, documents.STATES[state]())):
        names = [cell.text for cell in table.head]
        if names[-1] != "Source":
            continue
        for row in table.rows:
            known = [
                cell.text for cell in row[1:-1] if cell.text and cell.text not in ("–", "not begun", "300 s", "to come")
            ]
            assert row[-1].text or set(known) <= {"not measured", "missing"}, (table.title, row)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_passes_that_was_not_measured(kind: str) -> None:
    for state in ("unmeasured", "planned"):
        made = markdown(sheet(kind, documents.STATES[state]()))
        claims = made.replace("the validation of production does not pass", "")
        assert not re.search(r"\b(PASS|pass|verified|met)\b", claims), made
        assert "not measured" in made
    odd = markdown(sheet(kind, documents.troubled()))
    assert "UNKNOWN" not in odd
    assert "SIGNED OFF" not in odd


def test_a_figure_that_is_missing_stands_as_not_measured_in_its_row() -> None:
    table = next(item for item in tables(sheet("brief", documents.troubled())) if item.title == "Checkpoints")
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert rows["3"][1] == "not measured" and rows["3"][7] == "not measured" and rows["3"][9] == "not measured"
    assert rows["5"][1] == "missed" and set(rows["5"][2:10]) == {"–"}
    assert rows["2"][2] == "612" and rows["2"][-1] == "event 131"
    findings = next(item for item in tables(sheet("brief", documents.troubled())) if item.title == "What was not good")
    assert [row[1].text for row in findings.rows][:2] == ["calls for a rollback", "not measured"]


@pytest.mark.parametrize(
    ("state", "word", "tone"),
    [
        ("signed", "SIGNED OFF", "good"),
        ("troubled", "UNDER WATCH", "bad"),
        ("unmeasured", "ACTIVE, NOT WATCHED", "watch"),
        ("planned", "PLANNED", "none"),
        ("rolled_back", "ROLLED BACK", "bad"),
    ],
)
def test_the_verdict_is_that_of_the_records(state: str, word: str, tone: str) -> None:
    for kind in ("handoff", "onepage", "retrospective"):
        made = sheet(kind, documents.STATES[state]())
        assert (made.word, made.tone) == (word, tone)


@pytest.mark.parametrize(
    ("kind", "state", "word", "tone"),
    [
        ("brief", "signed", "KEEP", "watch"),
        ("brief", "troubled", "DECISION OPEN", "watch"),
        ("brief", "unmeasured", "NOT WATCHED", "bad"),
        ("brief", "rolled_back", "NOT DECIDED", "watch"),
        ("signoff", "signed", "SIGNED OFF", "good"),
        ("signoff", "troubled", "NOT ASKED YET", "none"),
        ("signoff", "planned", "NOT WATCHED", "bad"),
    ],
)
def test_a_decision_stands_as_it_was_made(kind: str, state: str, word: str, tone: str) -> None:
    made = sheet(kind, documents.STATES[state]())
    assert (made.word, made.tone) == (word, tone)


def test_a_default_is_nobodys_decision() -> None:
    facts = documents.signed()
    made = documents.decision("8", "keep", by_default=True, decided_by=None, reason="nobody decided in time")
    facts["watch"] |= {"decisions": [made], "points": [documents.point("8", made), documents.point("24", None)]}
    brief = sheet("brief", facts)
    assert "Nobody answered: the default was recorded (event 308)" in brief.means and "ana" not in brief.means
    assert any("Nobody decided at hour 8" in item for item in open_points(facts))


def test_only_the_decision_that_was_made_is_signed() -> None:
    def signatures(state: str) -> list[list[str]]:
        made = next(item for item in tables(sheet("signoff", documents.STATES[state]())) if item.title == "Who signs")
        return [[cell.text for cell in row] for row in made.rows]

    assert signatures("signed")[0] == ["decision at hour 24", "ana", "recorded", ""]
    assert [row[2:] for row in signatures("signed")[1:]] == [["", ""]] * 4
    assert signatures("troubled")[0] == ["decision at hour 24", "nobody yet", "", ""]
    assert markdown(sheet("signoff", documents.signed())).count(BLANK) == 9


def test_open_points_are_those_of_the_records() -> None:
    assert open_points(documents.signed()) == []
    found = " ".join(open_points(documents.troubled()))
    for wanted in (
        "decision at hour 8 is open",
        "failed: hour 2",
        "could not be measured: hour 3",
        "were missed: hour 5",
        "Open alert: kpi_latency, critical",
        "Whether a tape is lost could not be found out",
        "The audit ledger: not measured",
        "1 tapes wait or run",
        "1 tapes have failed",
    ):
        assert wanted in found
    assert "kpi_threshold" not in found


def test_every_rule_says_when_it_fires_and_who_owns_it() -> None:
    table = next(item for item in tables(sheet("handoff", documents.signed())) if item.title == "Rules and thresholds")
    assert len(table.rows) == 17 and all(cell.text for row in table.rows for cell in row)
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert rows["kpi_latency"][2:4] == ["above 100 ms", "above 500 ms"]
    assert rows["audit_trail"][2:4] == ["never", "0 events"]
    assert rows["cpu"][2:4] == ["from 50 %", "above 80 %, lasting"]
    assert rows["no_tape"][2:4] == ["none for 26 h", "none for 52 h"]


@given(st.text(max_size=60))
def test_no_text_is_markup_in_markdown(value: str) -> None:
    line = text(value)
    assert "\n" not in line
    for written, kinds in (
        (f"- {line}", {"bullet_list", "list_item", "paragraph"}),
        (f"| a |\n| --- |\n| {line} |", None),
    ):
        tokens = GFM.parse(written)
        inline = [child.type for token in tokens for child in token.children or ()]
        assert set(inline) <= {"text", "text_special"}, (written, inline)
        if kinds:
            assert {token.type.rsplit("_", 1)[0] for token in tokens if token.type != "inline"} <= kinds


@pytest.mark.parametrize("value", ["www.evil.example", "https://evil.example", "a@b.example", "# one", "1. one", "---"])
def test_what_github_acts_on_by_itself_is_escaped(value: str) -> None:
    assert "\\" in text(value)


@pytest.mark.parametrize("value", ["2026-02-03 12:00 UTC", "0.251 s", "kpi_latency_ms", "v1 → v2", "−5.2 %"])
def test_what_is_plain_stays_plain(value: str) -> None:
    assert text(value) == value


@pytest.mark.slow
@pytest.mark.parametrize("make", [documents.signed, documents.troubled, documents.longest, documents.unmeasured])
def test_the_page_for_management_is_one_page_and_the_same_bytes_twice(make: Any) -> None:
    page = html(sheet("onepage", make()))
    made = pdf(page, where="onepage")
    assert made.startswith(b"%PDF") and made == pdf(page, where="onepage")
    from weasyprint import HTML

    assert len(HTML(string=page).render().pages) == 1


@pytest.mark.slow
def test_a_pdf_asks_for_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    picture.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    )
    page = html(sheet("onepage", documents.signed()))
    pierced = page.replace("</h1>", f"</h1><img src='{picture.as_uri()}'>")
    assert pierced != page and pdf(pierced, where="x") == pdf(page.replace("</h1>", "</h1><img src='x:y'>"), where="x")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(WorldError) as raised:
        pdf("<p>", where="handoff")
    assert (raised.value.code, "pip install 'abaco-loans[pdf]'" in raised.value.hint) == ("OUT-111", True)

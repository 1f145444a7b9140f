"""The shadow report: verdict first, then the worst; its numbers are the document's, what is missing is said."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import WorldError
from abaco_loans.outputs.numbers import beside, brief
from abaco_loans.outputs.shadow_page import shadow_page
from tests.outputs import shadow_documents as documents
from tests.outputs.test_book import Reader, drawings

NO_SEGMENTS: dict[str, Any] = {"compared": 0, "only_candidate": 0, "same": 0, "cells": []}
MAKERS = (documents.passed, documents.failed, documents.crashed)
Make = Callable[[], dict[str, Any]]


def written(document: dict[str, Any], history: list[dict[str, Any]] | None = None) -> str:
    return shadow_page(document, documents.history(document) if history is None else history)


def said(text: str) -> str:
    """All text of a page, with single spaces."""
    return " ".join("".join(Reader(text).texts).replace("\u202f", " ").split())


@pytest.fixture(scope="module")
def failed() -> str:
    return written(documents.failed())


@pytest.mark.parametrize("make", MAKERS)
def test_a_page_needs_nothing_but_itself_and_is_always_the_same(make: Make) -> None:
    document = make()
    text = written(document)
    assert text == written(make()) and document == make()
    reader = Reader(text)
    tags = [tag for tag, _ in reader.tags]
    assert not set(tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
    assert tags.count("h1") == 1
    assert "http:" not in text and "https:" not in text and "<script" not in text
    assert all(target.startswith("#") for target in reader.having("href")) and not reader.having("src")
    ids = reader.having("id")
    assert len(ids) == len(set(ids))
    wanted = {name for value in reader.having("aria-labelledby") for name in value.split()}
    assert wanted | {target[1:] for target in reader.having("href")} <= set(ids)


@pytest.mark.parametrize(
    ("make", "word", "badge", "means"),
    [
        (documents.passed, "PASS", "", "Nothing stands against the candidate on this tape."),
        (documents.failed, "FAIL", "Stops the candidate", "The candidate may not take over. 3 findings halt it."),
        (documents.crashed, "INCONCLUSIVE", "Dry run: stops nobody", "the candidate did not give a result."),
    ],
)
def test_the_verdict_comes_first(make: Make, word: str, badge: str, means: str) -> None:
    text = written(make())
    first = said(text[text.index("<body") : text.index("</header>")])
    assert first.startswith(f"Skip to the KPIs Shadow report {word} {badge}".rstrip())
    assert means in first
    assert ("Dry run" in first, "Stops" in first) == (badge.startswith("Dry"), badge.startswith("Stops"))


def test_a_failure_in_a_dry_run_stops_nobody() -> None:
    first = said(written(documents.failed() | {"dry_run": True, "stops": False}))
    assert "Dry run: stops nobody The candidate would be stopped." in first and "may not take over" not in first


def test_reasons_that_halt_stand_first_and_what_is_not_judged_is_none(failed: str) -> None:
    reasons = re.findall(r"<li><svg.*?</svg><span>(.*?)</span></li>", failed, re.DOTALL)
    assert [("Halts." in text) for text in reasons] == [True, True, True, False, False, False]
    assert "PAR 30, product = Confirming" in reasons[2], "the segment is named"
    assert "Collection rate" in reasons[-1], "what fails stands before what is inconclusive"
    assert not any("Weighted APR" in text for text in reasons)


def test_many_reasons_are_folded_and_none_is_lost() -> None:
    document = documents.failed()
    document["reasons"] = [documents.reason("fail", "", f"finding {n}", halts=True) for n in range(40)]
    text = written(document)
    folded = text[text.index("<summary>28 more</summary>") :]
    assert ("Finding 11" in folded, "Finding 12" in folded, "Finding 39" in folded) == (False, True, True)


def test_the_cover_says_what_was_compared_and_whether_it_settles() -> None:
    document = documents.passed()
    text = said(written(document).partition("</header>")[0])
    assert "Pass: passes in a row: 1 (1 wanted), tapes: 1 (1 wanted)" in text
    for side in ("baseline", "candidate"):
        given = document[side]
        assert f"{given['release']}{given['kind']}, definition {given['definition']}" in text
        assert given["meaning"][:12] in text and given["policy"][:12] in text and given["meaning"][:13] not in text
    assert "2026-01-31 12:00 UTC" in text and "2025-04-30" in text and "amounts in USD" in text
    assert "3 same 1 within tolerance 4 explained 0 unexplained 2 not comparable" in text


def test_loosened_gates_are_seen_with_who_did_and_who_approved(failed: str) -> None:
    text = said(failed.partition("</header>")[0])
    assert "By ana, 2026-01-12 09:30 UTC: only one tape has closed. Approved by ben, 2026-01-12 15:02 UTC." in text
    assert "risk.par_30: pass_percent 0.1 → 5 By ana, 2026-01-30 17:45 UTC. NOT APPROVED" in text
    assert text.count("pass_percent 0.1 → 5") == 1, "what is pending was told already"
    document = documents.passed()
    assert "loosened" not in said(written(document).partition("</header>")[0])
    document["gates"]["pending"] = ["others: halt_percent 1 → 2"]
    assert "halt_percent 1 → 2 Waiting for a second person. NOT APPROVED" in said(written(document))


def test_the_page_is_restricted_only_where_it_names_loans(failed: str) -> None:
    assert "Restricted:" in failed
    document = documents.passed()
    assert "Restricted:" not in written(document)
    document["loans"]["columns"] = [
        {"column": "x", "loans": 1, "difference": "1", "largest": "1", "largest_loan": "DSB1"}
    ]
    assert "Restricted:" in written(document)


def test_kpis_stand_by_what_is_worst(failed: str) -> None:
    rows = Reader(failed).tables["KPIs, the worst first"][1:]
    assert [(row[0], row[1]) for row in rows] == [
        ("Client retention", "Unexplained"),
        ("PAR 90", "Explained"),
        ("PAR 30", "Explained"),
        ("Collection rate", "Not comparable"),
        ("PAR 60", "Explained"),
        ("Outstanding", "Within tolerance"),
        ("Active clients", "Same"),
        ("Portfolio health", "Same"),
    ]
    assert [row[0] for row in Reader(failed).tables["KPIs not judged"][1:]] == ["Active audit flags", "Weighted APR"]
    assert "Crosses warning threshold 8, covenant &#39;PAR 30 below 10&#39;" in failed


def test_values_are_those_of_the_document() -> None:
    rows = {row[0]: row[2:] for row in Reader(written(documents.passed())).tables["KPIs, the worst first"]}
    assert rows["PAR 30"][:3] == ["2.2", "2.21071", "+0.0107123"], "what was printed with one decimal keeps it"
    assert rows["PAR 90"][:3] == ["0.3", "0.3194", "+0.0194"]
    assert rows["Collection rate"][:3] == ["12.0", "11.9733", "−0.0267"]
    assert rows["Outstanding"][:3] == ["7,813,806.55", "7,813,806.5543", "+0.004321"]
    text = said(written(documents.passed()))
    assert "0.487 %" in text and "6.47 %" in text and "0.1 to 1 %" in text
    zero = documents.failed()["kpis"]["risk.par_60"]
    assert zero["variance_percent"] is None and "none beside zero" in said(written(documents.failed()))


def test_a_long_list_of_the_same_is_folded() -> None:
    document = documents.passed()
    for n in range(7):
        document["kpis"][f"risk.same_{n}"] = deepcopy(document["kpis"]["growth.active_clients"])
    reader = Reader(written(document))
    assert len(reader.tables["KPIs the same"]) == 1 + 10
    assert not any(row[1] == "Same" for row in reader.tables["KPIs, the worst first"])
    assert "10 KPIs the same" in said(written(document))


def test_a_bridge_is_a_picture_with_its_table_and_its_loans(failed: str) -> None:
    reader = Reader(failed)
    rows = reader.tables["PAR 30: causes in order"]
    assert [row[0] for row in rows[1:]] == [
        "Baseline", "Cover", "Boundary", "Dust", "Write-off", "Loans only in candidate", "Unexplained", "Candidate"
    ]  # fmt: skip
    assert rows[3] == ["Boundary", "−0.164595", "1", "boundary at_least → more_than"]
    assert rows[-2][1:3] == ["+0.00941288", "1"]
    loans = reader.tables["PAR 30, write-off: by loan"]
    assert len(loans) == 21 and loans[1][0] == "DSB1274-001"
    assert loans[1][2] == "outstanding 0 → 36,181.97; past_due_30 0 → 36,181.97", "to the cent"
    assert reader.tables["PAR 30, loans only in candidate: by loan"][1][2].startswith("outstanding none → 160.00")
    assert "PAR 30, write-off: 20 of 97 loans" in said(failed)
    assert "+0.00941288 points of it is unexplained" in said(failed)
    assert re.findall(r"<details( open)?>\s*<summary>PAR 30, (\w+)", failed)[-1] == (" open", "unexplained")
    assert drawings(reader) == 2 * (2 + 2), "two bridges, time and memory; each is drawn twice"
    assert reader.tables["Differences of one cause"][1:] == [
        ["PAR 90", "3.1", "+4.93888", "8.03888", "Write-off: write_off_after_days 180 → none"]
    ]
    assert failed.count("◆ Unexplained") == 2 * 2, "the mark stands beside the colour"


def test_what_is_not_bridged_says_why(failed: str) -> None:
    text = said(failed)
    assert "Not bridged: it counts customers, who are in no loan row. So all of the difference is unexplained." in text
    assert "Not by loan: it is held in a range" in text
    assert Reader(failed).tables["KPIs that are not bridged"][1:] == [
        ["Weighted APR", "The baseline has no value of it"]
    ]
    assert "No difference, so no bridge: Portfolio health." in text


def test_the_worst_segments_stand_first_and_the_rest_is_counted(failed: str) -> None:
    rows = Reader(failed).tables["Segments that are not the same, the worst first"][1:]
    assert len(rows) == 60
    sizes = [
        Decimal(cell["variance_percent"])
        for row in rows
        for cell in documents.failed()["segments"]["cells"]
        if cell["segment_value"] == row[0]
    ]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 60
    assert "The first 60; 10 more cells that differ in report.json." in said(failed)
    assert "All 48 values by segment are the same." in said(written(documents.passed()))


def test_the_causes_and_loans_of_cells_are_shown(failed: str) -> None:
    document = documents.failed()
    top = [{"loan_id": "L<1>", "contribution": "0.25", "before": {}, "after": {}}]
    parts = [
        documents.part("unexplained", "in the candidate's loan rows", "0.25") | {"loans": 4, "top": top},
        documents.part("FX", "in the candidate's loan rows: MXN at 1.05 times", "0.5") | {"loans": None, "top": []},
    ]
    bridge = {"parts": parts, "not_bridged": "", "not_by_loan": "a loan stands in several cells"}
    document["segments"]["cells"][0]["bridge"] = bridge
    page = written(document)
    assert "L<1>" not in page
    first, second = Reader(page).tables["Causes by cell"][1:]
    assert "L<1> +0.25" in first[-1] and "nexplained" in first[2] and first[4] == "4"
    assert "FX" in second[2] and second[-1] == "A loan stands in several cells"
    assert "Causes by cell" not in Reader(failed).tables


def test_loans_and_stages_are_counted(failed: str) -> None:
    tables = Reader(failed).tables
    assert dict(tables["Loans of the two sides"][1:])["In both"] == "17,688"
    assert tables["Columns in which loans differ"][1] == [
        "outstanding_usd",
        "3",
        "+1,012.34",
        "+1,000.00",
        "DSB2685-001",
    ]
    columns = [row[0] for row in tables["Columns in which loans differ"][1:]]
    assert columns == ["outstanding_usd", "product", "days_past_due"], "what is the same in all loans is left out"
    assert tables["Loans that move to another IFRS 9 stage"][2:] == [
        ["No stage", "Stage 3", "97", "412,870.00"],
        ["Total", "", "100", "424,871.10"],
    ]
    assert "No loan moves to another IFRS 9 stage." in said(written(documents.passed()))


def test_a_crash_is_told_and_nothing_is_invented() -> None:
    document = documents.crashed()
    text = written(document)
    assert "The candidate v2 crashed The program ended with code 3" in said(text)
    assert "<dt>Where</dt><dd>releases/v2/report.py</dd>" in text and "<code>REL-210</code>" in text
    assert "KeyError: 'saldo'" in said(text)
    assert "KPIs: not compared. The candidate crashed, so there is nothing to compare." in said(text)
    assert "KPIs by verdict" not in text and "no score" in said(text)
    assert [name for name in Reader(text).having("href") if name in ("#bridge", "#loans", "#segments")] == []
    assert Reader(text).tables["Runs"][3][:4] == ["Candidate v2", "Crashed", "0.12", "–"]
    assert "The candidate was held by nothing" in said(text)


@pytest.mark.parametrize(
    ("part", "empty", "words"),
    [
        ("loans", None, "Loans: not compared. At least one side gave no loan rows."),
        ("bridge", {}, "No KPI that both sides give differs, so there is nothing to take apart."),
        ("segments", NO_SEGMENTS, "Segments: not compared. Neither side gives values by segment."),
        ("segments", NO_SEGMENTS | {"only_candidate": 8}, "The baseline gives no values by segment."),
        ("noise", {"repeats": 1, "kpis": {}}, "The baseline ran 1 time: no noise floor is known."),
        ("noise", {"repeats": 2, "kpis": {"risk.par_30": None}}, "its noise floor is exactly 0"),
        ("noise", {"repeats": 3, "kpis": {"risk.par_30": "0.03"}}, "ran 3 times and did not say the same"),
        ("kpis", {}, "KPIs: not compared. Neither side gave a value."),
        ("reasons", [], "The candidate may not take over. "),
        ("stage_moves", [], "No loan moves to another IFRS 9 stage."),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(part: str, empty: Any, words: str) -> None:
    assert words in said(written(documents.failed() | {part: empty}))


def test_without_loan_rows_there_is_no_bridge() -> None:
    text = said(written(documents.failed() | {"loans": None, "bridge": {}}))
    assert "Bridge: none. At least one side gave no loan rows to go by." in text


def test_a_report_without_history_is_a_page_too(failed: str) -> None:
    assert "History: empty. No shadow run was recorded." in said(written(documents.passed(), []))
    rows = Reader(failed).tables["Shadow runs, newest first"][1:]
    assert [(row[1], row[4]) for row in rows] == [
        ("Fail", "2025-04-30"), ("Pass", "2025-03-31"), ("Inconclusive", "2025-02-28")
    ]  # fmt: skip
    assert failed.count("this report") == 1


@pytest.mark.parametrize("make", MAKERS)
def test_markup_in_any_text_leaves_the_page_as_it_was(make: Make) -> None:
    plain = Reader(written(make()))
    document = documents.hostile(make())
    planted = Reader(written(document, documents.hostile(documents.history(make()))))

    def shapes(reader: Reader) -> set[tuple[str, frozenset[str]]]:
        return {(tag, frozenset(attributes)) for tag, attributes in reader.tags}

    assert shapes(planted) <= shapes(plain) | {("small", frozenset())}
    assert len(planted.tags) < 1.1 * len(plain.tags)
    assert sum("<script>" in text for text in planted.texts) > 30, "it stands there as text"
    assert not any(mark in text for text in planted.texts for mark in "\u202e\x00")


@pytest.mark.parametrize(
    ("baseline", "contribution"),
    [
        ("1e59", "-3e58"),
        ("1E-30", "1E-31"),
        ("0", "0"),
        ("123456789012345.123456789", "0.0000000001"),
        ("-5", "1e40"),
        ("0.0000000000000000000000000001", "123456789012345678901234567890.12"),
    ],
)
def test_numbers_out_of_all_proportion_do_not_break_the_page(baseline: str, contribution: str) -> None:
    document = documents.passed()
    found = documents.bridge("risk.par_30", baseline, [documents.part("unexplained", "", contribution)])
    document["bridge"] = {"risk.par_30": found}
    document["kpis"]["risk.par_30"] |= {name: found[name] for name in ("baseline", "candidate", "difference")}
    document["kpis"]["risk.par_30"] |= {"name": "A name " + "that does not end" * 40, "unit": "x" * 300}
    assert "NaN" not in written(document)


def test_the_document_is_that_of_report_json(failed: str) -> None:
    """A document that went through a file gives the same page: it holds plain data only."""
    assert written(json.loads(json.dumps(documents.failed()))) == failed


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(WorldError, match="OUT-110"):
        written(documents.passed())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: brief(None), "–"),
        (lambda: brief("0.00"), "0"),
        (lambda: brief("2.2", signed=True), "+2.2"),
        (lambda: brief("-4.9388809238111"), "−4.93888"),
        (lambda: brief("7813806.554321"), "7,813,806.55"),
        (lambda: brief("0.000123456789", 3), "0.000123"),
        (lambda: brief("-0.0000000000000000000012345678"), "−1.23 × 10⁻²¹"),
        (lambda: brief("1e20"), "1.00 × 10²⁰"),
        (lambda: beside(["5.5399456484", "5.5399456489"]), ["5.5399456484", "5.5399456489"]),
        (lambda: beside([None, "2.210712345"]), ["–", "2.21071"]),
    ],
)
def test_numbers_are_short_and_true(made: Callable[[], str | list[str]], expected: str | list[str]) -> None:
    assert made() == expected


NUMBERS = st.decimals("-1e12", "1e12", allow_nan=False).map(str)


@given(NUMBERS, NUMBERS)
def test_rounding_hides_no_difference(first: str, second: str) -> None:
    shown = beside([first, second])
    assert (shown[0] == shown[1]) <= (Decimal(first) == Decimal(second))
    assert re.search("[1-9]", brief(first)) or not Decimal(first), "what is not zero does not read as zero"

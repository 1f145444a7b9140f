"""The reports of a cutover in a browser: they ask for nothing, run nothing, fit a phone, and print as they should."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from abaco_loans.operations.write_report import KINDS
from abaco_loans.outputs.reports.sheet import html
from tests.browser.test_book import DESK, PHONE, opened
from tests.outputs import report_documents as documents


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every report of a troubled cutover, and some with markup in every text."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for kind, make in KINDS.items():
        for name, facts in (
            ("troubled", documents.troubled()),
            ("hostile", documents.hostile(documents.rolled_back())),
        ):
            found[f"{kind} {name}"] = folder / f"{kind}-{name}.html"
            found[f"{kind} {name}"].write_text(html(make(facts)), encoding="utf-8", newline="\n")
    return found


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with its policy", "without its policy"])
def test_markup_in_any_field_is_inert(chromium: Browser, pages: dict[str, Path], bypass_csp: bool) -> None:
    for kind in KINDS:
        with opened(chromium, pages[f"{kind} hostile"], bypass_csp=bypass_csp) as seen:
            page = seen.page
            assert page.evaluate("window.ran") == []
            assert (seen.requests, seen.complaints) == ([], [])
            assert page.locator("script, iframe, img, link, object, embed, form, base, audio, video").count() == 0
            names = page.evaluate(
                "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))"
            )
            assert not [name for name in names if name.startswith("on") or name == "style"]
            assert page.locator("style").count() == 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(chromium: Browser, pages: dict[str, Path], kind: str, size: tuple[int, int]) -> None:
    with opened(chromium, pages[f"{kind} troubled"], size) as seen:
        assert (seen.requests, seen.complaints) == ([], [])
        response: dict[str, Any] = Axe().run(seen.page).response
        found = [(item["id"], [node["target"] for node in item["nodes"]][:3]) for item in response["violations"]]
        assert found == []


def test_a_phone_needs_no_sideways_scrolling(chromium: Browser, pages: dict[str, Path]) -> None:
    for path in pages.values():
        with opened(chromium, path, PHONE) as seen:
            assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_tables_fit_a_desk_and_paper(chromium: Browser, pages: dict[str, Path]) -> None:
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    for kind in KINDS:
        with opened(chromium, pages[f"{kind} troubled"]) as seen:
            assert seen.page.evaluate(wide) == []
            seen.page.emulate_media(media="print")
            seen.page.set_viewport_size({"width": 680, "height": 900})  # A4 between its margins, at 96 px to the inch
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 680
            assert seen.page.locator("nav:visible").count() == 0


@pytest.mark.parametrize("make", [documents.signed, documents.longest])
def test_the_page_for_management_prints_on_one_sheet(chromium: Browser, tmp_path: Path, make: Any) -> None:
    path = tmp_path / "onepage.html"
    path.write_text(html(KINDS["onepage"](make())), encoding="utf-8")
    with opened(chromium, path) as seen:
        seen.page.emulate_media(media="print")
        seen.page.set_viewport_size({"width": 680, "height": 900})
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 680
        assert len(re.findall(rb"/Type\s*/Page\b", seen.page.pdf(prefer_css_page_size=True))) == 1

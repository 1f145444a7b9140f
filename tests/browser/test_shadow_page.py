"""The shadow report in a browser: it opens from disk, asks for nothing, runs nothing, fits a phone and prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from abaco_loans.outputs.shadow_page import shadow_page
from tests.browser.test_book import DESK, PHONE, opened
from tests.outputs import shadow_documents as documents

NAMES = ("passed", "failed", "crashed", "hostile")
OPEN = "document.querySelectorAll('details').forEach(item => { item.open = true })"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shadow")
    given: dict[str, Any] = {name: getattr(documents, name)() for name in NAMES[:3]}
    given["hostile"] = documents.hostile(documents.failed())
    for name, document in given.items():
        history = documents.history(document)
        (folder / f"{name}.html").write_text(shadow_page(document, history), encoding="utf-8", newline="\n")
    return {name: folder / f"{name}.html" for name in NAMES}


def test_it_opens_from_disk_and_asks_for_nothing(chromium: Browser, pages: dict[str, Path]) -> None:
    for name, word in (("passed", "PASS"), ("failed", "FAIL"), ("crashed", "INCONCLUSIVE")):
        with opened(chromium, pages[name]) as seen:
            assert seen.page.locator("h1").inner_text() == word
            assert seen.page.title().startswith(word.capitalize())
            top = seen.page.locator("h1").bounding_box()
            assert top and top["y"] + top["height"] < 200, "the verdict is what is seen first"
            assert (seen.requests, seen.complaints) == ([], [])


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with its policy", "without its policy"])
def test_markup_in_any_field_is_inert(chromium: Browser, pages: dict[str, Path], bypass_csp: bool) -> None:
    with opened(chromium, pages["hostile"], bypass_csp=bypass_csp) as seen:
        page = seen.page
        page.evaluate(OPEN)
        assert page.evaluate("window.ran") == []
        assert (seen.requests, seen.complaints) == ([], [])
        assert page.locator("script, iframe, img, link, object, embed, form, base, audio, video").count() == 0
        names = page.evaluate("[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))")
        assert not [name for name in names if name.startswith("on") or name == "style"]
        assert page.locator("style").count() == 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", NAMES[:3])
def test_axe_finds_nothing(chromium: Browser, pages: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    with opened(chromium, pages[name], size) as seen:
        seen.page.evaluate(OPEN)
        response: dict[str, Any] = Axe().run(seen.page).response
        found = [(item["id"], [node["target"] for node in item["nodes"]][:3]) for item in response["violations"]]
        assert found == []


def test_a_phone_needs_no_sideways_scrolling(chromium: Browser, pages: dict[str, Path]) -> None:
    for path in pages.values():
        with opened(chromium, path, PHONE) as seen:
            seen.page.evaluate(OPEN)
            assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
            assert seen.page.locator("figure .wide svg:visible").count() == 0
            sizes = seen.page.evaluate(
                "[...document.querySelectorAll('.narrow svg text')].map(e => e.getBBox().height)"
            )
            assert min(sizes) >= 11, "letters stay readable"


def test_the_kpi_table_fits_a_desk(chromium: Browser, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["failed"]) as seen:
        widths = seen.page.evaluate(
            "[...document.querySelectorAll('section > .scroll')].map(e => [e.scrollWidth, e.clientWidth])"
        )
        assert widths and all(inside <= room for inside, room in widths)


def test_the_keyboard_opens_what_is_folded(chromium: Browser, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["failed"]) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the KPIs"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        folded = page.locator("details:has(summary:text('PAR 30, write-off'))")
        table = folded.locator("table")
        assert not table.is_visible()
        folded.locator("summary").focus()
        page.keyboard.press("Enter")
        assert table.is_visible()
        assert page.locator("details:has(summary:text('PAR 30, unexplained')) table").is_visible(), "this one is open"


def test_it_prints_on_paper_with_what_is_folded_and_nothing_cut_off(chromium: Browser, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["failed"]) as seen:
        page = seen.page
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) > 4
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 680, "height": 900})  # A4 between its margins, at 96 px to the inch
        assert page.evaluate("document.documentElement.scrollWidth") <= 680
        assert page.locator("nav:visible").count() == 0
        hidden = "[...document.querySelectorAll('details td')].filter(e => !e.checkVisibility()).length"
        assert page.evaluate(hidden) == 0

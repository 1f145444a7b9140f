"""The book in a browser: it opens from disk, asks for nothing, runs nothing, fits a phone and prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route

from abaco_loans.outputs.book import write_book
from tests.outputs.book_document import document, hostile, planted

DESK, PHONE = (1280, 900), (375, 812)


@dataclass(slots=True, kw_only=True)
class Seen:
    """A page that was opened, with what it said and asked for."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, path: Path, size: tuple[int, int] = DESK, *, bypass_csp: bool = False) -> Iterator[Seen]:
    """The file in a window of this size; every request but the one for the file itself is recorded and refused."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, bypass_csp=bypass_csp)
    seen = Seen(page=context.new_page())

    def judge(route: Route) -> None:
        if route.request.url == path.as_uri() and not seen.requests:
            route.continue_()
        else:
            seen.requests.append(route.request.url)
            route.abort()

    seen.page.route("**/*", judge)
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
    seen.page.on("popup", lambda popup: seen.complaints.append(popup.url))
    seen.page.add_init_script("window.ran = []; window.planted = () => window.ran.push(1)")
    seen.page.goto(path.as_uri(), wait_until="load")
    try:
        yield seen
    finally:
        context.close()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.html"
    write_book(document(), path)
    return path


@pytest.fixture(scope="module")
def hostile_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "book.html"
    write_book(hostile(document()), path)
    return path


def test_it_opens_from_disk_and_asks_for_nothing(chromium: Browser, book: Path) -> None:
    with opened(chromium, book) as seen:
        assert seen.page.title() == "Portfolio book, 2025-12-31"
        assert seen.page.locator("figure .wide svg").count() == 7
        assert seen.page.locator("figure .wide svg:visible").count() == 7
        assert seen.page.locator("figure .narrow svg:visible").count() == 0
        assert (seen.requests, seen.complaints) == ([], [])


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with its policy", "without its policy"])
def test_markup_in_any_field_is_inert(chromium: Browser, hostile_book: Path, bypass_csp: bool) -> None:
    """Escaping alone must hold; that the policy had nothing to stop shows in the empty console."""
    with opened(chromium, hostile_book, bypass_csp=bypass_csp) as seen:
        page = seen.page
        for _ in range(12):
            page.keyboard.press("Tab")
        assert page.evaluate("window.ran") == []
        assert (seen.requests, seen.complaints) == ([], [])
        assert page.locator("script, iframe, img, link, object, embed, form, base, audio, video").count() == 0
        handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))"
        assert not [name for name in page.evaluate(handlers) if name.startswith("on") or name == "style"]
        targets = page.evaluate("[...document.querySelectorAll('[href], [src]')].map(e => e.getAttribute('href'))")
        assert all(target.startswith("#") for target in targets)
        assert page.locator("style").count() == 1
        assert page.locator("h1").inner_text() == re.sub(r"\s+", " ", planted("Portfolio book"))


def test_the_policy_would_stop_what_escaping_missed(chromium: Browser, book: Path, tmp_path: Path) -> None:
    raw = "<script>planted()</script><img src=x onerror=planted()><img src=https://planted.example/i.png>"
    pierced = tmp_path / "pierced.html"
    pierced.write_text(book.read_text(encoding="utf-8").replace("</h1>", f"</h1>{raw}"), encoding="utf-8")
    with opened(chromium, pierced) as seen:
        assert seen.page.evaluate("window.ran") == []
        assert seen.requests == []
        assert any("Content Security Policy" in text for text in seen.complaints)
    with opened(chromium, pierced, bypass_csp=True) as seen:
        assert seen.page.evaluate("window.ran"), "these marks do run where nothing stops them"
        assert seen.requests


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(chromium: Browser, book: Path, size: tuple[int, int]) -> None:
    with opened(chromium, book, size) as seen:
        response: dict[str, Any] = Axe().run(seen.page).response
        grave = [
            (item["id"], item["impact"], [node["target"] for node in item["nodes"]][:3])
            for item in response["violations"]
            if item["impact"] != "minor"
        ]
        assert grave == []
        assert response["testEngine"]["name"] == "axe-core"


def test_a_phone_needs_no_sideways_scrolling(chromium: Browser, book: Path, hostile_book: Path) -> None:
    for path in (book, hostile_book):
        with opened(chromium, path, PHONE) as seen:
            page = seen.page
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
            assert page.locator("figure .narrow svg:visible").count() == 7
            sizes = page.evaluate("[...document.querySelectorAll('.narrow svg text')].map(e => e.getBBox().height)")
            assert min(sizes) >= 11, "letters stay readable"
            wide = page.locator(".scroll:has(table.heat)")
            assert wide.evaluate("e => e.scrollWidth > e.clientWidth")
            wide.focus()
            page.keyboard.press("ArrowRight")
            for _ in range(100):
                if wide.evaluate("e => e.scrollLeft"):
                    break
                page.wait_for_timeout(20)
            assert wide.evaluate("e => e.scrollLeft") > 0


def test_the_keyboard_reaches_the_figures_first(chromium: Browser, book: Path) -> None:
    with opened(chromium, book) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
        assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_it_prints_on_several_pages_with_nothing_cut_off(chromium: Browser, book: Path) -> None:
    with opened(chromium, book) as seen:
        page = seen.page
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 680, "height": 900})  # A4 between its margins, at 96 px to the inch
        assert page.evaluate("document.documentElement.scrollWidth") <= 680
        assert page.locator("figure .wide svg:visible").count() == 7
        assert page.locator("nav:visible").count() == 0


def test_names_are_cut_in_charts_and_whole_in_tables(chromium: Browser, tmp_path: Path) -> None:
    given = document()
    given["concentration"][0]["dimension"] = "A dimension with a name that does not end soon"
    path = tmp_path / "book.html"
    write_book(given, path)
    with opened(chromium, path) as seen:
        assert seen.page.locator(".wide text", has_text="A dimension with a name tha…").count() == 1
        assert seen.page.locator("#concentration th", has_text=given["concentration"][0]["dimension"]).count() == 1

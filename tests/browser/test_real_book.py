"""The book of the real data: made from a panel, opened in a browser."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from abaco_loans.errors import UsageError
from abaco_loans.operations.build_panel import Span
from abaco_loans.operations.publish_panel import PanelRequest, publish_panel
from abaco_loans.operations.write_book import write_book
from abaco_loans.wiring import run_tools
from tests.browser.test_book import DESK, opened
from tests.operations.desk import Desk

SPAN = Span(start=date(2023, 1, 1), end=date(2025, 11, 30))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("real") / "workspace")


@pytest.fixture(scope="module")
def made(desk: Desk, factoring_dir: Path) -> tuple[Path, dict[str, Any]]:
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    publish_panel(PanelRequest(tapes=(factoring_dir,), span=SPAN, definition="investor"), tools)
    path = desk.workspace.root / "book.html"
    return path, write_book(tools, path, lender="A <b>lender</b>")


def test_it_opens_from_disk_and_nothing_serious_is_found(chromium: Browser, made: tuple[Path, dict[str, Any]]) -> None:
    with opened(chromium, made[0], DESK) as seen:
        assert (seen.complaints, seen.requests) == ([], [])
        assert "A <b>lender</b>" in seen.page.inner_text("body"), "markup in a name is text"
        for title in ("Key figures", "Portfolio at risk", "Roll rates", "Vintages", "Concentration", "Data quality"):
            assert seen.page.get_by_role("heading", name=title).first.is_visible(), title
        found = Axe().run(seen.page).response["violations"]
        assert [item["id"] for item in found if item["impact"] in ("serious", "critical")] == []


def test_its_numbers_are_those_of_the_panel(made: tuple[Path, dict[str, Any]]) -> None:
    document = made[1]
    tiles = {tile["id"]: tile for tile in document["tiles"]}
    assert (tiles["risk.par_30"]["value"], tiles["finance.outstanding"]["value"]) == ("3.31", "7813806.55")
    held = sum(Decimal(state["outstanding"]) for state in document["ageing"]["states"])
    assert held == Decimal("7813806.55")
    flows = {name: Decimal(text) for name, text in document["waterfall"].items() if name not in ("start", "end")}
    added = ("disbursed", "capitalised", "reinstated", "currency", "other")
    taken = ("principal_paid", "newly_written_off", "dust_forgiven")
    moved = sum((flows[name] for name in added), Decimal(0)) - sum((flows[name] for name in taken), Decimal(0))
    assert flows["opening"] + moved == flows["closing"] == held
    assert not any(item["status"] == "failed" for item in document["checks"])
    for row in document["roll_rates"]["rows"]:
        total = sum((Decimal(cell["rate"]) for cell in row["to"].values()), Decimal(0))
        assert abs(total - 100) < Decimal("1e-20"), row["from"]


def test_it_names_no_loan_and_no_customer(made: tuple[Path, dict[str, Any]]) -> None:
    text = made[0].read_text(encoding="utf-8")
    assert not re.search(r"DSB\d{4}", text) and not re.search(r"\bm[0-9a-f]{32}\b", text) and "CLI1" not in text


def test_without_a_panel_it_says_how_to_make_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "workspace")
    with pytest.raises(UsageError, match="no panel yet") as caught:
        write_book(run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock), tmp_path / "book.html")
    assert caught.value.code == "PAN-105" and not (tmp_path / "book.html").exists()

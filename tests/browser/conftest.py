"""A real Chromium for the pages: the system's own, never one that is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running Chromium; ``ABACO_TEST_CHROMIUM`` names another one. Missing: a failure in CI, else a skip."""
    named = os.environ.get("ABACO_TEST_CHROMIUM")
    path = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        text = (
            f"no Chromium here ({named or ', '.join(NAMES)}). Debian, Ubuntu: apt install chromium; "
            "macOS: brew install --cask chromium; or set ABACO_TEST_CHROMIUM to the browser's path"
        )
        if IN_CI:
            pytest.fail(text)
        pytest.skip(text)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()

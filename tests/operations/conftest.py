"""A desk for every test of operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.cutover_desk import CutoverDesk, in_production
from tests.operations.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "workspace")


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> CutoverDesk:
    """Production before a cutover; to be copied."""
    return in_production(tmp_path_factory.mktemp("production") / "workspace")

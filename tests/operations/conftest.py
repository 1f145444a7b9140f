"""A desk for every test of operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "workspace")

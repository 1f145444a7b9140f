"""The one place that picks classes: which engine, which store, which clock."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from abaco_loans.clock import Clock, SystemClock
from abaco_loans.operations.workspace import Workspace

if TYPE_CHECKING:
    from abaco_loans.engines.base import Engine
    from abaco_loans.operations.check_health import HealthTools
    from abaco_loans.operations.tools import Progress, Tools
    from abaco_loans.records.runs import RunReader
    from abaco_loans.records.store import Store, StoreFacts


def actor() -> str:
    """Who acts: the account of the operating system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def open_engine(workspace: Workspace, scratch: Path, folders: list[Path], threads: int | None = None) -> Engine:
    """The engine of this workspace, bounded as its settings say and locked into the given folders."""
    from abaco_loans.engines.duckdb import DuckDB

    settings = workspace.settings
    return DuckDB(scratch=scratch, folders=folders, memory_mb=settings.memory_mb, threads=threads or settings.threads)


@contextmanager
def open_records(workspace: Workspace, clock: Clock | None = None) -> Iterator[Store]:
    """The records of this workspace, open for the length of the block."""
    from abaco_loans.records.store import open_store

    (workspace.root / "records").mkdir(exist_ok=True)
    with open_store(workspace.records_url, clock=clock or SystemClock(), actor=actor()) as store:
        yield store


def write_anchor(workspace: Workspace, clock: Clock) -> None:
    """Sign how far the ledger has come, outside the database."""
    from abaco_loans.records.anchors import write_anchor as write

    with open_records(workspace, clock) as store:
        head = store.head()
    write(workspace.anchors, workspace.ledger_key, count=head.count, head=head.hash, at=clock.now())


def run_tools(
    workspace: Workspace, environment: Mapping[str, str], progress: Progress, clock: Clock | None = None
) -> Tools:
    """Everything a run needs."""
    from abaco_loans.engines.duckdb import version
    from abaco_loans.operations.tools import Tools

    now = clock or SystemClock()
    return Tools(
        workspace=workspace,
        clock=now,
        key=workspace.masking_key(environment),
        engine_version=version(),
        open_engine=lambda scratch, folders: open_engine(workspace, scratch, folders),
        open_records=lambda: open_records(workspace, now),
        anchor=lambda: write_anchor(workspace, now),
        who=f"abaco run by {actor()}",
        progress=progress,
    )


def health_tools(start: Path | None, environment: Mapping[str, str]) -> HealthTools:
    """What `abaco doctor` looks at; a workspace that was not asked for may be missing."""
    from abaco_loans.engines.duckdb import version
    from abaco_loans.errors import UsageError
    from abaco_loans.operations.check_health import HealthTools
    from abaco_loans.operations.workspace import find_workspace

    there = True
    if start is None:
        try:
            find_workspace(None, environment)
        except UsageError as error:
            there = error.code != "CLI-101"
    return HealthTools(
        engine_version=version(),
        workspace=(lambda: find_workspace(start, environment)) if there else None,
        key=lambda workspace: workspace.masking_key(environment),
        facts=_facts,
        ledger=verified_ledger,
        read=_read,
    )


def _facts(workspace: Workspace) -> StoreFacts:
    with open_records(workspace) as store:
        return store.facts()


def _read(workspace: Workspace, look: Callable[[RunReader], list[str]]) -> list[str]:
    with open_records(workspace) as store:
        return look(store.reader)


def verified_ledger(workspace: Workspace) -> tuple[bool, str]:
    """Whether the ledger is what was written, and what is found, in words."""
    from abaco_loans.operations.verify_audit import verify_audit

    with open_records(workspace) as store:
        verdict = verify_audit(store, workspace)
    return verdict.ok, verdict.message or f"{verdict.events:,} events, nothing was changed"

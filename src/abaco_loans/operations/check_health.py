"""What `abaco doctor` checks: this machine, and the workspace if there is one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from abaco_loans.errors import AbacoError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import damaged_files
from abaco_loans.records.runs import RunReader
from abaco_loans.releases.command_release import CommandRelease

_FREE_MB_MIN = 1_000
_RUNS_CHECKED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. ``notice`` is worth knowing; ``bad`` needs mending."""

    name: str
    status: Literal["ok", "notice", "bad"]
    finding: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"name": self.name, "status": self.status, "finding": self.finding}


class StoreFacts(Protocol):
    """What the records say of themselves."""

    @property
    def version(self) -> str:
        """Version of the database."""
        ...

    @property
    def backend(self) -> str:
        """Name of the database."""
        ...

    @property
    def journal(self) -> str:
        """Journal mode."""
        ...

    @property
    def wal_reset_bug(self) -> bool:
        """Whether this SQLite may lose committed data in WAL mode."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTools:
    """What the checks look at. ``workspace`` is None where there is none; each callable may raise AbacoError."""

    engine_version: str
    workspace: Callable[[], Workspace] | None
    key: Callable[[Workspace], object]
    facts: Callable[[Workspace], StoreFacts]
    ledger: Callable[[Workspace], tuple[bool, str]]
    read: Callable[[Workspace, Callable[[RunReader], list[str]]], list[str]]


def check_health(tools: HealthTools) -> list[Check]:
    """Every check, whatever the others found."""
    checks = [
        Check(name="python", status="ok", finding=sys.version.split()[0]),
        Check(name="engine", status="ok", finding=tools.engine_version),
    ]
    if tools.workspace is None:
        return [*checks, Check(name="workspace", status="notice", finding="none here; `abaco init DIR` makes one")]
    try:
        workspace = tools.workspace()
    except AbacoError as error:
        return [*checks, _bad("workspace", error)]
    checks.append(Check(name="workspace", status="ok", finding=str(workspace.root)))
    for name, look in (
        ("release", _release),
        ("masking key", lambda place: _key(place, tools)),
        ("disk", _disk),
        ("records", lambda place: _records(place, tools)),
        ("ledger", lambda place: _ledger(place, tools)),
        ("outputs", lambda place: _outputs(place, tools)),
    ):
        try:
            checks.append(look(workspace))
        except AbacoError as error:
            checks.append(_bad(name, error))
    return checks


def _bad(name: str, error: AbacoError) -> Check:
    return Check(name=name, status="bad", finding=str(error))


def _release(workspace: Workspace) -> Check:
    release = workspace.any_release()
    what = "a program" if isinstance(release, CommandRelease) else f"{len(release.catalogue.kpis)} KPIs"
    return Check(name="release", status="ok", finding=f"{release.name}: {what}, meaning {release.meaning_digest[:12]}")


def _key(workspace: Workspace, tools: HealthTools) -> Check:
    tools.key(workspace)
    return Check(name="masking key", status="ok", finding="there, and closed to others")


def _disk(workspace: Workspace) -> Check:
    free = shutil.disk_usage(workspace.root).free // 1_000_000
    if free < _FREE_MB_MIN:
        return Check(name="disk", status="bad", finding=f"{free:,} MB free; runs need three times the tape's size")
    return Check(name="disk", status="ok", finding=f"{free:,} MB free")


def _records(workspace: Workspace, tools: HealthTools) -> Check:
    facts = tools.facts(workspace)
    text = f"{facts.backend} {facts.version}, journal {facts.journal}"
    if facts.wal_reset_bug:
        return Check(
            name="records",
            status="notice",
            finding=f"{text}: this SQLite may lose data in WAL mode, so the rollback journal is used",
        )
    return Check(name="records", status="ok", finding=text)


def _ledger(workspace: Workspace, tools: HealthTools) -> Check:
    good, text = tools.ledger(workspace)
    return Check(name="ledger", status="ok" if good else "bad", finding=text)


def _outputs(workspace: Workspace, tools: HealthTools) -> Check:
    def damaged(reader: RunReader) -> list[str]:
        found = []
        for record in reader.list(limit=_RUNS_CHECKED):
            if record.status == "finished" and record.output_folder:
                files = damaged_files(workspace.outputs, record.output_folder, record.manifest_sha256 or "")
                found += [f"{record.output_folder}/{name}" for name in files]
        return found

    files = tools.read(workspace, damaged)
    if files:
        return Check(name="outputs", status="bad", finding=f"no longer what was published: {', '.join(files[:5])}")
    return Check(name="outputs", status="ok", finding=f"the last {_RUNS_CHECKED} runs are as they were published")

"""The snapshot before a cutover: what the way back is checked against, in ``.rollback/<cutover id>/``, read-only.

It holds the settings, ``roles.yml`` and ``alerts.yml``, every file of every release, the pointer, runs and KPI values,
the queue (jobs, and the results they got), and the ledger with its head and anchors. Records in SQLite are copied whole
as well; of records on a server the JSON lines are the copy. All of the records is of one moment. No key, no tape and
nothing that can be worked out again is in it.

Invariants: the folder is there whole, durable and read-only, or not at all (written as ``.part-<cutover id>``, fsynced,
renamed); what was read of the records was checked against its seals; ``manifest.json`` lists every other file with size
and SHA-256, and the manifest's own digest, which belongs into the journal, is the evidence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from abaco_loans.clock import Clock
from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.copy_workspace import RELEASES, copy_releases
from abaco_loans.operations.workspace import ALERTS_FILE, SETTINGS_FILE, Workspace
from abaco_loans.outputs.publish import MANIFEST, hash_file, set_aside, sync, world
from abaco_loans.records.anchors import export, read_anchors
from abaco_loans.records.ledger import Event
from abaco_loans.records.locks import exclusive
from abaco_loans.records.production import ProductionReader
from abaco_loans.records.runs import RunReader
from abaco_loans.releases.roles_file import ROLES_FILE

ROLLBACK_FOLDER = ".rollback"
_PART = ".part-"
_FORMAT = 1
_ALL = 2**31 - 1
_NAMED_MAX = 5
# It becomes the name of a folder.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Head(Protocol):
    """How long the ledger is, and the hash of its last event."""

    @property
    def count(self) -> int:
        """How many events there are."""
        ...

    @property
    def hash(self) -> str:
        """Of the last event."""
        ...


class StandingRecords(Protocol):
    """The records at one moment."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    @property
    def production_reader(self) -> ProductionReader:
        """Reads the queue and the pointer."""
        ...

    def events(self) -> Iterable[Event]:
        """All events of the ledger, in order."""
        ...

    def head(self) -> Head:
        """Where the ledger ends."""
        ...


class SnapshotRecords(Protocol):
    """What a snapshot needs of the records."""

    def standing(self, copy: Path) -> AbstractContextManager[StandingRecords]:
        """The records at one moment; of SQLite a copy is made at ``copy``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that is whole.

    Attributes:
        folder: where it lies.
        manifest_digest: SHA-256 of ``manifest.json``; what :func:`verify_snapshot` is to be given.
        ledger_head: hash of the last event in it.
        files: how many files the manifest lists.
    """

    folder: Path
    manifest_digest: str
    ledger_head: str
    files: int


def take_snapshot(workspace: Workspace, cutover_id: str, records: SnapshotRecords, clock: Clock) -> Snapshot:
    """Take the snapshot of a cutover, or find it where it was taken.

    A half one is made anew. One that is damaged is moved to ``.rollback/.damaged`` and made anew: until the evidence is
    journalled, production has not been changed.

    Raises:
        UsageError: ``CUT-201`` the id cannot be the name of a folder.
        WorldError: ``CUT-203`` a release cannot be copied; ``OUT-1xx`` it cannot be written, ``REC-10x`` the records
            cannot be read, or are not what was written; nothing is left under the snapshot's name.
    """
    folder = _folder(workspace, cutover_id)
    with world(folder):
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        workspace.locks.mkdir(parents=True, exist_ok=True)
    lock = workspace.locks / "snapshot.lock"
    who = f"taking the snapshot of {cutover_id}"
    with exclusive(lock, clock=clock, who=who, timeout_s=workspace.settings.lock_timeout_s), world(folder):
        for left in folder.parent.glob(f"{_PART}*"):
            _remove(left)
        found = _found(workspace, cutover_id)
        if found is None:
            _clear(folder)
            part = folder.with_name(f"{_PART}{cutover_id}")
            try:
                part.mkdir(mode=0o700)
                _write_all(workspace, part, records)
                _seal(part, cutover_id, clock.now())
                part.rename(folder)
            except BaseException:
                with suppress(OSError):  # a full disk needs the room; what is left is swept next time
                    _remove(part)
                raise
            found = _found(workspace, cutover_id)
        # Also of one that was found: whoever renamed it may have died before this.
        sync(folder.parent)
        sync(workspace.root)
    if found is None:
        raise _damaged(folder, {"damaged": [MANIFEST]})
    return found


def verify_snapshot(workspace: Workspace, cutover_id: str, manifest_digest: str) -> int:
    """Check every file of a snapshot; gives how many the manifest lists.

    Args:
        manifest_digest: as it was journalled when the snapshot was taken.

    Raises:
        UsageError: ``CUT-201`` the id cannot be the name of a folder.
        WorldError: ``CUT-202`` a file is damaged, missing or added; ``details`` names all of them.
    """
    folder = _folder(workspace, cutover_id)
    manifest, digest = _read_manifest(folder)
    if manifest is None or digest != manifest_digest:
        kind = "damaged" if os.path.lexists(folder / MANIFEST) else "missing"
        raise _damaged(folder, {kind: [MANIFEST]})
    faults = _faults(folder, manifest)
    if faults:
        raise _damaged(folder, faults)
    return len(manifest["files"])


def _folder(workspace: Workspace, cutover_id: str) -> Path:
    if not _ID.fullmatch(cutover_id):
        raise UsageError(
            "this cannot be the id of a cutover",
            code="CUT-201",
            where=ascii(cutover_id),
            hint="give it as `abaco cutover status` shows it",
        )
    return workspace.root / ROLLBACK_FOLDER / cutover_id


# --- writing ------------------------------------------------------------------------------------------------


def _write_all(workspace: Workspace, part: Path, records: SnapshotRecords) -> None:
    """Everything but the manifest. Anchors are read first: none may speak of more events than are copied."""
    anchors = read_anchors(workspace.anchors)
    (part / "records").mkdir(mode=0o700)
    with records.standing(part / "records" / "abaco.db") as standing:
        production, runs = standing.production_reader, tuple(reversed(standing.reader.list(limit=_ALL)))
        head = standing.head()
        _write_lines(part / "runs.jsonl", runs)
        _write_lines(part / "kpi_values.jsonl", (row for run in runs for row in standing.reader.kpi_values(run.run_id)))
        _write_lines(part / "pointer.json", [production.pointer()])
        _write_lines(part / "jobs.jsonl", reversed(production.jobs(limit=_ALL)))
        _write_lines(part / "served.jsonl", reversed(production.latest_served(limit=_ALL)))
        export(part / "ledger.jsonl", standing.events(), anchors)
    latest = anchors.anchors[-1].as_dict() if anchors.anchors else None
    said = {"count": head.count, "head": head.hash, "anchor": latest}
    (part / "ledger.json").write_bytes(_canonical(said) + b"\n")
    if not any((part / "records").iterdir()):
        (part / "records").rmdir()
    (part / "settings").mkdir(mode=0o700)
    for name in (SETTINGS_FILE, ROLES_FILE, ALERTS_FILE):
        if (workspace.root / name).is_file():
            shutil.copyfile(workspace.root / name, part / "settings" / name)
    copy_releases(workspace, part / RELEASES)


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    """One line of canonical JSON a record (a dataclass), as they come."""
    with path.open("xb") as out:
        for row in rows:
            out.write(_canonical({item.name: _plain(getattr(row, item.name)) for item in fields(row)}) + b"\n")


def _canonical(data: Any) -> bytes:
    import rfc8785

    return rfc8785.dumps(data)


def _plain(value: Any) -> Any:
    """JSON-ready; numbers that must stay exact become text."""
    match value:
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case tuple() | list():
            return [_plain(part) for part in value]
        case str() | int() | float() | None:
            return value
        case _:
            return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}


def _seal(part: Path, cutover_id: str, at: datetime) -> None:
    """Write the manifest; make everything durable, then read-only."""
    said = json.loads((part / "ledger.json").read_bytes())
    files = [
        {"path": name, "sha256": hash_file(part / name), "size_bytes": (part / name).stat().st_size}
        for name in sorted(_listing(part)[0])
    ]
    manifest = {
        "format": _FORMAT,
        "cutover_id": cutover_id,
        "taken_at": at.isoformat(),
        "ledger": {"count": said["count"], "head": said["head"]},
        "database": (part / "records" / "abaco.db").exists(),
        "files": files,
    }
    (part / MANIFEST).write_bytes(_canonical(manifest) + b"\n")
    for place, _, names in os.walk(part, topdown=False):
        for name in names:
            path = Path(place, name)
            path.chmod(0o400)
            sync(path)
        Path(place).chmod(0o500)
        sync(Path(place))


def _clear(folder: Path) -> None:
    """Move away what has the name of a snapshot and is none."""
    if os.path.lexists(folder):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
        set_aside(folder.parent, folder.name)


def _remove(folder: Path) -> None:
    """Remove what a killed process left; its folders may be read-only already."""
    for place, _, _ in os.walk(folder):
        Path(place).chmod(0o700)
    shutil.rmtree(folder)


# --- checking -----------------------------------------------------------------------------------------------


def _found(workspace: Workspace, cutover_id: str) -> Snapshot | None:
    """The snapshot, when it is there and whole by its own manifest."""
    folder = _folder(workspace, cutover_id)
    manifest, digest = _read_manifest(folder)
    if manifest is None or manifest["cutover_id"] != cutover_id or _faults(folder, manifest):
        return None
    return Snapshot(
        folder=folder,
        manifest_digest=digest,
        ledger_head=manifest["ledger"]["head"],
        files=len(manifest["files"]),
    )


def _read_manifest(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """What the manifest says, and its digest; None where there is none that can be read."""
    path = folder / MANIFEST
    try:
        if folder.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
            return None, ""
        digest = hash_file(path)
        manifest = json.loads(path.read_bytes())
        known = manifest["format"] == _FORMAT and isinstance(manifest["ledger"]["head"], str)
        listed = {item["path"]: item["sha256"] for item in manifest["files"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None, ""
    whole = known and all(isinstance(text, str) for pair in listed.items() for text in pair)
    return (manifest, digest) if whole and "cutover_id" in manifest else (None, "")


def _faults(folder: Path, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of files by what is wrong with them: damaged, missing, added; nothing when all is well."""
    wanted = {item["path"]: item["sha256"] for item in manifest["files"]} | {MANIFEST: ""}
    files, others = _listing(folder)
    both = files & (wanted.keys() - {MANIFEST})
    folders = {parent.as_posix() for name in wanted for parent in PurePosixPath(name).parents}
    found = {
        "damaged": sorted(name for name in both if not _is(folder / name, wanted[name])),
        "missing": sorted(wanted.keys() - files),
        "added": sorted((files - wanted.keys()) | (others - folders)),
    }
    return {kind: names for kind, names in found.items() if names}


def _listing(folder: Path) -> tuple[set[str], set[str]]:
    """Names below a folder, relative to it: plain files, and what has no place in a snapshot (links, empty folders)."""
    files, others = set(), set()
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        if not folders and not names:
            others.add(here.as_posix())
        for name in (*folders, *names):
            kind = (Path(place) / name).lstat().st_mode
            if stat.S_ISREG(kind):
                files.add((here / name).as_posix())
            elif not stat.S_ISDIR(kind):
                others.add((here / name).as_posix())
    return files, others


def _is(path: Path, sha256: str) -> bool:
    """Whether a file has that hash; one that the disk does not give back has not."""
    try:
        return hash_file(path) == sha256
    except OSError:
        return False


def _damaged(folder: Path, faults: Mapping[str, list[str]]) -> WorldError:
    shown = {kind: [ascii(name)[1:-1] for name in names] for kind, names in faults.items()}
    words = "; ".join(f"{kind}: {', '.join(names[:_NAMED_MAX])}{_more(names)}" for kind, names in shown.items())
    return WorldError(
        f"the snapshot is not what was taken: {words}",
        code="CUT-202",
        where=str(folder),
        hint="keep the folder for inquiry, look after that disk; production itself was not touched by this",
        details=shown,
    )


def _more(names: list[str]) -> str:
    return f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""

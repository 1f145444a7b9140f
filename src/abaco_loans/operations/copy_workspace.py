"""A copy of a workspace, in which a drill or a rehearsal may do what it likes while the original stays as it is.

Anchors come first, then records: no anchor speaks of an event that the copy has not, and a run or job that the copy
knows has its files already, as they are written before they are recorded. What was published and what waits in the
queue is never written to again (it is read-only, and replaced by renaming), so the copy shares those files with the
original where the file system can (hard links); else they are copied. The records of the copy are always a SQLite file
in it, also where the original's are on a server.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.submit_tape import QUEUE
from abaco_loans.operations.workspace import COPY_MARK, SETTINGS_FILE, Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.settings import Settings

RELEASES = "releases"
_MASKING_KEY = "keys/masking.key"
_MARK = "A copy of a workspace, for a drill or a rehearsal. Nothing in it is production; delete it when you like.\n"
_COPIED = frozenset({RELEASES, "keys", "records", "outputs", QUEUE})


class CopiedRecords(Protocol):
    """What a copy needs of the records."""

    def copy_to(self, path: Path) -> None:
        """Copy them as they stand at one moment into a new SQLite file."""
        ...


def copied_workspace(workspace: Workspace, target: Path, records: CopiedRecords) -> Workspace:
    """Copy settings, releases, keys, records with their anchors, outputs and queue into a new folder.

    Shadow reports, snapshots, logs, scratch and cache stay behind. The settings are those in force, also where the
    environment set them; a process that is started in the copy with `ABACO_RECORDS_URL` is refused (`open_workspace`).

    Args:
        target: a folder that is not there, or empty; not in what is copied.
        records: of the workspace, open.

    Raises:
        UsageError: ``CUT-212`` there is something at ``target``, or it lies in what is copied.
        WorldError: ``CUT-203`` a release cannot be copied; ``OUT-1xx`` writing failed; ``REC-10x`` the database did.
    """
    _check(workspace, target)
    settings = replace(workspace.settings, records_url="", lineage="off", masking_key_file=_MASKING_KEY)
    with world(target):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("keys", "records", "records/locks", "outputs"):
            (target / name).mkdir(mode=0o700)
        _write(target / COPY_MARK, _MARK.encode())
        _write(target / SETTINGS_FILE, _settings_text(settings).encode())
        _copy_tree(workspace.anchors, target / "records" / "anchors", shutil.copyfile)
        records.copy_to(target / "records" / "abaco.db")
        copy_releases(workspace, target / RELEASES)
        _copy_keys(workspace, target / "keys")
        _copy_tree(workspace.outputs, target / "outputs", _linked)
        _copy_tree(workspace.root / QUEUE, target / QUEUE, _linked)
    return Workspace(root=target, settings=settings)


def copy_releases(workspace: Workspace, target: Path) -> None:
    """Copy every file of every release to ``target/<release>/``; a link becomes what it leads to.

    Raises:
        WorldError: ``CUT-203`` a link leads out of its release, or something in it is no file.
        OSError: reading or writing failed.
    """
    for name in workspace.release_names():
        folder = workspace.root / RELEASES / name
        for path in sorted(folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            named = path.relative_to(folder).as_posix().isprintable()
            if not (named and path.is_file() and path.resolve().is_relative_to(folder.resolve())):
                raise WorldError(
                    "a link leads out of the release, or something in it is no file, or has no printable name",
                    code="CUT-203",
                    where=ascii(str(path)),
                    hint="a release is made of plain files: copy the file itself there",
                )
            place = target / name / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _check(workspace: Workspace, target: Path) -> None:
    place, root = target.resolve(), workspace.root.resolve()
    inside = place.relative_to(root).parts if place.is_relative_to(root) else None
    into_itself = inside is not None and (not inside or inside[0] in _COPIED)
    if into_itself or target.is_symlink() or (target.exists() and not _is_empty(target)):
        raise UsageError(
            "a workspace is not copied into itself" if into_itself else "the folder is not empty",
            code="CUT-212",
            where=str(target),
            hint="choose a new folder for the copy",
        )


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not any(target.iterdir())


def _settings_text(settings: Settings) -> str:
    """The settings as YAML: a JSON text is one, and so is a whole number."""
    given = {name: value for name, value in asdict(settings).items() if value != ""}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    return "\n".join(["# Settings of a copy, made for a drill or a rehearsal.", *lines, ""])


def _copy_keys(workspace: Workspace, target: Path) -> None:
    """The keys, so that customers are masked alike; readable by their owner only."""
    masking = workspace.root / workspace.settings.masking_key_file
    found = {path.name: path for path in (workspace.root / "keys").glob("[!.]*") if path.is_file()}
    found |= {Path(_MASKING_KEY).name: masking} if masking.is_file() else {}
    for name, path in found.items():
        _write(target / name, path.read_bytes())


def _write(path: Path, content: bytes) -> None:
    """A new file, readable by its owner only from its first moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


def _copy_tree(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    """Plain files below a folder, with the rights of their folders; links and what is hidden are not ours."""
    if not source.is_dir():
        return
    target.mkdir(mode=0o700, exist_ok=True)
    for entry in sorted(source.iterdir()):
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_dir():
            _copy_tree(entry, target / entry.name, copy)
        elif entry.is_file():
            copy(entry, target / entry.name)
    target.chmod(source.stat().st_mode & 0o777 | 0o700)


def _linked(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system, or the kernel's rules, have no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o777)

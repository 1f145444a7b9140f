"""Publish a run's folder all or nothing.

Files are written into a private folder, fsynced, listed with their hashes in ``manifest.json``, and the whole
folder is renamed into place; then the parent folder is fsynced. Readers trust only what the manifest lists.

Invariants: a folder ``outputs/<as of>/<run id>`` or ``outputs/panels/<panel id>`` is complete or absent; its files
are read-only; a failed fsync fails the publication and leaves the old output where it was.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abaco_loans.errors import WorldError

MANIFEST = "manifest.json"
_RUN_FOLDER = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}/|panels/panel-)[0-9]{8}-[0-9a-f]{20}")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One file of a published folder. ``restricted``: it names loans, and is kept out of shared reports."""

    path: str
    sha256: str
    size_bytes: int
    restricted: bool = False

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "restricted": self.restricted,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was published: the folder (relative to the outputs), its files, and the manifest's own hash."""

    folder: str
    files: tuple[PublishedFile, ...]
    manifest_sha256: str


def publish(
    outputs: Path, staging: Path, folder: str, *, restricted: frozenset[str], facts: Mapping[str, Any]
) -> Publication:
    """Seal the files in ``staging`` and move them to ``outputs/folder``.

    Args:
        outputs: the workspace's output folder.
        staging: a folder on the same file system; it is gone afterwards.
        folder: relative name of the new folder; it must not exist.
        restricted: names of files that name loans or customers.
        facts: what the manifest says besides the files.

    Raises:
        WorldError: ``OUT-101`` disk full, ``OUT-102`` not writable, ``OUT-103`` the folder is there already.
    """
    target = outputs / folder
    with world(target):
        files = []
        for path in sorted(staging.iterdir()):
            files.append(
                PublishedFile(
                    path=path.name,
                    sha256=hash_file(path),
                    size_bytes=path.stat().st_size,
                    restricted=path.name in restricted,
                )
            )
            path.chmod(0o444)
            sync(path)
        manifest = staging / MANIFEST
        text = (
            json.dumps(
                {**facts, "files": [item.as_dict() for item in files]},
                indent=2,
                sort_keys=True,
                ensure_ascii=False,
            )
            + "\n"
        )
        manifest.write_text(text, encoding="utf-8")
        manifest.chmod(0o444)
        sync(manifest)
        sync(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise WorldError(
                "the output folder is there already",
                code="OUT-103",
                where=str(target),
                hint="it belongs to no recorded run: move it away and run again",
            )
        staging.rename(target)
        sync(target.parent)
        sync(outputs)
    return Publication(folder=folder, files=tuple(files), manifest_sha256=hashlib.sha256(text.encode()).hexdigest())


def sync(path: Path) -> None:
    """fsync a file or folder. A failure is raised, never repeated: the data may be gone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole, on the disk, readable by its owner only; or the old one is."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync(path.parent)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def damaged_files(outputs: Path, folder: str, manifest_sha256: str) -> list[str]:
    """Names of published files that are missing or no longer what was published; empty when all is well."""
    place = outputs / folder
    manifest = place / MANIFEST
    if not manifest.is_file() or hash_file(manifest) != manifest_sha256:
        return [MANIFEST]
    listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    return [
        item["path"]
        for item in listed
        if not (place / item["path"]).is_file() or hash_file(place / item["path"]) != item["sha256"]
    ]


def set_aside(outputs: Path, folder: str) -> str:
    """Move a damaged folder to ``.damaged`` so that nothing shows it as good; gives its new place."""
    source = outputs / folder
    place = outputs / ".damaged" / folder
    number = 0
    while place.exists():
        number += 1
        place = outputs / ".damaged" / f"{folder}.{number}"
    with world(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        source.rename(place)
        sync(place.parent)
    return str(place.relative_to(outputs))


def sweep_orphans(outputs: Path, known: frozenset[str]) -> list[str]:
    """Remove folders of `run_folders` that no finished run stands for; gives their names."""
    removed = [name for name in run_folders(outputs) if name not in known]
    for name in removed:
        remove(outputs / name)
    return removed


def run_folders(outputs: Path) -> list[str]:
    """Folders ``<as of>/<run id>`` and ``panels/<panel id>``. What people put beside them, and links, are not ours."""
    return [
        f"{day.name}/{folder.name}"
        for day in (*sorted(outputs.glob("[0-9]*")), outputs / "panels")
        if day.is_dir() and not day.is_symlink()
        for folder in sorted(day.iterdir())
        if _RUN_FOLDER.fullmatch(f"{day.name}/{folder.name}") and folder.is_dir() and not folder.is_symlink()
    ]


def remove(folder: Path) -> None:
    """Remove a folder whose files may be read-only."""
    folder.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def world(place: Path) -> Iterator[None]:
    """Turn an OSError into a failure that says what, where and what to do."""
    try:
        yield
    except OSError as error:
        raise world_error(error, place) from error


def world_error(error: OSError, place: Path) -> WorldError:
    """What an OSError while writing to ``place`` means for a person."""
    where = str(error.filename or place)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return WorldError(
            f"disk full: {_space(place)}",
            code="OUT-101",
            where=where,
            hint="free disk space and run again; the old outputs and the ledger are intact",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WorldError(
            "no permission to write",
            code="OUT-102",
            where=where,
            hint="let this account write there, or choose another workspace with --workspace",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return WorldError("too many open files", code="OUT-104", where=where, hint="raise the limit: ulimit -n 4096")
    return WorldError(
        f"could not write: {error.strerror or error}",
        code="OUT-105",
        where=where,
        hint="look after that disk; the old outputs and the ledger are intact",
    )


def _space(place: Path) -> str:
    folder = place
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "how much is free cannot be told"
    return f"{free // 1_000_000} MB free where the outputs go"

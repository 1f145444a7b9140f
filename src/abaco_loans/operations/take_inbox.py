"""Take what lies in the inbox: every whole tape becomes a job, what cannot be taken is put aside with the reason.

Whole is a file beside which ``<name>.done`` stands, or whose size and time have been the same for `inbox_settle_s`
seconds; and a folder only with its marker. Hidden names and ``.part``, ``.partial``, ``.tmp`` are still on their way.

Invariants: a tape is moved into ``inbox/.taking`` before it is copied, so that what moves on is what was copied, even
where the sender sends another under the same name; it moves on to ``inbox/taken`` when its job is durable, and stays
where it is when the world fails; nothing is ever deleted, no link is followed, nothing outside the inbox is touched.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from abaco_loans.clock import Clock
from abaco_loans.errors import AbacoError, InputError, UsageError, WorldError
from abaco_loans.operations.private_cache import cache_key, read_cached, write_cached
from abaco_loans.operations.scratch import LOCK_HELD
from abaco_loans.operations.submit_tape import (
    NOT_READY,
    UNREADABLE,
    OpenProduction,
    Submitted,
    checked_name,
    submit_tape,
)
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import sync, world
from abaco_loans.records.locks import exclusive

INBOX = "inbox"
TAKING, TAKEN, REFUSED = ".taking", "taken", "refused"
MARKER = ".done"
_UNFINISHED = (".part", ".partial", ".tmp")
_OWN = (TAKEN, REFUSED)
_NAME_MAX = 100

# What was seen of a file: inode, size, time of change (ns), and since when it has been so.
_Seen = dict[str, tuple[int, int, int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxLook:
    """What one look at the inbox gave.

    Attributes:
        jobs: of the tapes that were taken.
        refused: names of what was put aside, escaped.
        settling: how many files will be whole if they stay as they are.
    """

    jobs: tuple[Submitted, ...] = ()
    refused: tuple[str, ...] = ()
    settling: int = 0


def take_inbox(workspace: Workspace, open_records: OpenProduction, *, clock: Clock, who: str) -> InboxLook:
    """Look at the inbox once; one process does at a time, for another there is nothing to see.

    Raises:
        WorldError: disk, permissions or database failed; the tapes stay where they are. ``JOB-102`` a folder of the
            inbox is none.
    """
    place = workspace.root / INBOX
    with world(place):
        place.mkdir(mode=0o700, exist_ok=True)
        workspace.locks.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(workspace.locks / "inbox.lock", timeout_s=0, clock=clock, who=who), world(place):
            return _Look(workspace, open_records, clock, who).taken()
    except WorldError as error:
        if error.code != LOCK_HELD or "inbox.lock" not in error.where:
            raise
        return InboxLook()


class _Look:
    """One look at the inbox, alone."""

    def __init__(self, workspace: Workspace, open_records: OpenProduction, clock: Clock, who: str) -> None:
        self._workspace = workspace
        self._place = workspace.root / INBOX
        self._open_records = open_records
        self._clock = clock
        self._who = who
        self._jobs: list[Submitted] = []
        self._refused: list[str] = []
        self._settling = 0

    def taken(self) -> InboxLook:
        for name in (TAKING, *_OWN):
            _own_folder(self._place / name)
        left = _names(self._place / TAKING)  # by a look that was killed, or found a tape unready
        for name in left:
            if not name.endswith(MARKER):
                self._take(name)
            elif name.removesuffix(MARKER) not in left:
                _move(self._place / TAKING / name, _free(self._place / TAKEN, name))
        self._look()
        return InboxLook(jobs=tuple(self._jobs), refused=tuple(self._refused), settling=self._settling)

    def _look(self) -> None:
        """Everything at the top of the inbox, by name."""
        names = [name for name in _names(self._place) if not name.startswith(".") and name not in _OWN]
        now, settings = self._clock.now(), self._workspace.settings
        kept, key = self._workspace.cache / "inbox.json", cache_key(INBOX)
        before, seen = read_cached(kept, key) or {}, _Seen()
        for name in (name for name in names if not name.lower().endswith((MARKER, *_UNFINISHED))):
            about = _lstat(self._place / name)
            if about is None:
                continue
            fault = _fault(name, about)
            if fault:
                self._refuse(self._place / name, fault)
                continue
            whole = _lstat(self._place / (name + MARKER)) is not None
            if not whole and stat.S_ISREG(about.st_mode):
                seen[name] = _since(about, before.get(name), now)
                since = datetime.fromisoformat(seen[name][-1])
                whole = now - since >= timedelta(seconds=settings.inbox_settle_s)
                self._settling += not whole
            if whole and _lstat(self._place / TAKING / name) is None:
                seen.pop(name, None)
                self._move_with_marker(name, self._place, self._place / TAKING / name)
                self._take(name)
        write_cached(kept, key, seen)
        for name in (name for name in names if name.endswith(MARKER)):
            self._lone_marker(name)

    def _take(self, name: str) -> None:
        """Submit what was moved to ``.taking``, then move it on."""
        path = self._place / TAKING / name
        before = _state(path)
        try:
            with self._open_records() as records:
                job = submit_tape(self._workspace, path, records, as_of=None, clock=self._clock, who=self._who)
        except (InputError, UsageError, WorldError) as error:
            if error.code == NOT_READY:
                self._back(name)
            elif isinstance(error, WorldError) and error.code != UNREADABLE:
                raise
            else:
                self._refuse(path, error)
            return
        self._jobs.append(job)
        if _state(path) != before:
            self._back(name)
        else:
            self._move_with_marker(name, path.parent, _free(self._place / TAKEN, f"{job.job.job_id}-{name}"))

    def _back(self, name: str) -> None:
        """A sender still writes into it: a file settles again, a folder is tried again."""
        self._settling += 1
        path = self._place / TAKING / name
        if not path.is_dir() and _lstat(self._place / name) is None:
            _move(path, self._place / name)

    def _move_with_marker(self, name: str, folder: Path, target: Path) -> None:
        """Move a tape and then its marker: left alone, it would call the next tape of that name whole too early."""
        _move(folder / name, target)
        marker = folder / (name + MARKER)
        if _lstat(marker) is not None:
            _move(marker, _free(target.parent, target.name + MARKER))

    def _lone_marker(self, name: str) -> None:
        """A marker without its tape is put aside."""
        tape = name.removesuffix(MARKER)
        path = self._place / name
        if _lstat(path) is None or _lstat(self._place / tape) or _lstat(self._place / TAKING / tape):
            return
        lone = InputError(
            "a marker without its tape",
            code="JOB-101",
            where=ascii(name),
            hint="send the tape first, its marker last",
        )
        self._refuse(path, lone)

    def _refuse(self, path: Path, error: AbacoError) -> None:
        """Put it aside as it is, the reason beside it."""
        now = self._clock.now()
        shown = ascii(path.name)[1:-1]
        safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in shown)[:_NAME_MAX]
        target = _free(self._place / REFUSED, f"{now:%Y%m%dT%H%M%S}-{safe}")
        reason = {"name": shown, "refused_at": now.isoformat(), **error.as_dict(), "where": shown}
        handle = os.open(
            target.with_name(f"{target.name}.reason.json"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(reason, indent=2) + "\n")
        self._move_with_marker(path.name, path.parent, target)
        self._refused.append(shown)


def _own_folder(path: Path) -> None:
    """Make a folder of the inbox; a link in its place would lead tapes elsewhere."""
    path.mkdir(mode=0o700, exist_ok=True) if not path.is_symlink() else None
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise WorldError(
            "a folder of the inbox is a link or no folder",
            code="JOB-102",
            where=str(path),
            hint="remove it; the inbox makes its own",
        )


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _state(path: Path) -> list[tuple[str, int, int, int]]:
    """What tells a tape from the same one written on: of a folder, of everything in it."""
    items = [path, *sorted(path.iterdir())] if stat.S_ISDIR(path.lstat().st_mode) else [path]
    return [(item.name, about.st_ino, about.st_size, about.st_mtime_ns) for item in items for about in (item.lstat(),)]


def _fault(name: str, about: os.stat_result) -> InputError | None:
    try:
        checked_name(name)
    except InputError as error:
        return error
    if stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode):
        return None
    return InputError(
        "a link, or no file at all", code="JOB-101", where=ascii(name), hint="put the file itself into the inbox"
    )


def _since(about: os.stat_result, before: object, now: datetime) -> tuple[int, int, int, str]:
    """What is seen of a file and since when: since now, where it was different, or seen in the future."""
    state = (about.st_ino, about.st_size, about.st_mtime_ns)
    if isinstance(before, list) and tuple(before[:3]) == state and datetime.fromisoformat(before[3]) <= now:
        return (*state, before[3])
    return (*state, now.isoformat())


def _free(folder: Path, name: str) -> Path:
    """A name that is not taken yet."""
    target, number = folder / name, 1
    while _lstat(target) is not None:
        number += 1
        target = folder / f"{name}.{number}"
    return target


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    sync(target.parent)
    sync(source.parent)

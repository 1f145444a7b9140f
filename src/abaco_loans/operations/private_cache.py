"""What was worked out from files and can be worked out again: plain JSON in a private folder of the workspace.

Deleting the folder is always safe. A file holds a body and the SHA-256 over it and its key; what is not readable, not
whole, of another key or in a folder that is open to others counts as absent. Writing may fail
quietly, at any point: the next reader finds the old file, the new one, or none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from abaco_loans import __version__
from abaco_loans.tape.memory import Memory, using

_UNFINISHED = ".new"

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """A block of `remembering` at work: whose it is, and what was read in it."""

    secret: bytes
    read: dict[str, Any]


_block: ContextVar[_Block | None] = ContextVar("block", default=None)


def cache_key(*parts: Any) -> str:
    """SHA-256 (hexadecimal) of the product's version and the parts (JSON data) that a body is worked out from."""
    return _sha256([__version__, *parts])


def read_cached(path: Path, key: str) -> Any:
    """The body kept in the file under the key; None where there is none."""
    try:
        if not _is_private(path.parent):
            return None
        found = json.loads(path.read_bytes())
        whole = found["sha256"] == _sha256([key, found["body"]])
        return found["body"] if whole else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def write_cached(path: Path, key: str, body: Any) -> None:
    """Keep the body (JSON data) in the file, whole or not at all."""
    import tempfile

    text = json.dumps({"sha256": _sha256([key, body]), "body": body})
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not _is_private(path.parent):
            return
        for left in path.parent.glob(f"*{_UNFINISHED}"):
            left.unlink()
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=_UNFINISHED)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text)
        Path(name).replace(path)


@contextmanager
def remembering(folder: Path, secret: bytes) -> Iterator[None]:
    """Use what was worked out before (`tape.memory`) for the length of the block, then keep what is new.

    What is kept is run as it stands, unlike a release, whose digests are computed anew. So it counts as absent unless
    it was written by this very code, and by somebody who holds the secret. Inside another such block with the same
    secret (a validation runs tapes of its own) there is one memory, the outer one's.
    """
    outer = _block.get()
    if outer is not None and outer.secret == secret:
        yield
        return
    path, key = folder / "statements.json", memory_key(secret, running_code())
    kept = read_cached(path, key)
    memory = Memory(kept if isinstance(kept, dict) else {})
    token = _block.set(_Block(secret=secret, read={}))
    try:
        with using(memory):
            yield
    finally:
        _block.reset(token)
    if memory.has_new:
        write_cached(path, key, memory.entries())


def read_once(key: str, read: Callable[[], Found]) -> Found:
    """What ``read`` gives, read once inside a block of `remembering`; the key is everything that it depends on."""
    block = _block.get()
    if block is None:
        return read()
    if key not in block.read:
        block.read[key] = read()
    return cast("Found", block.read[key])


def memory_key(secret: bytes, code: Sequence[Any]) -> str:
    """The key under which this code keeps what it remembers; nobody can make it without the secret."""
    return hmac.new(secret, cache_key("statements", *code).encode("ascii"), hashlib.sha256).hexdigest()


def running_code() -> tuple[Any, ...]:
    """What the code is: size and time of each file of it, and the version of the library that writes the SQL."""
    from importlib.metadata import version

    root = Path(__file__).parents[1]
    files = sorted(
        (os.path.relpath(entry.path, root), about.st_size, about.st_mtime_ns)
        for entry in _sources(str(root))
        for about in (entry.stat(),)
    )
    return sys.version, version("sqlglot"), str(root), files


def _sources(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.endswith(".py"):
                yield entry
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _sources(entry.path)


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077


def _sha256(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode("ascii")).hexdigest()

"""What was worked out from files and can be worked out again: plain JSON in a private folder of the workspace.

Deleting the folder is always safe. A file holds a body and the SHA-256 over it and its key; what is not readable, not
whole, of another key or in a folder that is open to others counts as absent. Writing may fail
quietly, at any point: the next reader finds the old file, the new one, or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from abaco_loans import __version__

_UNFINISHED = ".new"


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


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077


def _sha256(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode("ascii")).hexdigest()

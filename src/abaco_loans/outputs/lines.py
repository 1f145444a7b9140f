"""Lines of logs: nothing that a terminal acts on, appended so that they are on the disk."""

from __future__ import annotations

import os
from pathlib import Path

from abaco_loans.outputs.publish import world


def printable(text: str) -> str:
    """The text with nothing that a terminal acts on, and no line end."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def append_line(path: Path, line: str) -> None:
    """Append a line, durably. Half a line that a dead process left is ended first; no link is followed.

    Args:
        path: readable by its owner only; it and its folder are made where they are missing.
        line: printable, without its end.

    Raises:
        WorldError: ``OUT-1xx`` it cannot be written.
    """
    data = f"{line}\n".encode()
    with world(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size and os.pread(stream.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:
                data = data[stream.write(data) :]
            os.fsync(stream.fileno())

"""Read the files of a release folder: UTF-8 text, and nothing from outside the folder."""

from __future__ import annotations

import os
from pathlib import Path

from abaco_loans.errors import ConfigError


def read_texts(folder: Path) -> dict[str, str]:
    """The YAML files below a folder: path → text. Links that lead out of the folder are refused."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.yml"))]
    return {name: text for name in names if (text := read_text(folder, name)) is not None}


def read_text(folder: Path, name: str) -> str | None:
    """One file below a folder; None where it is not there. A link that leads out of the folder is refused."""
    path = folder / name
    if not os.path.lexists(path):
        return None
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            "a link leads out of the release",
            code="REL-104",
            where=str(path),
            hint="copy the file instead",
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the file cannot be read",
            code="REL-104",
            where=str(path),
            hint="it must be UTF-8 text that this account may read",
        ) from error

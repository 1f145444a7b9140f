"""Read the files of a release folder: UTF-8 text, nothing from outside the folder, and checked once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from abaco_loans.errors import ConfigError
from abaco_loans.operations.private_cache import cache_key, read_cached, read_once, write_cached

if TYPE_CHECKING:
    from abaco_loans.releases.release import Release


def catalogue_release(folder: Path, cache: Path) -> Release:
    """The catalogue release in a folder.

    Its files are read and checked once; while they stay as they are, what was read is restored from the cache.

    Raises:
        ConfigError: what a file of it says wrong.
    """
    from abaco_loans.releases.plain import plain_release, restored_release
    from abaco_loans.releases.policy_files import apart, with_policy
    from abaco_loans.releases.release import read_release

    name, (files, policy) = folder.name, apart(read_texts(folder))
    kept, key = cache / f"release-{name}.json", cache_key(name, files)

    def read() -> Release:
        release = restored_release(name, read_cached(kept, key))
        if release is None:
            release = read_release(name, files)
            write_cached(kept, key, plain_release(release))
        return release

    return with_policy(read_once(f"{kept} {key}", read), policy)


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

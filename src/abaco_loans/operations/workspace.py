"""A workspace: the folder in which a lender's releases, keys, records and outputs live.

Imports little, so that a run can begin to copy its tape early; what needs the SQL library is imported where used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError, UsageError, WorldError
from abaco_loans.operations.private_cache import cache_key, read_cached, write_cached
from abaco_loans.outputs.publish import sync, world
from abaco_loans.settings import Settings, read_settings

if TYPE_CHECKING:
    from abaco_loans.portfolio.policy import Policy
    from abaco_loans.releases.release import Release
    from abaco_loans.tape.masking import MaskingKey

SETTINGS_FILE = "abaco.yml"
PORTFOLIO_FILE = "portfolio.yml"
CACHE_FOLDER = ".cache"
KEY_VARIABLE = "ABACO_MASKING_KEY"
_KEY_BYTES = 32
_SETTINGS_TEXT = """\
# Settings of this workspace. All of them, with their defaults, stand in docs/settings.md.
release: v2
reporting_currency: USD
memory_mb: 600
threads: 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """An existing workspace and its settings."""

    root: Path
    settings: Settings

    @property
    def outputs(self) -> Path:
        """Where runs are published."""
        return self.root / "outputs"

    @property
    def scratch(self) -> Path:
        """Where runs work; owner only, swept at start."""
        return self.root / ".scratch"

    @property
    def cache(self) -> Path:
        """What was worked out from files and can be again; owner only, may be deleted at any time."""
        return self.root / CACHE_FOLDER

    @property
    def locks(self) -> Path:
        """Kernel locks."""
        return self.root / "records" / "locks"

    @property
    def anchors(self) -> Path:
        """Signed anchors of the ledger, outside the database."""
        return self.root / "records" / "anchors"

    @property
    def ledger_key(self) -> Path:
        """The key that signs anchors."""
        return self.root / "keys" / "ledger.key"

    @property
    def records_url(self) -> str:
        """Where the records are."""
        return self.settings.records_url or f"sqlite:///{self.root / 'records' / 'abaco.db'}"

    def release(self, name: str | None = None) -> Release:
        """Load a release of this workspace; the one in the settings by default.

        Files are read and checked once; while they stay as they are, what was read is restored from the cache.

        Raises:
            ConfigError: ``REL-103`` there is no such release; or what a file of it says wrong.
        """
        from abaco_loans.releases.plain import plain_release, restored_release
        from abaco_loans.releases.release import read_release

        chosen = name or self.settings.release
        folder = self.root / "releases" / chosen
        known = sorted(path.name for path in (self.root / "releases").glob("*") if path.is_dir())
        if chosen not in known:
            raise ConfigError(
                f"there is no release {chosen!r}",
                code="REL-103",
                where=str(folder.parent),
                hint=f"releases are {', '.join(known) or 'none: run `abaco init` in a new folder'}",
            )
        files = {path: text for path, text in read_texts(folder).items() if path != PORTFOLIO_FILE}
        kept, key = self.cache / f"release-{chosen}.json", cache_key(chosen, files)
        release = restored_release(chosen, read_cached(kept, key))
        if release is None:
            release = read_release(chosen, files)
            write_cached(kept, key, plain_release(release))
        return release

    def policy(self, release: str) -> Policy:
        """Provisions, borrowing base and covenants of a release; empty where it has no ``portfolio.yml``.

        Raises:
            ConfigError: what the file says wrong.
        """
        from abaco_loans.portfolio.policy import Policy, read_policy
        from abaco_loans.strict_yaml import parse

        text = read_texts(self.root / "releases" / release).get(PORTFOLIO_FILE)
        return read_policy(parse(text, name=f"releases/{release}/{PORTFOLIO_FILE}")) if text else Policy()

    def masking_key(self, environment: Mapping[str, str]) -> MaskingKey:
        """The key that personal data is masked with: from the environment, or the key file.

        Raises:
            ConfigError: ``KEY-101`` missing, too short, or open to others.
        """
        from abaco_loans.tape.masking import MaskingKey, key_version

        text, where = environment.get(KEY_VARIABLE), KEY_VARIABLE
        if text is None:
            path = self.root / self.settings.masking_key_file
            where = str(path)
            if not path.is_file():
                raise ConfigError(
                    "the masking key is missing",
                    code="KEY-101",
                    where=where,
                    hint=f"restore it from your backup, or set {KEY_VARIABLE}; a new key would give"
                    " every customer a new masked id",
                )
            if path.stat().st_mode & 0o077:
                raise ConfigError(
                    "the masking key can be read by others",
                    code="KEY-101",
                    where=where,
                    hint=f"chmod 600 '{path}'",
                )
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    "the masking key cannot be read",
                    code="KEY-101",
                    where=where,
                    hint="run as the account that made the workspace, or restore the key from your backup",
                ) from error
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            secret = b""
        if len(secret) < _KEY_BYTES:
            raise ConfigError(
                f"the masking key is not {2 * _KEY_BYTES} hexadecimal digits",
                code="KEY-101",
                where=where,
                hint="make one: python3 -c 'import secrets; print(secrets.token_hex(32))'",
            )
        return MaskingKey(version=key_version(secret), secret=secret)


def find_workspace(start: Path | None, environment: Mapping[str, str]) -> Workspace:
    """The workspace given, or the nearest folder upwards that holds ``abaco.yml``.

    Raises:
        UsageError: ``CLI-101`` there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here,) if start else (here, *here.parents):
        if (folder / SETTINGS_FILE).is_file():
            return open_workspace(folder, environment)
    raise UsageError(
        "this is no workspace, nor is any folder above it" if not start else "this is no workspace",
        code="CLI-101",
        where=str(here),
        hint="make one with `abaco init DIR`, or give --workspace DIR",
    )


def open_workspace(folder: Path, environment: Mapping[str, str]) -> Workspace:
    """The workspace in ``folder``, with its settings read."""
    path = folder / SETTINGS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorldError(
            "the settings cannot be read",
            code="CFG-502",
            where=str(path),
            hint="check the rights of the file; it must be UTF-8 text",
        ) from error
    return Workspace(root=folder, settings=read_settings(_settings_document(folder, text), environment))


def _settings_document(folder: Path, text: str) -> Document:
    """The settings file, parsed; what it says is checked by `read_settings`, every time."""
    kept, key = folder / CACHE_FOLDER / "settings.json", cache_key(SETTINGS_FILE, text)
    body = read_cached(kept, key)
    if body is None:
        from abaco_loans.strict_yaml import parse

        document = parse(text, name=SETTINGS_FILE)
        write_cached(kept, key, {"data": document.data, "lines": list(document.lines.items())})
        return document
    lines = {tuple(path): line for path, line in body["lines"]}
    return Document(name=SETTINGS_FILE, data=body["data"], lines=lines)


def read_texts(folder: Path) -> dict[str, str]:
    """The YAML files below a folder: path → text. Links that lead out of the folder are refused."""
    found = {}
    root = folder.resolve()
    for path in sorted(folder.rglob("*.yml")):
        if not path.resolve().is_relative_to(root):
            raise ConfigError(
                "a link leads out of the release",
                code="REL-104",
                where=str(path),
                hint="copy the file instead",
            )
        try:
            found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "the file cannot be read",
                code="REL-104",
                where=str(path),
                hint="it must be UTF-8 text that this account may read",
            ) from error
    return found


def builtin_texts() -> dict[str, str]:
    """The files of the release that ships with the product: path → text."""
    from importlib import resources

    found = {}
    root = resources.files("abaco_loans") / "builtin"
    for item in root.iterdir():
        if item.is_dir():
            found.update(
                {
                    f"{item.name}/{file.name}": file.read_text(encoding="utf-8")
                    for file in item.iterdir()
                    if file.name.endswith(".yml")
                }
            )
        elif item.name.endswith(".yml"):
            found[item.name] = item.read_text(encoding="utf-8")
    return found


def make_workspace(folder: Path, environment: Mapping[str, str]) -> Workspace:
    """Make a workspace with release ``v2`` and new keys.

    Raises:
        UsageError: ``CLI-102`` the folder holds something already.
        WorldError: ``OUT-1xx`` it cannot be written.
    """
    import secrets

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "the folder is not empty",
            code="CLI-102",
            where=str(folder),
            hint="choose a new folder, or empty this one first",
        )
    with world(folder):
        for name in ("releases/v2", "keys", "records/locks", "records/anchors", "outputs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "keys").chmod(0o700)
        for name, text in builtin_texts().items():
            path = folder / "releases" / "v2" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _write_secret(folder / "keys" / "masking.key", secrets.token_hex(_KEY_BYTES))
        (folder / ".gitignore").write_text("keys/\nrecords/\noutputs/\n.scratch/\n.cache/\n", encoding="utf-8")
        (folder / SETTINGS_FILE).write_text(_SETTINGS_TEXT, encoding="utf-8")
        sync(folder)
    return open_workspace(folder, environment)


def _write_secret(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")

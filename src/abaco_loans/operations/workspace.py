"""A workspace: the folder in which a lender's releases, keys, records and outputs live.

Imports little, so that a run can begin to copy its tape early; what needs the SQL library is imported where used.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError, UsageError, WorldError
from abaco_loans.operations.private_cache import cache_key, read_cached, write_cached
from abaco_loans.operations.release_files import catalogue_release, read_text
from abaco_loans.outputs.publish import sync, world
from abaco_loans.settings import Settings, read_settings

if TYPE_CHECKING:
    from abaco_loans.portfolio.policy import Policy
    from abaco_loans.releases.command_release import CommandRelease
    from abaco_loans.releases.expected import Expected
    from abaco_loans.releases.gate import Gates
    from abaco_loans.releases.release import Release
    from abaco_loans.tape.masking import MaskingKey

SETTINGS_FILE = "abaco.yml"
ALERTS_FILE = "alerts.yml"
COPY_MARK = ".abaco-copy"  # in a copy of a workspace (`copy_workspace`), whose records are its own
CACHE_FOLDER = ".cache"
KEY_VARIABLE = "ABACO_MASKING_KEY"
_KEY_BYTES = 32
# Of a workspace, what a version control system must not keep: secrets, people's data, and what can be made again.
_NOT_KEPT = (
    *("keys", "records", "outputs", "queue", "inbox", "shadow", "reports", "logs"),
    *(".rollback", ".scratch", ".cache"),
)
_SETTINGS_TEXT = """\
# Settings of this workspace. All of them, with their defaults, stand in docs/settings.md.
release: v2                  # the active one; `abaco release list` shows the others
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
    def shadows(self) -> Path:
        """Reports of shadow runs, a folder each; owner only: they name loans."""
        return self.root / "shadow"

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

    @property
    def has_records(self) -> bool:
        """Whether records were made; of those on a server, that one is named."""
        return bool(self.settings.records_url) or (self.root / "records" / "abaco.db").exists()

    def release_names(self) -> tuple[str, ...]:
        """The releases that are there, by name."""
        folders = (self.root / "releases").glob("[!.]*")
        return tuple(sorted(path.name for path in folders if path.is_dir()))

    def role(self, name: str) -> str:
        """``active``, ``shadow`` or ``standby``, as the settings say."""
        if name == self.settings.release:
            return "active"
        return "shadow" if name == self.settings.shadow else "standby"

    def shadow_pair(self, baseline: str | None, candidate: str | None) -> tuple[str, str]:
        """The releases of a shadow run: the active one and the one whose role is shadow, where none is named.

        Raises:
            UsageError: ``SHD-106`` no candidate is named, and no release has the role.
        """
        chosen = candidate or self.settings.shadow
        if not chosen:
            others = [name for name in self.release_names() if name != (baseline or self.settings.release)]
            raise UsageError(
                "which release shall be compared is not said",
                code="SHD-106",
                where="--candidate",
                hint=f"give --candidate {' or '.join(others)}" if others else "make a second release first",
            )
        return baseline or self.settings.release, chosen

    def any_release(self, name: str | None = None) -> Release | CommandRelease:
        """Load a release of this workspace, of either kind; the one in the settings by default.

        Raises:
            ConfigError: ``REL-103`` there is no such release; or what a file of it says wrong.
        """
        folder = self._release_folder(name)
        if self.release_kind(folder.name) == "catalogue":
            return catalogue_release(folder, self.cache)
        from abaco_loans.operations.run_command import read_program
        from abaco_loans.releases.command import OWN_FILES
        from abaco_loans.releases.command_release import read_command_release

        texts = {path: text for path in sorted(OWN_FILES) if (text := read_text(folder, path)) is not None}
        return read_command_release(folder.name, texts, read_program(folder))

    def release(self, name: str | None = None) -> Release:
        """Load a catalogue release of this workspace; the one in the settings by default.

        Raises:
            ConfigError: ``REL-103`` there is no such release; ``REL-105`` it is a program; or what a file says wrong.
        """
        folder = self._release_folder(name)
        if self.release_kind(folder.name) != "catalogue":
            others = [other for other in self.release_names() if self.release_kind(other) == "catalogue"]
            raise ConfigError(
                f"release {folder.name} is a program; this needs formulas, which only a catalogue release has",
                code="REL-105",
                where=f"releases/{folder.name}",
                hint=f"give --release with one that has: {', '.join(others)}" if others else "add a catalogue release",
            )
        return catalogue_release(folder, self.cache)

    def release_kind(self, name: str) -> str:
        """``catalogue`` or ``command``; a release without ``release.yml`` is a catalogue.

        Raises:
            ConfigError: what the file says wrong.
        """
        text = read_text(self.root / "releases" / name, "release.yml")
        if text is None:
            return "catalogue"
        from abaco_loans.releases.command_file import read_kind
        from abaco_loans.strict_yaml import parse

        return read_kind(parse(text, name=f"releases/{name}/release.yml"))

    def description(self, name: str) -> str:
        """What ``release.yml`` says of a release; empty where it says nothing.

        Raises:
            ConfigError: what the file says wrong.
        """
        from abaco_loans.releases.command_file import read_description
        from abaco_loans.releases.policy_files import RELEASE_FILE

        document = self._document(name, RELEASE_FILE)
        return read_description(document) if document else ""

    def _release_folder(self, name: str | None) -> Path:
        chosen, known = name or self.settings.release, self.release_names()
        folder = self.root / "releases" / chosen
        if chosen not in known:
            raise ConfigError(
                f"there is no release {chosen!r}",
                code="REL-103",
                where=str(folder.parent),
                hint=f"releases are {', '.join(known) or 'none: run `abaco init` in a new folder'}",
            )
        return folder

    def policy(self, release: str) -> Policy:
        """Provisions, borrowing base and covenants of a release; empty where it has no ``portfolio.yml``.

        Raises:
            ConfigError: what the file says wrong.
        """
        from abaco_loans.portfolio.policy import Policy, read_policy
        from abaco_loans.releases.policy_files import PORTFOLIO_FILE

        document = self._document(release, PORTFOLIO_FILE)
        return read_policy(document) if document else Policy()

    def gates(self, name: str, kpis: Collection[str]) -> Gates:
        """What a release is judged by as a candidate; the defaults where it has no ``gates.yml``.

        Args:
            name: of the candidate.
            kpis: those that either release has.

        Raises:
            ConfigError: what the file says wrong.
        """
        from abaco_loans.releases.gate import Gates
        from abaco_loans.releases.gate_file import read_gates
        from abaco_loans.releases.policy_files import GATES_FILE

        document = self._document(name, GATES_FILE)
        return read_gates(document, kpis=kpis) if document else Gates()

    def expected(self, name: str, kpis: Collection[str]) -> tuple[Expected, ...]:
        """What the author of a release expects to differ; nothing where it has no ``expected.yml``.

        Args:
            name: of the candidate.
            kpis: those that either release has.

        Raises:
            ConfigError: what the file says wrong.
        """
        from abaco_loans.releases.gate_file import read_expected
        from abaco_loans.releases.policy_files import EXPECTED_FILE

        document = self._document(name, EXPECTED_FILE)
        return read_expected(document, kpis=kpis) if document else ()

    def gate_texts(self, name: str) -> tuple[str, str]:
        """The texts of a release's ``gates.yml`` and ``expected.yml``; empty where there is none."""
        from abaco_loans.releases.policy_files import EXPECTED_FILE, GATES_FILE

        texts = self.policy_texts(name)
        return texts.get(GATES_FILE, ""), texts.get(EXPECTED_FILE, "")

    def policy_texts(self, name: str) -> dict[str, str]:
        """The files of a release that change no number and are digested as they are: file → text."""
        from abaco_loans.releases.policy_files import POLICY_FILES, RELEASE_FILE

        folder = self._release_folder(name)
        files = (RELEASE_FILE, *POLICY_FILES) if self.release_kind(name) == "catalogue" else POLICY_FILES
        return {path: text for path in files if (text := read_text(folder, path)) is not None}

    def _document(self, name: str, file: str) -> Document | None:
        """A file of a release, parsed; None where there is none, or it is empty."""
        from abaco_loans.strict_yaml import parse

        text = read_text(self.root / "releases" / name, file)
        return parse(text, name=f"releases/{name}/{file}") if text else None

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
    """The workspace in ``folder``, with its settings read.

    Raises:
        WorldError: ``CFG-502`` they cannot be read.
        ConfigError: ``CFG-501`` they say something wrong; ``CFG-503`` they lead a copy to records that are not its own.
    """
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
    settings = read_settings(_settings_document(folder, text), environment)
    if settings.records_url and (folder / COPY_MARK).exists():
        raise ConfigError(
            "this workspace is a copy with records of its own, and the settings lead to others",
            code="CFG-503",
            where="records_url (ABACO_RECORDS_URL)",
            hint="unset ABACO_RECORDS_URL, or work in the workspace that it was made of",
        )
    return Workspace(root=folder, settings=settings)


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


def builtin_release_files(folder: str) -> dict[str, bytes]:
    """The files of one folder of ``builtin_releases``: name → content."""
    from importlib import resources

    place = resources.files("abaco_loans") / "builtin_releases" / folder
    left = ("__init__.py", "__pycache__")
    return {item.name: item.read_bytes() for item in place.iterdir() if item.is_file() and item.name not in left}


def builtin_texts() -> dict[str, str]:
    """The files of the release that ships with the product: path → text."""
    from importlib import resources

    found: dict[str, str] = {}
    root = resources.files("abaco_loans") / "builtin"
    for item in root.iterdir():
        if item.is_dir():
            texts = (file for file in item.iterdir() if file.name.endswith(".yml"))
            found |= {f"{item.name}/{file.name}": file.read_text(encoding="utf-8") for file in texts}
        elif item.name.endswith(".yml") and item.name != ALERTS_FILE:
            found[item.name] = item.read_text(encoding="utf-8")
    return found


def builtin_alerts() -> str:
    """The text of ``alerts.yml`` that a new workspace gets; it says what holds without such a file, too."""
    from importlib import resources

    return (resources.files("abaco_loans") / "builtin" / ALERTS_FILE).read_text(encoding="utf-8")


def make_workspace(folder: Path, environment: Mapping[str, str]) -> Workspace:
    """Make a workspace with the releases ``v2`` (active) and ``v1`` (a program, standby) and new keys.

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
        for name in ("releases/v1", "releases/v2", "keys", "records/locks", "records/anchors", "outputs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "keys").chmod(0o700)
        made = {f"v2/{name}": text.encode() for name, text in builtin_texts().items()}
        made |= {f"v2/{name}": data for name, data in builtin_release_files(".").items()}  # v2's gates
        made |= {f"v1/{name}": data for name, data in builtin_release_files("v1").items()}
        for name, data in made.items():
            path = folder / "releases" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _write_secret(folder / "keys" / "masking.key", secrets.token_hex(_KEY_BYTES))
        (folder / ".gitignore").write_text("".join(f"{name}/\n" for name in _NOT_KEPT), encoding="utf-8")
        (folder / SETTINGS_FILE).write_text(_SETTINGS_TEXT, encoding="utf-8")
        (folder / ALERTS_FILE).write_text(builtin_alerts(), encoding="utf-8")
        sync(folder)
    return open_workspace(folder, environment)


def _write_secret(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")

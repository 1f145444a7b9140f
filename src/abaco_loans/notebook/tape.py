"""``read_tape``: a tape, read into a private folder, from which panels are made."""

from __future__ import annotations

import csv
import secrets
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import TYPE_CHECKING, Self
from weakref import WeakSet, finalize

from sqlglot import exp

from abaco_loans import wiring
from abaco_loans.engines.base import Engine
from abaco_loans.errors import ConfigError, UsageError
from abaco_loans.notebook.table import Field, Table
from abaco_loans.operations.read_series import TapeOptions, read_series
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.release_files import read_texts
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.workspace import KEY_VARIABLE, Workspace, builtin_texts
from abaco_loans.operations.write_outputs import write_quarantine
from abaco_loans.outputs.publish import world
from abaco_loans.portfolio.policy import Policy, read_policy
from abaco_loans.releases.policy_files import PORTFOLIO_FILE, apart, with_policy
from abaco_loans.releases.release import CATALOGUE_FILE, Release, read_release
from abaco_loans.settings import ENVIRONMENT_PREFIX, Settings, read_settings
from abaco_loans.strict_yaml import parse

if TYPE_CHECKING:
    from abaco_loans.notebook.book import Panel

_QUARANTINE = "quarantine.csv"
_QUARANTINE_FIELDS = (
    Field(name="file", type="VARCHAR", unit="text", text="the file"),
    Field(name="line", type="BIGINT", unit="line", text="the line in the file"),
    Field(name="column_name", type="VARCHAR", unit="text", text="the column; empty where it is the row"),
    Field(name="code", type="VARCHAR", unit="text", text="code of the reason, see docs/errors.md"),
    Field(name="reason", type="VARCHAR", unit="text", text="the reason in words"),
    Field(name="value", type="VARCHAR", unit="text", text="the value as written; masked where it is personal"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What panels of a tape are made from; its folder has a Parquet file of each accepted relation."""

    read: ReadTape
    release: Release
    policy: Policy
    tools: Tools

    @property
    def folder(self) -> Path:
        """The tape's private folder."""
        return self.tools.workspace.root

    def open(self, engine: Engine) -> None:
        """Make the accepted relations in an engine that may read the folder."""
        for relation in _relations(self.read):
            engine.open(relation, [self.folder / f"{relation}.parquet"])


class Tape:
    """A tape that was read: every row is accepted, quarantined or a duplicate. Close it, or use it in a ``with``.

    Attributes:
        paths: the files or the folder that it was read from.
        layout: ``snapshot`` or ``servicing``.
        rows: how many rows came ``in``, and were ``accepted``, ``quarantined`` and ``duplicates``.
        warnings: what is unusual and refuses nothing, as dicts with ``code, text, count, amount``.
        definitions: the names of the definitions that a panel may be made under.
    """

    def __init__(self, paths: tuple[Path, ...], held: Held, stack: ExitStack) -> None:
        read = held.read
        self.paths = paths
        self.layout = read.layout
        self.rows = read.row_counts
        self.warnings = [item.as_dict() for item in read.warnings]
        self.definitions = tuple(held.release.definitions)
        self._held = held
        self._panels: WeakSet[Panel] = WeakSet()
        self._closing = finalize(self, stack.close)

    @property
    def held(self) -> Held:
        """What panels are made from. Raises UsageError ``LIB-101`` when the tape is closed."""
        if not self._closing.alive:
            raise UsageError(
                "the tape is closed",
                code="LIB-101",
                where=self._held.read.path,
                hint="read it again with read_tape(...)",
            )
        return self._held

    @property
    def quarantine(self) -> Table:
        """Every fault of every refused row: file, line, column, code, reason, and the value as written (masked)."""
        path = self.held.folder / _QUARANTINE
        csv.field_size_limit(sys.maxsize)
        with path.open(encoding="utf-8", newline="") as stream:
            lines = csv.reader(stream)
            next(lines)
            rows = [(file, int(line) if line else None, *rest) for file, line, *rest in lines]
        return Table("Quarantine", _QUARANTINE_FIELDS, rows, restricted=True)

    def lend(self, book: Panel) -> None:
        """Remember a panel, to be closed with the tape."""
        self._panels.add(book)

    def close(self) -> None:
        """Remove the private copy, and close the tape's panels. Tables made of them stay. May be called again."""
        for book in list(self._panels):
            book.close()
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.rows.items())
        closed = "" if self._closing.alive else ", closed"
        return f"<Tape {', '.join(path.name for path in self.paths)}: {self.layout}; rows: {counts}{closed}>"


def read_tape(
    path: str | Path,
    *more_paths: str | Path,
    mapping: str | None = None,
    layout: str | None = None,
    release: str | Path | None = None,
    key: str | None = None,
    memory_mb: int = 1000,
    threads: int = 2,
) -> Tape:
    """Read a servicing extract (its folder), or one or more loan snapshots, which join into one book.

    Args:
        path: the tape.
        more_paths: more snapshots; a loan and date that stands in several counts as the last one has it.
        mapping: the mapping to read with; by default the one that fits.
        layout: ``snapshot`` or ``servicing``; by default recognised from the header.
        release: the folder of a release (``WORKSPACE/releases/v2``); by default the one that ships with the product.
        key: the masking key, 64 hexadecimal digits; by default a random one, so that masked ids differ next time.
        memory_mb: megabytes that the engine of each panel may use before it spills to disk.
        threads: threads of each engine.

    Raises:
        InputError: a tape cannot be read, or is bucketed and has no loans to follow (``PAN-101``).
        ConfigError: the release, the key, ``memory_mb`` or ``threads`` is wrong.
        UsageError: there is no such file; several tapes that are not all snapshots (``PAN-102``).
    """
    paths = tuple(Path(item).expanduser() for item in (path, *more_paths))
    settings = settings_of("read_tape", memory_mb=memory_mb, threads=threads)
    chosen, policy = _release(release)
    with ExitStack() as stack:
        with world(Path(gettempdir())):
            folder = Path(mkdtemp(prefix="abaco-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {KEY_VARIABLE: secrets.token_hex(32) if key is None else key}
        tools = wiring.run_tools(Workspace(root=folder, settings=settings), environment, lambda text: None)
        read = _kept(paths, chosen, tools, TapeOptions(layout=layout, mapping=mapping))
        held = Held(read=read, release=chosen, policy=policy, tools=tools)
        return Tape(paths, held, stack.pop_all())


def settings_of(call: str, **given: object) -> Settings:
    """The settings that a call gives. Raises ConfigError ``CFG-501`` when one is out of range."""
    return read_settings(
        parse("", name=f"{call}()"),
        {f"{ENVIRONMENT_PREFIX}{name.upper()}": str(value) for name, value in given.items()},
    )


def _release(folder: str | Path | None) -> tuple[Release, Policy]:
    place = None if folder is None else Path(folder).expanduser()
    files = builtin_texts() if place is None else read_texts(place)
    if CATALOGUE_FILE not in files:
        raise ConfigError(
            f"{folder} is no release",
            code="REL-103",
            where="release",
            hint=f"give the folder that holds {CATALOGUE_FILE}, like WORKSPACE/releases/v2",
        )
    files, said = apart(files)
    text = said.get(PORTFOLIO_FILE)
    policy = read_policy(parse(text, name=PORTFOLIO_FILE)) if text else Policy()
    return with_policy(read_release("v2" if place is None else place.resolve().name, files), said), policy


def _kept(paths: tuple[Path, ...], release: Release, tools: Tools, options: TapeOptions) -> ReadTape:
    """Read the tapes; leaves in the folder a Parquet file of each accepted relation, and the quarantine."""
    folder = tools.workspace.root
    scratch = folder / "reading"
    with world(folder), ExitStack() as stack:
        scratch.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        engine = tools.open_engine(scratch, [folder])
        stack.callback(engine.close)
        read = read_series(paths, release, engine, tools, scratch, options)
        for relation in _relations(read):
            engine.write(exp.select("*").from_(relation), folder / f"{relation}.parquet", "parquet")
        write_quarantine(folder / _QUARANTINE, read, engine)
    return read


def _relations(read: ReadTape) -> set[str]:
    return {report.accepted_relation for report in read.files}

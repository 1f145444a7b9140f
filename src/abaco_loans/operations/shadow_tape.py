"""The tape of a shadow run: one private copy that every side runs on, and what we read from it ourselves.

A bridge recomputes KPIs, so the tape is read once more here, with the contracts and mappings of the first of the two
releases that can read it. Where neither can (two programs, or a tape that only a program understands), the tape is a
name, a digest and a date that somebody has to give.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InputError, UsageError
from abaco_loans.operations.calculate import choose_date
from abaco_loans.operations.judge_rows import FileReport
from abaco_loans.operations.read_tape import ReadTape, StagedTape, load_tape, stage_tape
from abaco_loans.operations.run_tape import too_much
from abaco_loans.operations.submit_tape import tape_digest
from abaco_loans.operations.tools import Tools
from abaco_loans.outputs.publish import world
from abaco_loans.releases.release import Release
from abaco_loans.tape.mapping import TableMapping
from abaco_loans.tape.masking import MaskingKey

# By layout, the table that holds the rates, and the column in it; None: all of the table is rates.
_RATES: dict[str, tuple[str, str | None]] = {"snapshot": ("tape", "fx_rate"), "servicing": ("rates", None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesElsewhere:
    """A tape as it is read with another release's exchange rates: ``file`` is what then replaces its own file.

    ``text`` says which rates the one and the other take.
    """

    file: FileReport
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTape:
    """A tape that two releases run on.

    Attributes:
        rates: the exchange rates that the second release takes from elsewhere, where it does.
        copy: the private copy.
        sha256: as runs know it; of a folder that we cannot read, of its files' names and digests.
        read: what we read, under ``release``; None where neither release can read it, ``unread`` says why.
    """

    name: str
    copy: Path
    sha256: str
    as_of: date
    read: ReadTape | None = None
    release: Release | None = None
    unread: str = ""
    rates: RatesElsewhere | None = None

    @property
    def layout(self) -> str:
        """Its layout; empty where it is not known."""
        return self.read.layout if self.read else ""


def copied(tape: Path, folder: Path) -> Path:
    """Copy a tape (a file, or the files at the top of a folder) into a private folder, to be read only.

    Raises:
        UsageError: ``SRC-201`` there is no such file.
        InputError: ``SRC-103`` it changed while it was copied.
    """
    if not tape.exists():
        raise UsageError(
            "there is no such file",
            code="SRC-201",
            where=str(tape),
            hint="check the path; a servicing extract is given as its folder",
        )
    with world(folder):
        folder.mkdir(mode=0o700)
        target = folder / tape.resolve().name
        sources = {tape: target}
        if tape.is_dir():
            target.mkdir(mode=0o700)
            sources = {path: target / path.name for path in sorted(tape.iterdir()) if path.is_file()}
        for source, copy in sources.items():
            before = source.stat()
            shutil.copyfile(source, copy)
            after = source.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise InputError(
                    "the file changed while it was read: it is not ready",
                    code="SRC-103",
                    where=source.name,
                    hint="wait until the sender has finished, then run again",
                )
            copy.chmod(0o400)
    return target


def read_shadow_tape(
    tape: Path,
    copy: Path,
    releases: Sequence[Release],
    engine: Engine,
    scratch: Path,
    *,
    as_of: date | None,
    layout: str | None,
    mapping: str | None,
    key: MaskingKey,
    tools: Tools,
) -> ShadowTape:
    """Read the copy with the first release that can, and settle the date that all runs are asked for.

    Raises:
        InputError: ``SHD-102`` no date was given, and none can be read from the tape.
    """
    reasons: list[AbacoError] = []
    for number, release in enumerate(releases):
        folder = scratch / f"reading{number}"
        try:
            with world(folder):
                folder.mkdir(mode=0o700)
            staged: StagedTape = stage_tape(copy, release, folder, lambda: engine, layout=layout, mapping=mapping)
            read = load_tape(staged, engine, key, folder, tools.progress)
            refusal = too_much(read, strict=False)
            if refusal:
                raise refusal
            day, _ = choose_date(read, engine, as_of)
        except InputError as error:
            reasons.append(error)
            continue
        rates, others = None, releases[1:] if number == 0 else ()
        if others and _rates(release, read.layout) != _rates(others[0], read.layout):
            again = partial(stage_tape, copy, others[0], layout=layout, mapping=mapping)
            rates = rates_elsewhere(staged, read, again, engine, scratch / "rates_elsewhere", key)
        return ShadowTape(
            name=tape.name, copy=copy, sha256=staged.sha256, as_of=day, read=read, release=release, rates=rates
        )
    unread = "; ".join(f"{error.what} ({error.code})" for error in reasons) or "neither release has contracts"
    if as_of is None:
        raise InputError(
            f"the date of the tape is not known: {unread}",
            code="SHD-102",
            where=tape.name,
            hint="give --as-of, and both releases are asked for that date",
        )
    return ShadowTape(name=tape.name, copy=copy, sha256=tape_digest(copy), as_of=as_of, unread=unread)


def rates_elsewhere(
    staged: StagedTape,
    read: ReadTape,
    stage_again: Callable[[Path, Callable[[], Engine]], StagedTape],
    engine: Engine,
    folder: Path,
    key: MaskingKey,
) -> RatesElsewhere | None:
    """Read the tape's exchange rates as another release maps them (``stage_again`` stages it so).

    None where it maps them alike, and where they cannot be had alone: it reads another layout, other decimal marks,
    or with its rates other rows can be read.
    """
    table, column = _RATES[read.layout]
    with world(folder):
        folder.mkdir(mode=0o700)
    try:
        again = stage_again(folder, lambda: engine)
        own, its = staged.mapping.table(table), again.mapping.table(table)
        mixed = _mixed(own, its, column) if again.mapping.layout == read.layout and own and its else None
        if own is None or mixed is None or _alike(staged, again, own, mixed):
            return None
        # Under a name of its own, so that what was read already stays.
        name = f"{table}_elsewhere"
        renamed = replace(staged.contract.table(table), name=name)
        found = load_tape(
            replace(
                again,
                mapping=replace(staged.mapping, tables=(replace(mixed, table=name),)),
                contract=replace(staged.contract, tables=(renamed,)),
                raws={name: again.raws[table]},
                staged={name: again.staged[table]},
                options={name: again.options[table]},
            ),
            engine,
            key,
            folder,
            lambda _: None,
        ).file(name)
    except InputError:
        return None
    if column is not None and found.accepted != read.file(table).accepted:
        return None
    return RatesElsewhere(file=found, text=f"rates from {_source(own, column)} → {_source(mixed, column)}")


def _rates(release: Release, layout: str) -> dict[str, object]:
    """Where the mappings of a layout take exchange rates from, by mapping."""
    if layout not in _RATES:
        return {}
    table, column = _RATES[layout]
    found = {item.name: item.table(table) for item in release.mappings if item.layout == layout}
    return {name: item.fields.get(column) if item and column else item for name, item in found.items()}


def _alike(staged: StagedTape, again: StagedTape, own: TableMapping, mixed: TableMapping) -> bool:
    """Whether two mappings of a table take the same from the same file."""
    files = (item.raws[own.table].sha256 for item in (staged, again))
    return (own.fields, own.formats) == (mixed.fields, mixed.formats) and len(set(files)) == 1


def _mixed(own: TableMapping, its: TableMapping, column: str | None) -> TableMapping | None:
    """A table's mapping with the other's rates; None where more than these would change with them."""
    if column is None:
        return its
    if own.formats != its.formats or column not in its.fields:
        return None
    return replace(own, fields={**own.fields, column: its.fields[column]})


def _source(mapping: TableMapping, column: str | None) -> str:
    """Where a table's rates come from, in the source's words."""
    field = mapping.fields.get(column or "rate")
    file = f"{mapping.file} " if mapping.file else ""
    return f"{file}{field.source}" if field else "nowhere"

"""Read a tape: stage, recognise, type, judge every row. Ends with accepted rows in the engine, all accounted for.

Invariant, for every file and run: rows in = accepted + quarantined + duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from abaco_loans.engines.base import Engine, NotPlain
from abaco_loans.errors import InputError, InvariantError
from abaco_loans.operations.judge_rows import FileReport, RowJudge, Warned
from abaco_loans.operations.tools import Progress
from abaco_loans.releases.release import Release
from abaco_loans.sources.plain import ReadOptions, as_staged, checked_header
from abaco_loans.sources.recognise import FileFormat
from abaco_loans.sources.stage import RawFile, Staging, stage
from abaco_loans.tape import cells, plain
from abaco_loans.tape.contract import Contract, Table
from abaco_loans.tape.layout import choose_mapping
from abaco_loans.tape.mapping import Mapping, TableMapping, Unread
from abaco_loans.tape.masking import MaskingKey
from abaco_loans.tape.staged import StagedFile, TextFormat
from abaco_loans.tape.tree import exp, later


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTape:
    """A tape whose every row is judged."""

    path: str
    sha256: str
    layout: str
    contract: Contract
    mapping: Mapping
    files: tuple[FileReport, ...]
    warnings: tuple[Warned, ...] = field(default_factory=tuple)

    def file(self, table: str) -> FileReport:
        """The report of a table's file; KeyError when the tape lacks it."""
        for report in self.files:
            if report.table == table:
                return report
        raise KeyError(table)

    @property
    def row_counts(self) -> dict[str, int]:
        """The totals by name: ``in, accepted, quarantined, duplicates``."""
        return dict(zip(("in", "accepted", "quarantined", "duplicates"), self.totals, strict=True))

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """Rows in, accepted, quarantined, duplicates over all files."""
        return (
            sum(f.rows_in for f in self.files),
            sum(f.accepted for f in self.files),
            sum(f.quarantined for f in self.files),
            sum(f.duplicates for f in self.files),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedTape:
    """The private, hashed copies of a tape's files, by table, and the mapping chosen for them."""

    path: Path
    sha256: str
    mapping: Mapping
    contract: Contract
    raws: dict[str, RawFile]
    staged: dict[str, StagedFile]
    options: dict[str, ReadOptions]


def stage_tape(
    path: Path,
    release: Release,
    scratch: Path,
    engine: Callable[[], Engine],
    *,
    layout: str | None = None,
    mapping: str | None = None,
    begun: Staging | None = None,
) -> StagedTape:
    """Copy and hash the files of a tape, and choose how to read them.

    Args:
        path: a file, or the folder of a servicing extract.
        release: contracts and mappings to choose from.
        scratch: the run's private folder.
        engine: gives the engine; asked for only where a file's header needs one (Parquet).
        layout: the layout, when the person says it.
        mapping: the mapping's name, when the person says it.
        begun: the staging of the file, where it has begun already.
    """
    if path.is_dir():
        return _stage_folder(path, release, scratch, engine, mapping)
    raw = begun.result() if begun else stage(path, scratch)
    options = _options(release, mapping, "tape")
    staged = _with_header(as_staged(raw, options), engine)
    chosen = choose_mapping(
        release.contracts,
        release.mappings,
        {"tape": staged.header},
        name=path.name,
        layout=layout,
        mapping=mapping,
    )
    item = chosen.table("tape")
    if item is None:
        raise InputError(
            "a servicing extract is a folder with its files",
            code="TAPE-104",
            where=path.name,
            hint=f"give the folder: {path.parent}",
        )
    return StagedTape(
        path=path,
        sha256=raw.sha256,
        mapping=chosen,
        contract=release.contracts[chosen.layout],
        raws={"tape": raw},
        staged={"tape": staged},
        options={"tape": options},
    )


def _options(release: Release, mapping: str | None, table: str) -> ReadOptions:
    """How to read a file before its mapping is known: as the named mapping says."""
    for item in release.mappings:
        found = item.table(table) if item.name == mapping else None
        if found:
            return ReadOptions(delimiter=found.delimiter, encoding=found.encoding, sheet=found.sheet)
    return ReadOptions()


def _with_header(staged: StagedFile, engine: Callable[[], Engine]) -> StagedFile:
    if staged.format is not TextFormat.PARQUET:
        return staged
    names = checked_header(engine().columns(staged), staged.name)
    values = {name: getattr(staged, name) for name in StagedFile.__dataclass_fields__}
    return StagedFile(**{**values, "header": names})


def _stage_folder(
    path: Path, release: Release, scratch: Path, engine: Callable[[], Engine], wanted: str | None
) -> StagedTape:
    """A servicing extract: each file is found by the name that the mapping or the contract gives it."""
    contract = release.contracts.get("servicing")
    if contract is None:
        raise InputError(
            "the release has no servicing contract",
            code="TAPE-104",
            where=path.name,
            hint="add contracts/servicing.yml to the release",
        )
    stems = {table.name: [table.name] for table in contract.tables}
    for mapping in release.mappings:
        if mapping.layout == "servicing" and wanted in (None, mapping.name):
            for item in mapping.tables:
                stems[item.table].append(Path(item.file or item.table).stem)
    files = {table: found for table, names in stems.items() if (found := _find(path, names)) is not None}
    missing = [table.name for table in contract.tables if not table.optional and table.name not in files]
    if missing:
        raise InputError(
            f"the folder lacks the file(s) for {', '.join(missing)}",
            code="TAPE-105",
            where=str(path),
            hint=f"it should hold {', '.join(f'{name}.csv' for name in missing)} (or Parquet, Excel,"
            " JSON), or name the files in a mapping",
        )
    options = {table: _options(release, wanted, table) for table in files}
    raws = {table: stage(file, scratch) for table, file in files.items()}
    staged = {table: _with_header(as_staged(raw, options[table]), engine) for table, raw in raws.items()}
    chosen = choose_mapping(
        release.contracts,
        release.mappings,
        {table: item.header for table, item in staged.items()},
        name=path.name,
        layout="servicing",
        mapping=wanted,
    )
    digest = hashlib.sha256()
    for table in sorted(raws):
        digest.update(f"{table} {raws[table].sha256}\n".encode())
    return StagedTape(
        path=path,
        sha256=digest.hexdigest(),
        mapping=chosen,
        contract=contract,
        raws=raws,
        staged=staged,
        options=options,
    )


def _find(folder: Path, stems: Sequence[str]) -> Path | None:
    wanted = {stem.casefold() for stem in stems}
    found = sorted(file for file in folder.iterdir() if file.is_file() and file.name.split(".")[0].casefold() in wanted)
    if len(found) > 1:
        raise InputError(
            f"several files could be {stems[0]}: {', '.join(file.name for file in found)}",
            code="TAPE-106",
            where=str(folder),
            hint="keep one of them in the folder",
        )
    return found[0] if found else None


def load_tape(tape: StagedTape, engine: Engine, key: MaskingKey, scratch: Path, progress: Progress) -> ReadTape:
    """Type and judge every row of every file."""
    reports: list[FileReport] = []
    warnings = _rivals(tape)
    for table in tape.contract.tables:
        if table.name in tape.staged:
            report, warned = _load_file(tape, table, engine, key, scratch, progress)
            reports.append(report)
            unread = [item for item in tape.mapping.unread if item.table == table.name]
            warnings += [*warned, *_unread(unread, report.name)]
    return ReadTape(
        path=str(tape.path),
        sha256=tape.sha256,
        layout=tape.mapping.layout,
        contract=tape.contract,
        mapping=tape.mapping,
        files=tuple(reports),
        warnings=tuple(warnings),
    )


def _rivals(tape: StagedTape) -> list[Warned]:
    """That another mapping would have read the tape as well."""
    rivals = tape.mapping.rivals
    if not rivals:
        return []
    return [
        Warned(
            code="WARN-108",
            count=len(rivals),
            text=f"read with the mapping {tape.mapping.name}, the first by name, though {', '.join(rivals)} would read"
            " as many columns; give --mapping, or take the wrong one away",
        )
    ]


def _unread(columns: Sequence[Unread], name: str) -> list[Warned]:
    """What the KPIs do without, although somebody meant it to be there."""
    if not columns:
        return []
    listed = "; ".join(
        f"{item.source}"
        + (f" ({item.column})" if item.source != item.column else "")
        + (f", where the file has {item.like}" if item.like else "")
        for item in columns
    )
    return [
        Warned(
            code="WARN-107",
            count=len(columns),
            text=f"{name}: columns that were looked for and are not there, so that nothing is known of them: {listed}",
        )
    ]


def _load_plain(table: Table, mapping: TableMapping, staged: StagedFile, typed: str, engine: Engine) -> int | None:
    """Load a file whose every cell reads as written and which breaks nothing; None when it is not one."""
    reading = plain.plain_reading(table, mapping, staged)
    if reading is None or not engine.every_line(staged, reading.line):
        return None
    try:
        count = engine.load(typed, staged, reading.query, reading.types)
    except NotPlain:
        return None
    if count and not engine.rows(later(plain.faults_query, table, mapping, typed)):
        return count
    engine.execute(exp.Drop(tables=[exp.to_table(typed)], kind="TABLE"))
    return None


def _load_file(
    tape: StagedTape, table: Table, engine: Engine, key: MaskingKey, scratch: Path, progress: Progress
) -> tuple[FileReport, list[Warned]]:
    mapping = tape.mapping.table(table.name)
    if mapping is None:
        raise InvariantError(f"no mapping for {table.name}")
    staged, typed = tape.staged[table.name], f"typed_{table.name}"
    progress(f"reading {staged.name}")
    try:
        count = _load_plain(table, mapping, staged, typed, engine)
        if count is None:
            query = later(cells.typed_query, table, mapping, staged.has_line_column)
            count = engine.load(typed, staged, query)
    except NotPlain:
        raw = tape.raws[table.name]
        if raw.format is FileFormat.PARQUET or staged.has_line_column:
            raise
        progress(f"reading {staged.name} again, line by line")
        staged = as_staged(raw, tape.options[table.name], force_rewrite=True)
        count = engine.load(typed, staged, later(cells.typed_query, table, mapping, True))
    if count == 0 and not staged.refused:
        raise InputError(
            "the file has a header and no rows",
            code="TAPE-107",
            where=staged.name,
            hint="ask the sender for the tape again; the last good outputs stay as they are",
        )
    judge = RowJudge(
        table=table,
        mapping=mapping,
        contract=tape.contract,
        staged=staged,
        engine=engine,
        key=key,
        scratch=scratch,
    )
    return judge.judge(count)

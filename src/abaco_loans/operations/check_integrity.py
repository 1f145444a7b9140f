"""Is what was published still what was published, and is it whole? Hashes, rows, keys, values, records, the book."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine
from abaco_loans.operations.check_freshness import NAME as FRESHNESS
from abaco_loans.operations.check_freshness import check_freshness
from abaco_loans.operations.check_roll_forward import NAME as ROLL_FORWARD
from abaco_loans.operations.check_roll_forward import check_roll_forward
from abaco_loans.operations.find_run import quarantine_rows, sound_folder
from abaco_loans.operations.repeat_run import clean_files, differing, published_values
from abaco_loans.operations.validation_desk import Desk, looked_at
from abaco_loans.outputs.publish import MANIFEST, damaged_files, world
from abaco_loans.records.runs import RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.comparison import Key
from abaco_loans.tape.contract import Contract, Table
from abaco_loans.tape.rows import present_key
from abaco_loans.tape.template import number_node
from abaco_loans.tape.tree import counting, exp, later
from abaco_loans.watch.check import Check, Status, SubCheck

NAME = "data_integrity"
_FILES, _ROWS, _KEYS, _VALUES = "published_files", "rows_add_up", "keys_unique", "required_values"
_RECORDED = "values_recorded"
_RUNS_CHECKED = 5


def check_integrity(desk: Desk) -> Check:
    """The files of the last runs, the clean tape of the last one against its contract, and the book over time."""
    return Check(
        name=NAME,
        subchecks=(
            looked_at(_FILES, lambda: _files(desk)),
            desk.on_last_run(_ROWS, lambda record: _rows(desk, record)),
            desk.on_last_run(_KEYS, lambda record: _keys(desk, record)),
            desk.on_last_run(_VALUES, lambda record: _required(desk, record)),
            desk.on_last_run(_RECORDED, lambda record: _recorded(desk, record)),
            looked_at(FRESHNESS, lambda: check_freshness(desk)),
            looked_at(ROLL_FORWARD, lambda: check_roll_forward(desk)),
        ),
    )


def _found(name: str, wrong: list[str], good: str, **metrics: int) -> SubCheck:
    """Passes where nothing is wrong; else says the first, and holds them all as evidence."""
    if not wrong:
        return SubCheck(name=name, status=Status.PASS, words=good, metrics=metrics)
    more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
    return SubCheck(
        name=name, status=Status.FAIL, words=f"{wrong[0]}{more}", metrics=metrics, evidence={"wrong": wrong}
    )


def _files(desk: Desk) -> SubCheck:
    """Every published file of the last runs against its manifest, and the manifest against the record."""
    outputs = desk.workspace.outputs
    with desk.given.tools.open_records() as records:
        finished = [item for item in records.reader.list() if item.status == "finished" and item.output_folder]
    if not finished:
        return SubCheck(name=_FILES, status=Status.NOT_APPLICABLE, words="nothing was published yet")
    wrong: list[str] = []
    lost: list[str] = []
    looked = finished[:_RUNS_CHECKED]
    for record in looked:
        folder = record.output_folder or ""
        with world(outputs / folder):
            if not (outputs / folder).is_dir():
                lost.append(f"outputs/{folder}")
                continue
            damaged = damaged_files(outputs, folder, record.manifest_sha256 or "")
            wrong += [f"outputs/{folder}/{name} is no longer what was published" for name in damaged]
    found = _found(_FILES, wrong, f"the files of the last {len(looked)} runs are as they were published")
    if lost and not wrong:
        words = f"{', '.join(lost)}: gone, so it cannot be said whether the files were whole"
        return SubCheck(name=_FILES, status=Status.UNKNOWN, words=words, evidence={"lost": lost})
    return found


def _no_contract(name: str, record: RunRecord) -> SubCheck:
    words = f"release {record.release} is a program, and publishes no clean tape"
    return SubCheck(name=name, status=Status.NOT_APPLICABLE, words=words)


def _contract(desk: Desk, record: RunRecord) -> Contract | None:
    """The contract that the run's tape was judged by; None for a program."""
    release = desk.release_of(record.release)
    return None if isinstance(release, CommandRelease) else release.contracts[record.layout]


@contextmanager
def _clean(desk: Desk, record: RunRecord) -> Iterator[tuple[Engine, dict[str, str], dict[str, list[str]]]]:
    """The clean tape of a run, open: the engine, table → relation, table → its columns.

    Raises:
        WorldError: ``RUN-102`` its files are no longer what was published.
    """
    folder = sound_folder(desk.workspace, record)
    scratch = desk.folder / "integrity"
    with world(scratch):
        scratch.mkdir(mode=0o700, exist_ok=True)
    columns: dict[str, list[str]] = {}
    for item in _json(folder / "lineage.json")["columns"]:
        columns.setdefault(item["table"], []).append(item["column"])
    engine = desk.given.tools.open_engine(scratch, [folder])
    try:
        relations = {}
        for table, path in clean_files(folder).items():
            relations[table] = f"clean_{table}"
            engine.open(relations[table], [path])
        yield engine, relations, columns
    finally:
        engine.close()


def _rows(desk: Desk, record: RunRecord) -> SubCheck:
    """Rows in = accepted + quarantined + duplicates: as recorded, as the manifest says, and as the files hold."""
    if _contract(desk, record) is None or record.rows is None:
        return _no_contract(_ROWS, record)
    rows_in, accepted, quarantined, duplicates = record.rows.as_tuple()
    with _clean(desk, record) as (engine, relations, _):
        clean = sum(int(engine.rows(later(counting, relation))[0][0]) for relation in relations.values())
    with quarantine_rows(desk.workspace, record) as listed:
        refused = len({(row["file"], row["line"]) for row in listed})
    manifest = _json(desk.workspace.outputs / (record.output_folder or "") / MANIFEST)["rows"]
    wrong = []
    if tuple(manifest[name] for name in ("in", "accepted", "quarantined", "duplicates")) != record.rows.as_tuple():
        wrong.append(f"the manifest counts {manifest}, and the record {record.rows}")
    if clean != accepted:
        wrong.append(f"{accepted:,} rows were accepted, and the clean tape has {clean:,}")
    if refused != quarantined:
        wrong.append(f"{quarantined:,} rows were quarantined, and the list has {refused:,}")
    good = f"{rows_in:,} rows in = {accepted:,} accepted + {quarantined:,} quarantined + {duplicates:,} duplicates"
    return _found(_ROWS, wrong, good, rows_in=rows_in, rows_clean=clean, rows_quarantined=refused)


def _keys(desk: Desk, record: RunRecord) -> SubCheck:
    """No key of the contract stands twice in the clean tape."""
    contract = _contract(desk, record)
    if contract is None:
        return _no_contract(_KEYS, record)
    wrong, looked = [], []
    with _clean(desk, record) as (engine, relations, columns):
        for table, relation in relations.items():
            key = present_key(contract.table(table), columns[table])
            if not key:
                continue
            looked.append(f"{table} ({', '.join(key)})")
            repeated = int(engine.rows(later(_repeated_keys, relation, key))[0][0])
            if repeated:
                wrong.append(f"{repeated:,} keys stand more than once in {table} ({', '.join(key)})")
    if not looked:
        return SubCheck(name=_KEYS, status=Status.NOT_APPLICABLE, words="the tape has no column that is a key")
    return _found(_KEYS, wrong, f"every key stands once: {'; '.join(looked)}")


def _repeated_keys(relation: str, key: tuple[str, ...]) -> exp.Select:
    """How many keys stand more than once; a row without the first key column has no identity."""
    columns = [exp.column(name, quoted=True) for name in key]
    repeated = (
        exp.select(*columns)
        .from_(relation)
        .where(exp.Not(this=exp.Is(this=columns[0].copy(), expression=exp.null())))
        .group_by(*columns)
        .having(exp.GT(this=exp.Count(this=exp.Star()), expression=number_node(1)))
    )
    return exp.select(exp.Count(this=exp.Star())).from_(repeated.subquery("repeated"))


def _required(desk: Desk, record: RunRecord) -> SubCheck:
    """No value is missing that the contract requires."""
    contract = _contract(desk, record)
    if contract is None:
        return _no_contract(_VALUES, record)
    wrong, count = [], 0
    with _clean(desk, record) as (engine, relations, columns):
        for table, relation in relations.items():
            needed = _needed(contract.table(table), columns[table])
            count += len(needed)
            missing = engine.rows(later(_missing, relation, needed))[0] if needed else ()
            wrong += [
                f"{table}.{name} lacks {rows:,} values" for name, rows in zip(needed, missing, strict=True) if rows
            ]
    return _found(_VALUES, wrong, f"{count} required columns have a value in every row")


def _needed(table: Table, present: list[str]) -> list[str]:
    return [column.name for column in table.columns if not column.nullable and column.name in present]


def _missing(relation: str, needed: list[str]) -> exp.Select:
    """How many rows lack each column."""
    rows = exp.Count(this=exp.Star())
    lacking = (exp.Sub(this=rows.copy(), expression=exp.Count(this=exp.column(name, quoted=True))) for name in needed)
    return exp.select(*lacking).from_(relation)


def _recorded(desk: Desk, record: RunRecord) -> SubCheck:
    """The values in the records are those in the published file."""
    published = published_values(_json(sound_folder(desk.workspace, record) / "kpis.json"))
    with desk.given.tools.open_records() as records:
        rows = records.reader.kpi_values(record.run_id)
    recorded = {
        Key(kpi=row.kpi_id, segment=row.segment, segment_value=row.segment_value): row.value_exact for row in rows
    }
    differ = differing(published, recorded)
    wrong = [f"{key.words} is recorded as another value than was published" for key in differ]
    return _found(_RECORDED, wrong, f"{len(recorded):,} recorded values are those that were published")


def _json(path: Path) -> dict[str, Any]:
    with world(path):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

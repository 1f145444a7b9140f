"""Calculate once more what the last run published, in a process apart: the same numbers, how long, how much memory.

The tape is the clean tape that the run published, which its manifest vouches for. Rows that were refused or removed
are not in it, so KPIs that count those are left out when there were any.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.run_side import SideJob, SideRun, run_side
from abaco_loans.operations.validation_desk import Desk
from abaco_loans.outputs.publish import world
from abaco_loans.records.runs import RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.comparison import Key
from abaco_loans.releases.release import Release
from abaco_loans.watch.check import Status, SubCheck
from abaco_loans.watch.metric import KPI_VARIANCE

NAME = "last_run_repeated"
_TIMEOUT_S = 600
_CLEAN = "clean"
_SHOWN_MAX = 5
_DIGITS = Decimal("0.000001")

Values = Mapping[Key, Decimal | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """What came of it; ``side`` is None where nothing was calculated."""

    found: SubCheck
    side: SideRun | None = None


def repeat_last_run(desk: Desk) -> Repeated:
    """Repeat the last run of production under its own release, and compare every value with what was published."""
    side: list[SideRun] = []

    def look(record: RunRecord) -> SubCheck:
        release = desk.release_of(record.release)
        if isinstance(release, CommandRelease):
            words = f"release {release.name} is a program: the tapes that it was given are not kept here"
            return SubCheck(name=NAME, status=Status.NOT_APPLICABLE, words=words)
        if release.core_digest != record.release_digest:
            words = f"release {release.name} is no longer what it was when it ran; no number can be made again"
            return _found(Status.FAIL, words, record)
        folder = sound_folder(desk.workspace, record)
        tape = clean_tape(folder, desk.folder / "last")
        side.append(
            calculate_apart(desk, release, tape, record.as_of, definition=record.definition, layout=record.layout)
        )
        if side[0].error is not None:
            return _found(Status.FAIL, f"it cannot be repeated: {side[0].error.what} ({side[0].error.code})", record)
        return _compared(record, release, folder, side[0])

    found = desk.on_last_run(NAME, look)
    return Repeated(found=found, side=side[0] if side else None)


def calculate_apart(
    desk: Desk, release: Release, tape: Path, as_of: date, *, definition: str | None = None, layout: str | None = None
) -> SideRun:
    """Calculate a tape under a catalogue release in a process apart, within the limits of the settings.

    Raises:
        WorldError: ``OUT-1xx`` the scratch folder cannot be written. What the release does wrong is in the result.
    """
    settings, worker = desk.workspace.settings, desk.given.worker
    job = SideJob(
        tape=tape,
        as_of=as_of,
        definition=definition,
        layout=layout,
        mapping=None,
        currency=settings.reporting_currency,
        worker=worker.argv,
        worker_path=worker.path,
        key=desk.given.tools.key,
        memory_mb=settings.memory_mb,
        threads=settings.threads,
        timeout_s=_TIMEOUT_S,
        environment=worker.environment,
    )
    return run_side(release, job, desk.folder / f"apart-{tape.stem}")


def clean_files(folder: Path) -> dict[str, Path]:
    """The clean tape in a published folder: table of the contract → file."""
    paths = sorted((*folder.glob(f"{_CLEAN}.parquet"), *folder.glob(f"{_CLEAN}_*.parquet")))
    return {path.stem.removeprefix(_CLEAN).removeprefix("_") or "tape": path for path in paths}


def clean_tape(folder: Path, target: Path) -> Path:
    """The clean tape of a published folder, copied as a tape: a file, or the folder of a servicing extract."""
    files = clean_files(folder)
    with world(target):
        target.mkdir(mode=0o700)
        for table, path in files.items():
            shutil.copyfile(path, target / f"{table}.parquet")
    return target / "tape.parquet" if "tape" in files else target


def _found(
    status: Status, words: str, record: RunRecord, variance: Decimal | None = None, **evidence: Sequence[str]
) -> SubCheck:
    return SubCheck(
        name=NAME,
        status=status,
        words=words,
        metrics={KPI_VARIANCE.name: variance},
        evidence={"run": record.run_id, "folder": f"outputs/{record.output_folder}", **evidence},
    )


def _compared(record: RunRecord, release: Release, folder: Path, side: SideRun) -> SubCheck:
    """Every value that was published against its repetition; they must be equal, to the last digit."""
    whole = record.rows is not None and record.rows.accepted == record.rows.rows_in
    left = frozenset[str]() if whole else _counts_rows(release)
    published = published_values(json.loads((folder / "kpis.json").read_text(encoding="utf-8")), left)
    repeated = {key: said.value_exact for key, said in side.said.items() if key.kpi not in left}
    differ = differing(published, repeated)
    variance = max((_percent(published.get(key), repeated.get(key)) for key in differ), default=Decimal(0))
    without = f"; {len(left)} that count refused rows are left out" if left else ""
    said = f"of run {record.run_id} are"
    if not differ:
        words = f"{len(published):,} values {said} the same again{without}"
        return _found(Status.PASS, words, record, variance, left_out=sorted(left))
    named = [key.words for key in differ]
    words = f"{len(differ):,} of {len(published):,} values {said} others now: {', '.join(named[:_SHOWN_MAX])}"
    return _found(Status.FAIL, words, record, variance, left_out=sorted(left), others=named)


def published_values(document: dict[str, Any], left: Collection[str] = ()) -> dict[Key, Decimal | None]:
    """Every exact value of a ``kpis.json``, overall and by segment, but those of the KPIs in ``left``."""
    places = {("", ""): document["kpis"]} | {
        (segment, value): kpis for segment, cells in document["segments"].items() for value, kpis in cells.items()
    }
    return {
        Key(kpi=kpi, segment=segment, segment_value=value): _number(result.get("value_exact"))
        for (segment, value), kpis in places.items()
        for kpi, result in kpis.items()
        if kpi not in left
    }


def differing(first: Values, second: Values) -> list[Key]:
    """Where the two say different values, or only one says any."""
    keys = first.keys() | second.keys()
    return sorted(key for key in keys if key not in first or key not in second or first[key] != second[key])


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _percent(before: Decimal | None, after: Decimal | None) -> Decimal:
    """How far a value moved, in percent of what it was; a value that came, went or left zero moved by all of it."""
    if before is None or after is None or not before:
        return Decimal(0) if before == after else Decimal(100)
    return (abs(after - before) / abs(before) * 100).quantize(_DIGITS)


def _counts_rows(release: Release) -> frozenset[str]:
    """KPIs that use facts of the run itself, by their own formula or another's."""
    kpis = release.catalogue.kpis
    found = {kpi.id for kpi in kpis if kpi.formula.facts}
    while more := {kpi.id for kpi in kpis if kpi.id not in found and found & set(kpi.formula.kpis)}:
        found |= more
    return frozenset(found)

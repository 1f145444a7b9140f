"""What was ever said of a KPI: as a series over as-of dates, and for one date as restatements with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from abaco_loans.errors import InvariantError
from abaco_loans.kpi.result import text_of
from abaco_loans.portfolio.series import Anomaly, Change, Every, anomalies, change, changes, thinned
from abaco_loans.records.runs import PANEL_PREFIX, KpiRow, RunReader, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A date of the series: what was said last of it, its changes by span, and how unusual it is (None: not judged)."""

    row: KpiRow
    changes: Mapping[str, Change | None]
    anomaly: Anomaly | None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; decimals are text."""
        row = self.row
        return {
            "as_of": row.as_of.isoformat(),
            "value": text_of(row.value),
            "value_exact": text_of(row.value_exact),
            "status": row.status,
            "reason": row.reason,
            **{f"change_{span}": change_dict(moved) for span, moved in self.changes.items()},
            "anomaly": self.anomaly and anomaly_dict(self.anomaly),
            "run_id": row.run_id,
            "recorded_at": row.recorded_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How many rows were said under another definition or release than the series is of."""

    definition: str
    release: str
    rows: int

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"definition": self.definition, "release": self.release, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """One of the values said for a date: why it may differ from the one said before it, and how far it moved."""

    row: KpiRow
    run: RunRecord
    why: tuple[str, ...]
    change: Change | None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; decimals are text."""
        row = self.row
        return {
            "recorded_at": row.recorded_at.isoformat(),
            "run_id": row.run_id,
            "value": text_of(row.value),
            "value_exact": text_of(row.value_exact),
            "unit": row.unit,
            "status": row.status,
            "reason": row.reason,
            "definition": row.definition,
            "release": row.release,
            "tape": self.run.tape_path,
            "tape_sha256": self.run.tape_sha256,
            "why": list(self.why),
            "change": change_dict(self.change),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiHistory:
    """The history of a KPI, overall or of one cell.

    Attributes:
        unit: of the values; empty when there are none.
        definition: the one that the series is under; None when nothing was said and none was asked for.
        release: the same.
        left_out: other definitions and releases that have values, and so are not in the series.
        series: one point a date, oldest first.
        said: everything said for the date that was asked for, in order; empty when none was asked for.
    """

    kpi: str
    unit: str
    definition: str | None
    release: str | None
    left_out: tuple[LeftOut, ...]
    series: tuple[Point, ...]
    said: tuple[Restatement, ...]


def kpi_history(
    reader: RunReader,
    kpi_id: str,
    *,
    segment: str = "",
    segment_value: str = "",
    as_of: date | None = None,
    every: Every = Every.DAY,
    definition: str | None = None,
    release: str | None = None,
) -> KpiHistory:
    """The series of a KPI and, with ``as_of``, the restatements of that date.

    The series is under one definition and release: those asked for, and where one is not, that of the row said last
    of all. Of each date it has the value said last. Restatements are under whatever was not asked to be otherwise.
    Changes and scores are of exact values; changes look back at every date, whatever ``every`` is.
    """
    rows = reader.history(kpi_id, segment=segment, segment_value=segment_value)
    fitting = [row for row in rows if definition in (None, row.definition) and release in (None, row.release)]
    said = [row for row in fitting if row.as_of == as_of]
    unit = ""
    if fitting:
        last = _said_last(fitting, reader)
        definition, release, unit = last.definition, last.release, last.unit
    chosen = (definition, release)
    others = Counter(under for row in rows if (under := (row.definition, row.release)) != chosen)
    latest = {row.as_of: row for row in fitting if (row.definition, row.release) == chosen}
    return KpiHistory(
        kpi=kpi_id,
        unit=unit,
        definition=definition,
        release=release,
        left_out=tuple(LeftOut(definition=name, release=of, rows=n) for (name, of), n in sorted(others.items())),
        series=_series(latest, every),
        said=_restatements(said, reader),
    )


def change_dict(moved: Change | None) -> dict[str, str | None] | None:
    """A change, JSON-ready; None for none."""
    return None if moved is None else {"absolute": text_of(moved.absolute), "relative": text_of(moved.relative)}


def anomaly_dict(anomaly: Anomaly) -> dict[str, object]:
    """How unusual a value is, JSON-ready; ``words`` is empty where it is not flagged."""
    return {
        "flagged": anomaly.flagged,
        "score": text_of(anomaly.score),
        "median": text_of(anomaly.median),
        "mad": text_of(anomaly.mad),
        "before": anomaly.before,
        "seasonal": anomaly.seasonal,
        "words": anomaly.words,
    }


def _series(latest: Mapping[date, KpiRow], every: Every) -> tuple[Point, ...]:
    values = {day: _exact(row) for day, row in latest.items()}
    shown = thinned(latest, every)
    judged = anomalies({day: values[day] for day in shown})
    return tuple(Point(row=latest[day], changes=changes(values, day), anomaly=judged.get(day)) for day in shown)


def _exact(row: KpiRow) -> Decimal | None:
    return row.value if row.value_exact is None else row.value_exact


def _said_last(rows: Sequence[KpiRow], reader: RunReader) -> KpiRow:
    """Of the run that finished last, the row of the latest date; the order of runs never comes from a clock."""
    if len({(row.definition, row.release) for row in rows}) == 1:
        return rows[-1]
    of_run = {row.run_id: row for row in rows}
    limit = 50
    while True:
        runs = reader.list(limit=limit)
        for run in runs:
            if run.run_id in of_run:
                return of_run[run.run_id]
        if len(runs) < limit:
            raise InvariantError(f"values of runs that are not recorded: {sorted(of_run)[:5]}")
        limit *= 10


def _restatements(rows: Sequence[KpiRow], reader: RunReader) -> tuple[Restatement, ...]:
    found: list[Restatement] = []
    for row in rows:
        run = reader.get(row.run_id)
        if run is None:
            raise InvariantError(f"value {row.kpi_id} of run {row.run_id}, which is not recorded")
        before = found[-1] if found else None
        found.append(
            Restatement(
                row=row,
                run=run,
                why=_why(row, run, before),
                change=None if before is None else change(_exact(before.row), _exact(row)),
            )
        )
    return tuple(found)


def _why(row: KpiRow, run: RunRecord, before: Restatement | None) -> tuple[str, ...]:
    """What went into the value that did not go into the one before it."""
    tape = f"{run.tape_path}, {run.tape_sha256[:12]}"
    if before is None:
        return (f"said first ({tape})",)
    why = []
    if run.tape_sha256 != before.run.tape_sha256:
        why.append(f"another tape ({tape})")
    if row.release != before.row.release:
        why.append(f"another release ({row.release})")
    if row.definition != before.row.definition:
        why.append(f"another definition ({row.definition})")
    if not why and run.run_id.startswith(PANEL_PREFIX) == before.run.run_id.startswith(PANEL_PREFIX):
        why.append("same tape, release and definition; read by another mapping, or in another currency")
    return tuple(why) or ("same tape, release and definition",)

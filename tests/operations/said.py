"""Values said in runs of a real store, without tapes: one call is one finished run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

from abaco_loans.records.runs import KpiRow, RowCounts, RunFinish, RunStart
from abaco_loans.records.store import Store

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def say(
    store: Store,
    run_id: str,
    values: Mapping[date, str | None],
    *,
    kpi_id: str = "risk.par_30",
    segment: tuple[str, str] = ("", ""),
    definition: str = "investor",
    release: str = "v2",
    tape: str = "a.csv",
    recorded_at: datetime = NOON,
) -> None:
    """Record a run that says these values; the run itself is as of the last date, the digest is the tape name's."""
    store.writer.start(
        RunStart(
            run_id=run_id,
            release=release,
            release_digest="d" * 64,
            tape_sha256=sha256(tape.encode()).hexdigest(),
            tape_path=tape,
            layout="servicing",
            as_of=max(values),
            definition=definition,
        )
    )
    rows = [
        KpiRow(
            run_id=run_id,
            kpi_id=kpi_id,
            segment=segment[0],
            segment_value=segment[1],
            as_of=day,
            recorded_at=recorded_at,
            definition=definition,
            release=release,
            value=None if text is None else round(Decimal(text), 2),
            value_exact=None if text is None else Decimal(text),
            unit="%",
            status="not_computable" if text is None else "ok",
            reason="no rows" if text is None else "",
        )
        for day, text in values.items()
    ]
    finish = RunFinish(
        rows=RowCounts(rows_in=1, accepted=1, quarantined=0, duplicate=0),
        output_folder=run_id,
        manifest_sha256="f" * 64,
    )
    store.writer.finish(run_id, finish, rows)

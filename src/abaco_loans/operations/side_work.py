"""What a catalogue release says of a tape, worked out in a process of its own that can write to one folder only.

`run_side` starts it and reads what it leaves: `RESULTS` and the loan rows, or `REFUSED`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InputError, InvariantError
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.operations.calculate import calculate
from abaco_loans.operations.read_tape import load_tape, stage_tape
from abaco_loans.operations.run_tape import too_much
from abaco_loans.releases.plain import restored_release
from abaco_loans.releases.release import Release
from abaco_loans.tape.calculation import TABLE
from abaco_loans.tape.masking import MaskingKey

RESULTS, LOANS, REFUSED = "results.json", "loans.parquet", "refused.json"
LOAN_ID = "loan_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class SideWork:
    """A release, a tape and a date; ``scratch`` and ``out`` are folders that the process may write to."""

    release: Release
    tape: Path
    as_of: date
    definition: str | None
    layout: str | None
    mapping: str | None
    currency: str
    scratch: Path
    out: Path


def read_work(data: Mapping[str, Any]) -> SideWork:
    """The work that `run_side` wrote down."""
    release = restored_release(data["name"], data["release"])
    if release is None:
        raise InvariantError("the release that was handed over cannot be restored")
    return SideWork(
        release=release,
        tape=Path(data["tape"]),
        as_of=date.fromisoformat(data["as_of"]),
        definition=data["definition"],
        layout=data["layout"],
        mapping=data["mapping"],
        currency=data["currency"],
        scratch=Path(data["scratch"]),
        out=Path(data["out"]),
    )


def work_side(work: SideWork, open_engine: Callable[[], Engine], key: MaskingKey) -> int:
    """Calculate, and leave what came of it; the exit code of the process.

    A tape that this release refuses is no accident: the reason is left in `REFUSED`.
    """
    engine = open_engine()
    try:
        document = _calculated(work, engine, key)
    except AbacoError as error:
        (work.out / REFUSED).write_text(json.dumps(error.as_dict()), encoding="utf-8")
        return error.exit_code
    finally:
        engine.close()
    (work.out / RESULTS).write_text(json.dumps(document), encoding="utf-8")
    return 0


def _calculated(work: SideWork, engine: Engine, key: MaskingKey) -> dict[str, Any]:
    staged = stage_tape(work.tape, work.release, work.scratch, lambda: engine, layout=work.layout, mapping=work.mapping)
    definition = work.release.definition(work.definition, staged.mapping.layout)
    tape = load_tape(staged, engine, key, work.scratch, lambda _: None)
    refusal: InputError | None = too_much(tape, strict=False)
    if refusal:
        raise refusal
    found = calculate(tape, engine, work.release, definition, as_of=work.as_of, reporting_currency=work.currency)
    columns = found.compiled.calculation.columns
    if LOAN_ID in columns:
        kept = exp.select(*(exp.column(name, quoted=True) for name in columns)).from_(TABLE)
        engine.write(kept.order_by(exp.column(LOAN_ID, quoted=True)), work.out / LOANS, "parquet")
    evaluation = found.evaluation
    return {
        "layout": tape.layout,
        "definition": definition.name,
        "rows": tape.row_counts,
        "loan_columns": list(columns) if LOAN_ID in columns else [],
        "kpis": [_plain(item) for item in (*evaluation.overall, *evaluation.segments)],
    }


def _plain(item: KpiResult) -> dict[str, str | None]:
    return {
        "kpi": item.kpi.id,
        "segment": item.segment,
        "segment_value": item.segment_value,
        "value_exact": text_of(item.value_exact),
        "status": item.status.value,
        "reason": item.reason,
        "unit": item.kpi.unit,
        "grain": item.kpi.grain.value,
    }

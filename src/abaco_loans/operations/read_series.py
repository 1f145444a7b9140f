"""Read the tapes of a panel: one servicing extract, or one or more loan snapshots that join into one book.

A loan (of snapshots: at a date) that stands in several tapes counts once: as the tape given last has it. What was
left out for it is counted and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError, UsageError
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.read_tape import ReadTape, load_tape, stage_tape
from abaco_loans.operations.tools import Tools
from abaco_loans.releases.release import Release
from abaco_loans.tape.template import filled
from abaco_loans.tape.tree import exp

SERIES, ISSUES = "series_rows", "issues_tape"


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeOptions:
    """How to read the tapes, where the person says it."""

    layout: str | None = None
    mapping: str | None = None


def read_series(
    paths: Sequence[Path], release: Release, engine: Engine, tools: Tools, scratch: Path, options: TapeOptions
) -> ReadTape:
    """Read every tape; ends with accepted rows in the engine, all accounted for.

    Raises:
        InputError: a tape cannot be read; ``PAN-101`` it is bucketed, and has no loans to follow.
        UsageError: ``PAN-102`` several tapes that are not all loan snapshots.
    """
    if len(paths) == 1:
        return _read(paths[0], release, engine, tools, scratch, options)
    parts: list[Path] = []
    faults: list[Path] = []
    tapes: list[ReadTape] = []
    for number, path in enumerate(paths):
        own = scratch / f"tape{number}"
        own.mkdir(mode=0o700)
        reader = tools.open_engine(own, [own, scratch])
        try:
            tape = _read(path, release, reader, tools, own, options)
            if tape.layout != "snapshot":
                raise UsageError(
                    f"{path.name} is a {tape.layout} tape; only loan snapshots join into a series",
                    code="PAN-102",
                    where=str(path),
                    hint="give a servicing extract alone: it holds the whole history",
                )
            part = scratch / f"rows{number}.parquet"
            reader.write(_rows_of(tape, number), part, "parquet")
            if tape.file("tape").quarantined:
                faults.append(scratch / f"faults{number}.parquet")
                reader.write(exp.select("*").from_(ISSUES), faults[-1], "parquet")
        finally:
            reader.close()
        tapes.append(tape)
        parts.append(part)
    if faults:
        engine.open(ISSUES, faults)
    return _joined(paths, tapes, parts, engine)


def _read(path: Path, release: Release, engine: Engine, tools: Tools, scratch: Path, options: TapeOptions) -> ReadTape:
    tools.progress(f"copying {path.name}")
    staged = stage_tape(path, release, scratch, lambda: engine, layout=options.layout, mapping=options.mapping)
    tape = load_tape(staged, engine, tools.key, scratch, tools.progress)
    if tape.layout == "bucketed":
        raise InputError(
            "a bucketed tape has no loans to follow from date to date",
            code="PAN-101",
            where=str(path),
            hint="`abaco run` computes its KPIs at each date, and `abaco kpi history` shows them over time;"
            " for a panel give loan snapshots or a servicing extract",
        )
    return tape


def _present(tapes: Sequence[ReadTape]) -> list[str]:
    return list(dict.fromkeys(name for tape in tapes for name in tape.file("tape").present))


def _rows_of(tape: ReadTape, number: int) -> exp.Select:
    """The accepted rows, with the number of their tape."""
    own = tape.file("tape")
    columns = (exp.column(name, quoted=True) for name in own.present)
    place = exp.alias_(exp.Literal.number(number), "_tape")
    return exp.select(*columns, place, "_row").from_(own.accepted_relation).order_by("_row")


# Of rows with the same key the one of the last tape stays.
_RANKED = """
SELECT *, ROW_NUMBER() OVER (PARTITION BY loan_id, measurement_date ORDER BY _tape DESC, _row DESC) AS _nth
FROM all_rows
"""
_TWICE = """
SELECT measurement_date, COUNT(*), SUM(outstanding_principal), COUNT(DISTINCT _tape) FROM ranked WHERE _nth > 1
GROUP BY measurement_date ORDER BY measurement_date
"""


def _joined(paths: Sequence[Path], tapes: Sequence[ReadTape], parts: Sequence[Path], engine: Engine) -> ReadTape:
    engine.open("all_rows", parts)
    engine.execute(exp.Create(this=exp.to_table("ranked"), kind="TABLE", expression=filled(_RANKED)))
    kept = filled("SELECT * FROM ranked WHERE _nth = 1")
    engine.execute(exp.Create(this=exp.to_table(SERIES), kind="VIEW", expression=kept))
    twice = [_twice(*row) for row in engine.rows(filled(_TWICE))]
    digest = hashlib.sha256("\n".join(tape.sha256 for tape in tapes).encode()).hexdigest()
    reports = tuple(
        replace(report, accepted_relation=SERIES, present=tuple(_present(tapes)))
        for tape in tapes
        for report in tape.files
    )
    return ReadTape(
        path=", ".join(path.name for path in paths),
        sha256=digest,
        layout="snapshot",
        contract=tapes[0].contract,
        mapping=tapes[0].mapping,
        files=reports,
        warnings=(*(warning for tape in tapes for warning in tape.warnings), *twice),
    )


def _twice(day: date, rows: int, amount: Decimal | None, tapes: int) -> Warned:
    return Warned(
        code="WARN-301",
        text=f"loans at {day} that stand in {tapes + 1} tapes; as the one given last has them",
        count=rows,
        amount=amount,
    )

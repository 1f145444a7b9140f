"""Two oracles agree: the sample book's own state of a loan, and what is rebuilt from its servicing files."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.read_tape import load_tape, stage_tape
from abaco_loans.operations.rebuild import make_panel
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.sample import SampleSpec
from abaco_loans.sample.conduct import make_book
from abaco_loans.sample.state import state_at
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.definition import Definition, WriteOff
from tests.tape.reading import KEY, shipped

SPEC = SampleSpec(loans=400, months=24, seed=11, currencies=2)
DATES = (SPEC.end, date(2025, 2, 28), date(2024, 9, 10))
AS_SAMPLED = Definition(name="sampled", version="1", write_off_after_days=180, write_off=WriteOff.STICKY)


def test_the_sample_knows_the_same_loans(tmp_path: Path) -> None:
    write_sample(SPEC, tmp_path / "tape")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    engine = DuckDB(scratch=scratch, folders=[], memory_mb=500, threads=1)
    staged = stage_tape(tmp_path / "tape" / "servicing", shipped(), scratch, lambda: engine)
    tape = load_tape(staged, engine, KEY, scratch, lambda _: None)
    assert tape.totals[0] == tape.totals[1] > 0
    make_panel(tape, engine, AS_SAMPLED, [month_end_before(min(DATES)), *sorted(DATES)], "USD")
    columns = ("outstanding_principal", "written_off_balance", "days_past_due", "restructured")
    rows = engine.rows(exp.select("loan_id", "as_of", *columns).from_("panel"))
    found = {(row[0], row[1]): row[2:] for row in rows}
    engine.close()
    seen = gone = late = 0
    for loan in make_book(SPEC):
        for day in DATES:
            if loan.draft.disbursed_on > day:
                assert (loan.draft.loan_id, day) not in found
                continue
            meant = state_at(loan, day)
            outstanding, written_off, days, restructured = found[loan.draft.loan_id, day]
            said = (outstanding, written_off, days, restructured)
            owed, lost = Decimal(meant.outstanding) / 100, Decimal(meant.written_off_balance) / 100
            assert said == (owed, lost, meant.days_past_due, meant.is_restructured), (loan.draft.loan_id, day)
            seen, gone, late = seen + 1, gone + meant.is_written_off, late + (meant.days_past_due > 0)
    assert seen > 600 and gone > 10 and late > 50, "the book must be worth comparing"


@pytest.mark.parametrize("seed", [1, 2])
def test_par_never_rises_with_its_days(tmp_path: Path, seed: int) -> None:
    """Over the sample's own buckets: what is past 90 days is also past 60, 30 and 7."""
    write_sample(SampleSpec(loans=150, months=12, seed=seed), tmp_path / "tape")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    engine = DuckDB(scratch=scratch, folders=[], memory_mb=500, threads=1)
    staged = stage_tape(tmp_path / "tape" / "bucketed.csv", shipped(), scratch, lambda: engine)
    tape = load_tape(staged, engine, KEY, scratch, lambda _: None)
    names = ("dpd_0_7_usd", "dpd_7_30_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
    sums = engine.rows(
        exp.select(*(exp.Sum(this=exp.column(name)) for name in (*names, "total_receivable_usd"))).from_(
            tape.file("tape").accepted_relation
        )
    )[0]
    engine.close()
    past = [sum(sums[low:5]) for low in range(5)]
    assert past == sorted(past, reverse=True) and past[0] == sums[5] and past[-1] > 0

"""The sample book: same bytes, sound tapes, the agreed look, and dirt where the summary says."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.write_sample import SampleSummary, write_sample
from abaco_loans.sample import DirtKind, SampleSpec
from abaco_loans.sample.book import Kind, Trouble
from abaco_loans.sample.conduct import make_book
from abaco_loans.sample.drafts import make_drafts, plan_troubles
from abaco_loans.sample.layouts import BUCKETED, LOANS, SCHEDULES, SNAPSHOT, TRANSACTIONS
from abaco_loans.sample.state import WRITE_OFF_AFTER_DAYS, state_at

TAPES = {
    "bucketed.csv": BUCKETED,
    "snapshot.csv": SNAPSHOT,
    "servicing/loans.csv": LOANS,
    "servicing/schedules.csv": SCHEDULES,
    "servicing/transactions.csv": TRANSACTIONS,
}
BUCKETS = ("dpd_0_7_usd", "dpd_7_30_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
TWO_CURRENCIES = SampleSpec(loans=700, months=18, seed=3, currencies=2)

Record = dict[str, str]


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


def records(path: Path) -> list[Record]:
    header, *rows = lines(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def total(rows: list[Record], *columns: str) -> Decimal:
    return sum((Decimal(row[column]) for row in rows for column in columns), Decimal(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sample")
    write_sample(TWO_CURRENCIES, made)
    return made


def test_same_spec_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path, folder: Path) -> None:
    write_sample(TWO_CURRENCIES, tmp_path / "again")
    write_sample(replace(TWO_CURRENCIES, seed=4), tmp_path / "other")
    for file in [*TAPES, "servicing/rates.csv"]:
        content = (folder / file).read_bytes()
        assert (tmp_path / "again" / file).read_bytes() == content
        assert (tmp_path / "other" / file).read_bytes() != content
        assert b"\r" not in content


def test_headers_and_summary_agree_with_the_files(tmp_path: Path) -> None:
    summary = write_sample(SampleSpec(loans=120, months=6), tmp_path)
    for file, columns in TAPES.items():
        header, *rows = lines(tmp_path / file)
        assert tuple(header) == columns
        assert summary.rows[file] == len(rows)
    assert summary.loans == 120 == summary.open_loans + summary.repaid_loans + summary.written_off_loans
    assert summary.rows["bucketed.csv"] == summary.open_loans
    assert summary.rows["snapshot.csv"] == summary.open_loans + summary.written_off_loans
    assert summary.dirty == () and summary.dirty_by_kind() == {}


def test_keys_are_unique_and_refer_to_loans(folder: Path) -> None:
    loans = {row["loan_id"] for row in records(folder / "servicing/loans.csv")}
    assert len(loans) == 700
    for file, key in (
        ("bucketed.csv", ("loan_id", "measurement_date")),
        ("snapshot.csv", ("loan_id", "measurement_date")),
        ("servicing/transactions.csv", ("transaction_id",)),
        ("servicing/schedules.csv", ("loan_id", "valid_from", "due_date")),
    ):
        rows = records(folder / file)
        assert len({tuple(row[name] for name in key) for row in rows}) == len(rows)
        assert {row["loan_id"] for row in rows} <= loans


def test_bucketed_rows_are_sound(folder: Path) -> None:
    rows = records(folder / "bucketed.csv")
    for row in rows:
        receivable, eligible = Decimal(row["total_receivable_usd"]), Decimal(row["total_eligible_usd"])
        assert sum(Decimal(row[name]) for name in BUCKETS) == receivable > 0
        assert 0 <= Decimal(row["cash_available_usd"]) <= eligible < receivable
        assert Decimal(row["discounted_balance_usd"]) <= eligible
        assert (eligible == 0) == (Decimal(row["dpd_90_plus_usd"]) > 0)
        assert row["measurement_date"] == "2025-11-30"
    assert {row["region"] for row in rows} >= {"Not Provided", "San Salvador", "Cortés"}


def test_bucketed_and_snapshot_tell_the_same_book(folder: Path) -> None:
    bucketed = {row["loan_id"]: row for row in records(folder / "bucketed.csv")}
    snapshot = [row for row in records(folder / "snapshot.csv") if row["written_off"] == "false"]
    assert {row["currency"] for row in snapshot} == {"USD", "HNL"}
    assert set(bucketed) == {row["loan_id"] for row in snapshot}
    for row in snapshot:
        in_usd = Decimal(row["outstanding_principal"]) * Decimal(row["fx_rate"])
        assert abs(in_usd - Decimal(bucketed[row["loan_id"]]["total_receivable_usd"])) <= Decimal("0.00005")


def test_servicing_reaches_to_the_end_and_not_beyond(folder: Path) -> None:
    transactions = records(folder / "servicing/transactions.csv")
    assert max(row["date"] for row in transactions) == "2025-11-30"
    rates = records(folder / "servicing/rates.csv")
    assert [row["date"] for row in (rates[0], rates[-1])] == ["2024-06-01", "2025-11-30"]
    assert {row["date"] for row in transactions} <= {row["date"] for row in rates}
    last = Decimal(rates[-1]["rate"])
    assert {row["fx_rate"] for row in records(folder / "snapshot.csv")} == {"1", str(last)}


def test_an_earlier_rate_sheet_does_not_stay(tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=20, months=3, currencies=2), tmp_path)
    write_sample(SampleSpec(loans=20, months=3), tmp_path)
    assert not (tmp_path / "servicing/rates.csv").exists()


def recomputed(loan: Record, schedule: list[Record], moves: list[Record], end: date) -> tuple[Decimal, int]:
    """Outstanding before write-off and days past due, from the files alone, in the plainest way."""
    parts = ("principal", "interest", "fees", "taxes")
    paid = [row for row in moves if row["type"] == "payment"]
    left = Decimal(loan["disbursed_principal"]) - total(paid, "principal")
    version = max(row["valid_from"] for row in schedule)
    covered, due = total(paid, *parts), Decimal(0)
    for row in sorted(schedule, key=lambda row: row["due_date"]):
        due += total([row], *parts) if row["valid_from"] == version else 0
        if row["valid_from"] == version and due > covered:
            return left, max(0, (end - date.fromisoformat(row["due_date"])).days) if left > 0 else 0
    return left, 0


def test_the_snapshot_follows_from_the_servicing_files(folder: Path) -> None:
    schedules: dict[str, list[Record]] = defaultdict(list)
    moves: dict[str, list[Record]] = defaultdict(list)
    for row in records(folder / "servicing/schedules.csv"):
        schedules[row["loan_id"]].append(row)
    for row in records(folder / "servicing/transactions.csv"):
        moves[row["loan_id"]].append(row)
    snapshot = {row["loan_id"]: row for row in records(folder / "snapshot.csv")}
    for loan in records(folder / "servicing/loans.csv"):
        key = loan["loan_id"]
        left, late = recomputed(loan, schedules[key], moves[key], TWO_CURRENCIES.end)
        if key not in snapshot:
            assert left == 0 and loan["status"] == "Complete"
            continue
        row = snapshot[key]
        assert left > 0 and int(row["days_past_due"]) == late
        gone = row["written_off"] == "true"
        assert gone == bool(loan["written_off_date"])
        assert Decimal(row["written_off_balance" if gone else "outstanding_principal"]) == left
        assert Decimal(row["outstanding_principal" if gone else "written_off_balance"]) == 0


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_every_loan_keeps_its_identities(seed: int) -> None:
    spec = SampleSpec(loans=800, seed=seed)
    for loan in make_book(spec):
        disbursed = loan.draft.disbursed
        for version in loan.schedules:
            assert sum(row.principal for row in version) == disbursed
            assert [row.due for row in version] == sorted({row.due for row in version})
            assert all(min(row.principal, row.interest, row.fees, row.taxes) >= 0 for row in version)
        dates = [item.on for item in loan.movements]
        assert dates == sorted(dates) and dates[-1] <= spec.end
        assert loan.movements[0].kind is Kind.DISBURSEMENT and loan.movements[0].principal == disbursed
        state = state_at(loan, spec.end)
        paid = sum(item.principal for item in loan.movements if item.kind is Kind.PAYMENT)
        assert state.outstanding + state.written_off_balance == disbursed - paid
        assert state.days_past_due <= WRITE_OFF_AFTER_DAYS or state.is_written_off
        assert state.is_repaid or disbursed - paid >= disbursed // 100, "dust is not part of the sample"


def test_a_write_off_falls_on_the_first_day_beyond_180() -> None:
    gone = [loan for loan in make_book(SampleSpec(loans=800)) if loan.written_off_on]
    assert gone
    for loan in gone:
        assert loan.written_off_on
        before, after = (state_at(loan, loan.written_off_on + timedelta(days=d)) for d in (-1, 0))
        assert before.days_past_due == WRITE_OFF_AFTER_DAYS and before.outstanding > 0
        assert after.is_written_off and after.days_past_due == WRITE_OFF_AFTER_DAYS + 1
        booked = [item for item in loan.movements if item.kind is Kind.WRITE_OFF]
        assert [(item.on, item.principal) for item in booked] == [(loan.written_off_on, after.written_off_balance)]


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_the_book_looks_like_one(seed: int, tmp_path: Path) -> None:
    write_sample(SampleSpec(seed=seed), tmp_path)
    rows = records(tmp_path / "bucketed.csv")
    receivable = total(rows, "total_receivable_usd")
    par_30 = total(rows, *BUCKETS[2:]) / receivable * 100
    par_90 = total(rows, BUCKETS[4]) / receivable * 100
    collection = total(rows, "cash_available_usd") / total(rows, "total_eligible_usd") * 100
    assert Decimal("2.5") <= par_30 <= Decimal("5.5")
    assert 1 <= par_90 <= 3
    assert 3 <= collection <= 12
    loans = records(tmp_path / "servicing/loans.csv")
    one_time = sum(row["frequency"] == "one_time" for row in loans)
    assert 0.40 <= one_time / len(loans) <= 0.50
    dear = [row for row in loans if Decimal(row["interest_rate"]) > 1]
    assert dear and {row["frequency"] for row in dear} == {"one_time"}
    by_customer = Counter(row["customer_id"] for row in loans)
    assert by_customer.most_common(1)[0][1] >= 5 * len(loans) / len(by_customer)
    months = Counter(row["disbursement_date"][:7] for row in loans)
    assert months["2024-12"] > months["2024-10"]


def test_all_that_can_happen_happens() -> None:
    spec = SampleSpec(loans=1500)
    loans = list(make_book(spec))
    payments = [item for loan in loans for item in loan.movements if item.kind is Kind.PAYMENT]
    assert any(item.principal == 0 and item.interest < 0 for item in payments), "rebates"
    assert any(item.principal < 0 for item in payments), "reversals"
    assert any(loan.restructured_on for loan in loans)
    assert any(loan.written_off_on and loan.movements[-1].on > loan.written_off_on for loan in loans), "recoveries"
    kinds = {stumble.trouble for stumble in plan_troubles(spec, make_drafts(spec)).values()}
    assert kinds == set(Trouble) - {Trouble.NONE}
    late = [state_at(loan, spec.end).days_past_due for loan in loans]
    for low, high in ((1, 7), (7, 30), (30, 60), (60, 90), (90, 181)):
        assert any(low <= days < high for days in late), (low, high)


@pytest.mark.parametrize("end", [date(2024, 2, 29), date(2025, 3, 17), date(2025, 1, 1)])
@pytest.mark.parametrize(("loans", "months"), [(1, 1), (3, 2), (60, 40)])
def test_small_and_odd_books_can_be_made(loans: int, months: int, end: date, tmp_path: Path) -> None:
    summary = write_sample(SampleSpec(loans=loans, months=months, end=end, currencies=2), tmp_path)
    assert summary.loans == loans == summary.rows["servicing/loans.csv"]
    assert max(row["date"] for row in records(tmp_path / "servicing/transactions.csv")) == end.isoformat()


@pytest.mark.parametrize(
    "wrong",
    [
        {"loans": 0},
        {"months": 0},
        {"months": 1000},
        {"currencies": 3},
        {"dirty_share": 0.6},
        {"dirty_share": -1},
    ],
)
def test_a_spec_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError) as caught:
        SampleSpec(**wrong)  # type: ignore[arg-type]
    assert caught.value.code == "SAMPLE-101" and caught.value.hint


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError) as caught:
        write_sample(SampleSpec(loans=1, months=1), tmp_path / "file")
    assert caught.value.code == "SAMPLE-201"


# Dirt


def write_both(spec: SampleSpec, folder: Path) -> SampleSummary:
    write_sample(replace(spec, dirty_share=0), folder / "clean")
    return write_sample(spec, folder / "dirty")


def is_spoiled_as_said(kind: DirtKind, dirty: list[str], clean: list[str], place: int) -> bool:
    if kind is DirtKind.RAGGED_ROW:
        return dirty[:-1] == clean
    if kind is DirtKind.EXACT_DUPLICATE:
        return dirty == clean
    if dirty[:place] + dirty[place + 1 :] != clean[:place] + clean[place + 1 :]:
        return False
    new, old = dirty[place], clean[place]
    if kind is DirtKind.MANY_DIGITS:
        return new != old and round(Decimal(new), 4) == Decimal(old)
    checks = {
        DirtKind.TEXT_IN_NUMBER: new in {"abc", "NaN", "1_000", "1,5"},
        DirtKind.MISSING_REQUIRED: new == "" != old,
        DirtKind.IMPOSSIBLE_DATE: new in {"2025-02-30", "2024-13-05", "2025-00-10", "soon"},
        DirtKind.NEGATIVE_AMOUNT: new.startswith("-"),
        DirtKind.FORMULA_TEXT: new.startswith("="),
    }
    return checks[kind] if kind in checks else Decimal(new) > Decimal(old)


@pytest.mark.parametrize("share", [Decimal("0.02"), 0.1])
def test_dirt_is_exactly_where_the_summary_says(share: Decimal | float, tmp_path: Path) -> None:
    summary = write_both(SampleSpec(loans=900, months=12, dirty_share=share), tmp_path)
    for file, columns in TAPES.items():
        clean, dirty = (lines(tmp_path / name / file) for name in ("clean", "dirty"))
        marks = {mark.line: mark for mark in summary.dirty if mark.file == file}
        added = {DirtKind.EXACT_DUPLICATE, DirtKind.SAME_KEY_OTHER_CONTENT}
        assert len(dirty) == len(clean) + sum(mark.kind in added for mark in marks.values())
        if file != "servicing/schedules.csv":
            assert abs(len(marks) - float(share) * (len(clean) - 1)) <= 1
        at = 0
        for line, row in enumerate(dirty, start=1):
            mark = marks.get(line)
            if mark is None:
                assert row == clean[at]
            else:
                at -= mark.kind in added
                place = columns.index(mark.column) if mark.column else -1
                assert is_spoiled_as_said(mark.kind, row, clean[at], place), mark
            at += 1
        assert at == len(clean)


def test_dirt_shows_every_kind_that_a_tape_can_have(tmp_path: Path) -> None:
    summary = write_sample(SampleSpec(loans=900, months=12, dirty_share=0.1), tmp_path)
    kinds = summary.dirty_by_kind()
    assert set(kinds) == set(TAPES) - {"servicing/schedules.csv"}
    assert set(kinds["bucketed.csv"]) == {kind.value for kind in DirtKind}
    assert set(kinds["servicing/transactions.csv"]) == {
        "exact_duplicate",
        "impossible_date",
        "many_digits",
        "missing_required",
        "ragged_row",
        "same_key_other_content",
        "text_in_number",
    }
    assert sum(sum(part.values()) for part in kinds.values()) == len(summary.dirty)


@pytest.mark.parametrize(("share", "expected"), [(0.04, False), (0.05, True), (0.2, True)])
def test_an_unreadable_main_amount_is_rare_and_only_in_very_dirty_tapes(
    share: float, expected: bool, tmp_path: Path
) -> None:
    summary = write_sample(SampleSpec(loans=900, months=12, dirty_share=share), tmp_path)
    for file, main in (("bucketed.csv", "total_receivable_usd"), ("snapshot.csv", "outstanding_principal")):
        marks = [mark for mark in summary.dirty if mark.file == file]
        unreadable = [mark for mark in marks if mark.kind is DirtKind.TEXT_IN_NUMBER and mark.column == main]
        assert bool(unreadable) == expected
        assert len(unreadable) <= 1 + len(marks) / 60


def test_dirt_leaves_the_book_as_it_is(tmp_path: Path) -> None:
    spec = SampleSpec(loans=200, months=6, dirty_share=0.1)
    summary = write_both(spec, tmp_path)
    assert replace(summary, dirty=(), rows={}) == replace(
        write_sample(replace(spec, dirty_share=0), tmp_path / "clean"), rows={}
    )
    same = "servicing/schedules.csv"
    assert (tmp_path / "clean" / same).read_bytes() == (tmp_path / "dirty" / same).read_bytes()

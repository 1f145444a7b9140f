"""Rows in = accepted + quarantined + duplicates: for any dirty tape of any layout, row by row."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from abaco_loans.tape import reasons
from tests.tape.reading import Reading, Told, read

QUICK = settings(max_examples=7, phases=[Phase.explicit, Phase.reuse, Phase.generate])
SEEDS = st.integers(0, 2**32)

# Texts of a cell and what they mean; None is a text that must be refused.
Cells = dict[str, object]
DATES: Cells = {"2025-11-30": 1, " 2025-11-30": 1, "2025-10-31": 2, "2025-02-30": None, "soon": None, "": None}
MONEY: Cells = {"10": 10, "10.00": 10, "1e1": 10, "7.5": 7.5, "0": 0, "1_0": None, "NaN": None, "-1": None, "": None}
SIGNED: Cells = {"10": 10, "+10.0": 10, "-3": -3, "1,5": None, "": None}
EMPTY_OK: Cells = {"": 0, " ": 0, "4": 4, "4.0": 4, "four": None}
PART: Cells = {"5": 5, "5.00001": 5, "0": 0, "": None, "5 usd": None}
NOUGHT: Cells = {"0": 0, "0.0": 0, "0,0": None}
DAYS: Cells = {"0": 0, "31": 31, "31.0": 31, "3.5": None, "-2": None}
WORDS: Cells = {"shop": "shop", " shop": "shop", "x" * 501: None, 'a "b", c': "a b c", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A file: columns with their texts, the columns that identify a row, and whether equal rows may stand."""

    columns: dict[str, Cells]
    key: tuple[str, ...]
    repeats: bool = False
    broken: Callable[[dict[str, object]], bool] = lambda _: False

    def rows(self, rng: Random, count: int) -> list[list[str]]:
        """Mostly sound rows with few keys, so that duplicates and conflicts happen; some cells spoiled."""
        made: list[list[str]] = []
        for _ in range(count):
            row = []
            for texts in self.columns.values():
                sound = [text for text, meaning in texts.items() if meaning is not None]
                row.append(rng.choice(list(texts) if rng.random() < 0.06 else sound))
            made.append(row if not made or rng.random() < 0.85 else list(rng.choice(made)))
        return made

    def account(self, rows: Sequence[list[str]]) -> tuple[list[int], Counter[int], list[int]]:
        """Row numbers: accepted; refused, with how often; removed as duplicates. Slow, from the definitions."""
        meant: list[dict[str, object] | None] = []
        for row in rows:
            cells = {name: texts[cell] for (name, texts), cell in zip(self.columns.items(), row, strict=True)}
            meant.append(None if None in cells.values() or self.broken(cells) else cells)
        accepted, refused, removed = [], Counter[int](), []
        for number, said in enumerate(meant):
            if said is None:
                refused[number] += 1
                continue
            cells = said
            same = [other for other in meant if other is not None and self._identity(other) == self._identity(cells)]
            if self._identity(cells) is None:
                same = [other for other in meant if other == cells]
            if any(other != cells for other in same):
                refused[number] += 1
            elif meant.index(cells) < number and not (self.repeats and self._identity(cells) is None):
                removed.append(number)
            else:
                accepted.append(number)
        return accepted, refused, removed

    def _identity(self, cells: dict[str, object]) -> tuple[object, ...] | None:
        return tuple(cells[name] for name in self.key) if self.key and cells[self.key[0]] else None


def ids(prefix: str, count: int) -> Cells:
    return {f"{prefix}{number}": number + 1 for number in range(count)} | {"": None, f" {prefix}0 ": 1}


PLACES = ("total_eligible_usd", "discounted_balance_usd", "cash_available_usd", "dpd_0_7_usd", "dpd_7_30_usd")
BUCKETED = Form(
    columns={
        "loan_id": {**ids("L", 12), "": 0},
        "measurement_date": DATES,
        "total_receivable_usd": {"10": 10, "10.0": 10, "5": 5, "-1": None, "x": None},
        **dict.fromkeys(PLACES, PART),
        **dict.fromkeys(("dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd"), NOUGHT),
        "product": WORDS,
    },
    key=("loan_id", "measurement_date"),
    broken=lambda row: sum(float(str(row[name])) for name in PLACES[3:]) > float(str(row["total_receivable_usd"])),
)
SNAPSHOT = Form(
    columns={
        "loan_id": ids("L", 14),
        "measurement_date": DATES,
        "outstanding_principal": SIGNED,
        "days_past_due": DAYS,
        "disbursed_principal": EMPTY_OK,
        "customer_id": WORDS,
    },
    key=("loan_id", "measurement_date"),
)
LOANS = Form(
    columns={"loan_id": ids("L", 20), "disbursement_date": DATES, "disbursed_principal": MONEY, "customer_id": WORDS},
    key=("loan_id",),
)
SCHEDULES = Form(
    columns={"loan_id": ids("L", 6), "due_date": DATES, "valid_from": {**DATES, "": 0}, "principal": SIGNED},
    key=("loan_id", "due_date", "valid_from"),
)
TYPES: Cells = {"payment": 1, "disbursement": 2, " payment": 1, "gift": None, "PAYMENT": None}
MOVES = {"loan_id": ids("L", 6), "type": TYPES, "date": DATES, "principal": EMPTY_OK}
WITH_ID = Form(columns={"transaction_id": {**ids("T", 15), "": 0}, **MOVES}, key=("transaction_id",), repeats=True)
WITHOUT_ID = Form(columns=MOVES, key=(), repeats=True)


def written(form: Form, rows: Sequence[list[str]], *, awkward: bool) -> tuple[str, list[int]]:
    """The file, and the line of each row; an awkward one has blank lines, CRLF and ragged rows between."""
    out = io.StringIO()
    end = "\r\n" if awkward else "\n"
    csv.writer(out, lineterminator=end).writerow(form.columns)
    lines, line = [], 2
    for number, row in enumerate(rows):
        if awkward and number % 5 == 3:
            out.write(end)
            line += 1
        lines.append(line)
        csv.writer(out, lineterminator=end).writerow(row)
        line += 1
    return out.getvalue(), lines


def agree(told: Told, form: Form, rows: Sequence[list[str]], lines: list[int]) -> None:
    accepted, refused, removed = form.account(rows)
    report = told.report
    assert report.rows_in == len(rows) == report.accepted + report.quarantined + report.duplicates
    assert (report.accepted, report.quarantined, report.duplicates) == (len(accepted), len(refused), len(removed))
    assert {line for line, _, _, _ in told.issues} == {lines[number] for number in refused}
    assert len(told.rows) == len(accepted)
    assert all(code in reasons.REASONS or code.startswith("TAPE-22") for _, _, code, _ in told.issues)
    assert sum(item.rows for item in report.refusals) == len(told.issues)


def one_file(form: Form, seed: int, folder: Path) -> None:
    rng = Random(seed)
    rows = form.rows(rng, rng.randint(1, 60))
    text, lines = written(form, rows, awkward=rng.random() < 0.4)
    path = folder / "tape.csv"
    path.write_text(text, newline="")
    agree(read(path, folder).only, form, rows, lines)


@QUICK
@given(seed=SEEDS)
def test_a_dirty_bucketed_tape(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    one_file(BUCKETED, seed, tmp_path_factory.mktemp("bucketed"))


@QUICK
@given(seed=SEEDS)
def test_a_dirty_snapshot(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    one_file(SNAPSHOT, seed, tmp_path_factory.mktemp("snapshot"))


@settings(QUICK, max_examples=6)
@given(seed=SEEDS)
def test_a_dirty_servicing_extract(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng, folder = Random(seed), tmp_path_factory.mktemp("servicing")
    tape = folder / "tape"
    tape.mkdir()
    forms = {"loans": LOANS, "schedules": SCHEDULES, "transactions": rng.choice([WITH_ID, WITHOUT_ID])}
    files: dict[str, tuple[list[list[str]], list[int]]] = {}
    for name, form in forms.items():
        rows = form.rows(rng, rng.randint(1, 40))
        text, lines = written(form, rows, awkward=rng.random() < 0.4)
        (tape / f"{name}.csv").write_text(text, newline="")
        files[name] = (rows, lines)
    reading: Reading = read(tape, folder)
    for name, form in forms.items():
        agree(reading.files[name], form, *files[name])
    rows_in, *others = reading.tape.totals
    assert rows_in == sum(others) == sum(len(rows) for rows, _ in files.values())


def three(folder: Path, transactions: str) -> Reading:
    tape = folder / "tape"
    tape.mkdir()
    (tape / "loans.csv").write_text("loan_id,disbursement_date,disbursed_principal\nA,2025-01-01,100\n")
    (tape / "schedules.csv").write_text("loan_id,due_date,principal\nA,2025-02-01,100\n")
    (tape / "transactions.csv").write_text(transactions)
    return read(tape, folder)


def test_two_equal_payments_without_an_id_are_two_payments(tmp_path: Path) -> None:
    row = "A,payment,2025-02-01,50\n"
    reading = three(tmp_path, f"loan_id,type,date,principal\n{row}{row}{row}")
    assert reading.files["transactions"].counts == (3, 3, 0, 0)
    assert [(item.code, item.count) for item in reading.tape.warnings] == [("WARN-102", 2)]


def test_a_column_looked_for_in_vain_is_said_in_words(tmp_path: Path) -> None:
    reading = three(tmp_path, "loan_id,type,date,principal,curency\nA,payment,2025-02-01,50,USD\n")
    (warning,) = reading.tape.warnings
    assert (warning.code, warning.count) == ("WARN-107", 1)
    assert warning.text.startswith("transactions.csv: ") and "currency, where the file has curency" in warning.text


def test_the_same_payment_twice_with_its_id_is_one_and_with_other_content_none(tmp_path: Path) -> None:
    rows = ["T1,A,payment,2025-02-01,50", "T1,A,payment,2025-02-01,50.00", "T2,A,payment,2025-02-01,50"]
    rows += ["T2,A,payment,2025-02-01,51", ",A,payment,2025-02-01,5", ",A,payment,2025-02-01,5"]
    told = three(tmp_path, "\n".join(["transaction_id,loan_id,type,date,principal", *rows])).files["transactions"]
    assert told.counts == (6, 3, 2, 1)
    assert [(line, code) for line, _, code, _ in told.issues] == [(4, reasons.CONFLICT), (5, reasons.CONFLICT)]


def test_a_conflict_takes_every_row_of_its_key_also_the_repeated_ones(tmp_path: Path) -> None:
    header = "loan_id,measurement_date,outstanding_principal,days_past_due"
    same, other, bad = "L1,2025-11-30,10,0", "L1,2025-11-30,11,0", "L1,2025-11-30,ten,0"
    path = tmp_path / "tape.csv"
    path.write_text("\n".join([header, same, same, other, bad, "L2,2025-11-30,1,0"]))
    told = read(path, tmp_path).only
    assert told.counts == (5, 1, 4, 0)
    path.write_text("\n".join([header, same, bad, same]))
    assert read(path, tmp_path).only.counts == (3, 1, 1, 1), "an unreadable row is no witness against its key"


def test_what_is_merely_unusual_is_said_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "tape.csv"
    header = "loan_id,measurement_date,outstanding_principal,days_past_due,interest_rate"
    rows = ["A,2025-11-30,100,0,24", "B,2025-11-30,-5,0,0.24", "C,2025-11-30,100,0,", "D,2025-11-30,100,0,2"]
    path.write_text("\n".join((header, *rows)) + "\n")
    reading = read(path, tmp_path)
    assert reading.only.counts == (4, 4, 0, 0)
    said = {item.code: (item.count, item.text) for item in reading.tape.warnings}
    assert {code: count for code, (count, _) in said.items()} == {"TAPE-264": 1, "TAPE-265": 1}
    assert said["TAPE-264"][1].startswith("tape.csv: not so: ") and "unit: percent" in said["TAPE-264"][1]

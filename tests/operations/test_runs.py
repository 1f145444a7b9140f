"""What a run leaves behind: found again, restated, refused, limited, sealed, frozen."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.errors import ConfigError, InputError
from abaco_loans.operations.run_report import changes, run_document
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.outputs.publish import hash_file
from abaco_loans.sample import SampleSpec
from abaco_loans.wiring import open_records
from tests.operations.desk import Desk, bucketed_row, read_csv, worked_example, write_csv

BAD = bucketed_row("BAD", "1", b90="n/a")
LOANS = [
    {
        "loan_id": f"L{index}",
        "measurement_date": "2025-11-30",
        "customer_id": f"Customer {index}",
        "outstanding_principal": "100",
        "days_past_due": str(index * 9),
        "product": "a" if index < 9 else "b",
        "email": f"c{index}@example.org",
    }
    for index in range(12)
]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "tape.csv", worked_example())


def test_running_again_finds_the_earlier_result(desk: Desk, tape: Path) -> None:
    first = desk.run(tape)
    again = desk.run(tape)
    dated = desk.run(tape, as_of=date(2025, 11, 30))
    assert (first.earlier, again.earlier, dated.earlier) == (False, True, True)
    assert first.record.run_id == again.record.run_id == dated.record.run_id
    assert len(desk.runs()) == 1
    assert len(desk.history("risk.par_30")) == 1
    new, found = (run_document(outcome, desk.workspace) for outcome in (first, again))
    assert found["earlier"] is True
    for name in new.keys() - {"earlier", "timings"}:
        assert found[name] == new[name], name


def test_another_definition_is_another_run(desk: Desk, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "tape.csv", LOANS)
    ids = {desk.run(path, definition=name).record.run_id for name in ("original", "investor", "mfrs", "iris")}
    assert len(ids) == 4
    assert {record.definition for record in desk.runs()} == {"original", "investor", "mfrs", "iris"}


def test_another_reporting_currency_is_another_run(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=20, months=4), tmp_path / "sample")
    tape = tmp_path / "sample" / "snapshot.csv"
    dollars = desk.run(tape)
    desk.reopen(reporting_currency="EUR")
    euros = desk.run(tape)
    assert not euros.earlier and euros.record.run_id != dollars.record.run_id
    desk.reopen(reporting_currency="USD")
    assert desk.run(tape).earlier


def test_a_date_long_after_the_last_movement_is_said(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=20, months=4), tmp_path / "sample")
    tape = tmp_path / "sample" / "servicing"
    codes = [
        {item.code: item.count for item in desk.run(tape, as_of=day).warnings}
        for day in (date(2025, 11, 30), date(2030, 1, 1))
    ]
    assert "WARN-209" not in codes[0]
    assert codes[1]["WARN-209"] > 1400


def test_a_restated_tape_keeps_both_values(desk: Desk, tape: Path, tmp_path: Path) -> None:
    first = desk.run(tape)
    restated = worked_example()
    restated[0]["dpd_90_plus_usd"] = "100"
    second = desk.run(write_csv(tmp_path / "restated.csv", restated))
    assert first.record.as_of == second.record.as_of
    assert [str(row.value) for row in desk.history("risk.par_90")] == ["0.60", "0.66"]
    assert [row.run_id for row in desk.history("risk.par_90")] == [first.record.run_id, second.record.run_id]
    assert desk.folder(first).is_dir()
    assert desk.folder(second).is_dir()


def test_changes_are_against_the_as_of_date_before(desk: Desk, tape: Path, tmp_path: Path) -> None:
    earlier = [row | {"measurement_date": "2025-10-31", "cash_available_usd": "0"} for row in worked_example()]
    desk.run(write_csv(tmp_path / "october.csv", earlier))
    outcome = desk.run(tape)
    with open_records(desk.workspace, desk.clock) as store:
        found = changes(outcome.record, store.reader, run_document(outcome, desk.workspace))
    assert found["risk.collection_rate"] == Decimal("6.25")
    assert found["risk.par_30"] == 0


def many(count: int) -> list[dict[str, object]]:
    return [bucketed_row(f"G{index:03}", "100", b0="100") for index in range(count)]


def test_a_refused_tape_is_recorded_and_its_quarantine_published(desk: Desk, tape: Path, tmp_path: Path) -> None:
    good = desk.run(tape)
    path = write_csv(tmp_path / "bad.csv", [*many(8), BAD, BAD | {"loan_id": "B2", "cash_available_usd": "x"}])
    with pytest.raises(InputError) as caught:
        desk.run(path)
    assert caught.value.code == "RUN-103"
    assert caught.value.details["rows"] == {"in": 10, "accepted": 8, "quarantined": 2, "duplicates": 0}
    record = desk.runs()[0]
    assert (record.status, record.tape_path, record.as_of) == ("refused", "bad.csv", date(2025, 11, 30))
    assert record.rows is not None
    assert record.rows.as_tuple() == (10, 8, 2, 0)
    assert record.error is not None
    assert record.error["code"] == "RUN-103"
    counts = {(item.column, item.rows) for item in desk.quarantine_counts(record.run_id)}
    assert counts == {("cash_available_usd", 1), ("dpd_90_plus_usd", 2)}
    listed = read_csv(desk.workspace.outputs / "refused" / record.run_id / "quarantine.csv")
    assert [(row["line"], row["column_name"], row["value"]) for row in listed] == [
        ("10", "dpd_90_plus_usd", "n/a"),
        ("11", "cash_available_usd", "x"),
        ("11", "dpd_90_plus_usd", "n/a"),
    ]
    assert desk.folder(good).is_dir()
    assert desk.history("risk.par_30")[0].run_id == good.record.run_id


@pytest.mark.parametrize(("bad", "stops"), [(5, False), (6, True)])
def test_the_limit_of_rows_is_five_in_a_hundred(desk: Desk, tmp_path: Path, bad: int, *, stops: bool) -> None:
    rows = [*many(100 - bad), *(bucketed_row(f"B{index}", "0.01", b90="n/a") for index in range(bad))]
    path = write_csv(tmp_path / "tape.csv", rows)
    if stops:
        with pytest.raises(InputError, match=r"6 of 100 rows \(6.0 %\)"):
            desk.run(path)
        return
    outcome = desk.run(path)
    assert outcome.record.rows is not None
    assert outcome.record.rows.as_tuple() == (100, 95, 5, 0)


@pytest.mark.parametrize(("amount", "stops"), [("500", False), ("500.01", True)])
def test_the_limit_of_amount_is_five_in_a_hundred(desk: Desk, tmp_path: Path, amount: str, *, stops: bool) -> None:
    rows = [*(bucketed_row(f"G{index:03}", "100") for index in range(95)), bucketed_row("B", amount, cash="-1")]
    path = write_csv(tmp_path / "tape.csv", rows)
    if stops:
        with pytest.raises(InputError, match="% of the amount"):
            desk.run(path)
        return
    assert desk.run(path).record.status == "finished"


def test_an_amount_that_cannot_be_measured_counts_as_over(desk: Desk, tmp_path: Path) -> None:
    rows = [*many(99), bucketed_row("B", "n/a", b90="n/a")]
    with pytest.raises(InputError, match="cannot be measured"):
        desk.run(write_csv(tmp_path / "tape.csv", rows))


def test_strict_mode_stops_at_one_row_even_after_a_tolerant_run(desk: Desk, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "tape.csv", [*many(99), BAD])
    tolerant = desk.run(path)
    assert tolerant.record.status == "finished"
    for as_of in (None, date(2025, 11, 30)):
        with pytest.raises(InputError) as caught:
            desk.run(path, strict=True, as_of=as_of)
        assert caught.value.code == "RUN-103"
    assert desk.runs()[0].status == "finished"
    clean = write_csv(tmp_path / "clean.csv", many(99))
    assert desk.run(clean, strict=True).record.status == "finished"


def test_other_dates_are_counted_and_said(desk: Desk, tmp_path: Path) -> None:
    rows = [
        *worked_example(),
        *(row | {"measurement_date": day} for row in worked_example() for day in ("2025-10-31", "2025-09-30")),
    ]
    path = write_csv(tmp_path / "tape.csv", rows)
    outcome = desk.run(path)
    (warning,) = [item for item in outcome.record.warnings if item["code"] == "WARN-104"]
    assert warning["count"] == 6
    assert warning["text"] == "rows at 2 date(s) other than 2025-11-30; kept, not calculated"
    assert desk.kpis(outcome)["kpis"]["risk.par_30"]["rows_used"] == 3
    october = desk.run(path, as_of=date(2025, 10, 31))
    assert october.record.run_id != outcome.record.run_id
    with pytest.raises(InputError, match=r"TAPE-108.*its dates go from 2025-09-30 to 2025-11-30"):
        desk.run(path, as_of=date(2025, 10, 30))


def test_a_manifest_hashes_every_file(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.run(write_csv(tmp_path / "tape.csv", LOANS), csv_too=True)
    folder = desk.folder(outcome)
    text = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(text).hexdigest() == outcome.record.manifest_sha256
    manifest = json.loads(text)
    listed = {item["path"]: item for item in manifest["files"]}
    assert set(listed) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o222 == 0
        if path.name != "manifest.json":
            assert listed[path.name]["sha256"] == hash_file(path)
            assert listed[path.name]["size_bytes"] == path.stat().st_size
    restricted = {name for name, item in listed.items() if item["restricted"]}
    assert restricted == {"clean.parquet", "clean.csv", "loans.parquet", "quarantine.csv"}
    assert manifest["rows"] == {"in": 12, "accepted": 12, "quarantined": 0, "duplicates": 0}


def test_lineage_names_what_was_masked(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.run(write_csv(tmp_path / "tape.csv", LOANS))
    lineage = json.loads((desk.folder(outcome) / "lineage.json").read_text(encoding="utf-8"))
    steps = {item["column"]: item["steps"] for item in lineage["columns"]}
    masked = {name for name, done in steps.items() if any("HMAC-SHA-256" in step for step in done)}
    assert masked == {"customer_id"}
    version = json.loads((desk.folder(outcome) / "manifest.json").read_text())["masking_key"]
    assert any(version in step for step in steps["customer_id"])
    assert lineage["kpis"]["risk.par_90"]["columns"] == ["dpd_90_plus_usd", "total_receivable_usd"]
    assert lineage["absent"]["total_eligible_usd"] == "this tape does not have it"
    for path in desk.folder(outcome).iterdir():
        for person in (b"Customer 1", b"@example.org"):
            assert person not in path.read_bytes(), path.name


def test_suppressed_cells_say_nothing_in_any_shared_file(desk: Desk, tmp_path: Path) -> None:
    """Product c has two customers; b, the smallest of the others, is hidden so that nobody subtracts."""
    rows = [row | {"product": "c" if index < 2 else "b" if index < 6 else "a"} for index, row in enumerate(LOANS)]
    outcome = desk.run(write_csv(tmp_path / "tape.csv", rows))
    cells = desk.kpis(outcome)["segments"]["product"]
    assert set(cells) == {"a", "b", "c"}
    for name in ("b", "c"):
        for result in cells[name].values():
            assert result["status"] == "suppressed"
            assert not set(result) & {"value", "value_exact", "components", "low", "high", "rows_used", "null_counts"}
    assert cells["a"]["finance.outstanding"]["value"] == "600.00"
    shown = [row for row in read_csv(desk.folder(outcome) / "kpis.csv") if row["segment"] == "product"]
    for row in shown:
        if row["segment_value"] in ("b", "c"):
            assert row["status"] == "suppressed"
            assert not any(row[name] for name in ("value", "value_exact", "low", "high", "rows_used"))
    assert {row["segment_value"] for row in shown} == {"a", "b", "c"}
    with open_records(desk.workspace, desk.clock) as store:
        kept = [row for row in store.reader.kpi_values(outcome.record.run_id) if row.segment_value in ("b", "c")]
    assert kept
    assert all(
        (row.value, row.value_exact, row.low, row.high, dict(row.components)) == (None, None, None, None, {})
        for row in kept
    )


def test_a_value_called_none_is_not_the_missing_one(desk: Desk, tmp_path: Path) -> None:
    names = ["(none)"] * 4 + [""] * 4 + ["a"] * 4
    rows = [row | {"product": name} for row, name in zip(LOANS, names, strict=True)]
    outcome = desk.run(write_csv(tmp_path / "tape.csv", rows))
    cells = desk.kpis(outcome)["segments"]["product"]
    assert len(cells) == 3
    assert sum(Decimal(cell["finance.outstanding"]["value"]) for cell in cells.values()) == 1200


# --- releases are frozen once they ran ----------------------------------------------------------------------


def test_a_changed_formula_is_refused_once_the_release_has_run(desk: Desk, tape: Path) -> None:
    desk.run(tape)
    desk.edit("catalogue.yml", lambda text: text.replace("12 * SUM(", "13 * SUM("))
    with pytest.raises(ConfigError) as caught:
        desk.run(tape)
    assert caught.value.code == "REC-121"
    assert "copy releases/v2 to a new name" in caught.value.hint
    assert "--release" in caught.value.hint
    assert len(desk.runs()) == 1


def test_the_copy_under_a_new_name_runs(desk: Desk, tape: Path) -> None:
    first = desk.run(tape)
    copy = desk.workspace.root / "releases" / "v2b"
    for path in sorted(desk.release.rglob("*.yml")):
        target = copy / path.relative_to(desk.release)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            path.read_text(encoding="utf-8").replace("SUM(dpd_90_plus_usd) /", "2 * SUM(dpd_90_plus_usd) /")
        )
    second = desk.run(tape, release="v2b")
    assert second.record.run_id != first.record.run_id
    assert desk.kpis(second)["kpis"]["risk.par_90"]["value"] == "1.20"


def test_a_threshold_may_be_changed_and_new_runs_use_it(desk: Desk, tape: Path, tmp_path: Path) -> None:
    first = desk.run(tape)
    desk.edit("catalogue.yml", lambda text: text.replace("{warning: 5, critical: 8", "{warning: 2, critical: 2.4"))
    assert desk.run(tape).record.run_id == first.record.run_id
    other = desk.run(write_csv(tmp_path / "shuffled.csv", worked_example()[::-1]))
    assert desk.kpis(other)["kpis"]["risk.par_30"]["status"] == "critical"


def test_a_new_mapping_is_an_amendment(desk: Desk, tape: Path) -> None:
    desk.run(tape)
    mapping = (desk.release / "mappings" / "factoring.yml").read_text(encoding="utf-8")
    (desk.release / "mappings" / "other.yml").write_text(
        mapping.replace("name: factoring", "name: other"), encoding="utf-8"
    )
    assert desk.run(tape).earlier

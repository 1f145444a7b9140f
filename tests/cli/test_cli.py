"""The commands as a person or a script uses them."""

from __future__ import annotations

import csv
import hashlib
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from abaco_loans.cli import COMMANDS

from .conftest import Abaco

HEADER = (
    "loan_id,measurement_date,total_receivable_usd,total_eligible_usd,discounted_balance_usd,cash_available_usd,"
    "dpd_0_7_usd,dpd_7_30_usd,dpd_30_60_usd,dpd_60_90_usd,dpd_90_plus_usd,product"
)


def tape(path: Path, *rows: str) -> Path:
    path.write_text("\n".join((HEADER, *rows)) + "\n")
    return path


def row(loan: str, receivable: int, late: int = 0, day: str = "2025-11-30", product: str = "a") -> str:
    rest = receivable - late
    return f"{loan},{day},{receivable},{receivable},{receivable},{receivable // 10},{rest},0,{late},0,0,{product}"


@pytest.fixture
def workspace(abaco: Abaco, tmp_path: Path) -> Path:
    folder = tmp_path / "book"
    assert abaco("init", folder).code == 0
    return folder


def test_help_names_every_command_and_imports_none(abaco: Abaco) -> None:
    said = abaco("--help")
    assert said.code == 0
    assert all(name in said.out for name in COMMANDS)
    code = (
        "import sys; from abaco_loans.cli import cli; cli.main(['--help'], standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('duckdb', 'sqlalchemy', 'sqlglot', 'pydantic', 'yaml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize(
    "before",
    [
        "atexit.register(print, 'told')",
        "threading.Thread(target=lambda: (threading.main_thread().join(), print('told'))).start()",
    ],
)
def test_the_process_ends_at_once_and_tells_everybody_who_waits(before: str) -> None:
    code = f"import atexit, sys, threading; {before}; sys.argv = ['abaco', '--version']\n"
    code += "from abaco_loans.cli import run; run()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[1:], ended.stderr) == (0, ["told"], "")


def test_the_process_ends_with_its_code_and_survives_a_reader_that_left() -> None:
    command = [sys.executable, "-m", "abaco_loans"]
    assert subprocess.run([*command, "nothing"], stderr=subprocess.DEVNULL, check=False).returncode == 2
    with subprocess.Popen([*command, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode != 0


def test_the_demo_makes_a_workspace_that_answers(abaco: Abaco, demo_folder: Path) -> None:
    listed = abaco("runs", "list", "-w", demo_folder, "--json").document
    assert [item["layout"] for item in listed] == ["bucketed", "snapshot", "servicing"]
    assert all(item["status"] == "finished" for item in listed)
    for item in listed:
        rows = item["rows"]
        assert rows["in"] == rows["accepted"] + rows["quarantined"] + rows["duplicates"]
        assert rows["quarantined"] > 0
    assert abaco("audit", "verify", "-w", demo_folder).code == 0


def test_a_run_prints_one_object_with_all_that_is_promised(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    path = tape(tmp_path / "t.csv", *(row(f"L{n}", 1000, 50 if n == 0 else 0) for n in range(10)))
    said = abaco("run", path, "-w", workspace, "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document
    assert document["tape"] == {
        "path": "t.csv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "layout": "bucketed",
        "mapping": "bucketed",
        "rows": 10,
    }
    assert document["rows"] == {"in": 10, "accepted": 10, "quarantined": 0, "duplicates": 0}
    assert (document["status"], document["release"], document["definition"]) == ("finished", "v2", "original")
    assert document["as_of"] == "2025-11-30"
    par = document["kpis"]["risk.par_30"]
    assert (par["value"], par["value_exact"], par["unit"], par["status"]) == ("0.50", "0.5", "%", "ok")
    assert par["components"]["dpd_30_60_usd"] == "50.0000"
    assert (par["low"], par["high"]) == ("0.50", "0.50")
    for item in document["outputs"]:
        assert hashlib.sha256((workspace / item["path"]).read_bytes()).hexdigest() == item["sha256"]
    again = abaco("run", path, "-w", workspace, "--json").document
    assert again["earlier"] is True
    assert again["kpis"] == document["kpis"]
    assert again["run_id"] == document["run_id"]


def test_the_table_for_people(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    first = tape(tmp_path / "a.csv", *(row(f"L{n}", 1000, day="2025-10-31") for n in range(10)))
    later = tape(tmp_path / "b.csv", *(row(f"L{n}", 1000, 60, product="ab"[n % 2]) for n in range(10)))
    assert abaco("run", first, "-w", workspace).code == 0
    said = abaco("run", later, "-w", workspace, "--by", "product")
    line = next(text for text in said.out.splitlines() if text.startswith("risk.par_30 "))
    assert line.split() == ["risk.par_30", "6.00", "%", "WARNING", "from", "5", "/", "8", "+6.00"]
    assert "KPIs cannot be computed" in said.out
    assert [text.split()[:2] for text in said.out.splitlines() if text.startswith(("a ", "b "))] == [
        ["a", "6.00"],
        ["b", "6.00"],
    ]
    assert "disbursed_in_period_usd" in abaco("run", later, "-w", workspace, "--all").out
    assert abaco("run", later, "-w", workspace, "--by", "regio").code == 2


def test_a_kpi_without_a_range_says_why(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    rows = [row(f"L{n}", 1000, 60 * (n % 2)) for n in range(100)]
    unpaid = row("L100", 1000).replace(",100,1000,", ",much,1000,")
    said = abaco("run", tape(tmp_path / "a.csv", *rows, unpaid), "-w", workspace).out.splitlines()
    assert "2.97 .. 3.00" in next(text for text in said if text.startswith("risk.par_30 "))
    why = [text for text in said if text.startswith("if quarantine came back, the range of ")]
    assert why[0].endswith("risk.collection_rate is not known: 1 quarantined row(s) give no cash_available_usd")
    assert why[1].startswith("if quarantine came back, the range of risk.portfolio_health is not known: ")
    assert len(why) == 2


def test_why_kpis_cannot_be_computed_is_said_where_a_row_is_the_cause(
    abaco: Abaco, workspace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tape.csv"
    rows = ["A,2025-11-30,c1,100,0,USD", "B,2025-11-30,c2,100,0,EUR"]
    path.write_text(
        "\n".join(("loan_id,measurement_date,customer_id,outstanding_principal,days_past_due,currency", *rows))
    )
    said = abaco("run", path, "-w", workspace).out.splitlines()
    why = [line.strip() for line in said if " of them: " in line]
    assert [line.split(" of them: ")[1] for line in why] == ["1 row(s) are in a currency without a rate"]
    assert any("rows in EUR at the date have no rate" in line for line in said)


def test_small_cells_are_suppressed_in_the_document(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    rows = [row(f"L{n}", 1000, product="abbbbcccc"[n]) for n in range(9)]
    cells = abaco("run", tape(tmp_path / "t.csv", *rows), "-w", workspace, "--json").document["segments"]["product"]
    assert cells["a"]["risk.par_30"]["status"] == "suppressed"
    assert set(cells["a"]["risk.par_30"]) == {"status", "reason", "unit", "thresholds"}
    hidden = [name for name, cell in cells.items() if cell["risk.par_30"]["status"] == "suppressed"]
    assert len(hidden) == 2, "one hidden cell could be had by subtraction"


def test_quarantine_lists_rows_of_finished_and_refused_runs(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    rows = [row(f"L{n}", 1000) for n in range(40)]
    rows[7] = rows[7].replace("2025-11-30", "2025-11-31")
    assert abaco("run", tape(tmp_path / "t.csv", *rows), "-w", workspace).code == 0
    document = abaco("quarantine", "-w", workspace, "--json").document
    assert document["quarantined"] == 1
    assert [(item["line"], item["column_name"], item["code"], item["value"]) for item in document["rows"]] == [
        ("9", "measurement_date", "TAPE-205", "2025-11-31")
    ]
    assert "2025-11-31" in abaco("quarantine", "-w", workspace).out
    bad = tape(tmp_path / "bad.csv", *(text.replace("2025-11-30", "never") for text in rows))
    refused = abaco("run", bad, "-w", workspace, "--json")
    assert refused.code == 3
    assert refused.document["error"]["code"] == "RUN-103"
    assert refused.document["rows"] == {"in": 40, "accepted": 0, "quarantined": 40, "duplicates": 0}
    assert "hint" in refused.err
    assert len(abaco("quarantine", "-w", workspace, "--json").document["rows"]) == 40
    shown = abaco("runs", "show", "-w", workspace)
    assert "RUN-103" in shown.out
    assert "refused" in shown.out


def test_kpis_are_listed_shown_explained_and_remembered(abaco: Abaco, demo_folder: Path) -> None:
    listed = abaco("kpi", "list", "-w", demo_folder, "--json").document
    assert {"risk.par_30", "risk.par_90", "risk.collection_rate", "risk.portfolio_health"} <= {i["id"] for i in listed}
    risk = abaco("kpi", "list", "-w", demo_folder, "--department", "compliance", "--json").document
    assert 0 < len(risk) < len(listed)
    shown = abaco("kpi", "show", "risk.par_30", "-w", demo_folder)
    assert "formula" in shown.out
    assert "total_receivable_usd = " in shown.out
    explained = abaco(
        "kpi", "explain", "risk.par_30", demo_folder / "tapes" / "servicing", "-w", demo_folder, "--json"
    ).document
    assert [item["definition"]["name"] for item in explained["definitions"]] == ["original", "investor", "iris", "mfrs"]
    assert len({item["value_exact"] for item in explained["definitions"]}) == 4
    table = abaco("kpi", "explain", "risk.par_30", demo_folder / "tapes" / "bucketed.csv", "-w", demo_folder).out
    assert table.count("not computable") == 3
    history = abaco("kpi", "history", "risk.par_30", "-w", demo_folder, "--json").document
    assert [item["definition"] for item in history] == ["investor", "original", "original"]
    assert abaco("kpi", "show", "risk.par30", "-w", demo_folder).code == 2
    assert "risk.par_30" in abaco("kpi", "show", "risk.par30", "-w", demo_folder).err
    assert abaco("kpi", "history", "risk.par_30", "--segment", "x", "-w", demo_folder).code == 2


def test_an_auditor_checks_the_export_with_python_alone(
    abaco: Abaco, demo_folder: Path, tmp_path: Path, repository: Path
) -> None:
    out = tmp_path / "audit.jsonl"
    assert abaco("audit", "export", "-w", demo_folder, "--out", out).code == 0
    check = [sys.executable, "-I", "-S", str(repository / "scripts" / "verify_audit.py"), str(out)]
    good = subprocess.run(check, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    out.write_text(out.read_text().replace("ingestion.finished", "ingestion.finishet", 1))
    bad = subprocess.run(check, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "edited" in bad.stdout + bad.stderr


def test_an_evidence_pack_is_checked_with_python_alone(
    abaco: Abaco, demo_folder: Path, tmp_path: Path, repository: Path
) -> None:
    out = tmp_path / "pack.zip"
    made = abaco("audit", "export", "-w", demo_folder, "--pack", out, "--json").document
    assert (made["signed"], made["left_out"]) == (True, {})
    key = demo_folder / "records" / "anchors" / "anchor.pub"
    check = [sys.executable, "-I", "-S", str(repository / "scripts" / "verify_audit.py"), str(out), "--key", str(key)]
    good = subprocess.run(check, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    assert made["sha256"] in abaco("audit", "export", "-w", demo_folder, "--pack", out).out
    for wrong in (
        ("--since", "2026-01-01"),
        ("--cutover", "c1"),
        ("--pack", out, "--out", out),
        ("--pack", out, "--cutover", "c1", "--since", "2026-01-01"),
        ("--pack", out, "--cutover", "nobody"),
    ):
        assert abaco("audit", "export", "-w", demo_folder, *wrong).code == 2


def test_a_changed_ledger_is_found_with_its_place(abaco: Abaco, demo_folder: Path, tmp_path: Path) -> None:
    import sqlite3

    copy = tmp_path / "copy"
    shutil.copytree(demo_folder, copy)
    with sqlite3.connect(copy / "records" / "abaco.db") as database:
        database.execute("UPDATE events SET actor = 'nobody' WHERE seq = 3")
    database.close()
    said = abaco("audit", "verify", "-w", copy, "--json")
    assert said.code == 1
    assert (said.document["kind"], said.document["first_bad_seq"]) == ("edited", 3)
    assert abaco("doctor", "-w", copy).code == 1


def test_exports_open_in_other_programs(abaco: Abaco, demo_folder: Path, tmp_path: Path) -> None:
    import openpyxl

    book = tmp_path / "run.xlsx"
    assert abaco("runs", "export", "-w", demo_folder, "--out", book).code == 0
    sheet = openpyxl.load_workbook(book)["KPIs"]
    found = {line[0].value: line[2].value for line in sheet.iter_rows()}
    shown = abaco("runs", "show", "-w", demo_folder, "--json").document
    assert found["risk.par_30"] == shown["kpis"]["risk.par_30"]["value"]
    text = tmp_path / "run.md"
    assert abaco("runs", "export", "-w", demo_folder, "--as", "md", "--out", text).code == 0
    assert "PAR 30" in text.read_text()
    assert abaco("runs", "export", "-w", demo_folder, "--as", "md", "--out", text).code == 2
    assert abaco("runs", "export", "-w", demo_folder, "--as", "pdf", "--out", tmp_path / "x").code == 2


def test_the_clean_tape_as_csv_on_request(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    path = tape(tmp_path / "t.csv", row("=1+1", 1000), row("L2", 1000), row("L3", 1000))
    document = abaco("run", path, "-w", workspace, "--csv", "--json").document
    clean = next(workspace / item["path"] for item in document["outputs"] if item["path"].endswith("clean.csv"))
    assert [line["loan_id"] for line in csv.DictReader(clean.read_text().splitlines())] == ["'=1+1", "L2", "L3"]
    other = tape(tmp_path / "o.csv", row("L2", 1000), row("L3", 1000), row("L4", 1000))
    assert abaco("run", other, "-w", workspace).code == 0
    assert "RUN-107" in abaco("run", other, "-w", workspace, "--csv").err


def test_sample_writes_three_tapes_that_run(abaco: Abaco, workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    made = abaco("sample", "--loans", 150, "--months", 8, "--seed", 3, "--currencies", 2, "--out", out, "--json")
    assert made.document["loans"] == 150
    for name in ("bucketed.csv", "snapshot.csv", "servicing"):
        said = abaco("run", out / name, "-w", workspace, "--json")
        assert said.code == 0, said.err
        assert said.document["rows"]["quarantined"] == 0
        assert said.document["kpis"]["risk.par_30"]["value"] is not None


def test_doctor_speaks_of_machine_and_workspace(
    abaco: Abaco, demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {item["name"]: item for item in abaco("doctor", "-w", demo_folder, "--json").document["checks"]}
    assert checks["outputs"]["status"] == "ok"
    assert checks["ledger"]["status"] == "ok"
    monkeypatch.chdir(tmp_path)
    assert "abaco init" in abaco("doctor").out
    copy = tmp_path / "copy"
    shutil.copytree(demo_folder, copy)
    (copy / "keys" / "masking.key").chmod(0o644)
    kpis = next((copy / "outputs").glob("*/*/kpis.json"))
    kpis.chmod(0o644)
    kpis.write_text(kpis.read_text().replace('"value": "', '"value": "9', 1))
    bad = abaco("doctor", "-w", copy, "--json")
    assert bad.code == 1
    found = {item["name"]: item["status"] for item in bad.document["checks"]}
    assert (found["outputs"], found["masking key"]) == ("bad", "bad")
    assert abaco("runs", "show", kpis.parent.name, "-w", copy).code == 4


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["run", "nothing.csv"], 2, "CLI-101"),
        (["run", "nothing.csv", "-w", "{book}"], 2, "SRC-201"),
        (["run", "nothing.csv", "-w", "{book}", "--as-of", "30.11.2025"], 2, "CLI-103"),
        (["run", "nothing.csv", "-w", "{book}", "--release", "v9"], 2, "REL-103"),
        (["panel", "nothing", "-w", "{book}", "--from", "2025-13"], 2, "CLI-103"),
        (["panel", "nothing", "-w", "{book}", "--to", "2025-02-30"], 2, "CLI-103"),
        (["kpi", "list", "-w", "{book}", "--department", "complience"], 2, "CLI-110"),
        (["init", "{book}"], 2, "CLI-102"),
        (["runs", "show", "-w", "{book}"], 2, "RUN-105"),
        (["runs", "show", "x", "-w", "{book}"], 2, "RUN-104"),
        (["quarantine", "-w", "{book}"], 2, "RUN-105"),
    ],
)
def test_a_wrong_call_says_what_where_and_what_to_do(
    abaco: Abaco, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int, error: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = abaco(*(word.format(book=workspace) for word in words))
    assert said.code == code
    assert f"code:  {error}" in said.err
    assert "hint:" in said.err
    assert said.out == ""


def test_an_unknown_option_is_a_wrong_usage(abaco: Abaco) -> None:
    assert abaco("run", "--nonsense").code == 2


def test_settings_are_checked_with_their_line(abaco: Abaco, workspace: Path) -> None:
    (workspace / "abaco.yml").write_text("release: v2\nmemori_mb: 9\n")
    said = abaco("kpi", "list", "-w", workspace, "--json")
    assert said.code == 2
    assert said.document["error"]["where"] == "abaco.yml:2"


def test_start_up_is_quick() -> None:
    """`abaco --help` under 0.2 s (SPEC §6), in time of the processor: the machine may be busy."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    best = 9.0
    for _ in range(6):
        before = spent()
        subprocess.run([sys.executable, "-m", "abaco_loans", "--help"], stdout=subprocess.DEVNULL, check=True)
        best = min(best, spent() - before)
    assert best < 0.2


def test_json_is_the_only_thing_on_stdout(abaco: Abaco, demo_folder: Path) -> None:
    for words in (["runs", "list"], ["kpi", "list"], ["quarantine"], ["doctor"], ["audit", "verify"]):
        json.loads(abaco(*words, "-w", demo_folder, "--json").out)

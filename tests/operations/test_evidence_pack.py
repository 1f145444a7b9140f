"""The evidence pack: what is in it, what must never be, and that whoever alters it is found with Python alone."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import UsageError
from abaco_loans.operations.evidence_pack import LEDGER, LIST, README, SIGNATURE, VERIFIER, Packed, Scope, write_pack
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.anchors import read_anchors, write_anchor
from abaco_loans.records.cutovers import NewCutover
from abaco_loans.wiring import open_records
from tests.operations.desk import KEY, Desk
from tests.operations.shadow_desk import program, shadow

PERSON, LOAN, CELL, STRAY, PASSWORD = (f"Planted{word}Rosales" for word in ("A", "B", "C", "D", "E"))
AS_OF = "2025-11-30"
# Another balance than the tape says, so that the report of the shadow run names loans.
PROGRAM = """\
import csv, sys
tape, as_of, out = sys.argv[1:4]
with open(tape, newline="") as given, open(out, "w", newline="") as made:
    lines = csv.writer(made)
    lines.writerow(["loan_id", "outstanding", "days"])
    lines.writerows([row["loan_id"], "9" + row["outstanding_principal"], "0"] for row in csv.DictReader(given))
print('{"kpis": {"risk.par_30": 50.0}}')
"""
Content = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A workspace in which much was planted, its pack, and what the pack's own script says of a pack."""

    desk: Desk
    workspace: Workspace
    pack: Path
    made: Packed
    empty: Path

    def content(self) -> Content:
        """The files of the pack."""
        with zipfile.ZipFile(self.pack) as pack:
            return {name: pack.read(name) for name in pack.namelist()}

    def write(self, out: Path, scope: Scope | None = None) -> Packed:
        """Write a pack of the workspace."""
        with open_records(self.desk.workspace, self.desk.clock) as records:
            return write_pack(records, self.workspace, out, scope or Scope())

    def checked(self, data: bytes, *options: str) -> tuple[int, str]:
        """Exit code and words of the script, which sees neither packages, environment nor anything of the workspace."""
        folder = self.empty / hashlib.sha256(data).hexdigest()[:12]
        folder.mkdir(exist_ok=True)
        (folder / "pack.zip").write_bytes(data)
        (folder / VERIFIER).write_bytes(self.content()[VERIFIER])
        done = subprocess.run(
            [sys.executable, "-I", "-S", VERIFIER, "pack.zip", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={},
        )
        return done.returncode, done.stdout + done.stderr


def tape(path: Path, *, bad: int = 0) -> Path:
    lines = ["loan_id,measurement_date,customer_id,outstanding_principal,days_past_due,product"]
    lines += [f"{LOAN}{n:03d},{AS_OF},{PERSON}{n % 9},{1000 + n}.25,{n},factoring" for n in range(80)]
    lines += [f"{LOAN}{900 + n},{AS_OF},{PERSON},1000.00,{CELL},factoring" for n in range(bad)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def packing(tmp_path_factory: pytest.TempPathFactory) -> Packing:
    folder = tmp_path_factory.mktemp("packing")
    desk = Desk(folder / "workspace")
    program(desk, "old", PROGRAM)
    root = desk.workspace.root
    for name in ("releases/old/.env", "releases/v2/notes.txt", "alerts.yml", "reports/mine.html"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(STRAY, encoding="utf-8")
    desk.run(tape(folder / "good.csv"))
    with pytest.raises(Exception, match="RUN-103"):
        desk.run(tape(folder / "bad.csv", bad=12))
    # What a program says as it fails may be anything.
    program(desk, "broken", f"raise SystemExit({PERSON[:9]!r} + {PERSON[9:]!r})")
    for baseline in ("old", "broken"):
        shadow(desk, folder / "good.csv", baseline, "v2")
    with open_records(desk.workspace, desk.clock) as records:
        for cutover_id, old in (("c1", "old"), ("c2", "v9")):
            records.cutover_writer.add(
                NewCutover(
                    cutover_id=cutover_id, kind="cutover", from_release=old, to_release="v2", plan="{}", plan_hash="h"
                )
            )
        head = records.head()
    write_anchor(
        desk.workspace.anchors, desk.workspace.ledger_key, count=head.count, head=head.hash, at=desk.clock.now()
    )
    for name in ("cutover-c1", "rollback-c1", "cutover-unknown"):
        (root / "reports" / name).mkdir()
        for file in ("summary.json", "summary.md", ".hidden.json", "loans.csv"):
            text = "{}" if file.startswith("summary") and "unknown" not in name else STRAY
            (root / "reports" / name / file).write_text(text, encoding="utf-8")
    settings = replace(
        desk.workspace.settings,
        records_url=f"postgresql://ana:{PASSWORD}@db/abaco?password={PASSWORD}",
        masking_key_file=f"/{PASSWORD}",
    )
    workspace = replace(desk.workspace, settings=settings)
    pack, empty = folder / "pack.zip", folder / "empty"
    empty.mkdir()
    with open_records(desk.workspace, desk.clock) as records:
        made = write_pack(records, workspace, pack, Scope())
    return Packing(desk=desk, workspace=workspace, pack=pack, made=made, empty=empty)


def zipped(content: Content) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        for name, data in content.items():
            pack.writestr(name, data)
    return out.getvalue()


def relisted(content: Content, **ledger: Any) -> Content:
    """The list made anew for what the files are now, and not signed: by someone who covers their tracks."""
    said = json.loads(content[LIST])
    said["files"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in content.items() if name not in (LIST, SIGNATURE)
    }
    said["ledger"] |= ledger
    return {name: data for name, data in content.items() if name != SIGNATURE} | {LIST: json.dumps(said).encode()}


# --- what is in it ---


def test_it_holds_the_evidence_and_says_what_is_missing(packing: Packing) -> None:
    content = packing.content()
    (run,) = (run for run in packing.desk.runs() if run.status == "finished")
    names = {name for name in content if not name.startswith("releases/")}
    shadows = {name.split("/")[1] for name in names if name.startswith("shadow/")}
    assert len(shadows) == 2
    assert names == {
        README, LIST, SIGNATURE, VERIFIER, LEDGER, "settings.json", f"runs/{run.run_id}/manifest.json",
        *(f"shadow/{shadow_id}/report.{form}" for shadow_id in shadows for form in ("json", "html")),
        *(f"reports/{kind}-c1/summary.{form}" for kind in ("cutover", "rollback") for form in ("json", "md")),
    }  # fmt: skip
    released = {name for name in content if name.startswith("releases/")}
    assert {"releases/old/program.py", "releases/old/release.yml", "releases/v2/catalogue.yml"} <= released
    assert "releases/v1/legacy.py" in released
    manifest = packing.desk.workspace.outputs / (run.output_folder or "") / "manifest.json"
    assert content[f"runs/{run.run_id}/manifest.json"] == manifest.read_bytes()
    assert (packing.made.signed, packing.made.files, dict(packing.made.left_out)) == (True, len(content), {})
    assert packing.made.sha256 == hashlib.sha256(packing.pack.read_bytes()).hexdigest()
    assert packing.pack.stat().st_mode & 0o777 == 0o600
    assert json.loads(content["settings.json"])["release"] == "v2"


def test_the_same_state_gives_the_same_bytes(packing: Packing, tmp_path: Path) -> None:
    packing.desk.clock.move_to(packing.desk.clock.now() + timedelta(days=3))
    assert packing.write(tmp_path / "again.zip").sha256 == packing.made.sha256


def test_nothing_that_was_planted_is_in_it(packing: Packing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ABACO_SLACK_URL", f"https://{PASSWORD}")
    assert packing.write(tmp_path / "pack.zip").sha256 == packing.made.sha256
    workspace = packing.desk.workspace
    stored = b"".join(path.read_bytes() for path in workspace.shadows.rglob("report.json"))
    assert LOAN.encode() in stored, "the report of the shadow run names no loan: nothing is tested here"
    keys = [path.read_bytes().strip() for path in (workspace.root / "keys").iterdir()]
    markers = [*(item.encode() for item in (PERSON, LOAN, CELL, STRAY, PASSWORD, KEY)), *keys]
    assert len(markers) >= 7
    for name, data in packing.content().items():
        assert not [marker for marker in markers if marker in data or marker in name.encode()], name


def test_a_pack_of_one_cutover_speaks_of_its_releases(packing: Packing, tmp_path: Path) -> None:
    made = packing.write(tmp_path / "c2.zip", Scope(cutover_id="c2"))
    with zipfile.ZipFile(made.path) as pack:
        names = pack.namelist()
    assert not [name for name in names if name.startswith(("shadow/", "reports/", "releases/v1", "releases/old"))]
    assert [name for name in names if name.startswith("runs/")]
    assert made.left_out == {"releases/v9": "it is gone"}
    assert packing.checked(made.path.read_bytes())[0] == 0
    with pytest.raises(UsageError, match="CUT-105"):
        packing.write(tmp_path / "c3.zip", Scope(cutover_id="c3"))
    assert not (tmp_path / "c3.zip").exists()


def test_a_pack_of_some_days_has_what_ended_then_and_the_whole_ledger(packing: Packing, tmp_path: Path) -> None:
    made = packing.write(tmp_path / "later.zip", Scope(since=date(2025, 12, 2)))
    same = packing.write(tmp_path / "day.zip", Scope(since=date(2025, 12, 1)))
    assert (made.events, same.files) == (packing.made.events, packing.made.files)
    with zipfile.ZipFile(made.path) as pack:
        assert not [name for name in pack.namelist() if name.startswith(("runs/", "shadow/", "reports/"))]


def test_what_is_gone_is_said_and_what_was_changed_is_found(packing: Packing, tmp_path: Path) -> None:
    (run,) = (run for run in packing.desk.runs() if run.status == "finished")
    report, _ = packing.desk.workspace.shadows.rglob("report.json")
    manifest = packing.desk.workspace.outputs / (run.output_folder or "") / "manifest.json"
    kept, before = report.read_bytes(), manifest.read_bytes()
    manifest.parent.chmod(0o700)
    manifest.chmod(0o600)
    try:
        report.write_bytes(kept + b" ")
        manifest.write_bytes(before + b" ")
        made = packing.write(tmp_path / "changed.zip")
        assert set(made.left_out) == {f"shadow/{report.parent.name}/report.json"}
        code, said = packing.checked(made.path.read_bytes())
        assert (code, said.count("BAD")) == (1, 1)
        assert f"BAD: changed: runs/{run.run_id}/manifest.json is not what the ledger says" in said
        manifest.unlink()
        assert f"runs/{run.run_id}/manifest.json" in packing.write(tmp_path / "gone.zip").left_out
    finally:
        report.write_bytes(kept)
        manifest.write_bytes(before)


# --- an auditor with Python alone ---


def test_a_whole_pack_holds_and_what_was_not_checked_is_said(packing: Packing) -> None:
    data = packing.pack.read_bytes()
    key = read_anchors(packing.workspace.anchors).public_key
    code, said = packing.checked(data)
    assert code == 0, said
    assert f"NOT CHECKED: whose key it is: {key}" in said
    code, said = packing.checked(data, "--key", key)
    assert (code, "whose key" in said) == (0, False)
    assert "OK: the list is signed by the key that you gave" in said
    assert "NOT CHECKED: what else a shadow report says" in said
    code, said = packing.checked(data, "--key", "ab" * 32)
    assert (code, "forged_anchor" in said, "signature does not hold" in said) == (1, True, True)


def without_event(content: Content) -> Content:
    lines = content[LEDGER].splitlines(keepends=True)
    gone = next(index for index, line in enumerate(lines) if b'"seq": 5,' in line)
    return content | {LEDGER: b"".join(lines[:gone] + lines[gone + 1 :])}


def cut_short(content: Content) -> Content:
    """The last three events are gone, and the list knows nothing of them."""
    lines = content[LEDGER].splitlines(keepends=True)
    last = json.loads(lines[-4])["event"]
    return relisted(content | {LEDGER: b"".join(lines[:-3])}, events=last["seq"], head=last["hash"])


def swapped_anchor(content: Content) -> Content:
    """Another head under the signature of the anchor that stood there."""
    lines = content[LEDGER].splitlines(keepends=True)
    place = max(index for index, line in enumerate(lines) if line.startswith(b'{"anchor"'))
    anchor = json.loads(lines[place])["anchor"] | {"head": "ab" * 32}
    lines[place] = json.dumps({"anchor": anchor}).encode() + b"\n"
    return content | {LEDGER: b"".join(lines)}


def other_manifest(content: Content) -> Content:
    name = next(name for name in content if name.startswith("runs/"))
    return content | {name: content[name].replace(b"2025", b"2024", 1)}


ALTERED: dict[str, tuple[Callable[[Content], Content], str]] = {
    "a file is changed": (lambda c: c | {"settings.json": b"{}"}, "changed: settings.json"),
    "the script is changed": (lambda c: c | {VERIFIER: b""}, f"changed: {VERIFIER}"),
    "a file is removed": (lambda c: {k: v for k, v in c.items() if k != README}, f"missing: {README}"),
    "a file is added": (lambda c: c | {"reports/more.md": b""}, "added: reports/more.md"),
    "an event is removed": (without_event, "deleted: ledger.jsonl: event 5 was deleted"),
    "an event is removed, listed anew": (lambda c: relisted(without_event(c)), "event 5 was deleted"),
    "the ledger is cut short": (cut_short, "truncated: ledger.jsonl"),
    "an anchor is swapped": (swapped_anchor, "changed: ledger.jsonl"),
    "an anchor is swapped, listed anew": (lambda c: relisted(swapped_anchor(c)), "forged_anchor: ledger.jsonl"),
    "a manifest is changed, listed anew": (lambda c: relisted(other_manifest(c)), "is not what the ledger says of"),
    "the ledger is removed": (lambda c: {k: v for k, v in c.items() if k != LEDGER}, f"missing: {LEDGER}"),
    "listed anew beside the old signature": (
        lambda c: relisted(c | {README: b"all is well"}) | {SIGNATURE: c[SIGNATURE]},
        "its signature does not hold",
    ),
}


@pytest.mark.parametrize("done", ALTERED)
def test_what_is_altered_is_found_and_named(done: str, packing: Packing) -> None:
    alter, found = ALTERED[done]
    code, said = packing.checked(zipped(alter(packing.content())))
    assert (code, found in said) == (1, True), said
    assert "OK" not in said


def test_a_list_that_nobody_signed_is_never_called_signed(packing: Packing) -> None:
    """Whoever can change everything is found by the key that the auditor kept, and by nothing else."""
    data = zipped(relisted(packing.content() | {README: b"all is well"}))
    code, said = packing.checked(data)
    assert (code, "is signed" in said, "NOT CHECKED: who made the list" in said) == (0, False, True)
    code, said = packing.checked(data, "--key", read_anchors(packing.workspace.anchors).public_key)
    assert (code, f"missing: {SIGNATURE}" in said) == (1, True)


def test_a_damaged_member_is_named_and_what_is_no_pack_is_not_judged(packing: Packing) -> None:
    content = packing.content()
    data = bytearray(zipped(content))
    data[data.index(content["settings.json"]) + 5] ^= 1
    code, said = packing.checked(bytes(data))
    assert (code, "changed: settings.json" in said) == (1, True)
    for other in (zipped({"a": b"b"}), packing.pack.read_bytes()[:-40], b""):
        assert packing.checked(other)[0] == 2

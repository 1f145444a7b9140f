"""`abaco validate` of a workspace that is broken or hostile: FAIL or UNKNOWN with words; no traceback, no PASS."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.operations.check_audit import check_audit
from abaco_loans.operations.check_integrity import check_integrity
from abaco_loans.operations.repeat_run import repeat_last_run
from abaco_loans.operations.validate_production import REPORT, validate_production
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.watch.check import Check, Report, Status
from tests.operations.desk import NOON, Desk, worked_example, write_csv
from tests.operations.validate_desk import opened, part, tools_of

BAD = {Status.FAIL, Status.UNKNOWN}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("made")
    desk = Desk(folder / "workspace")
    desk.run(write_csv(folder / "book.csv", worked_example()))
    return desk


@pytest.fixture
def ran(made: Desk, tmp_path: Path) -> Desk:
    """A workspace with one run."""
    desk = copy.copy(made)
    shutil.copytree(made.workspace.root, tmp_path / "workspace", symlinks=True)
    desk.workspace = open_workspace(tmp_path / "workspace", desk.environment)
    desk.clock = FixedClock(NOON + timedelta(hours=1))
    return desk


def published(desk: Desk, name: str) -> Path:
    """A published file of the run, made writable."""
    path = desk.workspace.outputs / (desk.runs()[0].output_folder or "") / name
    path.parent.chmod(0o700)
    path.chmod(0o600)
    return path


def integrity(desk: Desk) -> Check:
    with opened(desk) as production:
        return check_integrity(production)


def gone(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *(("clean.parquet", harm) for harm in (gone, truncated, a_folder, a_loop)),
        *(("manifest.json", harm) for harm in (gone, truncated, emptied, a_folder)),
        ("kpis.json", gone),
        ("quarantine.csv", emptied),
        ("lineage.json", truncated),
    ],
)
def test_a_published_file_that_is_broken(name: str, harm: Callable[[Path], None], ran: Desk) -> None:
    harm(published(ran, name))
    found = integrity(ran)
    files = part(found, "published_files")
    assert (files.status, name in files.words) == (Status.FAIL, True)
    for looked in ("rows_add_up", "keys_unique", "required_values", "values_recorded"):
        assert part(found, looked).status is Status.UNKNOWN
    with opened(ran) as production:
        assert repeat_last_run(production).found.status in BAD


def forged(desk: Desk, name: str, content: bytes) -> None:
    """Another content, and a manifest that vouches for it; the record still knows the old manifest."""
    path, manifest = published(desk, name), published(desk, "manifest.json")
    path.write_bytes(content)
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    for item in listed["files"]:
        if item["path"] == name:
            item |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest.write_text(json.dumps(listed), encoding="utf-8")


def test_a_manifest_that_vouches_for_a_forged_file_is_not_believed(ran: Desk) -> None:
    forged(ran, "kpis.json", b'{"kpis": {}, "segments": {}}')
    assert part(integrity(ran), "published_files").status is Status.FAIL


def noise(database: Path) -> None:
    database.write_bytes(os.urandom(4096))


def torn(database: Path) -> None:
    data = bytearray(database.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    database.write_bytes(bytes(data))


def without_runs(database: Path) -> None:
    with closing(sqlite3.connect(database)) as raw, raw:
        raw.execute("DROP TABLE runs")


@pytest.mark.slow
@pytest.mark.parametrize("harm", [noise, torn, without_runs, gone])
def test_records_that_are_broken(harm: Callable[[Path], None], ran: Desk) -> None:
    database = ran.workspace.root / "records" / "abaco.db"
    for left in database.parent.glob("abaco.db-*"):
        left.unlink()
    harm(database)
    report = validate_production(tools_of(ran))
    assert report.status in BAD
    assert part(report, "chain_and_anchors").status in BAD
    said = json.loads((ran.workspace.root / REPORT).read_text(encoding="utf-8"))
    assert said["status"] == report.status
    assert "audit_trail" in {item["check"] for item in said["issues"]}


def broken_release(ran: Desk, name: str, content: bytes) -> Report:
    (ran.release / name).write_bytes(content)
    return validate_production(tools_of(ran))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [("catalogue.yml", b"\xff\xfe\x00"), ("contracts/bucketed.yml", b"")],
)
def test_a_release_that_cannot_be_read(name: str, content: bytes, ran: Desk) -> None:
    report = broken_release(ran, name, content)
    assert report.status is Status.FAIL
    assert part(report, "known_answers").status is Status.FAIL
    assert part(report, "latency_1000_rows").status is part(report, "memory_peak").status is Status.UNKNOWN


def test_a_clock_in_the_past_is_no_pass(ran: Desk) -> None:
    ran.clock = FixedClock(NOON - timedelta(days=400))
    with opened(ran) as production:
        found = check_audit(production)
    assert part(found, "clock_in_order").status is Status.WARN
    assert found.status is not Status.PASS


def test_anchors_that_are_no_anchors(ran: Desk) -> None:
    for path in ran.workspace.anchors.glob("anchor-*.json"):
        path.write_bytes(b"{\x00")
    with opened(ran) as production:
        found = check_audit(production)
    assert found.status in BAD
    assert part(found, "last_run_anchored").status in BAD


def test_a_private_cache_that_was_written_by_another_is_not_used(ran: Desk) -> None:
    """Text in the place of what is remembered, and another release in the place of the one that was read."""
    for path in ran.workspace.cache.glob("*.json"):
        path.write_text('{"sha256": "", "body": {}}', encoding="utf-8")
    assert integrity(ran).status is Status.PASS


def test_a_workspace_that_is_named_by_a_relative_path(ran: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran.workspace.root)
    ran.environment = {}
    (ran.workspace.root / "keys" / "masking.key").write_text("5e" * 32, encoding="utf-8")
    ran.workspace = open_workspace(Path(), ran.environment)
    with opened(ran) as production:
        assert production.release_of(production.release).name == production.trial.release().name

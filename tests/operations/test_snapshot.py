"""The snapshot before a cutover: what is in it, that damage is found, that it is whole or absent (FAULTS 3, 4, 6)."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.take_snapshot import ROLLBACK_FOLDER, Snapshot, take_snapshot, verify_snapshot
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.production import NewJob
from abaco_loans.records.store import Store, open_store
from tests.faults.harness import environment, tree_of
from tests.operations.queue_desk import QueueDesk
from tests.operations.served_desk import own_desk, served_desk

REPOSITORY = Path(__file__).resolve().parents[2]
NOTE = NewEvent(action="noted", subject="s", payload={})
ID = "c-1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> QueueDesk:
    return served_desk(tmp_path_factory.mktemp("served"))


@pytest.fixture
def desk(served: QueueDesk, tmp_path: Path) -> QueueDesk:
    return own_desk(served, tmp_path)


def taken(desk: QueueDesk, cutover_id: str = ID) -> Snapshot:
    with desk.records() as records:
        return take_snapshot(desk.workspace, cutover_id, records, desk.clock)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """What somebody who may do anything does to a read-only file or folder."""
    modes = [(place, place.stat().st_mode) for place in (path.parent, path) if place.exists()]
    for place, _ in modes:
        place.chmod(0o700)
    try:
        yield
    finally:
        for place, mode in modes:
            with suppress(FileNotFoundError):
                place.chmod(mode)


def test_all_that_the_way_back_is_checked_against_is_in_it(desk: QueueDesk) -> None:
    found, root = taken(desk), desk.workspace.root
    assert found.folder == root / ROLLBACK_FOLDER / ID
    assert verify_snapshot(desk.workspace, ID, found.manifest_digest) == found.files
    releases = tree_of(root / "releases")
    assert tree_of(found.folder / "releases") == releases
    assert len(releases) > 10
    for name in ("abaco.yml", "roles.yml", "alerts.yml"):
        assert (found.folder / "settings" / name).read_bytes() == (root / name).read_bytes()
    with desk.records() as records:
        (run,) = records.reader.list()
        assert [line["run_id"] for line in lines_of(found.folder / "runs.jsonl")] == [run.run_id]
        values = {(row.kpi_id, row.segment, row.segment_value): row for row in records.reader.kpi_values(run.run_id)}
        lines = lines_of(found.folder / "kpi_values.jsonl")
        assert len(lines) == len(values) > 20
        for line in lines:
            kept = values[line["kpi_id"], line["segment"], line["segment_value"]].value_exact
            assert line["value_exact"] is None if kept is None else Decimal(line["value_exact"]) == kept
        jobs = records.production_reader.jobs()
        assert [line["job_id"] for line in lines_of(found.folder / "jobs.jsonl")] == [job.job_id for job in jobs[::-1]]
        assert [line["run_id"] for line in lines_of(found.folder / "served.jsonl")] == [run.run_id]
        assert json.loads((found.folder / "pointer.json").read_text(encoding="utf-8"))["active"] == "v2"
        head = records.head()
    said = json.loads((found.folder / "ledger.json").read_text(encoding="utf-8"))
    assert (said["count"], said["head"], found.ledger_head) == (head.count, head.hash, head.hash)
    assert said["anchor"]["count"] == head.count
    with open_store(f"sqlite:///{found.folder / 'records' / 'abaco.db'}", clock=desk.clock, actor="ana") as copy:
        assert (copy.faults(), copy.verify().ok, copy.head().hash) == ((), True, head.hash)


def test_its_ledger_is_verified_by_whoever_has_only_the_script(desk: QueueDesk) -> None:
    ledger = taken(desk).folder / "ledger.jsonl"
    script = REPOSITORY / "scripts" / "verify_audit.py"
    done = subprocess.run([sys.executable, str(script), str(ledger)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_key_no_tape_and_no_cache_is_in_it_and_nobody_else_reads_it(desk: QueueDesk) -> None:
    folder = taken(desk).folder
    secrets = [path.read_bytes().strip() for path in (desk.workspace.root / "keys").iterdir()]
    assert len(secrets) == 2
    assert (desk.workspace.root / ".cache").is_dir()
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o500 if path.is_dir() else 0o400), path
        if path.is_file():
            assert not [secret for secret in secrets if secret in path.read_bytes()], path
    assert {path.name for path in folder.iterdir()} == {
        *("manifest.json", "settings", "releases", "records", "pointer.json", "runs.jsonl", "kpi_values.jsonl"),
        *("jobs.jsonl", "served.jsonl", "ledger.jsonl", "ledger.json"),
    }
    assert [path.name for path in (folder / "records").iterdir()] == ["abaco.db"]


def test_a_second_call_finds_it_as_it_is(desk: QueueDesk) -> None:
    first = taken(desk)
    with desk.records() as records:
        records.append([NOTE])
    before = {path: path.stat().st_mtime_ns for path in (first.folder, *first.folder.rglob("*"))}
    assert taken(desk) == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def refused(desk: QueueDesk, digest: str, kind: str, name: str) -> None:
    with pytest.raises(WorldError) as caught:
        verify_snapshot(desk.workspace, ID, digest)
    assert (caught.value.code, caught.value.details) == ("CUT-202", {kind: [name]})
    assert f"{kind}: {name}" in caught.value.what


def test_a_flipped_byte_and_a_missing_file_are_found_wherever_they_are(desk: QueueDesk) -> None:
    found = taken(desk)
    files = [path for path in found.folder.rglob("*") if path.is_file()]
    assert len(files) == found.files + 1
    for path in files:
        name, content = path.relative_to(found.folder).as_posix(), path.read_bytes()
        with writable(path):
            if content:
                path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
                refused(desk, found.manifest_digest, "damaged", name)
            path.unlink()
            refused(desk, found.manifest_digest, "missing", name)
            path.write_bytes(content)
    assert verify_snapshot(desk.workspace, ID, found.manifest_digest) == found.files


def test_what_was_added_is_found_and_never_followed(desk: QueueDesk, tmp_path: Path) -> None:
    found = taken(desk)
    added = found.folder / "settings" / "more"
    with writable(added):
        added.write_bytes(b"")
        refused(desk, found.manifest_digest, "added", "settings/more")
        added.unlink()
        added.symlink_to(tmp_path)
        refused(desk, found.manifest_digest, "added", "settings/more")
        added.unlink()
        added.mkdir()
        refused(desk, found.manifest_digest, "added", "settings/more")
        added.rmdir()
    settings = found.folder / "settings" / "abaco.yml"
    with writable(settings):
        settings.unlink()
        settings.symlink_to(desk.workspace.root / "abaco.yml")  # the same bytes, but not in the snapshot
        with pytest.raises(WorldError, match=r"missing: settings/abaco\.yml"):
            verify_snapshot(desk.workspace, ID, found.manifest_digest)


def test_a_manifest_that_was_written_anew_is_not_the_evidence(desk: QueueDesk) -> None:
    found = taken(desk)
    manifest, settings = found.folder / "manifest.json", found.folder / "settings" / "abaco.yml"
    said = json.loads(manifest.read_bytes())
    said["files"] = [item for item in said["files"] if item["path"] != "settings/abaco.yml"]
    with writable(manifest), writable(settings):
        settings.unlink()
        manifest.write_text(json.dumps(said), encoding="utf-8")
    refused(desk, found.manifest_digest, "damaged", "manifest.json")
    with pytest.raises(WorldError, match="missing: manifest"):
        verify_snapshot(desk.workspace, "c-2", found.manifest_digest)


def test_a_damaged_one_is_put_aside_and_made_anew(desk: QueueDesk) -> None:
    first = taken(desk)
    runs = first.folder / "runs.jsonl"
    with writable(runs):
        runs.write_bytes(runs.read_bytes()[:-1])
    desk.clock.move_to(desk.clock.now() + timedelta(hours=1))
    second = taken(desk)
    assert second.manifest_digest != first.manifest_digest
    assert verify_snapshot(desk.workspace, ID, second.manifest_digest) == first.files
    aside = desk.workspace.root / ROLLBACK_FOLDER / ".damaged" / ID
    assert len((aside / "runs.jsonl").read_bytes()) == len((second.folder / "runs.jsonl").read_bytes()) - 1


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/etc", ".damaged", "a\0b", "a\nb", "x" * 101])
def test_an_id_that_is_no_name_makes_no_folder(desk: QueueDesk, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        taken(desk, name)
    with pytest.raises(UsageError, match="id of a cutover"):
        verify_snapshot(desk.workspace, name, "0" * 64)
    assert caught.value.code == "CUT-201"
    assert not (desk.workspace.root / ROLLBACK_FOLDER).exists()


def test_a_release_is_plain_files_of_its_own(desk: QueueDesk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yml"
    secret.write_text("not of a release", encoding="utf-8")
    link = desk.release / "linked.yml"
    link.symlink_to(secret)
    with pytest.raises(WorldError) as caught:
        taken(desk)
    assert caught.value.code == "CUT-203"
    assert list((desk.workspace.root / ROLLBACK_FOLDER).iterdir()) == []
    link.unlink()
    link.symlink_to("catalogue.yml")
    assert (taken(desk).folder / "releases/v2/linked.yml").read_bytes() == (desk.release / "catalogue.yml").read_bytes()


def test_history_that_was_changed_behind_the_ledger_is_no_snapshot(desk: QueueDesk) -> None:
    with sqlite3.connect(desk.workspace.root / "records" / "abaco.db") as handle:
        handle.execute("UPDATE kpi_values SET value = '1' WHERE rowid = 1")
    handle.close()
    with pytest.raises(WorldError) as caught:
        taken(desk)
    assert caught.value.code == "REC-105"
    assert list((desk.workspace.root / ROLLBACK_FOLDER).iterdir()) == []


def test_writers_go_on_and_what_is_read_stands_still(desk: QueueDesk, tmp_path: Path) -> None:
    with desk.records() as store, store.standing(tmp_path / "copy.db") as standing:
        before = standing.head()
        with desk.records() as other:
            other.append([NOTE])
        assert standing.head() == before
        assert store.head().count == before.count + 1
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_copy_waits_for_a_writer_and_not_for_ever(desk: QueueDesk, tmp_path: Path) -> None:
    with (
        sqlite3.connect(desk.workspace.root / "records" / "abaco.db", isolation_level=None) as writer,
        open_store(desk.workspace.records_url, clock=desk.clock, actor="ana", timeout_s=0.3) as store,
    ):
        store.head()
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(WorldError) as caught:
            store.copy_to(tmp_path / "copy.db")
        assert caught.value.code == "REC-101"
        writer.execute("ROLLBACK")
        store.copy_to(tmp_path / "another.db")
    writer.close()


def test_two_at_once_make_one(desk: QueueDesk) -> None:
    found: list[Snapshot] = []
    threads = [threading.Thread(target=lambda: found.append(taken(desk))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 3
    assert [path.name for path in (desk.workspace.root / ROLLBACK_FOLDER).iterdir()] == [ID]


@pytest.fixture
def on_server(desk: QueueDesk, server_url: str) -> Iterator[Store]:
    """Records on a real PostgreSQL."""
    with open_store(server_url, clock=desk.clock, actor="ana") as store:
        store.production_writer.ensure("v2")
        new = NewJob(tape_sha256="a" * 64, tape_name="t.csv", as_of=None, spool="queue/aa/t.csv")
        store.production_writer.submit(new)
        yield store


def test_of_a_server_the_lines_are_the_copy(desk: QueueDesk, on_server: Store, server_url: str) -> None:
    found = take_snapshot(replace(desk.workspace), ID, on_server, desk.clock)
    assert verify_snapshot(desk.workspace, ID, found.manifest_digest) == found.files
    manifest = json.loads((found.folder / "manifest.json").read_bytes())
    assert not manifest["database"]
    assert not (found.folder / "records").exists()
    assert [line["tape_name"] for line in lines_of(found.folder / "jobs.jsonl")] == ["t.csv"]
    events = [line["event"]["hash"] for line in lines_of(found.folder / "ledger.jsonl") if "event" in line]
    assert (len(events), events[-1]) == (manifest["ledger"]["count"], found.ledger_head)
    with on_server.standing(desk.workspace.root / "none") as standing:
        before = standing.head()
        with open_store(server_url, clock=desk.clock, actor="bob") as other:
            other.append([NOTE])
        assert standing.head() == before
        with pytest.raises(AssertionError, match="only read"):
            standing.append([NOTE])


# --- kills and failing disks --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("needs Linux and gcc")
    target, source = tmp_path_factory.mktemp("shim") / "shim.so", REPOSITORY / "tests" / "faults" / "shim.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl"], check=True)
    return target


def faults(desk: QueueDesk, shim: Path, *orders: str) -> list[dict[str, Any]]:
    """What each fault leaves; the workspace has one small release, so that there are few calls."""
    root = desk.workspace.root
    for path in (root / "releases").rglob("*"):
        if path.is_file() and path.relative_to(root).as_posix() != "releases/v1/release.yml":
            path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "tests.operations.snapshot_faults", str(root), str(root.parent / "log"), *orders],
        env=environment() | {"LD_PRELOAD": str(shim)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for item in found:
        assert item["places"] == [ID], item
        assert item["files"] > 8, item
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("points", [12, pytest.param(10_000, marks=pytest.mark.sweep)])
def test_killed_at_any_call_it_is_whole_or_not_there(desk: QueueDesk, shim: Path, points: int) -> None:
    found = faults(desk, shim, f"sweep={points}")
    assert {item["code"] for item in found} == {-9}
    named = [item for item in found if item["named"]]
    assert 1 <= len(named) < len(found) / 2
    assert all(item["left"] == [] for item in named)
    assert any(item["left"] for item in found)


def test_a_full_or_failing_disk_leaves_nothing_behind(desk: QueueDesk, shim: Path) -> None:
    writes = "write,pwrite,pwrite64,writev,ftruncate64"
    full = [
        f"action=errno;calls={writes};path={path};at=1;every=1;errno={errno.ENOSPC}"
        for path in ("/.part-c-1", "/kpi_values.jsonl", "/.ledger.jsonl", "/manifest.json", "/abaco.db")
    ]
    failing = [
        f"action=errno;calls=fsync;path={path};at=1;errno={errno.EIO}"
        for path in ("/.part-c-1", "/runs.jsonl", "/manifest.json", "/.part-c-1/settings")
    ]
    found = faults(desk, shim, *full, *failing, f"action=errno;calls=rename;at=1;path=/.part;errno={errno.EIO}")
    for item in found:
        assert (item["code"], item["named"], item["left"]) == (4, False, []), item
        assert item["error"] in ("OUT-101", "OUT-105", "REC-104"), item
    assert {item["error"] for item in found[: len(full)]} <= {"OUT-101", "REC-104"}


def test_it_is_announced_only_when_its_name_is_durable(desk: QueueDesk, shim: Path) -> None:
    log, folder = desk.workspace.root.parent / "calls", desk.workspace.root / ROLLBACK_FOLDER
    faults(desk, shim, f"action=count;calls=fsync;log={log}")
    calls = [line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines()]
    (number,) = (number for number, _, path in calls if path == str(folder))
    (item,) = faults(desk, shim, f"action=errno;calls=fsync;at={number};errno={errno.EIO}")
    assert (item["code"], item["error"], item["named"]) == (4, "OUT-105", True)

"""A copy of a workspace: complete, of one mind with itself, and nothing that is done in it changes the original."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import ConfigError, UsageError, WorldError
from abaco_loans.operations.copy_workspace import copied_workspace
from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.run_shadow import ShadowRequest, run_shadow
from abaco_loans.operations.submit_tape import spooled_tape
from abaco_loans.operations.workspace import Workspace, open_workspace
from abaco_loans.outputs.publish import set_aside, sweep_orphans
from abaco_loans.records.anchors import read_anchors
from abaco_loans.records.ledger import NewEvent
from abaco_loans.wiring import run_tools, side_worker, write_anchor
from tests.faults.harness import tree_of
from tests.operations.queue_desk import QueueDesk
from tests.operations.served_desk import desk_at, own_desk, served_desk

TREE = dict[str, tuple[int, int, int, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> QueueDesk:
    return served_desk(tmp_path_factory.mktemp("served"))


@pytest.fixture
def desk(served: QueueDesk, tmp_path: Path) -> QueueDesk:
    return own_desk(served, tmp_path)


def copied(desk: QueueDesk, target: Path) -> Workspace:
    with desk.records() as records:
        return copied_workspace(desk.workspace, target, records)


def everything(folder: Path) -> TREE:
    """Kind, rights, times and content of everything below a folder. Times of reading are not looked at."""
    hashes = tree_of(folder)
    found: TREE = {}
    for path in (folder, *folder.rglob("*")):
        about, name = path.lstat(), str(path.relative_to(folder))
        found[name] = (about.st_mode, about.st_size if name in hashes else 0, about.st_mtime_ns, hashes.get(name, ""))
    return found


def test_it_is_complete_and_the_original_stays(desk: QueueDesk, tmp_path: Path) -> None:
    before = everything(desk.workspace.root)
    copy = copied(desk, tmp_path / "copy")
    assert everything(desk.workspace.root) == before
    root, other = desk.workspace.root, desk_at(desk, copy)
    for name in ("releases", "keys", "outputs", "queue", "records/anchors"):
        assert tree_of(copy.root / name) == tree_of(root / name), name
    with desk.records() as records, other.records() as theirs:
        assert theirs.head() == records.head()
        assert theirs.verify(read_anchors(copy.anchors)).ok
        assert theirs.faults() == ()
        (run,) = theirs.reader.list()
        assert sound_folder(copy, run).is_relative_to(copy.root)
        for job in theirs.production_reader.jobs():
            assert spooled_tape(copy, job).is_relative_to(copy.root)
    assert open_workspace(copy.root, {}).settings == copy.settings
    assert copy.masking_key({}) == desk.workspace.masking_key({})


def test_keys_and_records_are_its_owner_s_only(desk: QueueDesk, tmp_path: Path) -> None:
    copy = copied(desk, tmp_path / "copy")
    for name in (".", "keys", "records"):
        assert (copy.root / name).stat().st_mode & 0o777 == 0o700
    for path in (*(copy.root / "keys").iterdir(), copy.root / "records" / "abaco.db"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (copy.root / "keys" / "masking.key").stat().st_nlink == 1


def test_what_is_never_written_again_takes_no_room(desk: QueueDesk, tmp_path: Path) -> None:
    copy = copied(desk, tmp_path / "copy")
    shared = [path for name in ("outputs", "queue") for path in (copy.root / name).rglob("*") if path.is_file()]
    assert len(shared) > 5
    for path in shared:
        assert path.samefile(desk.workspace.root / path.relative_to(copy.root))
        assert not path.stat().st_mode & 0o222, "only what is read-only may be shared"
    apart = [path for name in ("releases", "records", "keys") for path in (copy.root / name).rglob("*")]
    assert all(path.stat().st_nlink == 1 for path in apart if path.is_file())


def test_where_there_are_no_links_files_are_copied(
    desk: QueueDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    copy = copied(desk, tmp_path / "copy")
    for name in ("outputs", "queue"):
        assert tree_of(copy.root / name) == tree_of(desk.workspace.root / name)
        for path in (copy.root / name).rglob("*"):
            original = desk.workspace.root / path.relative_to(copy.root)
            assert path.stat().st_mode == original.stat().st_mode
            assert path.is_dir() or not path.samefile(original)


def work(desk: QueueDesk) -> None:
    """The tape that waits."""
    outcome = desk.worker().work_once()
    assert outcome is not None
    assert outcome.end == "done", outcome.error


def look_dark(desk: QueueDesk) -> None:
    """A shadow run."""
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    tape = spooled_tape(desk.workspace, desk.jobs()[-1])
    document = run_shadow(ShadowRequest(path=tape, baseline="v1", candidate="v2"), tools, side_worker({}))
    assert document["verdict"] in ("pass", "fail", "inconclusive")


def go_back(desk: QueueDesk) -> None:
    """A rollback: the same tape under the other release."""
    with desk.records() as records:
        writer = records.production_writer
        writer.hold("d-1")
        writer.switch("d-1", "v1", expected="v2")
        writer.requeue_since("d-1", 1)
        writer.unhold("d-1")
    worker = desk.worker()
    while worker.work_once() is not None:
        pass
    assert {job.served_by for job in desk.jobs()} == {"v1"}


def submit_again(desk: QueueDesk) -> None:
    """A tape whose copy in the queue was damaged: it is put there anew."""
    job = desk.jobs()[-1]
    spool = desk.workspace.root / job.spool
    spool.unlink()
    desk.submit(desk.tape(job.tape_name, amount=1000 if job.tape_name == "one.csv" else 2000))
    assert spooled_tape(desk.workspace, job) == spool


def lose_and_sweep(desk: QueueDesk) -> None:
    """Published folders are set aside and removed."""
    run = desk.runs()[0]
    set_aside(desk.workspace.outputs, run.output_folder or "")
    desk.run(desk.tape("one.csv"))
    sweep_orphans(desk.workspace.outputs, frozenset())


def throw_away(desk: QueueDesk) -> None:
    """The copy itself is removed."""
    shutil.rmtree(desk.workspace.root)


@pytest.mark.parametrize("do", [work, look_dark, go_back, submit_again, lose_and_sweep, throw_away])
def test_what_is_done_in_it_leaves_the_original_alone(
    do: Callable[[QueueDesk], None], desk: QueueDesk, tmp_path: Path
) -> None:
    copy = desk_at(desk, copied(desk, tmp_path / "copy"))
    before = everything(desk.workspace.root)
    unchanged = everything(copy.workspace.root)
    do(copy)
    assert not copy.workspace.root.exists() or everything(copy.workspace.root) != unchanged
    assert everything(desk.workspace.root) == before
    with desk.records() as records:
        assert records.faults() == ()


def test_the_settings_in_force_are_those_of_the_copy(desk: QueueDesk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    key = elsewhere / "the.key"
    key.write_text("ab" * 32 + "\n", encoding="utf-8")
    key.chmod(0o600)
    url = f"sqlite:///{elsewhere / 'records.db'}"
    desk.reopen(records_url=url, threads=1, masking_key_file=key, shadow="v1", reporting_currency="EUR")
    copy = copied(desk, tmp_path / "copy")
    assert copy.settings == replace(desk.workspace.settings, records_url="", masking_key_file="keys/masking.key")
    assert open_workspace(copy.root, {}).settings == copy.settings
    with pytest.raises(ConfigError, match="copy with records of its own") as refused:
        open_workspace(copy.root, {"ABACO_RECORDS_URL": url})
    assert refused.value.code == "CFG-503"
    (copy.root / "abaco.yml").write_text(f"records_url: {url}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="copy with records of its own"):
        open_workspace(copy.root, {})
    assert copy.records_url.endswith("/copy/records/abaco.db")
    assert copy.masking_key({}).secret == bytes.fromhex("ab" * 32)


def test_jobs_that_were_at_work_are_in_it_as_they_were(desk: QueueDesk, tmp_path: Path) -> None:
    with desk.records() as records:
        taken = records.production_writer.take("w1", lease_s=60)
    assert taken is not None
    other = desk_at(desk, copied(desk, tmp_path / "copy"))
    assert other.jobs() == desk.jobs()


@pytest.mark.parametrize("place", ["", "outputs", "outputs/copy", "releases/copy", "records", "keys/copy"])
def test_a_workspace_is_not_copied_into_itself(desk: QueueDesk, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        copied(desk, desk.workspace.root / place)
    assert caught.value.code == "CUT-212"


def test_a_copy_may_lie_in_scratch_and_takes_no_folder_of_others(desk: QueueDesk, tmp_path: Path) -> None:
    copy = copied(desk, desk.workspace.scratch / "run0" / "copy")
    assert not (copy.root / ".scratch").exists()
    with pytest.raises(UsageError, match="not empty"):
        copied(desk, copy.root)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not empty"):
        copied(desk, tmp_path / "link")
    (tmp_path / "empty").mkdir()
    assert copied(desk, tmp_path / "empty").root == tmp_path / "empty"


def test_links_are_not_followed(desk: QueueDesk, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("x", encoding="utf-8")
    (desk.workspace.outputs / "more").symlink_to(secret)
    assert not (copied(desk, tmp_path / "copy").outputs / "more").exists()
    (desk.release / "more.yml").symlink_to(secret / "file")
    with pytest.raises(WorldError) as caught:
        copied(desk, tmp_path / "another")
    assert caught.value.code == "CUT-203"


def test_records_on_a_server_are_in_the_copy_in_sqlite(desk: QueueDesk, tmp_path: Path, server_url: str) -> None:
    (desk.workspace.root / "records" / "abaco.db").unlink()
    shutil.rmtree(desk.workspace.anchors)
    desk.reopen(records_url=server_url)
    with desk.records() as records:
        records.production_writer.ensure("v1")
    desk.submit(desk.tape("three.csv", amount=3000))
    write_anchor(desk.workspace, desk.clock)
    other = desk_at(desk, copied(desk, tmp_path / "copy"))
    assert other.workspace.settings.records_url == ""
    assert (other.pointer(), other.jobs()) == (desk.pointer(), desk.jobs())
    work(other)
    with desk.records() as records, other.records() as theirs:
        assert theirs.facts().backend == "sqlite"
        assert theirs.verify(read_anchors(other.workspace.anchors)).ok
        assert theirs.faults() == ()
        assert theirs.head().count > records.head().count
    assert [job.status for job in desk.jobs()] == ["queued"]


def test_no_anchor_speaks_of_what_the_copy_has_not(desk: QueueDesk, tmp_path: Path) -> None:
    """Production goes on while it is copied, and signs how far it has come."""

    class Meanwhile:
        def copy_to(self, path: Path) -> None:
            with desk.records() as records:
                records.copy_to(path)
                records.append([NewEvent(action="noted", subject="s", payload={})])
            write_anchor(desk.workspace, desk.clock)

    copy = copied_workspace(desk.workspace, tmp_path / "copy", Meanwhile())
    with desk_at(desk, copy).records() as theirs:
        assert theirs.verify(read_anchors(copy.anchors)).ok

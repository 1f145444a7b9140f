"""A tape becomes a job: one private, durable copy, one job for one tape and date, nothing outside the workspace."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import InputError, UsageError, WorldError
from abaco_loans.operations.submit_tape import checked_name, private_copy, spooled_tape, tape_digest
from tests.operations.queue_desk import QueueDesk


@pytest.fixture
def desk(tmp_path: Path) -> QueueDesk:
    return QueueDesk(tmp_path / "workspace")


def test_a_tape_lies_in_the_queue_private_and_as_it_was(desk: QueueDesk) -> None:
    tape = desk.tape()
    done = desk.submit(tape)
    digest = hashlib.sha256(tape.read_bytes()).hexdigest()
    assert done.is_new and done.job.status == "queued" and done.job.tape_sha256 == digest
    assert done.job.spool == f"queue/{digest[:2]}/{digest}/tape.csv"
    copy = spooled_tape(desk.workspace, done.job)
    assert copy.read_bytes() == tape.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    for folder in (copy.parent, copy.parent.parent, copy.parent.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_same_tape_and_date_are_one_job_with_one_copy(desk: QueueDesk) -> None:
    first = desk.submit(desk.tape())
    again = [desk.submit(desk.tape()), desk.submit(desk.tape("other name.csv"))]
    assert [item.is_new for item in again] == [False, False]
    assert {item.job for item in again} == {first.job}
    assert len(desk.copies()) == 1
    assert list(desk.actions()) == ["job.submitted"]
    assert [path for path in desk.workspace.scratch.iterdir() if path.suffix != ".lock"] == []


def test_another_date_is_another_job_of_the_same_copy(desk: QueueDesk) -> None:
    one, two = desk.submit(desk.tape()), desk.submit(desk.tape(), date(2025, 10, 31))
    assert one.job.job_id != two.job.job_id and two.is_new
    assert one.job.spool == two.job.spool and len(desk.copies()) == 1


def test_a_folder_is_one_tape(desk: QueueDesk) -> None:
    folder = desk.extract()
    (folder / ".DS_Store").write_text("noise", encoding="utf-8")
    (folder / "older").mkdir()
    job = desk.submit(folder).job
    copy = spooled_tape(desk.workspace, job)
    assert sorted(path.name for path in copy.iterdir()) == ["loans.csv", "schedules.csv", "transactions.csv"]
    lines = "".join(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in sorted(copy.iterdir()))
    assert job.tape_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    (folder / "loans.csv").write_text("loan_id\nanother\n", encoding="utf-8")
    assert desk.submit(folder).is_new


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_copy_that_was_damaged_is_found_and_made_anew(kind: str, desk: QueueDesk) -> None:
    tape = desk.tape() if kind == "file" else desk.extract()
    job = desk.submit(tape).job
    copy = desk.workspace.root / job.spool
    hurt = copy if kind == "file" else copy / "loans.csv"
    hurt.chmod(0o600)
    hurt.write_bytes(hurt.read_bytes().replace(b"loan", b"laon"))
    with pytest.raises(WorldError, match="JOB-103"):
        spooled_tape(desk.workspace, job)
    assert not desk.submit(tape).is_new
    assert tape_digest(spooled_tape(desk.workspace, job)) == job.tape_sha256


def test_a_copy_whose_job_was_never_recorded_is_taken_up(desk: QueueDesk) -> None:
    """As a submission leaves it that is killed between the two."""
    tape = desk.tape()
    place = desk.workspace.root / "queue" / tape_digest(tape)[:2] / tape_digest(tape)
    place.mkdir(parents=True)
    (place / "tape.csv").write_bytes(tape.read_bytes())
    inode = (place / "tape.csv").stat().st_ino
    assert desk.submit(tape).is_new
    assert (place / "tape.csv").stat().st_ino == inode


def test_a_tape_that_is_being_written_is_not_ready(desk: QueueDesk, tmp_path: Path) -> None:
    tape, over = tmp_path / "growing.csv", threading.Event()
    tape.write_bytes(b"x" * 4_000_000)

    def write() -> None:
        with tape.open("ab", buffering=0) as stream:
            while not over.is_set():
                stream.write(b"more\n")
                time.sleep(0.0001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(InputError, match="SRC-103"):
            desk.submit(tape)
    finally:
        over.set()
        writer.join()
    assert desk.jobs() == ()
    assert desk.submit(tape).is_new


def test_what_is_no_plain_file_is_not_followed(desk: QueueDesk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret", encoding="utf-8")
    link, pipe, folder = tmp_path / "link.csv", tmp_path / "pipe.csv", desk.extract()
    link.symlink_to(secret)
    os.mkfifo(pipe)
    (folder / "customers.csv").symlink_to(secret)
    for number, item in enumerate((link, pipe, folder)):
        scratch = tmp_path / f"scratch{number}"
        scratch.mkdir()
        with pytest.raises(InputError, match="JOB-101"):
            private_copy(item, scratch)
        assert not [path for path in scratch.rglob("*") if path.is_file() and path.read_bytes() == b"secret"]


def test_what_is_not_there(desk: QueueDesk, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SRC-201"):
        desk.submit(tmp_path / "nothing.csv")
    assert desk.jobs() == ()


@given(name=st.one_of(st.text(max_size=300), st.sampled_from(["..", ".", "a/../../b", "/etc/passwd", "a\0b", "a\nb"])))
def test_a_name_stays_inside_and_can_be_shown(name: str) -> None:
    try:
        taken = checked_name(name)
    except InputError:
        return
    root = Path("/workspace/queue")
    assert taken == name and (root / taken).parent == root and os.path.normpath(root / taken) == str(root / taken)
    assert taken.isprintable() and len(os.fsencode(taken)) <= 200

"""The inbox: only whole tapes become jobs, nothing is lost or deleted, no name and no link leads out."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.submit_tape import Submitted, spooled_tape
from tests.operations.desk import NOON
from tests.operations.queue_desk import QueueDesk


@pytest.fixture
def desk(tmp_path: Path) -> QueueDesk:
    return QueueDesk(tmp_path / "workspace")


def later(desk: QueueDesk, seconds: float) -> None:
    """Move the clock on."""
    desk.clock.move_to(desk.clock.now() + timedelta(seconds=seconds))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lies(desk: QueueDesk) -> list[str]:
    """What lies at the top of the inbox."""
    return [name for name in names(desk.inbox) if name not in (".taking", "taken", "refused")]


def reason(desk: QueueDesk) -> dict[str, str]:
    """The one reason file."""
    (path,) = (desk.inbox / "refused").glob("*.reason.json")
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_file_is_taken_when_it_has_stayed_as_it_is(desk: QueueDesk) -> None:
    text = desk.tape(folder=desk.inbox).read_bytes()
    assert (desk.look().jobs, desk.look().settling) == ((), 1)
    later(desk, 9)
    assert desk.look().jobs == ()
    later(desk, 1)
    (item,) = desk.look().jobs
    assert item.is_new and item.job.as_of is None and item.job.tape_name == "tape.csv"
    assert spooled_tape(desk.workspace, item.job).read_bytes() == text
    assert lies(desk) == [] and names(desk.inbox / ".taking") == []
    assert (desk.inbox / "taken" / f"{item.job.job_id}-tape.csv").read_bytes() == text
    assert desk.look().jobs == ()


def test_a_file_that_grows_is_waited_for(desk: QueueDesk) -> None:
    tape = desk.tape(folder=desk.inbox)
    for _ in range(4):
        desk.look()
        later(desk, 8)
        with tape.open("a", encoding="utf-8") as stream:
            stream.write("C,2025-11-30,1,1,0,0,0,0,0,0,0\n")
    assert desk.look().jobs == ()
    later(desk, 10)
    (item,) = desk.look().jobs
    assert spooled_tape(desk.workspace, item.job).read_text(encoding="utf-8").count("\nC,") == 4


def test_a_file_that_is_rewritten_to_the_same_size_is_waited_for(desk: QueueDesk) -> None:
    tape = desk.tape(folder=desk.inbox, amount=1000)
    desk.look()
    later(desk, 9)
    desk.tape(folder=desk.inbox, amount=2000)
    os.utime(tape, ns=(0, tape.stat().st_mtime_ns + 1))
    desk.look()
    later(desk, 9)
    assert desk.look().jobs == ()


def test_the_clock_is_set_back(desk: QueueDesk) -> None:
    desk.tape(folder=desk.inbox)
    desk.look()
    desk.clock.move_to(NOON - timedelta(days=1))
    assert desk.look().jobs == ()
    later(desk, 10)
    assert len(desk.look().jobs) == 1


def test_with_its_marker_a_file_is_taken_at_once(desk: QueueDesk) -> None:
    desk.tape(folder=desk.inbox)
    (desk.inbox / "tape.csv.done").touch()
    (item,) = desk.look().jobs
    assert lies(desk) == []
    assert names(desk.inbox / "taken") == [f"{item.job.job_id}-tape.csv", f"{item.job.job_id}-tape.csv.done"]
    desk.tape(folder=desk.inbox, amount=7)  # the old marker does not speak for it
    assert desk.look().jobs == ()


def test_a_folder_is_taken_with_its_marker_only(desk: QueueDesk) -> None:
    folder = desk.extract(folder=desk.inbox)
    desk.look()
    later(desk, 1000)
    look = desk.look()
    assert (look.jobs, look.settling, lies(desk)) == ((), 0, ["extract"])
    (desk.inbox / "extract.done").touch()
    (item,) = desk.look().jobs
    assert not folder.exists() and len(names(spooled_tape(desk.workspace, item.job))) == 3


@pytest.mark.parametrize("name", ["tape.csv.part", "tape.PARTIAL", "tape.tmp", ".tape.csv"])
def test_what_is_on_its_way_is_left_alone(name: str, desk: QueueDesk) -> None:
    desk.tape(name, folder=desk.inbox)
    desk.look()
    later(desk, 1000)
    assert desk.look().jobs == () and lies(desk) == [name]


def test_the_same_tape_again_is_the_same_job_and_nothing_is_overwritten(desk: QueueDesk) -> None:
    taken: list[Submitted] = []
    for _ in range(2):
        desk.tape(folder=desk.inbox)
        (desk.inbox / "tape.csv.done").touch()
        taken += desk.look().jobs
    assert [item.is_new for item in taken] == [True, False] and taken[0].job == taken[1].job
    assert len(names(desk.inbox / "taken")) == 4 and len(desk.copies()) == 1


@pytest.mark.parametrize("name", ["a\nb.csv", "a\x1b[31m.csv", "a\udcff.csv", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(name: str, desk: QueueDesk) -> None:
    desk.tape(name, folder=desk.inbox)
    (shown,) = desk.look().refused
    assert shown.isascii() and shown.isprintable()
    assert lies(desk) == [] and desk.jobs() == ()
    said = reason(desk)
    assert said["code"] == "JOB-101" and said["name"] == shown and "1000" not in json.dumps(said)
    assert all(item.isascii() and item.isprintable() for item in names(desk.inbox / "refused"))
    assert len(names(desk.inbox / "refused")) == 2  # the tape is there still


@pytest.mark.parametrize("kind", ["link", "pipe", "folder with a link"])
def test_no_link_is_followed(kind: str, desk: QueueDesk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret", encoding="utf-8")
    if kind == "link":
        (desk.inbox / "tape.csv").symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(desk.inbox / "tape.csv")
    else:
        (desk.extract("tape.csv", folder=desk.inbox) / "customers.csv").symlink_to(secret)
    (desk.inbox / "tape.csv.done").touch()
    assert desk.look().refused == ("tape.csv",)
    assert reason(desk)["code"] == "JOB-101"
    assert desk.jobs() == () and secret.read_text(encoding="utf-8") == "secret"
    assert not [path for path in desk.workspace.root.rglob("*.csv") if not path.is_symlink() and path == secret]
    desk.look()
    assert lies(desk) == []


@pytest.mark.parametrize("name", ["taken", "refused", ".taking"])
def test_a_link_in_the_place_of_a_folder_leads_no_tape_away(name: str, desk: QueueDesk, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (desk.inbox / name).symlink_to(tmp_path / "elsewhere")
    desk.tape(folder=desk.inbox)
    (desk.inbox / "tape.csv.done").touch()
    with pytest.raises(WorldError, match="JOB-102"):
        desk.look()
    assert names(tmp_path / "elsewhere") == [] and (desk.inbox / "tape.csv").exists()


def test_a_marker_without_its_tape_is_put_aside(desk: QueueDesk) -> None:
    (desk.inbox / "tape.csv.done").touch()
    assert desk.look().refused == ("tape.csv.done",)
    desk.tape(folder=desk.inbox)
    assert desk.look().jobs == ()


@pytest.mark.parametrize("submitted", [False, True])
def test_what_a_killed_look_left_is_taken_up(submitted: bool, desk: QueueDesk) -> None:
    desk.look()
    tape = desk.tape(folder=desk.inbox / ".taking")
    if submitted:
        desk.submit(tape)
    (item,) = desk.look().jobs
    assert item.is_new is not submitted and len(desk.jobs()) == 1
    assert names(desk.inbox / "taken") == [f"{item.job.job_id}-tape.csv"]


def test_a_new_tape_of_a_name_that_is_being_taken_is_not_lost(desk: QueueDesk) -> None:
    desk.look()
    desk.tape(folder=desk.inbox / ".taking", amount=1)
    desk.tape(folder=desk.inbox, amount=2)
    (desk.inbox / "tape.csv.done").touch()
    jobs = desk.look().jobs
    assert len({item.job.job_id for item in jobs}) == 2 and len(names(desk.inbox / "taken")) == 3


def test_a_disk_that_fails_loses_nothing(desk: QueueDesk) -> None:
    """The queue cannot be made, as something lies in its place."""
    desk.tape(folder=desk.inbox)
    (desk.inbox / "tape.csv.done").touch()
    (desk.workspace.root / "queue").write_text("in the way", encoding="utf-8")
    with pytest.raises(WorldError, match="OUT-105"):
        desk.look()
    assert desk.jobs() == () and names(desk.inbox / ".taking") == ["tape.csv", "tape.csv.done"]
    (desk.workspace.root / "queue").unlink()
    assert len(desk.look().jobs) == 1


def test_what_is_worked_out_may_be_deleted(desk: QueueDesk) -> None:
    desk.tape(folder=desk.inbox)
    desk.look()
    shutil.rmtree(desk.workspace.cache)
    later(desk, 10)
    assert desk.look().jobs == ()
    later(desk, 10)
    assert len(desk.look().jobs) == 1

"""Calls that fail: disk full, failing disk, no permission, too many open files, no memory (FAULTS 3, 4, 5, 7)."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.faults.harness import NOBODY, Bench, Done, abaco, explained, lines_of, records_of

WRITES = "write,pwrite,pwrite64,writev,pwritev,ftruncate64"


def failing(bench: Bench, workspace: Path, log: Path, order: str) -> Done:
    """A run in which a call fails: it ends with 4, the old result is whole, a run afterwards goes well."""
    done = bench.server.run("run", bench.new, "-w", workspace, order=f"action=errno;log={log};{order}")
    assert "<- here" in log.read_text(), "nothing failed"
    explained(done, 4)
    bench.old_is_whole(workspace)
    bench.run_again(workspace)
    return done


@pytest.mark.parametrize(
    "order",
    [
        "calls=fsync;path=/kpis.json",
        "calls=fsync;path=/manifest.json",
        "calls=fsync;path=/run0/output;at=8",
        "calls=fsync;path=/outputs/2025-11-30",
        "calls=fsync;path=/outputs;at=2",
        "calls=fdatasync;path=/abaco.db-journal",
        "calls=fdatasync;path=/abaco.db",
        "calls=fsync;path=/.anchor-",
        "calls=rename;path=/outputs/",
        "calls=write;path=/lineage.json",
    ],
)
def test_a_failing_disk_is_told_and_never_asked_again(order: str, bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    order = order if "at=" in order else f"{order};at=1"
    failing(bench, bench.copy(tmp_path), log, f"{order};errno={errno.EIO}")
    after = log.read_text().split("<- here\n")[-1]
    failed = next(line for line in log.read_text().splitlines() if "<- here" in line).split(" ", 2)[2]
    path = failed.removesuffix(" <- here")
    if "fsync" in order:
        assert not [line for line in after.splitlines() if line.endswith(f"fsync {path}")], "asked again"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/00-tape", ()),
        ("/abaco.db-journal", ("disk full", "MB free")),
        ("/kpis.json", ("disk full", "MB free")),
        ("/kpis.csv", ("disk full", "MB free")),
        ("/clean.parquet", ("disk full", "clean.parquet", "MB free")),
        ("/quarantine.csv", ("disk full", "quarantine.csv", "MB free")),
        ("/manifest.json", ("disk full", "MB free")),
        ("/.anchor-", ("No space left", "ledger itself is whole")),
    ],
)
def test_a_disk_that_fills_up_and_stays_full(path: str, words: tuple[str, ...], bench: Bench, tmp_path: Path) -> None:
    workspace, log = bench.copy(tmp_path), tmp_path / "log"
    order = f"calls={WRITES};path={path};at=1;every=1;errno={errno.ENOSPC}"
    done = failing(bench, workspace, log, order)
    for word in words:
        assert word in done.err, done.err


@pytest.mark.slow
def test_a_disk_full_from_any_write_on(bench: Bench, tmp_path: Path) -> None:
    """Every write from the n-th on fails, also those that would say so."""
    workspace, log = bench.copy(tmp_path), tmp_path / "log"
    bench.server.run("run", bench.new, "-w", workspace, order=f"action=count;calls={WRITES};log={log}")
    total = len(list(lines_of(log)))
    for number in range(7, total - 8, total // 5):
        log.unlink()
        workspace = bench.copy(tmp_path)
        order = f"action=errno;calls={WRITES};at={number};every=1;errno={errno.ENOSPC};log={log}"
        done = bench.server.run("run", bench.new, "-w", workspace, order=order)
        explained(done, 4)
        bench.old_is_whole(workspace)
    bench.run_again(workspace)


@pytest.mark.parametrize("size", [0, 2_500, 30_000])
def test_the_limit_of_a_file_s_size(size: int, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    going = bench.server.start("run", bench.new, "-w", workspace, limits={"RLIMIT_FSIZE": size}, err=Path("/dev/null"))
    assert bench.server.wait(going).code == 4
    bench.old_is_whole(workspace)
    bench.run_again(workspace)


@pytest.mark.slow
def test_too_many_open_files(bench: Bench, tmp_path: Path) -> None:
    refused = set()
    workspace = bench.copy(tmp_path)
    for number in range(5, 26, 4):
        done = bench.server.run("run", bench.new, "-w", workspace, limits={"RLIMIT_NOFILE": number})
        if done.code == 0:
            break
        explained(done, 4)
        refused.add(done.err.rsplit("code:", 1)[1].strip())
        bench.old_is_whole(workspace)
    assert refused, "no limit was too low"
    bench.run_again(workspace)


@pytest.fixture
def lent(bench: Bench, open_place: Path) -> Path:
    """A workspace that belongs to the account `nobody`."""
    workspace = bench.copy(open_place)
    if os.getuid() == 0:
        for path in (workspace, *workspace.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return workspace


@pytest.mark.parametrize(
    ("path", "mode", "word"),
    [
        ("outputs", 0o555, "outputs"),
        ("records", 0o555, "records"),
        ("records/locks", 0o555, "locks"),
        ("records/abaco.db", 0o400, "abaco.db"),
        ("records/abaco.db", 0o000, "abaco.db"),
        ("records/anchors", 0o555, "anchors"),
        (".scratch", 0o555, ".scratch"),
        (".scratch", 0o000, ".scratch"),
        ("keys/masking.key", 0o000, "masking.key"),
        ("releases/v2/catalogue.yml", 0o000, "catalogue.yml"),
        ("abaco.yml", 0o000, "abaco.yml"),
    ],
)
def test_no_permission(path: str, mode: int, word: str, bench: Bench, lent: Path) -> None:
    tape = shutil.copy(bench.new, lent / "tape.csv")
    before = (lent / path).stat().st_mode
    (lent / path).chmod(mode)
    done = bench.server.run("run", tape, "-w", lent, user=NOBODY, folder=lent.parent)
    (lent / path).chmod(before)
    assert done.code in (2, 4)
    explained(done, done.code, word)
    bench.old_is_whole(lent)
    assert bench.server.run("run", tape, "-w", lent, user=NOBODY, folder=lent.parent).code == 0
    bench.old_is_whole(lent)


def test_a_tape_that_may_not_be_read(bench: Bench, lent: Path) -> None:
    tape = Path(shutil.copy(bench.new, lent / "tape.csv"))
    tape.chmod(0o000)
    done = bench.server.run("run", tape, "-w", lent, user=NOBODY, folder=lent.parent)
    explained(done, 4, "tape.csv", "SRC-201", "chmod")


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [200, 380, 800])
def test_out_of_memory(megabytes: int, bench: Bench, tmp_path: Path) -> None:
    """Where memory ends is up to the libraries, and some of them end the process; nothing is lost by it."""
    workspace = bench.copy(tmp_path)
    done = abaco("run", bench.new, "-w", workspace, limits={"RLIMIT_AS": megabytes * 1_000_000})
    if done.code == 4:
        explained(done, 4, "memory")
    bench.old_is_whole(workspace)
    bench.run_again(workspace)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC])
def test_a_run_that_fails_is_marked_and_can_be_run_again(number: int, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    order = f"action=errno;at=1;errno={number};calls=open;path=/kpis.json"
    explained(bench.server.run("run", bench.new, "-w", workspace, order=order), 4)
    with records_of(workspace) as store:
        (record, _) = store.reader.list()
        assert (
            (record.status, record.attempt) == ("failed", 1)
            and record.error
            and record.error["code"]
            and record.error["hint"]
        )
    assert bench.run_again(workspace).attempt == 2

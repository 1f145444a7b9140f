"""What the fault tests share: processes to hurt, tapes to feed them, and what must be true whatever happened."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from abaco_loans.clock import FixedClock
from abaco_loans.outputs.publish import damaged_files
from abaco_loans.records.anchors import read_anchors
from abaco_loans.records.runs import RunRecord
from abaco_loans.records.store import Store, open_store

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_OF_OLD, AS_OF_NEW = "2025-10-31", "2025-11-30"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A process that has ended: exit code (minus the signal that killed it) and what it said."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A process that was started and may still be at work."""

    pid: int
    out: Path
    err: Path


class Server:
    """Real `abaco` processes, forked from one that has imported everything (see server.py)."""

    def __init__(self, shim: Path, folder: Path, warm: Sequence[str]) -> None:
        self._folder = folder
        self._number = 0
        self._said = (folder / "server.err").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment() | {"LD_PRELOAD": str(shim)},
            cwd=folder,
        )
        try:
            self._say({"warm": list(warm)})
        except RuntimeError:
            self.close()
            raise

    def start(
        self,
        *arguments: str | Path,
        order: str = "",
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        user: int | None = None,
        cwd: Path | None = None,
        err: Path | None = None,
        folder: Path | None = None,
        entry: str = "",
    ) -> Going:
        """Start one process; `order` is for the shim, `entry` a module whose `main` is run instead of `abaco`."""
        self._number += 1
        place = folder or self._folder
        going = [place / f"{self._number}.{name}" for name in ("out", "err")]
        answer = self._say(
            {
                "start": {
                    "arguments": [str(item) for item in arguments],
                    "order": order,
                    "entry": entry,
                    "environment": dict(environment or {}),
                    "limits": dict(limits or {}),
                    "user": user,
                    "umask": 0o022,
                    "cwd": str(cwd or self._folder),
                    "out": str(going[0]),
                    "err": str(err or going[1]),
                }
            }
        )
        return Going(pid=answer["pid"], out=going[0], err=going[1])

    def wait(self, going: Going) -> Done:
        """Its end."""
        code = self._say({"wait": going.pid})["code"]
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in (going.out, going.err)]
        for path in (going.out, going.err):
            path.unlink(missing_ok=True)
        return Done(code=code, out=texts[0], err=texts[1])

    def run(self, *arguments: str | Path, **how: Any) -> Done:
        """Start one process and wait for its end."""
        return self.wait(self.start(*arguments, **how))

    def close(self) -> None:
        """End the server; its children ended before."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._said.close()

    def _say(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended:\n{(self._folder / 'server.err').read_text()}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


def environment() -> dict[str, str]:
    """What a process gets: nothing of ours that a person may have set, no coverage, no .pyc files."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("ABACO_", "COV_", "FAULT_"))}
    return kept | {"PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def abaco(*arguments: str | Path, limits: Mapping[str, int] | None = None) -> Done:
    """A process from scratch, as a person starts it."""

    def limited() -> None:
        for name, limit in (limits or {}).items():
            resource.setrlimit(getattr(resource, name), (limit, limit))

    ended = subprocess.run(
        [sys.executable, "-m", "abaco_loans", *map(str, arguments)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limited if limits else None,
        check=False,
    )
    return Done(code=ended.returncode, out=ended.stdout, err=ended.stderr)


# --- tapes --------------------------------------------------------------------------------------------------

HEADER = ("loan_id", "measurement_date", "customer_id", "outstanding_principal", "days_past_due", "product", "region")


def write_tape(
    path: Path, *, as_of: str = AS_OF_NEW, rows: int = 24, bad: int = 1, start: int = 1, product: str = "factoring"
) -> Path:
    """A snapshot with `rows` loans, of which the first `bad` do not say how late they are."""
    lines = [",".join(HEADER)]
    for number in range(start, start + rows):
        late = "very" if number < start + bad else number % 3 * 31
        lines.append(f"L{number:04d},{as_of},C{number % 7:03d},{1000 + number}.25,{late},{product},North")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- what must be true --------------------------------------------------------------------------------------


def records_of(workspace: Path) -> Store:
    """The records, opened as a reader of a later day would."""
    return open_store(
        f"sqlite:///{workspace / 'records' / 'abaco.db'}",
        clock=FixedClock(datetime(2026, 3, 31, tzinfo=UTC)),
        actor="reader",
    )


def finished_runs(workspace: Path) -> dict[str, RunRecord]:
    """Every finished run by its tape's hash: each is whole, and ledger, seals and anchors hold."""
    anchors = read_anchors(workspace / "records" / "anchors")
    with records_of(workspace) as store:
        verdict = store.verify(anchors)
        assert verdict.ok, verdict
        assert store.faults() == ()
        runs = store.reader.list(limit=1000)
        for record in runs:
            if record.status == "finished":
                assert store.reader.kpi_values(record.run_id)
                assert (
                    damaged_files(workspace / "outputs", record.output_folder or "", record.manifest_sha256 or "") == []
                )
    found = {record.tape_sha256: record for record in runs if record.status == "finished"}
    assert len(found) == len([record for record in runs if record.status == "finished"]), "one tape, two results"
    return found


def nothing_left_over(workspace: Path, runs: Mapping[str, RunRecord]) -> None:
    """No folder without a finished run, no scratch data, no temporary file anywhere."""
    known = {record.output_folder for record in runs.values()}
    outputs = workspace / "outputs"
    assert {str(path.relative_to(outputs)) for path in outputs.glob("[0-9]*/*")} == known
    assert [path for path in (workspace / ".scratch").iterdir() if path.suffix != ".lock"] == []
    for folder, allowed in (("keys", ("masking.key", "ledger.key")), ("records", ("abaco.db", "anchors", "locks"))):
        left = {path.name for path in (workspace / folder).iterdir()} - {
            *allowed,
            "anchors.lock",
            "abaco.db.migration-lock",
        }
        assert left == set(), left
    anchors = {path.name for path in (workspace / "records" / "anchors").iterdir()}
    assert not {name for name in anchors if name.startswith(".")}, anchors


def tree_of(folder: Path) -> dict[str, str]:
    """path → SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def explained(done: Done, code: int, *words: str, where: bool = True) -> None:
    """The failure has this exit code and says what, where, hint and these words, without a traceback."""
    assert done.code == code, (done.code, done.out, done.err)
    assert "Traceback" not in done.err, done.err
    lines = done.err.splitlines()
    starts = [line[: line.index(":")] for line in lines if ":" in line]
    for part in ("error", *(["  where"] if where else []), "  hint", "  code"):
        assert part in starts, done.err
    for word in words:
        assert word in done.err, (word, done.err)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything a test needs: processes, a workspace that has run `old`, a tape `new` that it has not."""

    server: Server
    template: Path
    old: Path
    new: Path
    wanted: bytes = field(repr=False)

    def copy(self, folder: Path) -> Path:
        """A workspace of one's own."""
        target = folder / "workspace"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.template, target, symlinks=True)
        return target

    def sha(self, tape: Path) -> str:
        """The hash by which records know a tape."""
        return hashlib.sha256(tape.read_bytes()).hexdigest()

    def old_is_whole(self, workspace: Path) -> dict[str, RunRecord]:
        """The result from before is there, unchanged, to the byte; gives all finished runs, each of them whole."""
        runs = finished_runs(workspace)
        assert self.sha(self.old) in runs
        day = AS_OF_OLD
        assert tree_of(workspace / "outputs" / day) == tree_of(self.template / "outputs" / day)
        return runs

    def run_again(self, workspace: Path) -> RunRecord:
        """A plain run after a fault ends with what an undisturbed run says, once."""
        done = self.server.run("run", self.new, "-w", workspace)
        assert done.code == 0, done.err
        runs = self.old_is_whole(workspace)
        record = runs[self.sha(self.new)]
        assert (workspace / "outputs" / (record.output_folder or "") / "kpis.json").read_bytes() == self.wanted
        nothing_left_over(workspace, runs)
        return record


def stopped(pid: int) -> bool:
    """Whether every thread of the process stands still after a SIGSTOP."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in threads)


def until(condition: Any, *, seconds: float = 30) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def lines_of(log: Path) -> Iterator[tuple[int, str, str]]:
    """Number, call and path of every counted call."""
    for line in log.read_text(errors="replace").splitlines():
        number, call, path = line.split(" ", 2)
        yield int(number), call, path

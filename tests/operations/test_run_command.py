"""Foreign programs that misbehave in every way of FAULTS 36: nothing of them stays, and nothing else changes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from abaco_loans.errors import ConfigError, WorldError
from abaco_loans.operations.run_command import CommandJob, CommandRun, CommandStatus, read_program, run_command
from abaco_loans.releases.command import CommandSpec, LoanRows, Printed

LINUX = sys.platform == "linux"
CONFINED = LINUX and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0
ROWS = LoanRows(format="csv", columns={"loan_id": "loan_id", "outstanding": "outstanding"})
GOOD = 'print(\'{"kpis": {"risk.par_30": 2.2}}\')'
SPEC = CommandSpec(
    argv=("{python}", "program.py", "{tape}", "{as_of}", "{loans_out}"),
    timeout_s=30,
    memory_mb=256,
    output_bytes_max=100_000,
    file_mb_max=2,
    loans=ROWS,
)


@pytest.fixture
def job(tmp_path: Path) -> CommandJob:
    """A job without a program; its folder, a tape, and beside them a place that is none of its business."""
    for name in ("run", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "kept.txt").write_text("kept", encoding="utf-8")
    tape = tmp_path / "tape.csv"
    tape.write_text("loan_id\nA\n", encoding="utf-8")
    return CommandJob(spec=SPEC, files={}, tape=tape, as_of=date(2025, 11, 30), folder=tmp_path / "run", environment={})


def run(job: CommandJob, program: str, **limits: int) -> CommandRun:
    """Run a program and hold what holds after every one: its folder is gone, and error says why there is no output."""
    script = f"import os, signal, subprocess, sys, time\n{dedent(program)}"
    spec = replace(job.spec, **limits)  # type: ignore[arg-type]
    found = run_command(replace(job, spec=spec, files={"program.py": script.encode(), **job.files}))
    assert not (job.folder / "work").exists()
    assert (found.error is None) == (found.output is not None) == (found.status is CommandStatus.OK)
    if found.error is not None:
        assert found.error.code.startswith("REL-") and found.error.where and found.error.hint
    assert job.tape.is_dir() or job.tape.read_text(encoding="utf-8") == "loan_id\nA\n"
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not (LINUX and ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))


# --- a program that behaves ---------------------------------------------------------------------------------


def test_what_a_program_gets_and_what_comes_of_it(job: CommandJob) -> None:
    found = run(
        replace(job, files={"data.txt": b"own file"}),
        """
        tape, as_of, loans_out = sys.argv[1:]
        print(sys.stdin.read() + "busy", file=sys.stderr)
        assert open(tape).read() == "loan_id\\nA\\n" and as_of == "2025-11-30"
        assert open("data.txt").read() == "own file" and os.path.samefile(".", os.path.dirname(__file__))
        assert os.getsid(0) == os.getpgid(0) == os.getpid()
        open(loans_out, "w").write("loan_id,outstanding\\nA,1.5\\n")
        kept = bytearray(50_000_000)
        print('{"kpis": {"risk.par_30": 2.20, "risk.par_90": null}}')
        """,
    )
    assert (found.status, found.exit_code, found.stderr_tail) == (CommandStatus.OK, 0, "busy"), found
    assert found.output is not None
    assert found.output.kpis == {"risk.par_30": Printed(text="2.20"), "risk.par_90": None}
    assert found.loans == job.folder / "loans.csv"
    assert found.loans.read_text(encoding="utf-8") == "loan_id,outstanding\nA,1.5\n"
    assert 0 < found.seconds < 20
    assert 50 < found.peak_memory_mb < 100, "the program's own, not that of the process that started it"
    assert set(found.isolation) >= ({"memory", "orphans"} if LINUX else set())
    assert ("writes" in found.isolation) is CONFINED


def test_the_environment_is_what_the_release_allows(job: CommandJob) -> None:
    job = replace(job, environment={"LEGACY_TOKEN": "s3cr3t-value", "ABACO_MASKING_KEY": "5e" * 32, "OTHER": "1"})
    program = f"print(*sorted(os.environ.items()), file=sys.stderr)\n{GOOD}"
    names = {"HOME", "LANG", "PATH", "TMPDIR"}
    said = run(job, program).stderr_tail
    assert "LEGACY_TOKEN" not in said and "OTHER" not in said and "5e5e" not in said
    assert all(f"('{name}'," in said for name in names)
    allowed = replace(job, spec=replace(SPEC, environment=("LEGACY_TOKEN", "NOT_SET")))
    said = run(allowed, program).stderr_tail
    assert "('LEGACY_TOKEN', '***')" in said and "NOT_SET" not in said and "OTHER" not in said


def test_a_folder_is_given_as_a_private_copy(job: CommandJob, tmp_path: Path) -> None:
    folder = tmp_path / "extract"
    (folder / "more").mkdir(parents=True)
    for name in ("loans.csv", "more/deep.csv"):
        (folder / name).write_text("x", encoding="utf-8")
    program = """
        tape = sys.argv[1]
        assert os.listdir(tape) == ["loans.csv"] and os.path.basename(tape) == "extract"
        os.chmod(tape + "/loans.csv", 0o600)
        open(tape + "/loans.csv", "w").write("changed")
    """
    assert run(replace(job, tape=folder), f"{dedent(program)}\n{GOOD}").status is CommandStatus.OK
    assert (folder / "loans.csv").read_text(encoding="utf-8") == "x"


def test_no_loan_rows_are_none(job: CommandJob) -> None:
    found = run(job, GOOD)
    assert found.status is CommandStatus.OK and found.loans is None


@pytest.mark.parametrize(
    "trick",
    [
        "os.symlink('/etc/passwd', sys.argv[3])",
        "os.mkfifo(sys.argv[3])",
        "os.mkdir(sys.argv[3])",
        "open('a', 'w').close(); os.link('a', sys.argv[3])",
        "d = os.path.dirname(sys.argv[3]); os.rmdir(d); os.symlink(ELSEWHERE, d)",
    ],
)
def test_loan_rows_are_a_plain_file(job: CommandJob, tmp_path: Path, trick: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "loans.csv").write_text("somebody else's", encoding="utf-8")
    found = run(job, f"{trick.replace('ELSEWHERE', repr(str(elsewhere)))}\n{GOOD}")
    assert found.status is CommandStatus.BAD_OUTPUT and found.error is not None and found.error.code == "REL-214"
    assert (elsewhere / "loans.csv").exists() and found.loans is None


# --- one that does not --------------------------------------------------------------------------------------


def test_a_crash(job: CommandJob) -> None:
    found = run(job, f"{GOOD}\nsys.stdout.flush()\nraise RuntimeError('no \\x1b[31mcolumn\\u202e')")
    assert (found.status, found.exit_code) == (CommandStatus.CRASHED, 1)
    assert "RuntimeError: no \\x1b[31mcolumn\\u202e" in found.stderr_tail
    assert found.error is not None and "RuntimeError" in found.error.hint
    found = run(job, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert (found.status, found.exit_code) == (CommandStatus.CRASHED, -signal.SIGSEGV)


@pytest.mark.parametrize("argv", [("./missing",), ("no-such-program",), ("./program.py",), ("/",)])
def test_what_cannot_be_started(job: CommandJob, argv: tuple[str, ...]) -> None:
    found = run(replace(job, spec=replace(SPEC, argv=argv)), "")
    assert found.status is CommandStatus.CRASHED
    assert found.error is not None and found.error.code == "REL-221"


def test_a_program_of_the_release_is_started_by_its_path(job: CommandJob) -> None:
    shell = b'#!/bin/sh\nprintf \'{"kpis": {"risk.par_30": 1.0}}\'\n'
    found = run(replace(job, spec=replace(SPEC, argv=("./old.sh",)), files={"old.sh": shell}), "")
    assert found.output is not None and found.output.kpis == {"risk.par_30": Printed(text="1.0")}


def test_a_hang(job: CommandJob) -> None:
    before = time.monotonic()
    found = run(
        job, "print('{', flush=True)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)", timeout_s=1
    )
    assert (found.status, found.exit_code) == (CommandStatus.TIMEOUT, None)
    assert time.monotonic() - before < 10 and 0.5 < found.seconds < 5


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood(job: CommandJob, stream: str) -> None:
    found = run(job, f"while True: sys.{stream}.write('x' * 65536)", output_bytes_max=1000)
    assert found.status is CommandStatus.FLOOD
    assert len(found.stderr_tail) <= 4096


def test_a_flood_that_ends_in_time_is_one_too(job: CommandJob) -> None:
    assert run(job, "sys.stdout.write(' ' * 3000)", output_bytes_max=2999).status is CommandStatus.FLOOD
    assert run(job, "sys.stdout.write(' ' * 2999)", output_bytes_max=2999).status is CommandStatus.BAD_OUTPUT


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('{"kpis": {"risk.par_30": 2.', "REL-211"),
        ('{"kpis": {"risk.par_30": NaN}}', "REL-213"),
        ('{"kpis": 2.2}', "REL-212"),
        ("", "REL-211"),
    ],
)
def test_half_a_document(job: CommandJob, said: str, code: str) -> None:
    found = run(job, f"sys.stdout.write({said!r})")
    assert (found.status, found.exit_code) == (CommandStatus.BAD_OUTPUT, 0)
    assert found.error is not None and found.error.code == code


def test_bytes_that_are_no_text(job: CommandJob) -> None:
    found = run(job, "sys.stdout.buffer.write(b'{\\xff}'); sys.stderr.buffer.write(b'\\xff\\x00')")
    assert found.error is not None and found.error.code == "REL-211"
    assert found.stderr_tail == "\ufffd\\x00"


@pytest.mark.skipif(not LINUX, reason="macOS does not hold RLIMIT_AS")
@pytest.mark.parametrize(
    "eater",
    [
        "kept = bytearray(10**9)",
        "kept = []\nwhile True: kept.append(bytearray(10**6))",
        "subprocess.run([sys.executable, '-c', 'x = bytearray(10**9)'], check=True)",
    ],
)
def test_memory(job: CommandJob, eater: str) -> None:
    found = run(job, f"{eater}\n{GOOD}")
    assert found.status is CommandStatus.OUT_OF_MEMORY
    assert found.peak_memory_mb < SPEC.memory_mb + 1


def test_a_file_that_grows_without_end(job: CommandJob) -> None:
    found = run(job, "with open(sys.argv[3], 'wb') as s:\n    while True: s.write(bytes(10**6))")
    assert found.status is CommandStatus.CRASHED and found.loans is None


# --- one that does not keep to its place --------------------------------------------------------------------

ATTEMPTS = [
    "open(PLACE + '/new.txt', 'w').close()",
    "open(PLACE + '/kept.txt', 'a').write('x')",
    "os.truncate(PLACE + '/kept.txt', 0)",
    "os.remove(PLACE + '/kept.txt')",
    "os.rename(PLACE + '/kept.txt', 'kept.txt')",
    "os.link('program.py', PLACE + '/new.py')",
    "os.symlink('program.py', PLACE + '/new.py')",
    "os.mkdir(PLACE + '/new')",
    "subprocess.run(['sh', '-c', 'echo x > ' + PLACE + '/new.txt'], check=True)",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_writing_elsewhere_is_prevented_or_found(job: CommandJob, tmp_path: Path, attempt: str) -> None:
    place = tmp_path / "elsewhere"
    found = run(replace(job, guarded=(place,)), f"PLACE = {str(place)!r}\n{attempt}\n{GOOD}")
    if CONFINED:
        assert found.status is CommandStatus.CRASHED and "Permission denied" in found.stderr_tail
        assert [path.name for path in place.iterdir()] == ["kept.txt"]
        assert (place / "kept.txt").read_text(encoding="utf-8") == "kept"
    else:
        assert found.status is CommandStatus.TRESPASSED


@pytest.mark.parametrize(
    "attempt", ["os.chmod(PLACE + '/kept.txt', 0o644)", "os.utime(PLACE + '/kept.txt')", "os.utime(PLACE)"]
)
def test_what_the_system_does_not_prevent_is_found(job: CommandJob, tmp_path: Path, attempt: str) -> None:
    """Rights and times of files are outside of what Landlock holds."""
    place = tmp_path / "elsewhere"
    found = run(replace(job, guarded=(place,)), f"PLACE = {str(place)!r}\n{attempt}\n{GOOD}")
    assert found.status is CommandStatus.TRESPASSED
    assert found.error is not None and found.error.code == "REL-226" and "elsewhere" in found.error.where
    assert found.output is None and found.loans is None


def test_its_temporary_files_are_its_own(job: CommandJob) -> None:
    program = f"import tempfile\nopen(tempfile.mkstemp()[1], 'w').write('x')\nopen(os.devnull, 'w').write('x')\n{GOOD}"
    assert run(job, program).status is CommandStatus.OK


def test_folders_that_it_shut_are_removed(job: CommandJob) -> None:
    program = f"os.makedirs('a/b')\nos.chmod('a/b', 0)\nos.chmod('a', 0)\nos.chmod('.', 0)\n{GOOD}"
    assert run(job, program).status is CommandStatus.OK


# --- one that leaves something behind -----------------------------------------------------------------------

CHILD = (
    "import os, time; print(os.getpid(), file=open('child', 'w'), flush=True); "
    "os.replace('child', 'pid'); time.sleep(60)"
)
LEAVING = {
    "in its group": "subprocess.Popen([sys.executable, '-c', CHILD])",
    "in a session of its own": "subprocess.Popen([sys.executable, '-c', CHILD], start_new_session=True)",
    "a daemon": "os.fork() or (os.setsid(), os.fork() or exec(CHILD), os._exit(0))",
}


@pytest.mark.parametrize("end", ["done", "timeout"])
@pytest.mark.parametrize("how", LEAVING)
def test_children_that_would_outlive_it(job: CommandJob, how: str, end: str) -> None:
    if not LINUX and how != "in its group":
        pytest.skip("only Linux gives orphans to the keeper")
    program = f"""
        CHILD = {CHILD!r}
        {LEAVING[how]}
        while not os.path.exists("pid"): time.sleep(0.01)
        print(open("pid").read(), file=sys.stderr, flush=True)
        {"time.sleep(60)" if end == "timeout" else GOOD}
    """
    before = time.monotonic()
    found = run(job, program, timeout_s=2 if end == "timeout" else 30)
    assert found.status is (CommandStatus.TIMEOUT if end == "timeout" else CommandStatus.OK), found
    assert not alive(int(found.stderr_tail)), "its pipes were open, and it was not waited for either"
    assert time.monotonic() - before < 20


@pytest.mark.skipif(not CONFINED, reason="without Landlock a program may signal whoever has its account")
def test_signals_do_not_reach_others(job: CommandJob) -> None:
    found = run(job, f"os.kill({os.getpid()}, 0)")
    if "signals" in found.isolation:
        assert "PermissionError" in found.stderr_tail
        keeper = run(job, f"os.kill(os.getppid(), signal.SIGKILL)\n{GOOD}")
        assert keeper.status is CommandStatus.CRASHED and "PermissionError" in keeper.stderr_tail


PARENT = """
import sys
from pathlib import Path
from abaco_loans.operations.run_command import CommandJob, run_command
from abaco_loans.releases.command import CommandSpec
spec = CommandSpec(
    argv=("{python}", "program.py"), timeout_s=30, memory_mb=256, output_bytes_max=1000, file_mb_max=1
)
tape, folder, program = sys.argv[1:]
files = {"program.py": program.encode()}
run_command(
    CommandJob(spec=spec, files=files, tape=Path(tape), as_of=None, folder=Path(folder), environment={})
)
"""


def test_when_the_parent_is_killed_nothing_stays(job: CommandJob) -> None:
    """Killed without a chance to clean up, as a machine that runs out of memory does."""
    pid_file = job.folder / "work" / "program" / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(job.tape), str(job.folder), CHILD])
    until = time.monotonic() + 20
    while not pid_file.exists() and time.monotonic() < until:
        time.sleep(0.02)
    pid = int(pid_file.read_text(encoding="utf-8"))
    assert alive(pid)
    parent.kill()
    parent.wait()
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(pid)


def test_many_at_once_do_not_mix(job: CommandJob, tmp_path: Path) -> None:
    found: dict[int, CommandRun] = {}

    def work(number: int) -> None:
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        program = f'print(\'{{"kpis": {{"risk.par_30": {number}}}}}\')'
        found[number] = run(replace(job, folder=folder), program)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outputs = {number: each.output and each.output.kpis for number, each in found.items()}
    assert outputs == {number: {"risk.par_30": Printed(text=str(number))} for number in range(6)}


# --- the files of a release ---------------------------------------------------------------------------------


def test_the_program_is_what_is_digested(tmp_path: Path) -> None:
    for name in ("release.yml", "gates.yml", "a.py", "lib/b.py", "lib/gates.yml", ".hidden", "lib/__pycache__/b.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "link.py").symlink_to("a.py")
    names = ("a.py", "lib/b.py", "lib/gates.yml")
    assert read_program(tmp_path) == {**{name: name.encode() for name in names}, "link.py": b"a.py"}


@pytest.mark.parametrize("what", ["link", "fifo", "broken link", "folder link"])
def test_a_release_holds_plain_files(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "v1"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x", encoding="utf-8")
    place = folder / "item"
    if what == "fifo":
        os.mkfifo(place)
    else:
        target = {"link": "outside/x", "broken link": "nowhere", "folder link": "outside"}[what]
        place.symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match="REL-202"):
        read_program(folder)


def test_a_folder_that_cannot_be_written_is_the_worlds_fault(job: CommandJob, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="OUT-1"):
        run_command(replace(job, folder=tmp_path / "elsewhere" / "kept.txt"))

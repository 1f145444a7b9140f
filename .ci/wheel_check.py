"""Install a built wheel in an empty environment and use it as a person would: usage: wheel_check.py WHEEL.

Looks at three things: the wheel holds every file of the package, it works with its core dependencies
alone, and the command goes from nothing to KPIs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "abaco_loans"
BUILTINS_MIN = 5
COUNT_BUILTINS = """
from importlib.resources import files
from pathlib import Path
print(sum(1 for _ in Path(str(files("abaco_loans") / "builtin")).rglob("*.yml")))
"""
REQUIRED = ("py.typed", "builtin/", "records/migrations/")


def main(wheel: Path) -> None:
    """Check the wheel; ends with a message and exit code 1 at the first thing that does not hold."""
    held = contents(wheel)
    with tempfile.TemporaryDirectory(prefix="abaco-wheel-") as scratch:
        folder = Path(scratch)
        command = install(wheel, folder / "empty")
        kpis = use(command, folder)
    print(f"{wheel.name}: {held} files, installed alone, {kpis} KPIs from a sampled tape")


def contents(wheel: Path) -> int:
    """Count the package's files in the wheel; refuse when one of the tree is missing, or a stray is in."""
    prefix = "abaco_loans/"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    wanted = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if inside != wanted:
        stop(f"the wheel misses {sorted(wanted - inside)} and has strays {sorted(inside - wanted)}")
    for part in REQUIRED:
        if not any(name.startswith(part) for name in inside):
            stop(f"the wheel has no {part}")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        stop("the wheel has no LICENSE")
    return len(inside)


def install(wheel: Path, target: Path) -> Path:
    """Make an empty environment with the wheel and its core dependencies; give the path of its ``abaco``."""
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq"]
    run([*pip, "install", "-c", str(REPOSITORY / "constraints.txt"), str(wheel)], target)
    run([*pip, "check"], target)
    return target / "bin" / "abaco"


def use(command: Path, folder: Path) -> int:
    """Go from nothing to KPIs in ``folder`` with the installed command; give the number of KPIs."""
    abaco = str(command)
    expected = run([str(command.parent / "python"), "-c", "import abaco_loans as a; print(a.__version__)"], folder)
    version = run([abaco, "--version"], folder)
    if expected.strip() not in version:
        stop(f"abaco --version says {version.strip()!r}, the package {expected.strip()!r}")
    if "run" not in run([abaco, "--help"], folder):
        stop("abaco --help does not list `run`")
    builtins = run([str(command.parent / "python"), "-c", COUNT_BUILTINS], folder)
    if int(builtins) < BUILTINS_MIN:
        stop(f"only {builtins.strip()} YAML files in builtin/, expected {BUILTINS_MIN} or more")
    run([abaco, "init", "workspace"], folder)
    run([abaco, "sample", "--loans", "200", "--months", "3", "--seed", "1", "--out", "tapes"], folder)
    out = run([abaco, "run", "tapes/bucketed.csv", "--workspace", "workspace", "--json"], folder)
    result = json.loads(out)
    computed = [name for name, kpi in result["kpis"].items() if kpi["value"] is not None]
    if not computed:
        stop(f"abaco run gave no KPI: {out[:2000]}")
    return len(computed)


def run(arguments: list[str], folder: Path) -> str:
    """Standard output of a command that must succeed, run in ``folder`` without our variables."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "ABACO"))
    }
    done = subprocess.run(
        arguments, cwd=folder, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        stop(f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def stop(what: str) -> None:
    """End with a message."""
    raise SystemExit(f"wheel check: {what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

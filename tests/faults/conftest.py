from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_OLD, Bench, Server, abaco, finished_runs, write_tape


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux" or not shutil.which("gcc"):
        reason = "needs Linux and gcc (a shim in front of the C library)"
        if os.environ.get("CI") and sys.platform == "linux":
            raise pytest.UsageError(f"tests/faults {reason}; .ci/run installs it")
        for item in items:
            if "tests/faults/" in item.nodeid and "bench" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", target, source, "-ldl"], check=True
    )
    return target


@pytest.fixture(scope="session")
def bench(shim: Path) -> Iterator[Bench]:
    # Not pytest's own folder: some processes run as nobody, and have to come in.
    with tempfile.TemporaryDirectory(prefix="abaco-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        old = write_tape(folder / "old.csv", as_of=AS_OF_OLD, start=500)
        new = write_tape(folder / "new.csv")
        undisturbed, template = folder / "undisturbed", folder / "template"
        assert abaco("init", template).code == 0
        shutil.copytree(template, undisturbed)
        server = Server(shim, folder, ["run", str(new), "-w", str(undisturbed)])
        try:
            assert server.run("run", old, "-w", template).code == 0
            (record,) = finished_runs(undisturbed).values()
            wanted = (undisturbed / "outputs" / (record.output_folder or "") / "kpis.json").read_bytes()
            yield Bench(server=server, template=template, old=old, new=new, wanted=wanted)
        finally:
            server.close()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every account may enter."""
    with tempfile.TemporaryDirectory(prefix="abaco-open-") as name:
        Path(name).chmod(0o777)
        yield Path(name)

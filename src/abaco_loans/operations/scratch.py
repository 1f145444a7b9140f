"""Private folders in which runs work, owner only; what a dead run left is swept by the next."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from abaco_loans.errors import WorldError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.records.locks import exclusive

LOCK_HELD = "REC-111"


_RUNS_MAX = 64


def scratch_folder(workspace: Workspace) -> AbstractContextManager[Path]:
    """A private folder for this run; those of dead runs are swept."""
    with world(workspace.scratch):
        workspace.scratch.mkdir(mode=0o700, exist_ok=True)
    return _Scratch(workspace.scratch)


class _Scratch(AbstractContextManager[Path]):
    """A folder whose life is a kernel lock: who can take the lock of a folder may empty it.

    The lock files stay, and are taken again: removing one would let two in.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._stack = ExitStack()

    def __enter__(self) -> Path:
        for lock in sorted(self._parent.glob("*.lock")):
            with ExitStack() as dead:
                if _taken(dead, lock):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        for number in range(_RUNS_MAX):
            folder = self._parent / f"run{number}"
            if _taken(self._stack, folder.with_suffix(".lock")):
                with world(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(mode=0o700)
                self._folder = folder
                return folder
        raise WorldError(
            f"{_RUNS_MAX} runs are at work here",
            code="RUN-101",
            where=str(self._parent),
            hint="wait for them, or remove the folder .scratch when nothing runs",
        )

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._stack.close()


def _taken(stack: ExitStack, lock: Path) -> bool:
    """Whether the lock was free; it is then held until the stack closes."""
    try:
        stack.enter_context(exclusive(lock, timeout_s=0, who="abaco run"))
    except WorldError as error:
        if error.code != LOCK_HELD:
            raise
        return False
    return True

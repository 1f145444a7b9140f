"""Begin a run: take a private folder and start to copy the tape into it, before anything else is imported.

Copying and hashing leave the interpreter free, so they cost no time beside the imports (a million rows: 0.3 s).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.outputs.publish import world
from abaco_loans.sources.stage import Staging

if TYPE_CHECKING:
    from abaco_loans.operations.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The run's private folder; ``staging`` is None where the tape is a folder of files, copied later."""

    scratch: Path
    staging: Staging | None


@contextmanager
def begin_run(workspace: Workspace, tape: Path) -> Iterator[Begun]:
    """The private folder of a run and the copying of its tape, for the length of the block.

    Raises:
        WorldError: the workspace cannot be written. What is wrong with the tape is said when it is asked for.
    """
    with ExitStack() as stack:
        with world(workspace.root):
            scratch = stack.enter_context(scratch_folder(workspace))
            staging = None if tape.is_dir() else Staging(tape, scratch)
        yield Begun(scratch=scratch, staging=staging)

"""Workspaces to be validated, and single checks of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.validation_desk import Desk as ValidationDesk
from abaco_loans.operations.validation_desk import ValidateTools, open_desk
from abaco_loans.watch.check import Check, Report, SubCheck
from abaco_loans.wiring import validate_tools
from tests.operations.desk import Desk


def tools_of(desk: Desk, **changed: Any) -> ValidateTools:
    """Real tools of a workspace, some of them others; a calculation takes a millisecond, however busy the machine."""
    ticks = count()
    given = validate_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    return replace(given, **{"stopwatch": lambda: next(ticks) * 0.001, **changed})


@contextmanager
def opened(desk: Desk) -> Iterator[ValidationDesk]:
    """What one check is given."""
    with scratch_folder(desk.workspace) as folder:
        yield open_desk(tools_of(desk), folder)


def part(found: Report | Check, name: str) -> SubCheck:
    checks = found.checks if isinstance(found, Report) else (found,)
    (item,) = [item for check in checks for item in check.subchecks if item.name == name]
    return item

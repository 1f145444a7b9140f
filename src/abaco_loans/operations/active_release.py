"""Which release is active: production's pointer says it, and the settings as long as there is no pointer."""

from __future__ import annotations

from dataclasses import replace

from abaco_loans.operations.workspace import Workspace


def active_workspace(workspace: Workspace, active: str) -> Workspace:
    """The workspace with the release that the pointer calls active; as its settings say where that is ''."""
    if not active or active == workspace.settings.release:
        return workspace
    return replace(workspace, settings=replace(workspace.settings, release=active))

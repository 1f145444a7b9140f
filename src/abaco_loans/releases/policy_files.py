"""The files of a release folder that change no number: what a candidate is judged by, and portfolio policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import rfc8785

from abaco_loans.releases.release import Release

RELEASE_FILE = "release.yml"
GATES_FILE, EXPECTED_FILE, PORTFOLIO_FILE = "gates.yml", "expected.yml", "portfolio.yml"
POLICY_FILES = (GATES_FILE, EXPECTED_FILE, PORTFOLIO_FILE)


def apart(files: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The files of a catalogue release (path → text): those that it is read from, and those that change no number."""
    said = {path: files[path] for path in (RELEASE_FILE, *POLICY_FILES) if path in files}
    return {path: text for path, text in files.items() if path not in said}, said


def with_policy(release: Release, texts: Mapping[str, str]) -> Release:
    """The release with the texts (file → text) in its policy digest, so that a change of one is an amendment."""
    if not texts:
        return release
    said: dict[str, Any] = {"release": release.policy_digest, "files": dict(texts)}
    return replace(release, policy_digest=hashlib.sha256(rfc8785.dumps(said)).hexdigest())

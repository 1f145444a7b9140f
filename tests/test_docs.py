"""The reference pages say what the code does, and the README's examples work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.release import read_release
from abaco_loans.settings import DESCRIPTIONS, Settings


def test_the_reference_pages_are_up_to_date(repository: Path) -> None:
    made = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def test_every_setting_is_described() -> None:
    assert set(DESCRIPTIONS) == set(Settings.__dataclass_fields__)


def examples(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_kpi_and_the_mapping_of_the_readme_load(repository: Path) -> None:
    kpi, mapping = examples(repository, "yaml")
    files = builtin_texts()
    files["catalogue.yml"] += kpi
    files["mappings/mylender.yml"] = mapping
    release = read_release("v3", files)
    assert release.catalogue.get("risk.mid_delinquency").precision == 2
    assert "mylender" in [item.name for item in release.mappings]
    assert yaml.safe_load(mapping)["layout"] == "snapshot"


def test_links_of_the_docs_lead_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"

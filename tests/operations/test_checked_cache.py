"""What a repeated run need not read again: the cache is never believed, and never missed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abaco_loans import __version__
from abaco_loans.errors import ConfigError
from abaco_loans.operations.private_cache import cache_key, read_cached, write_cached
from abaco_loans.operations.release_files import read_texts
from abaco_loans.operations.workspace import Workspace, open_workspace
from abaco_loans.releases.policy_files import apart, with_policy
from abaco_loans.releases.release import Release, read_release
from tests.operations.desk import BUCKETED, ColdDesk, Desk, bucketed_row, worked_example, write_csv


def read_anew(workspace: Workspace) -> Release:
    """The release as its files say, whatever is kept."""
    files, said = apart(read_texts(workspace.root / "releases" / "v2"))
    return with_policy(read_release("v2", files), said)


def digests(release: Release) -> tuple[object, ...]:
    return release.core_digest, release.mapping_digests, release.meaning_digest, release.policy_digest


def kept(workspace: Workspace) -> Path:
    return workspace.cache / "release-v2.json"


def tampered(workspace: Workspace, change: Callable[[Any], None]) -> None:
    """Edit what is kept, and put the right key and SHA-256 to it."""
    workspace.release()
    key = cache_key("v2", apart(read_texts(workspace.root / "releases" / "v2"))[0])
    body = read_cached(kept(workspace), key)
    assert body is not None
    before = json.dumps(body)
    change(body)
    assert json.dumps(body) != before
    write_cached(kept(workspace), key, body)


def kpi(body: Any, name: str) -> Any:
    return next(item for item in body["catalogue"]["kpis"] if item["id"] == name)


def investor(body: Any) -> Any:
    return next(item for item in body["definitions"] if item["name"] == "investor")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return ColdDesk(tmp_path / "workspace")


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "tape.csv", worked_example())


# --- what it saves -------------------------------------------------------------------------------------------


def test_a_repeated_run_imports_neither_pydantic_nor_yaml(desk: Desk, tape: Path, tmp_path: Path) -> None:
    desk.run(tape)
    other = write_csv(tmp_path / "other.csv", [bucketed_row("A", "7", b0="7")])
    code = (
        "import sys\n"
        "from abaco_loans.cli import main\n"
        f"try: main(['run', {str(other)!r}, '-w', {str(desk.workspace.root)!r}, '--json'])\n"
        "except SystemExit as left: assert not left.code\n"
        "heavy = {'pydantic', 'pydantic_core', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, **desk.environment, "ABACO_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_run_is_the_same_with_and_without(desk: Desk, tape: Path, tmp_path: Path) -> None:
    assert digests(desk.workspace.release()) == digests(read_anew(desk.workspace))
    first = desk.run(tape)
    shutil.rmtree(desk.workspace.cache)
    again = desk.run(tape)
    assert again.earlier and again.record == first.record
    cold = ColdDesk(tmp_path / "cold")
    shutil.rmtree(cold.workspace.cache)
    assert cold.run(tape).record.run_id == first.record.run_id
    assert {path.name: path.read_bytes() for path in cold.folder(first).glob("kpis.*")} == {
        path.name: path.read_bytes() for path in desk.folder(first).glob("kpis.*")
    }


# --- what it follows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("catalogue.yml", "12 * SUM(", "13 * SUM("),
        ("catalogue.yml", "warning: 5, critical: 8", "warning: 4, critical: 8"),
        ("definitions.yml", "write_off_after_days: 180", "write_off_after_days: 181"),
        ("contracts/bucketed.yml", "minimum: 0", "minimum: 1"),
        ("mappings/factoring.yml", "due_date: date_due", "due_date: date_owed"),
    ],
)
def test_a_changed_file_is_read_again(desk: Desk, name: str, old: str, new: str) -> None:
    before = desk.workspace.release()
    desk.edit(name, lambda text: text.replace(old, new, 1))
    after = desk.workspace.release()
    assert digests(after) == digests(read_anew(desk.workspace)) != digests(before)
    desk.edit(name, lambda text: text.replace(new, old, 1))
    assert digests(desk.workspace.release()) == digests(before)


def test_files_that_come_and_go(desk: Desk) -> None:
    desk.workspace.release()
    path, other = (desk.release / "mappings" / name for name in ("factoring.yml", "other.yml"))
    shutil.copy(path, other)
    other.write_text(other.read_text(encoding="utf-8").replace("name: factoring", "name: other"), encoding="utf-8")
    assert list(desk.workspace.release().mapping_digests) == ["factoring", "other"]
    path.unlink()
    assert list(desk.workspace.release().mapping_digests) == ["other"]


def test_a_fault_is_told_every_time(desk: Desk) -> None:
    desk.workspace.release()
    desk.edit("catalogue.yml", lambda text: text.replace("precision: 2", "precision: two", 1))
    for _ in range(2):
        with pytest.raises(ConfigError, match="KPI-100"):
            desk.workspace.release()


def test_settings_are_checked_every_time(desk: Desk) -> None:
    root = desk.workspace.root
    (root / "abaco.yml").write_text("release: v2\nthreads: 3\nmemori_mb: 9\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            open_workspace(root, {})
        assert caught.value.where == "abaco.yml:3"
    (root / "abaco.yml").write_text("release: v2\nthreads: 3\n", encoding="utf-8")
    for environment, threads in (({}, 3), ({"ABACO_THREADS": "1"}, 1), ({}, 3)):
        assert open_workspace(root, environment).settings.threads == threads


def test_no_secret_of_the_environment_is_kept(desk: Desk) -> None:
    environment = {"ABACO_RECORDS_URL": "postgresql://somebody:opensesame@host/db", "ABACO_MASKING_KEY": "5e" * 32}
    shutil.rmtree(desk.workspace.cache)
    open_workspace(desk.workspace.root, environment).release()
    texts = [path.read_text(encoding="utf-8") for path in desk.workspace.cache.iterdir()]
    assert len(texts) == 2
    assert not [text for text in texts if "opensesame" in text or "5e5e" in text]


def test_another_version_of_the_product_reads_again() -> None:
    assert cache_key("v2", {}) == hashlib.sha256(json.dumps([__version__, "v2", {}]).encode()).hexdigest()


# --- what it is worth when somebody edits it -----------------------------------------------------------------


def edit_formula(body: Any) -> None:
    kpi(body, "risk.par_30")["formula"] = "SUM(dpd_90_plus_usd) / SUM(total_receivable_usd) * 100"


def edit_parameter(body: Any) -> None:
    investor(body)["write_off_after_days"] = 3650


def edit_rule(body: Any) -> None:
    body["contracts"][0]["tables"][0]["rules"].pop()


def edit_mapping(body: Any) -> None:
    fields = body["mappings"][-1]["tables"][0]["fields"]
    fields["cash_available_usd"], fields["total_eligible_usd"] = (
        fields["total_eligible_usd"],
        fields["cash_available_usd"],
    )


def edit_threshold(body: Any) -> None:
    kpi(body, "risk.par_30")["thresholds"]["critical"] = "99"


@pytest.mark.parametrize("change", [edit_formula, edit_parameter, edit_rule])
def test_an_edited_meaning_is_refused_as_in_a_file(desk: Desk, tape: Path, change: Callable[[Any], None]) -> None:
    before = desk.workspace.release()
    desk.run(tape)
    tampered(desk.workspace, change)
    assert desk.workspace.release().core_digest != before.core_digest
    with pytest.raises(ConfigError) as caught:
        desk.run(tape)
    assert caught.value.code == "REC-121"
    shutil.rmtree(desk.workspace.cache)
    assert desk.run(tape).earlier


def test_an_edited_mapping_is_refused_as_in_a_file(desk: Desk, tmp_path: Path) -> None:
    rows = [{f"their {name}": value for name, value in row.items()} for row in worked_example()]
    columns = "".join(f"      {name}: their {name}\n" for name in BUCKETED)
    text = f"name: theirs\nlayout: bucketed\ntables:\n  tape:\n    columns:\n{columns}"
    (desk.release / "mappings" / "theirs.yml").write_text(text, encoding="utf-8")
    tape = write_csv(tmp_path / "theirs.csv", rows)
    desk.run(tape, mapping="theirs")
    before = desk.workspace.release()
    tampered(desk.workspace, edit_mapping)
    after = desk.workspace.release()
    assert after.core_digest == before.core_digest
    assert after.mapping_digests["theirs"] != before.mapping_digests["theirs"]
    with pytest.raises(ConfigError, match=r"REC-121.*theirs"):
        desk.run(tape, mapping="theirs")


def test_an_edited_threshold_is_an_amendment_as_in_a_file(desk: Desk) -> None:
    before = desk.workspace.release()
    tampered(desk.workspace, edit_threshold)
    after = desk.workspace.release()
    assert after.meaning_digest == before.meaning_digest
    assert after.policy_digest != before.policy_digest


# --- what it is worth when it is damaged ---------------------------------------------------------------------


def test_one_bit_that_flipped_is_seen(desk: Desk) -> None:
    wanted = digests(desk.workspace.release())
    good = kept(desk.workspace).read_bytes()
    for place in range(0, len(good), len(good) // 40):
        bad = bytearray(good)
        bad[place] ^= 0x01
        kept(desk.workspace).write_bytes(bad)
        assert digests(desk.workspace.release()) == wanted, place
        assert kept(desk.workspace).read_bytes() == good, place


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b"7", b"{}", b"\xff\xfe", b'{"body": {}, "sha256": 5}', b"[" * 100_000]
)
def test_what_is_no_cache_is_made_anew(desk: Desk, data: bytes) -> None:
    wanted = digests(desk.workspace.release())
    for path in sorted(desk.workspace.cache.iterdir()):
        good = path.read_bytes()
        path.write_bytes(data)
        again = open_workspace(desk.workspace.root, {})
        assert (digests(again.release()), again.settings) == (wanted, desk.workspace.settings)
        assert path.read_bytes() == good


def test_half_written_files_are_swept(desk: Desk) -> None:
    workspace = desk.workspace
    workspace.release()
    whole = sorted(path.name for path in workspace.cache.iterdir())
    (workspace.cache / "tmpabc.new").write_bytes(kept(workspace).read_bytes()[:1000])
    kept(workspace).unlink()
    workspace.release()
    assert sorted(path.name for path in workspace.cache.iterdir()) == whole


def test_it_is_for_its_owner_only(desk: Desk) -> None:
    cache = desk.workspace.cache
    desk.workspace.release()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}
    assert f"{cache.name}/" in (desk.workspace.root / ".gitignore").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o755])
def test_a_folder_open_to_others_is_not_believed(desk: Desk, mode: int) -> None:
    before = digests(desk.workspace.release())
    tampered(desk.workspace, edit_formula)
    assert digests(desk.workspace.release()) != before
    desk.workspace.cache.chmod(mode)
    written = kept(desk.workspace).read_bytes()
    assert digests(desk.workspace.release()) == before
    assert kept(desk.workspace).read_bytes() == written


def test_where_nothing_can_be_kept_all_is_read(desk: Desk) -> None:
    cache = desk.workspace.cache
    wanted = digests(desk.workspace.release())
    shutil.rmtree(cache)
    cache.write_text("in the way", encoding="utf-8")
    again = open_workspace(desk.workspace.root, {})
    assert (digests(again.release()), again.settings) == (wanted, desk.workspace.settings)
    assert cache.read_text(encoding="utf-8") == "in the way"

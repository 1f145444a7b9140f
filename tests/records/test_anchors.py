from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.records.anchors import AnchorSet, read_anchors, write_anchor

AT = datetime(2026, 3, 31, 12, tzinfo=UTC)


def test_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_anchor(tmp_path / "a", tmp_path / "keys" / "k.pem", count=1, head="a" * 64, at=AT)
    finally:
        os.umask(old)
    key = tmp_path / "keys" / "k.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    made = key.read_bytes()
    write_anchor(tmp_path / "a", key, count=2, head="b" * 64, at=AT)
    assert key.read_bytes() == made
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        "anchor-1.json",
        "anchor-2.json",
        "anchor.pub",
    ]


def test_same_anchor_again_changes_nothing_and_another_head_is_loud(tmp_path: Path) -> None:
    path = write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=AT)
    before = path.read_bytes()
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=later) == path
    assert path.read_bytes() == before
    with pytest.raises(WorldError, match="REC-113"):
        write_anchor(tmp_path, tmp_path / "k", count=1, head="b" * 64, at=AT)


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=AT)
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(WorldError, match="chmod 600"):
        write_anchor(tmp_path, tmp_path / "k", count=2, head="a" * 64, at=AT)


def test_another_key_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=AT)
    with pytest.raises(WorldError, match="REC-113"):
        write_anchor(tmp_path, tmp_path / "other", count=2, head="a" * 64, at=AT)
    assert len(read_anchors(tmp_path).anchors) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"count": 1}', '{"count": true}'])
@pytest.mark.parametrize("name", ["anchor-1.json", "anchor.pub", "k"])
def test_damaged_files_are_named(content: str, name: str, tmp_path: Path) -> None:
    write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=AT)
    (tmp_path / name).write_text(content or "zz", encoding="utf-8")

    def touch() -> None:
        if name == "k":
            write_anchor(tmp_path, tmp_path / "k", count=2, head="a" * 64, at=AT)
        else:
            read_anchors(tmp_path)

    with pytest.raises(WorldError, match="REC-112") as caught:
        touch()
    assert caught.value.where == str(tmp_path / name)


def test_an_anchor_under_another_name_is_refused(tmp_path: Path) -> None:
    write_anchor(tmp_path, tmp_path / "k", count=1, head="a" * 64, at=AT).rename(tmp_path / "anchor-7.json")
    with pytest.raises(WorldError, match="REC-112"):
        read_anchors(tmp_path)


def test_no_folder_means_no_anchors(tmp_path: Path) -> None:
    assert read_anchors(tmp_path / "none") == AnchorSet()


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(WorldError, match="REC-104") as caught:
        write_anchor(tmp_path / "file" / "a", tmp_path / "k", count=1, head="a" * 64, at=AT)
    assert "file" in caught.value.where

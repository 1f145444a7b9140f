"""Files as they arrive: recognised by their bytes, unpacked under a limit, refused with what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import threading
import time
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

import pytest

from abaco_loans.errors import AbacoError, InputError, WorldError
from abaco_loans.sources.recognise import FileFormat, recognise
from abaco_loans.sources.stage import stage
from tests.tape.reading import HEADER, read, read_text

TEXT = f"{HEADER}\nL1,2025-11-30,100.50,1,shop\nL2,2025-11-30,7,0,shop\n"


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "SRC-101", "empty"),
        (b"\xff\xfe", "SRC-101", "empty"),
        (b"%PDF-1.7\n1 0 obj", "SRC-102", "PDF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "SRC-102", "picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "SRC-102", "picture"),
        (b"\x7fELF\x02\x01", "SRC-102", "program"),
        (b"SQLite format 3\x00", "SRC-102", "SQLite"),
        (b"7z\xbc\xaf\x27\x1c", "SRC-102", "7-Zip"),
        (b"Rar!\x1a\x07", "SRC-102", "RAR"),
        (b"\x28\xb5\x2f\xfd\x04", "SRC-102", "Zstandard"),
        (bz2.compress(TEXT.encode()), "SRC-102", "bzip2"),
        (b"\xfd7zXZ\x00", "SRC-102", "xz"),
        (b"a,b\x00c\n1,2\n", "SRC-102", "binary"),
        (bytes(range(256)), "SRC-102", "binary"),
        (b"<!DOCTYPE html><html>Sign in", "SRC-102", "web page"),
        (b"\n <HTML><body>", "SRC-102", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><x/>", "SRC-102", "web page or XML"),
    ],
)
def test_what_is_no_tape_is_refused_in_words_whatever_its_name(
    data: bytes, code: str, word: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=word) as caught:
        read_text(data, tmp_path)
    error = caught.value
    assert (error.code, error.where, error.exit_code) == (code, "tape.csv", 3)
    assert error.hint


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (b"PAR1xxxx", FileFormat.PARQUET),
        (b"\x1f\x8b\x08\x00", FileFormat.GZIP),
        (b"PK\x03\x04", FileFormat.ZIP),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileFormat.EXCEL),
        (b' \n{"a": 1}', FileFormat.JSON),
        (b'\xef\xbb\xbf{"a": 1}', FileFormat.JSON),
        (b"\xff\xfea\x00,\x00b\x00", FileFormat.CSV),
        (b"loan_id,x\n", FileFormat.CSV),
    ],
)
def test_formats_are_told_by_their_bytes(data: bytes, meant: FileFormat) -> None:
    assert recognise(data, name="x") is meant


def test_a_file_that_is_not_there_or_closed_to_us(tmp_path: Path) -> None:
    with pytest.raises(AbacoError, match="no such file") as caught:
        read(tmp_path / "none.csv", tmp_path)
    assert caught.value.code == "SRC-201" and str(tmp_path / "none.csv") in caught.value.where


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(TEXT.encode()),
        gzip.compress(TEXT[:40].encode()) + gzip.compress(TEXT[40:].encode()),
        gzip.compress(TEXT.encode()) + b"\x00" * 512,
        gzip.compress(b"") + gzip.compress(TEXT.encode()),
        zipped({"inside.csv": TEXT.encode()}),
        zipped({"folder/": b"", "folder/inside.csv": TEXT.encode()}),
    ],
    ids=["gzip", "two members", "zero padding", "an empty member first", "zip", "zip with a folder"],
)
def test_packed_files_read_as_their_content_and_are_known_by_their_own_bytes(packed: bytes, tmp_path: Path) -> None:
    told = read_text(packed, tmp_path, name="tape.csv.gz")
    assert told.counts == (2, 2, 0, 0)
    assert told.report.sha256 == sha256(packed).hexdigest()


def locked(data: bytes) -> bytes:
    """A zip whose member says that it is encrypted."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("packed", "code", "word"),
    [
        (gzip.compress(TEXT.encode())[:-12], "SRC-106", "too early"),
        (gzip.compress(TEXT.encode())[:-4], "SRC-106", "too early"),
        (gzip.compress(TEXT.encode())[:20] + b"\xff" * 30, "SRC-106", "damaged"),
        (gzip.compress(TEXT.encode()) + b"garbage", "SRC-106", "damaged"),
        (gzip.compress(gzip.compress(TEXT.encode())), "SRC-104", "inside an archive"),
        (gzip.compress(b""), "SRC-101", "empty"),
        (zipped({}) + b"", "SRC-102", "binary"),
        (zipped({"a.csv": b"x", "b.csv": b"y"}), "SRC-104", "2 files"),
        (zipped({"a.zip": zipped({"a.csv": b"x"})}), "SRC-104", "inside an archive"),
        (zipped({"a.csv": TEXT.encode() * 50})[:-30], "SRC-106", "damaged"),
        (zipped({"[Content_Types].xml": b"", "word/document.xml": b""}), "SRC-102", "no Excel workbook"),
        (zipped({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}), "SRC-102", "no Excel workbook"),
        (locked(zipped({"a.csv": TEXT.encode()})), "SRC-106", "password"),
    ],
    ids=[f"packed {number}" for number in range(13)],  # the bytes hold the time
)
def test_packed_files_that_cannot_be_used(packed: bytes, code: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word) as caught:
        read_text(packed, tmp_path, name="tape.gz")
    assert caught.value.code == code


def gzip_bomb() -> bytes:
    """120 MB of zeros in 120 kB."""
    return gzip.compress(bytes(120 << 20))


def lying_zip(member: str, honest: int) -> bytes:
    """A zip whose member says that it unpacks to a few bytes, and unpacks to far more."""
    data = bytearray(
        zipped({member: bytes(honest)} if member.endswith(".csv") else {"xl/workbook.xml": b"", member: bytes(honest)})
    )
    said = (10).to_bytes(4, "little")
    crc = zlib.crc32(bytes(10)).to_bytes(4, "little")
    old, old_crc = honest.to_bytes(4, "little"), zlib.crc32(bytes(honest)).to_bytes(4, "little")
    return bytes(data.replace(old_crc, crc).replace(old, said))


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip_bomb, id="gzip"),
        pytest.param(lambda: zipped({"a.csv": bytes(120 << 20)}), id="zip"),
        pytest.param(lambda: zipped({"xl/workbook.xml": b"", "xl/worksheets/sheet1.xml": bytes(120 << 20)}), id="xlsx"),
        pytest.param(lambda: lying_zip("xl/worksheets/sheet1.xml", 120 << 20), id="xlsx that lies"),
    ],
)
def test_a_bomb_is_refused_before_it_expands(packed: object, tmp_path: Path) -> None:
    assert callable(packed)
    data = packed()
    assert len(data) < 1 << 20
    with pytest.raises(InputError, match="expands far beyond") as caught:
        read_text(data, tmp_path, name="tape.gz")
    assert caught.value.code == "SRC-105"
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert written < 70 << 20, "it had expanded already"


def test_what_is_hashed_is_what_is_parsed_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(TEXT)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    raw = stage(tmp_path / "in.csv", scratch)
    assert raw.sha256 == sha256(raw.path.read_bytes()).hexdigest() == sha256(TEXT.encode()).hexdigest()
    assert raw.path.stat().st_mode & 0o777 == 0o600
    assert (raw.newlines, raw.carriage_returns, raw.size_bytes) == (3, 0, len(TEXT))


def test_a_file_that_is_being_written_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"a" * (6 << 20))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = threading.Event()

    def write_on() -> None:
        with path.open("ab", buffering=0) as stream:
            while not done.is_set():
                stream.write(b"b" * 4096)
                time.sleep(0.0002)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        with pytest.raises(InputError, match="not ready") as caught:
            stage(path, scratch)
    finally:
        done.set()
        writer.join()
    assert caught.value.code == "SRC-103" and "run again" in caught.value.hint


def test_a_pipe_or_a_folder_is_no_file(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(WorldError, match="not a file") as caught:
            stage(path, scratch)
        assert caught.value.code == "SRC-201"

"""What a run remembers of earlier ones (`.cache/statements.json`): the same bytes, never a forger's, never stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.operations.private_cache import cache_key, memory_key, read_cached, running_code, write_cached
from abaco_loans.tape import memory
from tests.operations.desk import ColdDesk, Desk, bucketed_row, worked_example, write_csv
from tests.operations.panel_desk import JANUARY, build, bytes_of, folder_of, shots

ROWS = [row | {"product": "p"} for row in worked_example()]


def kept(desk: Desk) -> Path:
    return desk.workspace.cache / "statements.json"


def outputs(desk: Desk, tape: Path, **request: Any) -> dict[str, bytes]:
    outcome = desk.run(tape, **request)
    assert not outcome.earlier
    return {path.name: path.read_bytes() for path in desk.folder(outcome).iterdir() if path.name != "manifest.json"}


def warm(desk: Desk, source: Desk) -> None:
    """Give the desk what another one remembers."""
    desk.workspace.cache.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(kept(source), kept(desk))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return ColdDesk(tmp_path / "workspace")


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "tape.csv", ROWS)


# --- what it saves -------------------------------------------------------------------------------------------


def test_what_lists_faults_is_kept_once_whatever_the_file_is_called(desk: Desk, tmp_path: Path) -> None:
    for name in ("one", "two"):
        many = [bucketed_row(f"{name}{number}", "1", b0="1") for number in range(50)]
        outcome = desk.run(write_csv(tmp_path / f"{name}.csv", [*many, bucketed_row("bad", "n/a")]))
        assert outcome.record.rows is not None and outcome.record.rows.quarantined == 1
    texts = [str(value) for value in json.loads(kept(desk).read_text(encoding="utf-8"))["body"].values()]
    assert sum("_issues" in text and "CREATE VIEW" in text for text in texts) == 1, [
        t[:60] for t in texts if "_issues" in t
    ]


def test_another_tape_of_that_form_needs_no_tree(desk: Desk, tmp_path: Path) -> None:
    desk.run(write_csv(tmp_path / "one.csv", worked_example()))
    other = write_csv(tmp_path / "other.csv", [bucketed_row("A", "7", b0="7") | {"measurement_date": "2025-12-31"}])
    code = (
        "import sys\n"
        "from abaco_loans.cli import main\n"
        f"try: main(['run', {str(other)!r}, '-w', {str(desk.workspace.root)!r}, '--json'])\n"
        "except SystemExit as left: assert not left.code\n"
        "assert 'sqlglot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **desk.environment})


def test_the_outputs_are_the_same_bytes(tmp_path: Path, tape: Path) -> None:
    cold, first, second = (ColdDesk(tmp_path / name) for name in ("cold", "first", "second"))
    wanted = outputs(cold, tape)
    assert outputs(first, tape) == wanted
    shutil.rmtree(first.workspace.outputs)
    shutil.rmtree(first.workspace.root / "records")
    before = kept(first).read_bytes()
    assert outputs(first, tape) == wanted
    assert kept(first).read_bytes() == before  # nothing had to be made
    warm(second, first)
    assert outputs(second, tape) == wanted


def test_a_panel_is_the_same_bytes(tmp_path: Path) -> None:
    tape = shots(tmp_path / "shots.csv", 6, JANUARY)
    cold, warmed = ColdDesk(tmp_path / "cold"), ColdDesk(tmp_path / "warm")
    wanted = bytes_of(folder_of(cold, build(cold, tape)))
    warm(warmed, cold)
    assert bytes_of(folder_of(warmed, build(warmed, tape))) == wanted


# --- what it follows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("catalogue.yml", "SUM(dpd_90_plus_usd)", "SUM(dpd_90_plus_usd + dpd_60_90_usd)"),
        ("contracts/bucketed.yml", "minimum: 0", "minimum: 1"),
        ("contracts/bucketed.yml", "total_eligible_usd <= total_receivable_usd", "total_eligible_usd <= 60000"),
        ("definitions.yml", "boundary: at_least", "boundary: more_than"),
    ],
)
def test_an_edited_release_gives_what_it_gives_without(
    tmp_path: Path, tape: Path, name: str, old: str, new: str
) -> None:
    plain, cold, edited = (ColdDesk(tmp_path / folder) for folder in ("plain", "cold", "edited"))
    before = outputs(plain, tape)
    for desk in (cold, edited):
        desk.edit(name, lambda text: text.replace(old, new, 1))
    warm(edited, plain)
    wanted = outputs(cold, tape)
    assert wanted["kpis.json"] != before["kpis.json"]
    assert outputs(edited, tape) == wanted


def test_a_column_that_moved_or_went_is_read_as_it_stands(tmp_path: Path, tape: Path) -> None:
    plain, cold, warmed = (ColdDesk(tmp_path / folder) for folder in ("plain", "cold", "warm"))
    plain.run(tape)
    warm(warmed, plain)
    names = list(ROWS[0])
    swapped = [*names[:2], names[9], *names[3:9], names[2], *names[10:]]
    lacking = [name for name in names if name != "product"]
    for number, header in enumerate((swapped, lacking)):
        other = write_csv(tmp_path / f"other{number}.csv", ROWS, header)
        assert outputs(warmed, other) == outputs(cold, other)


def test_another_date_is_another_statement(tmp_path: Path, tape: Path) -> None:
    earlier = [row | {"measurement_date": "2025-10-31", "dpd_0_7_usd": "1"} for row in ROWS]
    both = write_csv(tmp_path / "both.csv", [*ROWS, *earlier])
    cold, warmed = ColdDesk(tmp_path / "cold"), ColdDesk(tmp_path / "warm")
    warmed.run(tape)  # of one date, which its statement does not name
    for day in (date(2025, 11, 30), date(2025, 10, 31)):
        assert outputs(warmed, both, as_of=day) == outputs(cold, both, as_of=day)


# --- what it is not believed for -----------------------------------------------------------------------------


def forged(desk: Desk, change: Callable[[Any], Any], key: str) -> None:
    """Write every text anew under a key."""
    body = json.loads(kept(desk).read_bytes())["body"]
    write_cached(kept(desk), key, change(body))


def every_text_false(body: dict[str, Any]) -> dict[str, Any]:
    return {name: "SELECT 1 / 0" if isinstance(value, str) else value for name, value in body.items()}


def key_of(secret: bytes) -> str:
    return memory_key(secret, running_code())


def test_who_has_not_the_key_cannot_write_it(desk: Desk, tape: Path, tmp_path: Path) -> None:
    wanted = outputs(ColdDesk(tmp_path / "cold"), tape)
    desk.run(write_csv(tmp_path / "one.csv", ROWS[:2]))
    for key in (key_of(b""), key_of(b"\x00" * 32), cache_key("statements", *running_code())):
        forged(desk, every_text_false, key)
        assert read_cached(kept(desk), key)
        assert outputs(desk, tape) == wanted
        shutil.rmtree(desk.workspace.outputs)
        shutil.rmtree(desk.workspace.root / "records")


def test_whoever_has_the_key_is_believed_so_the_tests_above_see_something(desk: Desk, tape: Path) -> None:
    desk.run(tape)
    forged(desk, every_text_false, key_of(bytes.fromhex(desk.environment["ABACO_MASKING_KEY"])))
    shutil.rmtree(desk.workspace.outputs)
    shutil.rmtree(desk.workspace.root / "records")
    with pytest.raises(Exception, match=r".+"):
        desk.run(tape)


@pytest.mark.parametrize("body", [None, [], 7, "text", {"a": 1}])
def test_a_body_of_another_form_is_nothing(desk: Desk, tape: Path, tmp_path: Path, body: object) -> None:
    desk.workspace.release()
    write_cached(kept(desk), key_of(bytes.fromhex(desk.environment["ABACO_MASKING_KEY"])), body)
    assert outputs(desk, tape) == outputs(ColdDesk(tmp_path / "cold"), tape)


def test_one_bit_that_flipped_is_seen(desk: Desk, tape: Path) -> None:
    desk.run(tape)
    secret = bytes.fromhex(desk.environment["ABACO_MASKING_KEY"])
    good = kept(desk).read_bytes()
    assert read_cached(kept(desk), key_of(secret)) is not None
    for place in range(0, len(good), len(good) // 40):
        bad = bytearray(good)
        bad[place] ^= 0x01
        kept(desk).write_bytes(bad)
        assert read_cached(kept(desk), key_of(secret)) is None, place


def test_other_code_or_another_key_remembers_nothing() -> None:
    secret, code = b"s" * 32, running_code()
    assert memory_key(secret, code) == key_of(secret) != key_of(b"t" * 32)
    for place in range(len(code)):
        assert memory_key(secret, [*code[:place], "other", *code[place + 1 :]]) != key_of(secret)


def test_the_code_is_every_file_of_it() -> None:
    named = {name for name, *_ in running_code()[-1]}
    assert {"tape/rows.py", "kpi/formula.py", "engines/duckdb.py", "operations/calculate.py"} <= named


def test_no_secret_and_nobody_is_kept(desk: Desk, tmp_path: Path) -> None:
    desk.run(shots(tmp_path / "shots.csv", 6, JANUARY, customer_id="somebody"))
    text = kept(desk).read_text(encoding="ascii")
    secret = bytes.fromhex(desk.environment["ABACO_MASKING_KEY"])
    pads = [bytes(byte ^ pad for byte in secret).hex() for pad in (0x36, 0x5C)]
    assert not [word for word in (secret.hex(), *pads, "somebody") if word in text.lower()]
    assert kept(desk).stat().st_mode & 0o777 == 0o600


# --- the memory itself ---------------------------------------------------------------------------------------


def told(*given: object) -> str:
    CALLS.append(given)
    return repr(given)


CALLS: list[tuple[object, ...]] = []


@pytest.mark.usefixtures("no_memory")
def test_without_a_memory_all_is_worked_out() -> None:
    CALLS.clear()
    assert memory.remembered(told, 1) == memory.remembered(told, 1)
    assert len(CALLS) == 2


def test_arguments_are_told_apart() -> None:
    CALLS.clear()
    mine = memory.Memory({})
    given: list[tuple[object, ...]] = [(1,), ("1",), (True,), ((1,),), ([1],), (1, None), (None, 1), ("1, None",), ()]
    with memory.using(mine):
        for _ in range(2):
            assert [memory.remembered(told, *item) for item in given] == [repr(item) for item in given]
    assert len(CALLS) == len(given) == len(mine.entries())
    assert mine.has_new
    assert not memory.Memory(mine.entries()).has_new


def test_what_has_a_place_in_memory_is_never_remembered() -> None:
    mine = memory.Memory({})
    with memory.using(mine):
        memory.remembered(told, object())
        memory.remembered(lambda: "x")
    assert mine.entries() == {}


def test_it_does_not_grow_without_end() -> None:
    mine = memory.Memory({str(number): "x" for number in range(2 * memory.ENTRIES_MAX)})
    with memory.using(mine):
        memory.remembered(told, "new")
    assert len(mine.entries()) == memory.ENTRIES_MAX
    assert list(mine.entries().values())[-1] == repr(("new",))

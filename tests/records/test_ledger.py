"""Every way to falsify a ledger is found, named, and placed; by the product and by the stand-alone script."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from abaco_loans.clock import FixedClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.anchors import Anchor, AnchorSet, export, read_anchors, write_anchor
from abaco_loans.records.ledger import GENESIS, Event, NewEvent, canonical, chained, event_hash, verify
from abaco_loans.records.store import Store

START = datetime(2026, 3, 31, 12, tzinfo=UTC)
COUNT = 6

Chain = tuple[Event, ...]


def _load_script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "verify_audit.py"
    spec = importlib.util.spec_from_file_location("verify_audit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _load_script()


def make_chain(count: int = COUNT, *, word: str = "v") -> Chain:
    made: list[Event] = []
    for seq in range(1, count + 1):
        new = NewEvent(action="run.noted", subject=f"r{seq}", payload={word: str(seq), "list": [1, None, True]})
        at = (START + timedelta(minutes=seq)).isoformat(timespec="microseconds")
        head = made[-1].hash if made else GENESIS
        made.append(chained(new, seq=seq, recorded_at=at, actor="ana", previous_hash=head))
    return tuple(made)


CHAIN = make_chain()


def with_(event: Event, **changes: Any) -> Event:
    return dataclasses.replace(event, **changes)


def rehashed(event: Event, **changes: Any) -> Event:
    changed = with_(event, **changes)
    return with_(changed, hash=event_hash(changed))


def renumbered(chain: list[Event]) -> Chain:
    return tuple(with_(event, seq=index + 1) for index, event in enumerate(chain))


def verdicts(chain: Chain, tmp_path: Path, anchors: AnchorSet | None = None) -> tuple[int | None, str | None]:
    """What product and script say; they must agree."""
    found = verify(chain, anchors)
    path = tmp_path / "ledger.jsonl"
    export(path, chain, anchors or AnchorSet())
    ledger = SCRIPT.read(path)
    script: tuple[int | None, str | None] = (None, None)
    try:
        SCRIPT.check_chain(ledger.events)
        SCRIPT.check_anchors(ledger, "")
    except SCRIPT.Bad as bad:
        script = (bad.seq, bad.kind)
    assert script == (found.first_bad_seq, found.kind)
    assert SCRIPT.main([str(path)]) == (0 if found.ok else 1)
    assert found.ok == (found.kind is None)
    return script


def test_a_whole_ledger_holds(tmp_path: Path) -> None:
    found = verify(CHAIN)
    assert (found.ok, found.events, found.head, found.warnings) == (True, COUNT, CHAIN[-1].hash, ())
    assert verdicts(CHAIN, tmp_path) == (None, None)
    assert verify(()).ok


@pytest.mark.parametrize("index", range(COUNT))
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 77),
        ("recorded_at", "2026-03-31T12:00:00.000001+00:00"),
        ("actor", "bob"),
        ("action", "run.lost"),
        ("subject", "r9"),
        ("payload", {"v": "9"}),
        ("payload", {}),
        ("previous_hash", "a" * 64),
        ("hash", "b" * 64),
    ],
)
def test_each_field_of_each_event(index: int, field: str, value: Any, tmp_path: Path) -> None:
    chain = list(CHAIN)
    chain[index] = with_(chain[index], **{field: value})
    assert verdicts(tuple(chain), tmp_path) == (index + 1, "edited")


@pytest.mark.parametrize("index", range(COUNT - 1))
def test_edit_with_a_fresh_hash_is_still_placed(index: int, tmp_path: Path) -> None:
    chain = list(CHAIN)
    chain[index] = rehashed(chain[index], actor="bob")
    assert verdicts(tuple(chain), tmp_path) == (index + 1, "edited")


@pytest.mark.parametrize("seq", [0, 5, 77])
def test_a_seq_with_a_fresh_hash_is_found(seq: int, tmp_path: Path) -> None:
    assert verdicts((*CHAIN[:-1], rehashed(CHAIN[-1], seq=seq)), tmp_path)[0] == COUNT


@pytest.mark.parametrize("renumber", [False, True])
@pytest.mark.parametrize("index", range(COUNT - 1))
def test_delete(index: int, renumber: bool, tmp_path: Path) -> None:
    chain = [*CHAIN[:index], *CHAIN[index + 1 :]]
    assert verdicts(renumbered(chain) if renumber else tuple(chain), tmp_path) == (index + 1, "deleted")


@pytest.mark.parametrize("renumber", [False, True])
@pytest.mark.parametrize("index", range(COUNT - 1))
def test_insert(index: int, renumber: bool, tmp_path: Path) -> None:
    head = CHAIN[index].hash
    false = chained(
        NewEvent(action="run.noted", subject="x", payload={}),
        seq=index + 2,
        recorded_at=CHAIN[index].recorded_at,
        actor="eve",
        previous_hash=head,
    )
    for event in (false, with_(false, previous_hash="c" * 64), with_(false, hash="d" * 64)):
        chain = [*CHAIN[: index + 1], event, *CHAIN[index + 1 :]]
        assert verdicts(renumbered(chain) if renumber else tuple(chain), tmp_path) == (index + 2, "inserted")


@pytest.mark.parametrize("index", range(COUNT - 1))
def test_insert_the_same_event_twice(index: int, tmp_path: Path) -> None:
    chain = [*CHAIN[: index + 1], CHAIN[index], *CHAIN[index + 1 :]]
    assert verdicts(tuple(chain), tmp_path) == (index + 2, "inserted")


@pytest.mark.parametrize("renumber", [False, True])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 5), (2, 4), (4, 5)])
def test_reorder(first: int, second: int, renumber: bool, tmp_path: Path) -> None:
    chain = list(CHAIN)
    chain[first], chain[second] = chain[second], chain[first]
    assert verdicts(renumbered(chain) if renumber else tuple(chain), tmp_path) == (first + 1, "reordered")


def anchored(tmp_path: Path, *counts: int) -> AnchorSet:
    for count in counts:
        head = CHAIN[count - 1].hash
        write_anchor(tmp_path / "anchors", tmp_path / "key.pem", count=count, head=head, at=START)
    return read_anchors(tmp_path / "anchors")


def test_anchors_that_agree(tmp_path: Path) -> None:
    assert verdicts(CHAIN, tmp_path, anchored(tmp_path, 2, COUNT)) == (None, None)
    assert verify(CHAIN, read_anchors(tmp_path / "anchors")).anchors == 2


def test_truncate_is_found_by_an_anchor_only(tmp_path: Path) -> None:
    assert verify(CHAIN[:4]).ok
    assert verdicts(CHAIN[:4], tmp_path, anchored(tmp_path, 2, COUNT)) == (5, "truncated")
    assert verdicts((), tmp_path, read_anchors(tmp_path / "anchors")) == (1, "truncated")


def test_rewrite_of_the_whole_chain_is_found_by_an_anchor_only(tmp_path: Path) -> None:
    rewritten = make_chain(word="w")
    assert verify(rewritten).ok
    assert verdicts(rewritten, tmp_path, anchored(tmp_path, COUNT)) == (1, "rewritten")


def test_rewrite_of_the_end_is_placed_after_the_last_anchor_that_agrees(tmp_path: Path) -> None:
    chain = list(CHAIN[:3])
    for event in make_chain(word="w")[3:]:
        chain.append(rehashed(event, previous_hash=chain[-1].hash))
    assert verdicts(tuple(chain), tmp_path, anchored(tmp_path, 2, 3, COUNT)) == (4, "rewritten")


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 2), ("head", "a" * 64), ("at", "2026"), ("key_id", "0" * 32), ("signature", "00" * 64)],
)
def test_forged_anchor(field: str, value: Any, tmp_path: Path) -> None:
    true = anchored(tmp_path, 3)
    changed: Anchor = dataclasses.replace(true.anchors[0], **{field: value})
    forged = AnchorSet(public_key=true.public_key, anchors=(changed,))
    assert verdicts(CHAIN, tmp_path, forged) == (None, "forged_anchor")


def test_an_anchor_that_names_another_key_than_signed_it(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    unsigned = Anchor(count=0, head=GENESIS, at="2026", key_id="0" * 32, signature="")
    signed = dataclasses.replace(unsigned, signature=key.sign(unsigned.message()).hex())
    anchors = AnchorSet(public_key=key.public_key().public_bytes_raw().hex(), anchors=(signed,))
    assert verdicts(CHAIN, tmp_path, anchors) == (None, "forged_anchor")


def test_anchors_of_another_key_are_refused_when_the_key_is_known(tmp_path: Path) -> None:
    trusted = anchored(tmp_path, 3).public_key
    rewritten = make_chain(word="w")
    write_anchor(tmp_path / "b", tmp_path / "b.pem", count=COUNT, head=rewritten[-1].hash, at=START)
    forged = read_anchors(tmp_path / "b")
    assert verify(rewritten, forged).ok
    assert verify(rewritten, forged, trusted_key=trusted).kind == "forged_anchor"
    export(tmp_path / "x.jsonl", rewritten, forged)
    assert SCRIPT.main([str(tmp_path / "x.jsonl")]) == 0
    assert SCRIPT.main([str(tmp_path / "x.jsonl"), "--key", trusted]) == 1
    assert SCRIPT.main([str(tmp_path / "x.jsonl"), "--key", str(tmp_path / "b" / "anchor.pub")]) == 0


def test_a_clock_set_back_is_a_warning_and_order_stays(store: Store, clock: FixedClock) -> None:
    store.append([NewEvent(action="a", subject="1", payload={})])
    clock.move_to(clock.now() - timedelta(hours=1))  # also what a wrong time zone or a leap second looks like
    store.append([NewEvent(action="b", subject="2", payload={})])
    assert [event.subject for event in store.events()] == ["1", "2"]
    found = store.verify()
    assert found.ok
    assert found.warnings == ("the clock went backwards before event 2",)


def test_events_come_back_as_they_went_in(store: Store) -> None:
    payload = {"é€𝒳": ['\u2028\x00"\\', -5, True, None, {"b": "1.10", "a": {}}], "": ""}
    made = store.append([NewEvent(action="a", subject="s", payload=payload) for _ in range(3)])
    assert tuple(store.events()) == made
    assert [event.seq for event in store.events(after_seq=1)] == [2, 3]
    assert made[0].payload == payload
    assert (store.head().count, store.head().hash) == (3, made[2].hash)


@pytest.mark.parametrize(
    "payload",
    [{"x": 0.5}, {"x": [1, {"y": 2.0}]}, {"x": float("nan")}, {1: "x"}, {"x": b"1"}, {"x": 2**53},
     {"x": START}, {"x": {1, 2}}, {"x": "\ud800"}],
)  # fmt: skip
def test_what_is_not_exact_json_is_refused_loudly(payload: Any, store: Store) -> None:
    with pytest.raises(InvariantError, match="payload"):
        store.append([NewEvent(action="a", subject="s", payload=payload)])
    assert store.head().count == 0


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a":2,"a":1}', "{", "[1.0]", "\x00", ""])
def test_stored_text_that_no_append_wrote_is_an_edit(text: str, store: Store) -> None:
    store.append([NewEvent(action="a", subject="s", payload={"a": 1})] * 2)
    assert store.path is not None
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE events SET payload = ? WHERE seq = 2", (text,))
    raw.close()
    found = store.verify()
    assert (found.first_bad_seq, found.kind) == (2, "edited")


def test_more_events_than_one_page(store: Store) -> None:
    store.append([NewEvent(action="a", subject="s", payload={})] * 2100)
    found = store.verify()
    assert (found.ok, found.events) == (True, 2100)
    assert [event.seq for event in store.events(after_seq=1050)] == list(range(1051, 2101))


def test_first_event_holds_zeros_and_the_hash_is_what_the_docs_say(store: Store) -> None:
    import hashlib

    (event,) = store.append([NewEvent(action="a", subject="s", payload={"b": 1, "a": "é"})])
    text = (
        '{"action":"a","actor":"ana","payload":{"a":"é","b":1},"previous_hash":"' + "0" * 64 + '",'
        '"recorded_at":"2026-03-31T12:00:00.000000+00:00","seq":1,"subject":"s"}'
    )
    assert event.hash == hashlib.sha256(text.encode()).hexdigest()


def json_values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


ascii_texts = st.text(st.characters(max_codepoint=0x7F), max_size=6)


@settings(max_examples=160, deadline=None)
@given(json_values(ascii_texts) | json_values(st.text(max_size=6)))
@example("".join(map(chr, range(0x80))))
@example({"\U0001f600": 1, "\ufb01": 2})
def test_three_ways_to_canonical_json_agree(value: Any) -> None:
    assert SCRIPT.canonical(value) == rfc8785.dumps(value) == canonical(value)


@pytest.mark.parametrize("value", [{1: 2}, [2**53], {"a": [-(2**53)]}, 1.0, {"a": {"b": 0.5}}, b"a", {"a": {1}}])
def test_what_is_not_exact_json_is_refused(value: Any) -> None:
    with pytest.raises(InvariantError):
        canonical(value)


def test_what_is_deep_is_written_as_ever() -> None:
    deep: Any = "x"
    for _ in range(450):
        deep = {"a": deep}
    assert canonical(deep) == b'{"a":' * 450 + b'"x"' + b"}" * 450


def test_script_sorts_keys_by_utf16_code_units() -> None:
    value = {"\ufb33": 1, "\U0001f600": 2, "a": 3}
    assert SCRIPT.canonical(value) == rfc8785.dumps(value)
    assert list(json.loads(SCRIPT.canonical(value))) == ["a", "\U0001f600", "\ufb33"]


@settings(max_examples=12, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.data())
def test_script_verifies_ed25519_as_cryptography_signs(seed: bytes, message: bytes, data: st.DataObject) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert SCRIPT.signature_holds(public, message, signature)
    bit = data.draw(st.integers(0, 511))
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not SCRIPT.signature_holds(public, message, bytes(flipped))
    assert not SCRIPT.signature_holds(public, message + b"x", signature)
    # S + L is the same point: malleable, so RFC 8032 refuses it.
    shifted = int.from_bytes(signature[32:], "little") + SCRIPT.L
    assert not SCRIPT.signature_holds(public, message, signature[:32] + shifted.to_bytes(32, "little"))


def test_script_knows_the_vectors_of_rfc_8032() -> None:
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signature = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert SCRIPT.signature_holds(public, bytes.fromhex("af82"), signature)
    assert not SCRIPT.signature_holds(public, bytes.fromhex("af83"), signature)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[1:],
        lambda lines: [],
        lambda lines: [*lines, "[1]"],
        lambda lines: [*lines, '{"event": {}}'],
        lambda lines: [*lines, "{"],
        lambda lines: [line.replace('"list": [1', '"list": [1.0') for line in lines],
        lambda lines: [line.replace('"actor": "ana"', '"actor": "bob", "actor": "ana"') for line in lines],
    ],
)
def test_script_says_when_it_is_no_export(spoil: Callable[[list[str]], list[str]], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    export(path, CHAIN, AnchorSet())
    path.write_text("\n".join(spoil(path.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    assert SCRIPT.main([str(path)]) == 2


def test_script_runs_with_the_standard_library_alone(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "x.jsonl"
    export(path, [with_(CHAIN[0], actor="bob"), *CHAIN[1:]], anchored(tmp_path, COUNT))
    # -I -S: no site-packages, no environment.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT.__file__), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (
        1,
        "BAD: edited at event 1: event 1 was edited: its content, hash and place do not agree",
    )


def test_export_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert export(path, CHAIN, AnchorSet()) == COUNT
    before = path.read_bytes()

    def broken() -> Any:
        yield CHAIN[0]
        raise OSError("gone")

    with pytest.raises(WorldError, match="REC-104"):
        export(path, broken(), AnchorSet())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]
    assert json.loads(before.splitlines()[0])["format"] == "abaco-ledger"

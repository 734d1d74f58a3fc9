"""Signed notes: what is signed is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import Damaged
from tocsin.vault.note import (
    Checkpoint,
    Signer,
    Verifier,
    open_note,
    parse_checkpoint,
    sign,
)

ALICE, BOB = Signer("alice.example/log", bytes(range(32))), Signer("bob", b"b" * 32)
TEXT = "alice.example/log\n7\n" + "A" * 43 + "=\n"
NOTE = sign(TEXT, [ALICE])


def test_a_note_is_written_as_it_always_was() -> None:
    key = "64cfd444+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert str(ALICE.verifier) == f"alice.example/log+{key}"
    blob = (
        "ZM/URMAGFeLHi9R74ffu5QTHOU/Pzt97JCtN4wLGLMWkn5YoZxWM56kbeMI1Nf9vSy7IVy"
        "e1Lq1NA7uRxXA26GzGzwY="
    )
    assert NOTE.decode() == f"{TEXT}\n\u2014 alice.example/log {blob}\n"
    assert Verifier.parse(str(ALICE.verifier)) == ALICE.verifier


def test_a_note_opens_with_the_key_that_signed_it_and_tells_the_others_apart() -> None:
    note = open_note(sign(TEXT, [ALICE, BOB]), [ALICE.verifier])
    assert note.text == TEXT
    assert note.verified == (ALICE.verifier,)
    assert [line.name for line in note.others] == ["bob"]
    both = open_note(sign(TEXT, [ALICE, BOB]), [BOB.verifier, ALICE.verifier])
    assert set(both.verified) == {ALICE.verifier, BOB.verifier}


def test_a_note_that_nobody_we_know_has_signed_does_not_open() -> None:
    with pytest.raises(Damaged, match="not signed by any of the 1 keys"):
        open_note(NOTE, [BOB.verifier])
    same_name = Signer(ALICE.name, b"x" * 32)
    with pytest.raises(Damaged, match="not signed by any"):
        open_note(NOTE, [same_name.verifier])


@pytest.mark.parametrize("place", range(len(NOTE)))
def test_each_changed_byte_of_a_note_is_found(place: int) -> None:
    for bit in (1, 0x20, 0x80):
        changed = bytearray(NOTE)
        changed[place] ^= bit
        with pytest.raises(Damaged):
            open_note(bytes(changed), [ALICE.verifier])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        TEXT.encode(),
        TEXT.encode() + b"\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"\x00",
        NOTE.replace(b"\n7\n", b"\n7\r\n"),
        b"\xff" + NOTE,
        TEXT.encode() + b"\n" + NOTE.split(b"\n\n")[1] * 101,
        TEXT.encode() + "\n\u2014 alice.example/log AAAA\n".encode(),
        TEXT.encode() + "\n\u2014 alice.example/log\n".encode(),
        TEXT.encode() + b"\n- alice.example/log AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(Damaged):
        open_note(data, [ALICE.verifier])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        open_note(data, [ALICE.verifier])


@given(st.integers(0, 10**18), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_comes_back_as_it_was(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("tocsin/1", size, root)
    assert parse_checkpoint(checkpoint.text()) == checkpoint
    assert parse_checkpoint(checkpoint.text() + "an extension\n") == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n\u0661\n" + "A" * 43 + "=\n",
        "a\n" + "9" * 30 + "\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
        "a\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=",
        "a\n1\n" + "A" * 43 + "=\n\nx\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(Damaged):
        parse_checkpoint(text)


@pytest.mark.parametrize("text", ["", "a", "a+b", "a+00000000+AQ==", "a+00000000+!!", " +1+AQ=="])
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(Damaged):
        Verifier.parse(text)


def test_a_key_that_contradicts_its_own_hash_is_refused() -> None:
    name, _, key = str(ALICE.verifier).split("+", 2)
    with pytest.raises(Damaged, match="does not match its own hash"):
        Verifier.parse(f"{name}+00000000+{key}")


def test_text_that_a_note_cannot_hold_is_not_signed() -> None:
    for text in ("no newline", "a\x1b[0m\n", "a\tb\n"):
        with pytest.raises(ValueError, match="ends in a newline"):
            sign(text, [ALICE])


def test_a_signer_does_not_show_its_secret() -> None:
    assert repr(ALICE) == "Signer(name='alice.example/log')"

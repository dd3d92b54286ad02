"""Names of others on a terminal."""

import os

import pytest

from septool.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b-ü-日本-👩‍👧.wav", "a b-ü-日本-👩‍👧.wav"),
        ("\x1b[2Jcall.wav", r"\x1b[2Jcall.wav"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("gpj.\u202ewav", r"gpj.\u202ewav"),
        ("\u2028\u2029", r"\u2028\u2029"),
        (os.fsdecode(b"\xff\xe9.wav"), r"\xff\xe9.wav"),
        ("\ud800", r"\ud800"),
        (b"\xe9", r"\xe9"),
        (3, "3"),
    ],
)
def test_nothing_in_a_name_acts(name: object, shown: str) -> None:
    assert printable(name) == shown
    printable(name).encode()

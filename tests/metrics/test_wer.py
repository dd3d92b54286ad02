"""Word error rate: edits of words, and recognizers that work, fail and are not there."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from septool.errors import UsageError
from septool.metrics import UndefinedError
from septool.metrics.wer import check_recognizer, count_errors, wer_item, words_of

SIGNAL = np.random.default_rng(0).standard_normal(4000)


def program(text: str) -> str:
    """Return a command that runs a line of Python."""
    return shlex.join([sys.executable, "-c", text])


def wer(command: str, text: str | None = "one two three four") -> float:
    return wer_item(estimate=SIGNAL, reference=SIGNAL, rate=8000, text=text, command=command)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Don\N{RIGHT SINGLE QUOTATION MARK}t stop, MR. Stra\N{LATIN SMALL LETTER SHARP S}e_2\u2026",
            "don't stop mr strasse 2",
        ),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940, \u092c\u094b\u0932\u094b\u0964",
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092c\u094b\u0932\u094b",
        ),
        (
            "\u0643\u064e\u062a\u064e\u0628\u064e \u0643\u0650\u062a\u0627\u0628",
            "\u0643\u064e\u062a\u064e\u0628\u064e \u0643\u0650\u062a\u0627\u0628",
        ),
        ("CAFE\u0301 \N{HEAVY BLACK HEART}\ufe0f '", "caf\u00e9"),
    ],
)
def test_words_have_neither_case_nor_punctuation(text: str, words: str) -> None:
    assert words_of(text) == words.split()


# The numbers are those of jiwer 4.0.0.
@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c d", "a b c d", 0),
        ("a b c d", "", 4),
        ("a b c d", "a x c d", 1),
        ("a b c d", "b c d e", 2),
        ("a b c", "x a y b z c w", 4),
        ("a b c d e f", "f e d c b a", 6),
        ("the cat sat on the mat", "cat sat the on mat mat", 3),
    ],
)
def test_errors_are_the_fewest_edits(said: str, heard: str, errors: int) -> None:
    assert count_errors(said.split(), heard.split()) == errors


def test_more_words_than_were_said_are_more_than_everything() -> None:
    assert wer(program("print('five ' * 6)")) == 150
    assert wer(program("print('One, two; three FOUR.')")) == 0


def test_the_recognizer_gets_a_file_of_16_khz_and_16_bits() -> None:
    look = (
        "import sys, wave; f = wave.open(sys.argv[{}]); print(f.getframerate(), 8 * f.getsampwidth(), f.getnframes())"
    )
    assert wer(program(look.format(1)), "16000 16 8000") == 0
    assert wer(program(look.format(2)) + " --file {file} --fast", "16000 16 8000") == 0


@pytest.mark.parametrize(
    ("command", "text", "reason"),
    [
        (program("raise SystemExit(3)"), "one", "the recognizer ended with status 3"),
        ("/nowhere/recognizer", "one", "the recognizer cannot be started: No such file or directory"),
        (program("print('one')"), None, "the manifest has no text of this source"),
        (program("print('one')"), "...", "the manifest has no text of this source"),
    ],
)
def test_where_there_is_no_value(command: str, text: str | None, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        wer(command, text)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "--asr is empty"),
        ("'whisper", "is no command: No closing quotation"),
        ("no-such-recognizer --tiny", "there is no program 'no-such-recognizer'"),
    ],
)
def test_commands_that_cannot_be_run(command: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        check_recognizer(command)

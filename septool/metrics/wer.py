"""Word error rate of an estimate, transcribed by an external recognizer."""

import shlex
import subprocess
import tempfile
import unicodedata
from pathlib import Path
from shutil import which

import numpy as np

from septool import audio
from septool.errors import UsageError
from septool.metrics import UndefinedError
from septool.printable import is_in_words

RATE, PEAK = 16000, 0.9  # rate and peak of the 16-bit file that is recognized
FILE = "{file}"


def wer_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int, text: str | None, command: str) -> float:  # noqa: ARG001
    """Word error rate of one signal ``[time]`` in percent; lower is better, and more than 100 is possible.

    100 (substitutions + deletions + insertions) / words of the reference, words as :func:`words_of` has them.

    Args:
        estimate: ``[time]``.
        reference: ``[time]``, not listened to.
        rate: Hz.
        text: what is said in the reference.
        command: the recognizer, see :func:`recognize`.

    Raises:
        UndefinedError: nothing is known of what is said, or the recognizer failed.
    """
    spoken = words_of(text or "")
    if not spoken:
        raise UndefinedError("the manifest has no text of this source")
    return 100 * count_errors(spoken, words_of(recognize(estimate, rate, command))) / len(spoken)


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case without punctuation; apostrophes stay, and marks, such as vowel signs."""
    plain = unicodedata.normalize("NFC", text.casefold()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = "".join(character if character == "'" or is_in_words(character) else " " for character in plain).split()
    return [word for word in words if any(map(str.isalnum, word))]


def count_errors(spoken: list[str], recognized: list[str]) -> int:
    """Return the fewest substitutions, deletions and insertions that make one list of words the other."""
    # Errors between the words spoken so far and each prefix of those recognized.
    fewest = list(range(len(recognized) + 1))
    for count, word in enumerate(spoken, 1):
        before, fewest[0] = fewest[0], count
        for position, candidate in enumerate(recognized, 1):
            substituted = before + (word != candidate)
            before = fewest[position]
            fewest[position] = min(substituted, fewest[position] + 1, fewest[position - 1] + 1)
    return fewest[-1]


def recognize(samples: np.ndarray, rate: int, command: str) -> str:
    """Return what a command writes to its standard output of a recording ``[time]``, a file of 16 kHz and 16 bits.

    Raises:
        UndefinedError: it could not be started, or ended with another status than 0.
    """
    recording = audio.resample(samples.astype(np.float32), rate, RATE)
    recording = recording * (PEAK / max(float(np.abs(recording).max(initial=0)), 1e-9))
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / "estimate.wav"
        audio.write_audio(path, recording, RATE)
        words = [word.replace(FILE, str(path)) for word in shlex.split(command)]
        try:
            done = subprocess.run(
                words if FILE in command else [*words, str(path)], stdin=subprocess.DEVNULL, capture_output=True
            )
        except OSError as error:
            raise UndefinedError(f"the recognizer cannot be started: {error.strerror}") from None
    if done.returncode:
        raise UndefinedError(f"the recognizer ended with status {done.returncode}")
    return done.stdout.decode(errors="replace")


def check_recognizer(command: str) -> None:
    """Refuse a command that names no program.

    Raises:
        UsageError: saying so.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--asr {command!r} is no command: {error}") from None
    if not words:
        raise UsageError("--asr is empty; give a command that takes a recording and writes its words")
    if which(words[0]) is None:
        raise UsageError(f"--asr: there is no program {words[0]!r}")

"""The interface of all decoders, and the base of those that use libsndfile.

A decoder gives samples until there are none. What was announced is compared with them at the end.
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

import numpy as np
import soundfile

from septool.audio.findings import Finding, FindingKind
from septool.errors import AudioError

TOLERANCE_S = 0.1  # by which counts of coded sound differ without a word: encoders pad to whole frames


class Decoder(Protocol):
    """Samples of a recording in order."""

    rate: int
    channels: int
    subtype: str  # libsndfile's name of the sample format, or the codec's
    expected: int  # samples per channel, as well as can be said before; 0 if nobody knows
    findings: list[Finding]  # complete when there is no more to read

    @property
    def header_frames(self) -> int | None:
        """Samples per channel that are announced; None where nothing is."""
        ...

    def read(self, frames: int) -> np.ndarray:
        """Return ``[time, channel]`` in float32, fewer than ``frames`` only at the end."""
        ...

    def seek(self, frame: int) -> bool:
        """Go to a sample; False if only reading leads there."""
        ...

    def close(self) -> None: ...


class Forward(soundfile.SoundFile):
    """A file read from its beginning to its end: seeking, which soundfile does after every read, is left out."""

    def seekable(self) -> bool:
        return False


def read_through(file: soundfile.SoundFile, frames: int) -> tuple[np.ndarray, bool]:
    """Return ``[time, channel]``, and whether there was an error behind them."""
    samples = np.full((frames, file.channels), np.nan, dtype=np.float32)
    try:
        return file.read(out=samples), False
    except soundfile.LibsndfileError:  # what was decoded is there all the same
        missing = np.isnan(samples[:, 0])
        return samples[: int(missing.argmax()) if missing.any() else frames], True
    except RuntimeError as error:
        raise AudioError(str(error)) from None


def words_of(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's reason as it can be shown."""
    reason = str(error.error_string).removeprefix("Error : ").rstrip(". ")
    return "its header gives no rate or no channels" if "SF_INFO" in reason else reason


def compared(rate: int, frames: int, announced: int | None, tolerance: float) -> list[Finding]:
    """Compare decoded with announced samples; differences up to ``tolerance`` (samples) are none."""
    if announced is None or abs(frames - announced) <= tolerance:
        return []
    kind = FindingKind.CUT_OFF if frames < announced else FindingKind.HEADER_TOO_SMALL
    return [Finding(kind, rate, frames, announced)]


_quiet = threading.Lock()
NOISE = re.compile(
    rb"\[?src/libmpg123|(Note|Warning): (Illegal|Trying|Skipped|missing|Hit|Xing|Encountered|Real sample)|mpg123"
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what libmpg123 writes to standard error by itself off it; lines of others that come meanwhile pass."""
    with _quiet, ExitStack() as stack:
        try:
            kept = os.dup(2)
            stack.callback(os.close, kept)
            said = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # there is no standard error, or no folder in which what is said could be kept
            yield
            return
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            said.seek(0)
            for line in said:
                if not NOISE.search(line):
                    with suppress(OSError):
                        os.write(2, line)

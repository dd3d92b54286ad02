"""The interface of all decoders, and the base of those that use libsndfile.

A decoder returns samples until the end, where their number is compared with the announced one.
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

TOLERANCE_S = 0.1  # tolerated difference in length of compressed audio, since encoders pad to whole frames


class Decoder(Protocol):
    """Decodes the samples of a recording in order."""

    rate: int
    channels: int
    subtype: str  # libsndfile's name of the sample format, or the codec's
    expected: int  # estimated samples per channel; 0 if unknown
    findings: list[Finding]  # complete at the end of the recording

    @property
    def header_frames(self) -> int | None:
        """Announced samples per channel; None if the header has no length."""
        ...

    def read(self, frames: int) -> np.ndarray:
        """Return ``[time, channel]`` in float32, fewer than ``frames`` only at the end."""
        ...

    def seek(self, frame: int) -> bool:
        """Seek to a sample; return False if the decoder can only read forward."""
        ...

    def close(self) -> None: ...


class Forward(soundfile.SoundFile):
    """A file that is read sequentially, without the seek that soundfile does after every read."""

    def seekable(self) -> bool:
        return False


def read_through(file: soundfile.SoundFile, frames: int) -> tuple[np.ndarray, bool]:
    """Return samples ``[time, channel]``, and whether an error followed them."""
    samples = np.full((frames, file.channels), np.nan, dtype=np.float32)
    try:
        return file.read(out=samples), False
    except soundfile.LibsndfileError:  # the samples decoded before it are valid
        missing = np.isnan(samples[:, 0])
        return samples[: int(missing.argmax()) if missing.any() else frames], True
    except RuntimeError as error:
        raise AudioError(str(error)) from None


def words_of(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's error message in printable form."""
    reason = str(error.error_string).removeprefix("Error : ").rstrip(". ")
    return "its header gives no rate or no channels" if "SF_INFO" in reason else reason


def compared(rate: int, frames: int, announced: int | None, tolerance: float) -> list[Finding]:
    """Compare the decoded length with the announced one; differences up to ``tolerance`` samples are ignored."""
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
    """Suppress the messages that libmpg123 writes to standard error, but not those of others."""
    with _quiet, ExitStack() as stack:
        try:
            kept = os.dup(2)
            stack.callback(os.close, kept)
            messages = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # no standard error, or no folder for a temporary file
            yield
            return
        os.dup2(messages.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            messages.seek(0)
            for line in messages:
                if not NOISE.search(line):
                    with suppress(OSError):
                        os.write(2, line)

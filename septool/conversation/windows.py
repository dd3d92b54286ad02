"""The windows that a recording is separated in, kept in a temporary file from the first pass to the second."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from septool.conversation.activity import (
    Activity,
    frame_levels,
    is_speech,
    magnitudes,
    score_overlap,
    smooth_activity,
)
from septool.conversation.frame_grid import FrameGrid
from septool.conversation.runs import WindowActivity, overlap_all
from septool.errors import SeptoolError

WINDOW_S, OVERLAP_S = 8.0, 2.0
MOSTLY = 0.5  # share of the speech; conversations overlap less
SHORT_WINDOWS = 2  # longer recordings are rarely one utterance over another
SURELY_ALONE = -4.0  # log odds of two people below which one is surely alone
LEAST_ALONE = 0.25  # share of the speech; people who take turns are seldom alone for less


@dataclass(frozen=True)
class Window:
    """What is known of a window before the whole recording was read."""

    start: int  # sample
    samples: int
    levels: np.ndarray  # dB of the mixture, [frame]
    log_odds: np.ndarray  # log odds of two people, if anybody speaks, [frame]
    louder: np.ndarray  # the track that has more of the energy, [frame]


class WindowStore:
    """The windows of one recording, mixture and tracks; a context that removes its temporary file.

    Where the recording is read at a multiple of the separator's rate, its samples at that rate are kept, too.
    """

    def __init__(self, rate: int) -> None:
        self.rate, self.grid = rate, FrameGrid(rate)
        self.factor = 1  # samples of the recording as it is read, for each one of the mixture
        # Whole frames, so that a window's frames are the recording's.
        self.step = self.grid.round_to_frames(WINDOW_S - OVERLAP_S)
        self.size = self.step + self.grid.round_to_frames(OVERLAP_S)
        self.windows: list[Window] = []

    def __enter__(self) -> Self:
        # Without a name where the system can: nothing of it is left, not even by a process that is killed.
        self._file = tempfile.TemporaryFile(prefix="septool-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # no room on the disk, which was reported
            self._file.close()

    @property
    def samples(self) -> int:
        """How long the recording is so far."""
        return self.windows[-1].start + self.windows[-1].samples if self.windows else 0

    @property
    def frames(self) -> int:
        """How many frames the recording has so far, with one at each end."""
        return self.samples // self.grid.hop + 2

    def append(self, mixture: np.ndarray, tracks: np.ndarray, recorded: np.ndarray | None = None) -> None:
        """Keep the next window: its mixture ``[time]``, its tracks ``[2, time]``, and ``recorded [factor * time]``.

        Raises:
            SeptoolError: the disk is full.
        """
        start = self.windows[-1].start + self.step if self.windows else 0
        spectrum = magnitudes(mixture, self.rate)
        log_odds, louder = score_overlap(spectrum, magnitudes(tracks, self.rate))
        levels = frame_levels(spectrum).astype(np.float32)
        kept = [mixture, *tracks]
        if self.factor > 1:
            assert recorded is not None, "there are samples of the recording as it is read"
            kept.append(recorded)
        try:
            for samples in kept:
                self._file.write(samples.astype(np.float32).tobytes())
            self._file.flush()
        except OSError as error:
            raise SeptoolError(
                f"the folder of temporary files, {tempfile.gettempdir()}, cannot hold the recording "
                f"({error.strerror}); set TMPDIR to one with more room"
            ) from None
        self.windows.append(Window(start, len(mixture), levels, log_odds, louder))

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a window: the mixture ``[time]`` and the tracks ``[2, time]``."""
        stored = self._read(number, 0, 3)
        return stored[0], stored[1:]

    def read_recorded(self, number: int) -> np.ndarray:
        """Read the samples of a window as they were recorded, ``[factor * time]``, where the factor is above 1."""
        return self._read(number, 3, self.factor).ravel()

    def _read(self, number: int, first: int, rows: int) -> np.ndarray:
        """Read rows of a window, each as long as its mixture."""
        samples, kept = self.windows[number].samples, 3 + (self.factor if self.factor > 1 else 0)
        before = kept * number * self.size + first * samples  # all windows but the last are full
        stored = np.memmap(
            self._file,
            dtype=np.float32,
            mode="r",
            offset=before * np.dtype(np.float32).itemsize,
            shape=(rows, samples),
        )
        return np.array(stored)

    def find_activity(self, *, two: bool = False) -> list[WindowActivity]:
        """Find where one person or two speak in each window, by the levels of the whole recording.

        ``two`` says that two people are known to speak in it.
        """
        levels = np.concatenate([window.levels for window in self.windows])
        loud, quiet = np.percentile(levels, 95), np.percentile(levels, 10)
        activities = []
        for window in self.windows:
            speech = is_speech(window.levels, loud, quiet)
            activity = smooth_activity(Activity(speech, (window.log_odds > 0) & speech, window.louder), self.grid)
            activities.append(WindowActivity(window.start // self.grid.hop, activity))
        return overlap_all(activities) if self._overlaps_throughout(activities, two=two) else activities

    def _overlaps_throughout(self, activities: Sequence[WindowActivity], *, two: bool) -> bool:
        """Return whether all of the speech overlaps, as in a mixture of two utterances: where most of it does.

        Where the separator fails at two similar voices, both are on one track, which is then easily taken for one
        person. If two people are known to be in a short recording, it is enough that little of it is surely one alone.
        """
        speech = np.concatenate([window.activity.speech for window in activities])
        both = np.concatenate([window.activity.both for window in activities])
        if both.sum() > MOSTLY * speech.sum():
            return True
        if not two or len(self.windows) > SHORT_WINDOWS:
            return False
        alone = speech & (np.concatenate([window.log_odds for window in self.windows]) < SURELY_ALONE)
        return bool(alone.sum() < LEAST_ALONE * speech.sum())

"""Warnings about recordings: truncated, damaged or empty files, channels that cancel, clipping.

Every finding about a recording or its voices becomes a :class:`Caveat` here; the terminal, ``--json``, the HTML report
and the exit status are derived from these.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from septool import audio, workers
from septool.audio import Finding, FindingKind
from septool.config import JsonDict
from septool.inference.channels import Channel
from septool.signal.levels import SILENCE

if TYPE_CHECKING:  # which measures levels
    from septool.inference.streaming import FileEstimate

# Share of the power of a mean of uncorrelated channels; below it the channels cancel each other.
CANCELLED_SHARE = 0.1


class CaveatKind(StrEnum):
    """Kinds of warnings, in addition to those of :class:`audio.FindingKind`."""

    EMPTY = "empty"  # the recording or a voice is silent
    FEWER = "fewer"  # fewer speakers were found than were asked for
    CANCELLED = "cancelled"  # the channels cancel each other, and the loudest was used
    AVERAGED = "averaged"  # several channels became one
    BANDWIDTH = "bandwidth"  # the model works at a lower rate
    RESCALED = "rescaled"  # all voices were lowered together, so that none is over full scale
    CLIPPED = "clipped"  # samples went over full scale
    CONCURRENT = "concurrent"  # another run works on the recording


@dataclass(frozen=True)
class Caveat:
    """A warning, and the recording that it is about."""

    kind: CaveatKind | FindingKind
    fact: str
    recording: str | None = None  # its name in messages; None if the warning concerns all recordings
    is_partial: bool = False  # a part of the recording is missing from the result
    advice: str = ""  # an option of the command line that helps

    @property
    def text(self) -> str:
        """The warning in a line."""
        return f"{self.fact}; {self.advice}" if self.advice else self.fact

    @property
    def is_failure(self) -> bool:
        """Return whether the recording counts as incomplete: audio in its middle is lost."""
        return self.kind == FindingKind.GAP

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return {"kind": str(self.kind), "text": self.text, "is_partial": self.is_partial}


class WithFindings:
    """A result with the findings about its recording, which determine its outcome."""

    findings: tuple[Caveat, ...]

    @property
    def outcome(self) -> str:
        """The outcome it counts as."""
        return "done in part" if self.error else "done"

    @property
    def error(self) -> str | None:
        """Why it counts as incomplete: audio in the middle of the recording is lost."""
        return next((finding.text for finding in self.findings if finding.is_failure), None)


def caveats_of_file(findings: Iterable[Finding], name: str) -> list[Caveat]:
    """Return the warnings about a file's samples; ``name`` is its name in messages."""
    return [
        Caveat(found.kind, found.describe(name), name, found.is_partial) for found in findings if not found.is_harmless
    ]


class Powers:
    """Powers of signals without their DC offsets, accumulated block by block."""

    def __init__(self) -> None:
        self._count, self._sums, self._squares = 0, np.zeros(1), np.zeros(1)

    def add(self, samples: np.ndarray) -> None:
        """Accumulate the next block, ``[signal, time]``."""
        self._count += samples.shape[-1]
        self._sums = self._sums + samples.sum(axis=-1, dtype=np.float64)
        self._squares = self._squares + np.square(samples, dtype=np.float64).sum(axis=-1)

    @property
    def mean(self) -> np.ndarray:
        """The mean power of each signal so far, ``[signal]``."""
        count = max(self._count, 1)
        return np.maximum(self._squares / count - np.square(self._sums / count), 0)

    @property
    def silent(self) -> np.ndarray:
        """Whether each signal is silence to models: they are not given it at their level. ``[signal]``."""
        return self.mean <= SILENCE**2


@dataclass
class Levels:
    """Powers of a recording and of its voices."""

    recording: Powers = field(default_factory=Powers)
    voices: Powers = field(default_factory=Powers)

    def watch_recording(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield blocks ``[time]`` or ``[channel, time]`` unchanged, and accumulate the power of the recording."""
        for block in blocks:
            self.recording.add(np.atleast_2d(block))
            yield block


class ChannelPowers:
    """Powers of a recording's channels and of their mean."""

    def __init__(self) -> None:
        self._powers = Powers()

    def add(self, samples: np.ndarray) -> None:
        """Accumulate the next block, ``[channel, time]``."""
        self._powers.add(np.vstack((samples, samples.mean(axis=0, dtype=np.float64))))  # [channel + 1, time]

    def loudest_if_cancelling(self) -> int | None:
        """Return the loudest channel, from 1, if the channels cancel each other when they are averaged.

        The mean of N uncorrelated channels has 1/N² of the sum of their powers, that of identical channels N times as
        much; a mean far below the first indicates cancellation, as between the two sides of a balanced line.
        """
        *channels, mean = self._powers.mean
        if not channels:  # nothing was added
            return None
        loudest = int(np.argmax(channels >= 0.99 * np.max(channels)))  # the first among equals
        if channels[loudest] <= SILENCE**2 or mean >= CANCELLED_SHARE * sum(channels) / len(channels) ** 2:
            return None
        return loudest + 1


def loudest_if_cancelling(
    path: Path,
    *,
    track: int = 1,
    raw: audio.RawFormat | None = None,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> int | None:
    """Return the loudest channel, from 1, of a recording whose channels cancel each other when they are averaged.

    None for all other recordings; see :class:`ChannelPowers`.

    Args:
        path: the recording, all of which is read.
        track: which of those of a container that hold sound, from 1.
        raw: what it is, where it has no header.
        progress: called for each block with zero seconds done, as no voice is estimated yet, and with the total as far
            as it is known; may raise to give up.

    Raises:
        AudioError: it cannot be read.
    """
    if not path.is_file():  # a named pipe can be read only once
        return None
    with audio.open_audio(path, track=track, raw=raw) as file:
        if file.channels == 1:
            return None
        powers = ChannelPowers()
        block = max(2**20 // file.channels, 1)
        while (samples := file.read(block)).size:
            powers.add(samples)
            workers.check_stopping()
            progress(0.0, file.frames / file.rate)
    return powers.loudest_if_cancelling()


def report_caveats(
    recording: str, estimate: "FileEstimate", *, channel: Channel, model: str, model_rate: int
) -> list[Caveat]:
    """Return the warnings about a recording whose voices were written.

    Args:
        recording: its name in messages.
        estimate: the result of the estimation.
        channel: the channel that the user selected, or None.
        model: the checkpoint's name.
        model_rate: Hz.
    """
    info, levels, cancelling = estimate.info, estimate.levels, estimate.cancelling
    caveats = caveats_of_file(info.findings, recording)

    def add(kind: CaveatKind, fact: str, advice: str = "") -> None:
        caveats.append(Caveat(kind, f"{recording}: {fact}", recording, advice=advice))

    if cancelling is not None:
        add(
            CaveatKind.CANCELLED,
            f"its {info.channels} channels cancel each other; channel {cancelling}, the loudest, is used",
        )
    elif info.channels > 1 and channel is None:
        add(CaveatKind.AVERAGED, f"{info.channels} channels were averaged to one", "--channel takes one of them")
    if info.rate > model_rate:
        text = f"{model} hears up to {model_rate // 2} Hz; what lies above is left out"
        caveats.append(Caveat(CaveatKind.BANDWIDTH, text))
    if levels is not None and levels.recording.silent.all():
        add(CaveatKind.EMPTY, "it is silent")
    elif levels is not None and (voices := len(levels.voices.silent)) > 1:
        silent = np.flatnonzero(levels.voices.silent).tolist()
        if silent:
            verb = "is" if len(silent) == 1 else "are"
            if channel == "each":
                which = _name_by_channel(silent, voices // info.channels)
            else:
                noun = "voice" if len(silent) == 1 else "voices"
                which = f"{noun} {' and '.join(str(index + 1) for index in silent)} of {voices}"
            add(CaveatKind.EMPTY, f"{which} {verb} silent")
    if estimate.gain_db:
        add(CaveatKind.RESCALED, f"its voices went over full scale; all were lowered by {-estimate.gain_db:.1f} dB")
    if estimate.clipped:
        add(CaveatKind.CLIPPED, f"{estimate.clipped} samples went over full scale and were clipped")
    return caveats


def _name_by_channel(places: Iterable[int], voices: int) -> str:
    """Name voices by their places among those of all channels, which have so many each."""
    names = []
    for index in places:
        channel, voice = divmod(index, voices)
        names.append(
            f"voice {voice + 1} of channel {channel + 1}" if voices > 1 else f"the voice of channel {channel + 1}"
        )
    return " and ".join(names)

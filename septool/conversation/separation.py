"""Separating a conversation into one track per speaker, with a separator that has two outputs.

At any moment hardly ever more than two people talk. So the recording is separated window by window into two tracks,
what each track carries is cut into runs (:mod:`septool.conversation.runs`), the runs of the whole recording are
given to those who speak (:mod:`septool.conversation.speakers`), and each person's track is put together: the
recording itself where they are alone, the separated track where somebody else talks too, silence where they are not.

Memory does not grow with the recording but for 62 numbers a second and an embedding a run: the samples and tracks
of the first pass lie in a temporary file until the second.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from scipy.ndimage import distance_transform_edt

from septool.conversation.activity import (
    Activity,
    close_gaps,
    drop_islands,
    find_overlap,
    frame_length,
    frame_levels,
    is_speech,
    magnitudes,
    smooth_activity,
    spans,
)
from septool.conversation.clustering import is_one_voice
from septool.conversation.constraints import find_constraints
from septool.conversation.naming import name_speakers
from septool.conversation.people import ANY_COUNT, SpeakerCount
from septool.conversation.runs import (
    SHORTEST_EMBEDDED_S,
    Run,
    WindowActivity,
    find_runs,
    run_samples,
)
from septool.conversation.speakers import find_speakers
from septool.conversation.statistics import GE2E, EmbeddingStatistics
from septool.errors import UsageError
from septool.inference.voiceprints import Voiceprint
from septool.signal.levels import remove_dc
from septool.signal.turns import Turn, merge_turns

WINDOW_S, OVERLAP_S = 8.0, 2.0
PADDING_S = 0.2  # a turn begins and ends this much outside of what is surely speech
TURN_GAP_S = 0.8  # a person who pauses for less goes on with the same turn
SHORTEST_TURN_S = 0.15
FADE_S = 0.048  # from one way of taking a voice to another

Separate = Callable[[np.ndarray], np.ndarray]  # [time] to [2, time], levels as in the recording
Refine = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [time] and [2, time] to [2, time]
Embed = Callable[[np.ndarray], np.ndarray]  # [time] to [embedding]


@dataclass(frozen=True)
class Diarization:
    """Who speaks when."""

    turns: list[Turn]
    speakers: tuple[str, ...]  # by the order of their first words
    seconds: tuple[float, ...]  # of speech of each
    embeddings: np.ndarray  # [speaker, embedding], the mean of each one's runs


def pad_frames(others: np.ndarray, most: float) -> float:
    """Return by how many frames a turn reaches beyond what is surely speech: at most half way to somebody else's.

    Where they already talk at once, nothing says that they do not a little longer.

    Args:
        others: whether somebody else speaks, ``[frame]``, from the turn's last frame on, outwards.
        most: frames.
    """
    near = np.flatnonzero(others[1 : 2 + math.ceil(2 * most)])
    return most if others[0] or not len(near) else min(most, float(near[0]) / 2)


@dataclass
class _Window:
    start: int  # sample
    samples: int
    levels: np.ndarray  # dB of the mixture, [frame]
    both: np.ndarray  # two people, if anybody speaks, [frame]
    louder: np.ndarray  # [frame]


@dataclass
class ConversationSeparator:
    """The two passes over one recording; a context that removes its temporary file.

    Args:
        separate: takes a window apart.
        embed: what a voice sounds like.
        rate: Hz of everything.
        count: how many people there may be.
        known: voices that were heard before, so that people can be called by their names.
        refine: takes a window ``[time]`` and its two tracks, and gives better ones in their order; asked only where two
            people talk at once, and after it is clear who speaks when.
        statistics: of what ``embed`` gives.
    """

    separate: Separate
    embed: Embed
    rate: int
    count: SpeakerCount = ANY_COUNT
    known: Sequence[Voiceprint] = ()
    refine: Refine | None = None
    statistics: EmbeddingStatistics = GE2E
    window_s: float = WINDOW_S
    overlap_s: float = OVERLAP_S
    _windows: list[_Window] = field(default_factory=list, repr=False)
    _labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int), repr=False)
    _runs: list[Run] = field(default_factory=list, repr=False)
    _found: list[WindowActivity] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not 0 < 2 * self.overlap_s <= self.window_s:
            raise UsageError(
                f"overlap is {self.overlap_s:g} s; it has to be above 0 and at most half of the window "
                f"({self.window_s:g} s)"
            )
        self.hop = frame_length(self.rate)
        # Whole frames, so that a window's frames are the recording's.
        self.step = round((self.window_s - self.overlap_s) * self.rate / self.hop) * self.hop
        self.size = self.step + round(self.overlap_s * self.rate / self.hop) * self.hop
        self.frames = 0  # samples of the recording

    def __enter__(self) -> Self:
        # Without a name where the system can: nothing of it is left, not even by a process that is killed.
        self._file = tempfile.TemporaryFile(prefix="septool-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[int]:
        """Make the first pass over a stream of blocks ``[time]``; yields the samples done after each window."""
        buffer = np.zeros(0, dtype=np.float32)
        for block in blocks:
            buffer = np.concatenate((buffer, block))
            while len(buffer) > self.size:
                self._listen_to(buffer[: self.size])
                buffer = buffer[self.step :]
                yield self._windows[-1].start + self.size
        if len(buffer) or not self._windows:
            self._listen_to(buffer)
        self._file.flush()
        self.frames = self._windows[-1].start + self._windows[-1].samples
        yield self.frames

    def _listen_to(self, mixture: np.ndarray) -> None:
        start = self._windows[-1].start + self.step if self._windows else 0
        given = remove_dc(mixture) if len(mixture) else np.zeros(1, dtype=np.float32)
        tracks = self.separate(given)
        heard = magnitudes(given, self.rate)
        both, louder = find_overlap(heard, magnitudes(tracks, self.rate))
        levels = frame_levels(heard).astype(np.float32)
        self._windows.append(_Window(start, len(given), levels, both, louder))
        np.concatenate((given[None], tracks)).astype(np.float32).tofile(self._file)

    def _samples(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the first pass: the mixture ``[time]`` and the tracks ``[2, time]``."""
        shape = (3, self._windows[number].samples)
        before = 3 * number * self.size * np.dtype(np.float32).itemsize  # all windows but the last are full
        stored = np.memmap(self._file, dtype=np.float32, mode="r", offset=before, shape=shape)
        return np.array(stored[0]), np.array(stored[1:])

    def diarize(self) -> Diarization:
        """Say who speaks when, after the first pass."""
        levels = np.concatenate([window.levels for window in self._windows])
        loud, quiet = np.percentile(levels, 95), np.percentile(levels, 10)
        self._found = []
        for window in self._windows:
            speech = is_speech(window.levels, loud, quiet)
            found = smooth_activity(Activity(speech, window.both & speech, window.louder), self.rate)
            self._found.append(WindowActivity(window.start // self.hop, found))
        self._runs = find_runs(self._found, self.rate)
        embeddings = self._embed_runs()
        constraints = find_constraints(self._runs, self.rate)
        seconds = np.array([len(run.frames) * self.hop / self.rate for run in self._runs])
        alone = self.count.least == 1 and not len(constraints.cannot_link)
        if alone and is_one_voice(embeddings, seconds, threshold=self.statistics.one_voice):
            self._labels = np.zeros(len(self._runs), dtype=int)
            return self._summarize(embeddings, seconds)
        overlap = np.array([run.both for run in self._runs])
        self._labels = find_speakers(
            embeddings, seconds, overlap, constraints, count=self.count, statistics=self.statistics
        )
        return self._summarize(embeddings, seconds)

    def _embed_runs(self) -> np.ndarray:
        """Return what each run sounds like, ``[run, embedding]``; zeros for those too short to be told by."""
        embeddings: np.ndarray | None = None  # hours have thousands: they are kept once
        number, mixture, tracks = -1, np.zeros(0), np.zeros((2, 0))
        for place, run in enumerate(self._runs):
            if run.window != number:
                number = run.window
                mixture, tracks = self._samples(number)
            heard = run_samples(run, self._found[number], mixture, tracks, self.rate)
            if len(heard) >= SHORTEST_EMBEDDED_S * self.rate:
                embedding = self.embed(heard)
                if embeddings is None:
                    embeddings = np.zeros((len(self._runs), len(embedding)), dtype=np.float32)
                embeddings[place] = embedding
        return np.zeros((len(self._runs), 1), dtype=np.float32) if embeddings is None else embeddings

    def _summarize(self, embeddings: np.ndarray, seconds: np.ndarray) -> Diarization:
        active = self._active()
        people = len(active)
        mean = [
            np.average(embeddings[self._labels == speaker], axis=0, weights=seconds[self._labels == speaker])
            for speaker in range(people)
        ]
        typical = np.stack(mean) if mean else embeddings
        names = name_speakers(typical[:people], self.known, self.statistics.alike)
        per_second, turns = self.rate / self.hop, []
        length = self.frames / self.rate
        for name, own in zip(names, active, strict=True):
            joined = drop_islands(close_gaps(own, round(0.3 * per_second)), round(SHORTEST_TURN_S * per_second))
            others = active.sum(0) > own
            for first, last in spans(joined):
                start = first - pad_frames(others[first::-1], PADDING_S * per_second)
                end = last + pad_frames(others[last - 1 :], PADDING_S * per_second)
                turns.append(Turn(max(start / per_second, 0.0), min(end / per_second, length), name))
        spoken = tuple(float(own.sum() / per_second) for own in active)
        return Diarization(
            merge_turns((turn for turn in turns if turn.end > turn.start), TURN_GAP_S),
            names,
            spoken,
            typical,
        )

    def _active(self) -> np.ndarray:
        """Say in which frames each person speaks, ``[speaker, frame]``.

        Windows overlap, and each counts from its border on: whoever is heard beyond borders alone is nobody, unless
        so many people were asked for.
        """
        people = int(self._labels.max(initial=-1)) + 1
        active = np.zeros((people, self.frames // self.hop + 2), dtype=bool)
        borders = self._borders()
        for run, speaker in zip(self._runs, self._labels, strict=True):
            first, last = borders[run.window], borders[run.window + 1]
            frames = run.frames[(run.frames >= first) & (run.frames < last)]
            active[speaker, frames] = True
        heard = active.any(axis=1)
        if heard.all() or heard.sum() < self.count.least > 1:
            return active
        number = np.where(heard, heard.cumsum() - 1, -1)
        self._labels = number[self._labels]
        return active[heard]

    def _borders(self) -> list[int]:
        """Return the frame from which each window counts, half way into what it shares with the one before."""
        between = [
            (window.start + previous.start + len(previous)) // 2
            for previous, window in zip(self._found, self._found[1:], strict=False)
        ]
        return [0, *between, self.frames // self.hop + 2]

    def voices(self) -> Iterator[np.ndarray]:
        """Make the second pass: yield ``[speaker + 1, time]``, each person's track and, last, what is in none."""
        people = int(self._labels.max(initial=-1)) + 1
        borders, tail = self._borders(), np.zeros((people + 1, 0), dtype=np.float32)
        spoken: dict[int, list[tuple[Run, int]]] = {}  # by window: its runs, and who speaks in each
        for run, label in zip(self._runs, self._labels.tolist(), strict=True):
            spoken.setdefault(run.window, []).append((run, label))
        for number, (window, found) in enumerate(zip(self._windows, self._found, strict=True)):
            mixture, tracks = self._samples(number)
            if self.refine is not None and people > 1 and found.activity.both.any():
                tracks = self.refine(mixture, tracks)
            span = (borders[number] - found.start, borders[number + 1] - found.start)
            share = self._ramp(span, window.samples, first=number == 0, last=number == len(self._windows) - 1)
            out = np.zeros((people + 1, window.samples), dtype=np.float32)
            for speaker in range(people):
                own = [run for run, label in spoken.get(number, ()) if label == speaker]
                if people == 1:  # the recording itself, with the pauses, wherever a window has any of their words
                    out[speaker] = mixture if own else 0.0
                    continue
                alone, beside = self._gains(number, own)
                out[speaker] = alone * mixture + (beside * tracks).sum(0)
            out[people] = mixture - out[:people].sum(0)
            out *= share
            out[:, : tail.shape[1]] += tail
            done = window.samples if number == len(self._windows) - 1 else self.step
            yield out[:, :done]
            tail = out[:, done:]

    def _gains(self, number: int, runs: Iterable[Run]) -> tuple[np.ndarray, np.ndarray]:
        """Return how much of a window's mixture, ``[time]``, and of its tracks, ``[2, time]``, belongs to runs."""
        found, samples = self._found[number], self._windows[number].samples
        alone, beside = np.zeros(len(found)), np.zeros((2, len(found)))
        for run in runs:
            inside = run.frames - found.start
            both = found.activity.both[inside]
            alone[inside[~both]] = 1.0
            beside[run.track, inside[both]] = 1.0
        gains = np.vstack((alone, beside))
        speech = found.activity.speech
        if speech.any():  # soft beginnings and ends go to whose they most probably are
            transformed = distance_transform_edt(~speech, return_indices=True)
            assert isinstance(transformed, tuple)
            away, nearest = transformed
            gains = np.where(away <= PADDING_S * self.rate / self.hop, gains[:, nearest[0]], 0.0)
        alone, *beside = (self._fade(each, samples) for each in gains)
        return alone, np.stack(beside)

    def _fade(self, gain: np.ndarray, samples: int) -> np.ndarray:
        """Spread gains ``[frame]`` over samples, with cross-fades."""
        width = max(round(FADE_S * self.rate / self.hop), 1)
        smooth = np.convolve(np.pad(gain, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
        return np.interp(np.arange(samples), np.arange(len(gain)) * self.hop, smooth)

    def _ramp(self, span: tuple[int, int], samples: int, *, first: bool, last: bool) -> np.ndarray:
        """Return the share of a window in the result, ``[time]``; those of neighbors add up to one."""
        fade = max(self.size - self.step, 1) // 4
        time = np.arange(samples, dtype=np.float32)
        start, end = span[0] * self.hop, span[1] * self.hop
        rise = np.ones(samples) if first else np.clip((time - start) / fade + 0.5, 0, 1)
        fall = np.ones(samples) if last else np.clip((end - time) / fade + 0.5, 0, 1)
        return (rise * fall).astype(np.float32)

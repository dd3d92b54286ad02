"""Speaker diarization: whose each run of a recording is, and when everybody speaks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from septool import audio
from septool.conversation.activity import close_gaps, drop_islands, spans
from septool.conversation.clustering import is_one_voice
from septool.conversation.constraints import find_constraints
from septool.conversation.frame_grid import FrameGrid
from septool.conversation.naming import name_speakers
from septool.conversation.run_features import RunFeatures
from septool.conversation.runs import (
    SHORTEST_EMBEDDED_S,
    Run,
    WindowActivity,
    alone_samples,
    find_runs,
    overlap_all,
    run_samples,
)
from septool.conversation.speaker_count import TWO, SpeakerCount
from septool.conversation.speaker_embedder import SpeakerEmbedder
from septool.conversation.speakers import find_speakers
from septool.conversation.statistics import EmbeddingStatistics
from septool.conversation.windows import WindowStore
from septool.inference.level import check_finite_estimate
from septool.inference.voiceprints import Voiceprint
from septool.signal.turns import Turn, merge_turns

PADDING_S = 0.2  # a turn begins and ends this much outside of what is surely speech
TURN_GAP_S = 0.8  # a person who pauses for less goes on with the same turn
CLOSED_S = 0.3  # gaps between a person's frames that are filled first
SHORTEST_TURN_S = 0.15


@dataclass(frozen=True)
class Diarization:
    """Who speaks when."""

    turns: list[Turn]
    speakers: tuple[str, ...]  # by the order of their first words
    seconds: tuple[float, ...]  # speech of each
    embeddings: np.ndarray  # [speaker, embedding], the mean of each one's runs


@dataclass(frozen=True)
class Assignment:
    """Whose each run is."""

    activities: Sequence[WindowActivity]
    runs: Sequence[Run]
    labels: np.ndarray  # the speaker of each run, -1 where nobody is left, [run]
    borders: Sequence[int]  # the frame from which each window counts, and the end

    @property
    def speakers(self) -> int:
        """How many there are."""
        return int(self.labels.max(initial=-1)) + 1

    def active(self) -> np.ndarray:
        """Return in which frames each speaker is active, ``[speaker, frame]``; each window counts between borders."""
        active = np.zeros((self.speakers, self.borders[-1]), dtype=bool)
        for run, speaker in zip(self.runs, self.labels, strict=True):
            if speaker < 0:
                continue
            first, last = self.borders[run.window], self.borders[run.window + 1]
            active[speaker, run.frames[(run.frames >= first) & (run.frames < last)]] = True
        return active

    def drop_unheard(self, count: SpeakerCount) -> "Assignment":
        """Leave out speakers who are active beyond borders alone, unless so many were asked for."""
        is_active = self.active().any(axis=1)
        if is_active.all() or (count.least > 1 and is_active.sum() < count.least):
            return self
        # The last is nobody's, whose label is -1.
        number = np.append(np.where(is_active, is_active.cumsum() - 1, -1), -1)
        return replace(self, labels=number[self.labels])


def assign_runs(
    store: WindowStore,
    embedder: SpeakerEmbedder,
    count: SpeakerCount,
    check: Callable[[], None] = lambda: None,
) -> tuple[Assignment, np.ndarray]:
    """Find the runs of a recording and whose they are; return their embeddings too, ``[run, embedding]``.

    ``check`` is called before each embedding, and ends the work by what it raises.
    """
    activities = store.find_activity(two=count == TWO)
    assignment, embeddings = _assign(store, activities, embedder, count, check)
    if 0 < assignment.speakers < count.least == 2:  # nobody is there to take turns with: both speak at once
        assignment, embeddings = _assign(store, overlap_all(activities), embedder, count, check)
    return assignment, embeddings


def _assign(
    store: WindowStore,
    activities: Sequence[WindowActivity],
    embedder: SpeakerEmbedder,
    count: SpeakerCount,
    check: Callable[[], None],
) -> tuple[Assignment, np.ndarray]:
    runs = find_runs(activities, store.grid)
    embeddings = embed_runs(store, activities, runs, embedder, check)
    labels = _label_runs(runs, embeddings, store, count, embedder.statistics)
    return Assignment(activities, runs, labels, _borders(activities, store.frames)).drop_unheard(count), embeddings


def embed_runs(
    store: WindowStore,
    activities: Sequence[WindowActivity],
    runs: Sequence[Run],
    embedder: SpeakerEmbedder,
    check: Callable[[], None],
) -> np.ndarray:
    """Return the embedding of each run, ``[run, embedding]``; zeros for those too short to have one.

    Where the recording was read at a higher rate than it was separated at, that of a run is the embedding of what its
    speaker says alone: the frequencies that tracks do not have tell most voices apart.
    """
    embeddings: np.ndarray | None = None  # hours have thousands: they are kept once
    number, mixture, tracks, recorded = -1, np.zeros(0), np.zeros((2, 0)), np.zeros(0)
    for index, run in enumerate(runs):
        check()
        if run.window != number:
            number = run.window
            mixture, tracks = store.read(number)
            if store.factor > 1:
                recorded = store.read_recorded(number)
        alone = recorded[:0]
        if store.factor > 1:
            alone = alone_samples(run, activities[number], recorded, store.grid, store.factor)
        samples = run_samples(run, activities[number], mixture, tracks, store.grid)
        if len(samples) >= SHORTEST_EMBEDDED_S * store.rate:
            embedding = embedder.embed(alone if len(alone) else audio.resample(samples, store.rate, embedder.rate))
            check_finite_estimate(embedding)
            if embeddings is None:
                embeddings = np.zeros((len(runs), len(embedding)), dtype=np.float32)
            embeddings[index] = embedding
    return np.zeros((len(runs), 1), dtype=np.float32) if embeddings is None else embeddings


def _label_runs(
    runs: Sequence[Run],
    embeddings: np.ndarray,
    store: WindowStore,
    count: SpeakerCount,
    statistics: EmbeddingStatistics,
) -> np.ndarray:
    """Return the speaker of each run, ``[run]``."""
    constraints = find_constraints(runs, store.grid)
    seconds = _seconds(runs, store)
    alone = count.least == 1 and not len(constraints.cannot_link)
    if alone and is_one_voice(embeddings, seconds, threshold=statistics.one_voice):
        return np.zeros(len(runs), dtype=int)
    features = RunFeatures(embeddings, seconds, np.array([run.both for run in runs]), constraints)
    return find_speakers(features, statistics=statistics, count=count)


def _seconds(runs: Sequence[Run], store: WindowStore) -> np.ndarray:
    """Return how long each run is, ``[run]``."""
    return np.array([len(run.frames) * store.grid.hop / store.rate for run in runs])


def _borders(activities: Sequence[WindowActivity], frames: int) -> list[int]:
    """Return the frame from which each window counts, half way into what it shares with the one before, and the end."""
    between = [(window.start + previous.start + len(previous)) // 2 for previous, window in pairwise(activities)]
    return [0, *between, frames]


def describe_speakers(
    assignment: Assignment,
    embeddings: np.ndarray,
    store: WindowStore,
    known: Sequence[Voiceprint],
    statistics: EmbeddingStatistics,
) -> Diarization:
    """Return who speaks when, by name where a speaker sounds like a known voice.

    Args:
        assignment: whose each run is.
        embeddings: of the runs, ``[run, embedding]``.
        store: the windows.
        known: voices with a name.
        statistics: of embeddings of that kind.
    """
    labels, seconds, active = assignment.labels, _seconds(assignment.runs, store), assignment.active()
    mean = [
        np.average(embeddings[labels == speaker], axis=0, weights=seconds[labels == speaker])
        for speaker in range(assignment.speakers)
    ]
    typical = np.stack(mean) if mean else embeddings[:0]
    names = name_speakers(typical, known, statistics.alike)
    turns = [
        Turn(start, end, name)
        for name, speech in zip(names, active, strict=True)
        for start, end in _turns(speech, active.sum(0) > speech, store.grid, store.samples / store.rate)
    ]
    spoken = tuple(float(speech.sum() / store.grid.per_second) for speech in active)
    return Diarization(merge_turns(turns, TURN_GAP_S), names, spoken, typical)


def _turns(speech: np.ndarray, others: np.ndarray, grid: FrameGrid, length: float) -> list[tuple[float, float]]:
    """Return the beginnings and ends, in s, of what somebody says, whose and others' frames are given, ``[frame]``."""
    joined = drop_islands(close_gaps(speech, round(grid.frames(CLOSED_S))), round(grid.frames(SHORTEST_TURN_S)))
    turns = []
    for first, last in spans(joined):
        start = first - pad_frames(others[first::-1], grid.frames(PADDING_S))
        end = last + pad_frames(others[last - 1 :], grid.frames(PADDING_S))
        turns.append((max(start / grid.per_second, 0.0), min(end / grid.per_second, length)))
    return [(start, end) for start, end in turns if end > start]


def pad_frames(others: np.ndarray, most: float) -> float:
    """Return by how many frames a turn reaches beyond what is surely speech: at most half way to somebody else's.

    Where they already talk at once, nothing says that they do not a little longer.

    Args:
        others: whether somebody else speaks, ``[frame]``, from the turn's last frame on, outwards.
        most: frames.
    """
    near = np.flatnonzero(others[1 : 2 + math.ceil(2 * most)])
    return most if others[0] or not len(near) else min(most, float(near[0]) / 2)

"""Training items that know who speaks: a recording and its speaker, or a mixture and an enrolment.

Drawn as :mod:`septool.data.mixing` draws mixtures, functions of (seed, epoch, index) alone.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from septool.data.mixing import ENROLMENT, REFERENCE_DB, DynamicMixing, Surroundings, draw_named
from septool.data.pool import Pool
from septool.errors import ConfigError
from septool.signal.levels import from_db


class Named(NamedTuple):
    """A recording of one voice, perhaps with others far below it, and the number of its speaker."""

    recording: np.ndarray  # [time]
    speaker: int


class Enrolled(NamedTuple):
    """A mixture of one voice with everything else, and another recording of that voice."""

    parts: np.ndarray  # [2, time]: the voice (silence where it is absent) and the rest, which sum to the mixture
    enrolment: np.ndarray  # [time]


@dataclass(frozen=True, kw_only=True)
class Enrolling:
    """How mixtures get their enrolment."""

    seconds: float = 3.0
    absent: float = 0.1  # part of the mixtures whose enrolment is of somebody else, so that silence is the answer

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; an enrolment has to have a length")
        if not 0 <= self.absent <= 1:
            raise ValueError(f"absent is {self.absent}; it lies between 0 and 1")


def draw_speaker(pool: Pool, how: DynamicMixing, around: Surroundings, *, seed: int, epoch: int, index: int) -> Named:
    """Draw a mixture of which the first voice's speaker is to be recognised."""
    drawn = draw_named(pool, how, around, seed=seed, epoch=epoch, index=index)
    return Named(drawn.parts.sum(0), pool.speaker_of(drawn.utterances[0]))


def draw_enrolled(
    pool: Pool,
    how: DynamicMixing,
    enrolling: Enrolling,
    around: Surroundings,
    *,
    seed: int,
    epoch: int,
    index: int,
) -> Enrolled:
    """Draw a mixture whose first voice is to be extracted, and another utterance of its speaker.

    Args:
        pool: every speaker has at least two utterances; see :meth:`Pool.halved`.
        how: the mixing.
        enrolling: the enrolment.
        around: what the mixing needs besides speech.
        seed: of the run.
        epoch: number of the epoch.
        index: of the mixture within it.
    """
    parts, utterances = draw_named(pool, how, around, seed=seed, epoch=epoch, index=index)
    random = np.random.default_rng([seed, epoch, index, ENROLMENT])
    rest = parts[1:].sum(0)
    if random.random() < enrolling.absent:
        heard = {pool.speaker_of(utterance) for utterance in utterances}
        others = [speaker for speaker in range(len(pool.speakers)) if speaker not in heard]
        if not others:
            raise ConfigError(f"the pool has {len(pool.speakers)} speakers, none of them absent from a mixture")
        choice = pool.speakers[random.choice(others)]
        target, rest = np.zeros_like(rest), parts[0] + rest
    else:
        own = pool.speakers[pool.speaker_of(utterances[0])]
        choice = own[own != utterances[0]]
        target = parts[0]
    return Enrolled(np.stack([target, rest]), _enrolment(pool, random, choice, enrolling.seconds))


def _enrolment(pool: Pool, random: np.random.Generator, choice: np.ndarray, seconds: float) -> np.ndarray:
    """Cut a stretch of one of the utterances; one that is too short is said again."""
    utterance = int(random.choice(choice))
    frames = round(seconds * pool.rate)
    start = int(random.integers(max(pool.frames(utterance) - frames, 0) + 1))
    gain = np.float32(from_db(REFERENCE_DB) / pool.level(utterance))
    return np.resize(pool.stretch(utterance, start, frames), frames) * gain

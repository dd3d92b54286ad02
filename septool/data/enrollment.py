"""Training items with speaker identity: a recording and its speaker, or a mixture and an enrollment.

Sampled as :mod:`septool.data.mixing` samples mixtures, functions of (seed, epoch, index) alone.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from septool.data.mixing import (
    ATTEMPTS,
    ENROLLMENT_STREAM,
    REFERENCE_DB,
    SILENCE_DB,
    SPEAKER_STREAM,
    AugmentationSources,
    DynamicMixing,
    sample_crop,
    sample_mixture,
)
from septool.data.pool import UtterancePool
from septool.errors import ConfigError
from septool.signal.levels import from_db, rms_of


class SpeakerItem(NamedTuple):
    """A recording of one voice, perhaps with others far below it, and the number of its speaker."""

    recording: np.ndarray  # [time]
    speaker: int


class EnrolledMixture(NamedTuple):
    """A mixture of a target voice with everything else, and another recording of that voice."""

    parts: np.ndarray  # [2, time]: the target (silence where it is absent) and the rest, which sum to the mixture
    enrollment: np.ndarray  # [time]


@dataclass(frozen=True, kw_only=True)
class EnrollmentSampling:
    """Sampling of enrollments for training mixtures."""

    seconds: float = 3.0  # length of an enrollment
    absent: float = (
        0.1  # fraction of the mixtures whose enrollment is of another speaker, so that the target is silence
    )

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; an enrollment is longer than 0 s")
        if not 0 <= self.absent <= 1:
            raise ValueError(f"absent is {self.absent}; it lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class SpeakerSampling:
    """Who counts as a speaker, for a network that learns to name them."""

    # At each of these speeds everybody is somebody else once more: the pitch and the vocal tract are another's
    # (Yamamoto et al., "Speaker augmentation and bandwidth extension for deep speaker embedding", Interspeech 2019).
    speeds: tuple[float, ...] = ()
    # Clips of everybody whose mean embedding the classifier begins with (Qi, Brown and Lowe, "Low-shot learning with
    # imprinted weights", CVPR 2018); 0 begins at random, where each of thousands is met too seldom to get away from.
    imprint: int = 0

    def __post_init__(self) -> None:
        if self.imprint < 0:
            raise ValueError(f"imprint is {self.imprint}; a number of clips is not negative")
        if not all(0 < speed < math.inf and speed != 1 for speed in self.speeds):
            raise ValueError(f"speeds is {list(self.speeds)}; each is above 0, and not 1, at which nobody changes")

    @property
    def every_speed(self) -> tuple[float, ...]:
        """The speeds at which everybody is a speaker, the first of them unchanged."""
        return (1.0, *self.speeds)


def sample_speaker_item(
    pool: UtterancePool,
    config: DynamicMixing,
    sampling: SpeakerSampling,
    augmentation: AugmentationSources,
    *,
    seed: int,
    epoch: int,
    index: int,
) -> SpeakerItem:
    """Sample a mixture whose first voice's speaker is the label.

    Speakers at the speeds of ``sampling`` are counted on: of four in the pool, the first is 4 at the first such speed.
    """
    random = np.random.default_rng([seed, epoch, index, SPEAKER_STREAM])
    turn = int(random.integers(len(sampling.every_speed)))
    speed = sampling.every_speed[turn]
    config = replace(config, speed=(config.speed[0] * speed, config.speed[1] * speed))
    mixture = sample_mixture(pool, config, augmentation, seed=seed, epoch=epoch, index=index)
    speaker = pool.speaker_of(mixture.utterances[0])
    return SpeakerItem(mixture.parts.sum(0), speaker + turn * len(pool.speakers))


def sample_clips(
    pool: UtterancePool, config: DynamicMixing, sampling: SpeakerSampling, *, speaker: int, seed: int
) -> np.ndarray:
    """Sample ``sampling.imprint`` clips ``[clip, time]`` of one speaker alone, numbered as those of speaker items."""
    turn, person = divmod(speaker, len(pool.speakers))
    frames = round(config.seconds * pool.rate)
    random = np.random.default_rng([seed, speaker, SPEAKER_STREAM])
    crops = [sample_crop(pool, person, frames, sampling.every_speed[turn], random) for _ in range(sampling.imprint)]
    return np.stack([samples for samples, _ in crops])


def sample_enrolled_mixture(
    pool: UtterancePool,
    config: DynamicMixing,
    sampling: EnrollmentSampling,
    augmentation: AugmentationSources,
    *,
    seed: int,
    epoch: int,
    index: int,
) -> EnrolledMixture:
    """Sample a mixture whose first voice is the target, and another utterance of its speaker.

    Args:
        pool: every speaker has at least two utterances; see :meth:`UtterancePool.split_single_utterances`.
        config: the mixing.
        sampling: the enrollment.
        augmentation: its decoded backgrounds and RIRs.
        seed: of the run.
        epoch: number of the epoch.
        index: of the mixture within it.
    """
    parts, utterances = sample_mixture(pool, config, augmentation, seed=seed, epoch=epoch, index=index)
    random = np.random.default_rng([seed, epoch, index, ENROLLMENT_STREAM])
    rest = parts[1:].sum(0)
    if random.random() < sampling.absent:
        present = {pool.speaker_of(utterance) for utterance in utterances}
        others = [speaker for speaker in range(len(pool.speakers)) if speaker not in present]
        if not others:
            raise ConfigError(f"the pool has {len(pool.speakers)} speakers, none of them absent from a mixture")
        choice = pool.speakers[int(random.choice(others))]
        target, rest = np.zeros_like(rest), parts[0] + rest
    else:
        own = pool.speakers[pool.speaker_of(utterances[0])]
        choice = own[own != utterances[0]]
        target = parts[0]
    return EnrolledMixture(np.stack([target, rest]), _sample_enrollment(pool, random, choice, sampling.seconds))


def _sample_enrollment(
    pool: UtterancePool, random: np.random.Generator, choice: np.ndarray, seconds: float
) -> np.ndarray:
    """Cut an excerpt ``[time]`` with speech in it of one of the utterances; one that is too short is repeated."""
    frames = round(seconds * pool.rate)
    reference = from_db(REFERENCE_DB)
    excerpt = np.zeros(frames, dtype=np.float32)
    for _ in range(ATTEMPTS):
        utterance = int(random.choice(choice))
        start = int(random.integers(max(pool.frames(utterance) - frames, 0) + 1))
        gain = np.float32(reference / pool.level(utterance))
        excerpt = np.resize(pool.segment(utterance, start, frames), frames) * gain
        if rms_of(excerpt, None) > reference * from_db(SILENCE_DB):
            break
    return excerpt

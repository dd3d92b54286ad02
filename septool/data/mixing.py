"""Mixtures: rendering a manifest row, and dynamic mixing of utterances from a pool.

Both are pure functions. Rendering depends on the row alone, so on the fly and written to disk give the
same samples; sampling depends on (seed, epoch, index) alone, so workers, ranks and restarts change nothing.
"""

# pyright: reportMissingTypeStubs=false

import math
from collections.abc import Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.fft

from septool import audio
from septool.data.manifest import Mixture, Source
from septool.data.pool import UtterancePool
from septool.data.renderers import RENDERERS, Rendered, check_padding, pad_or_trim
from septool.data.speech_cache import load_pool, read_source
from septool.errors import ConfigError, ManifestError
from septool.signal.levels import from_db, rms_of
from septool.signal.mel import hz_to_mel

fft: Any = scipy.fft  # which has no annotations
SILENCE_DB = -60.0  # a crop this far below its recording's level has nothing in it
ATTEMPTS = 10
EQ_KNOTS = 8
SHORTEST_TURN = 0.3  # shortest turn where voices overlap partly, as a share of the mixture
TURN_FADE_SECONDS = 0.01
TURN_DB = -20.0  # a turn in which a voice has less than this of its energy is sampled again
# Streams of random numbers of their own, so that the same voices are sampled with an augmentation and without it.
AUGMENTATION_STREAM, ENROLLMENT_STREAM, EQ_STREAM, SINGLE_STREAM, POLARITY_STREAM, SPEAKER_STREAM = 1, 2, 3, 4, 5, 6
OVERLAP_STREAM, GENDER_STREAM = 7, 8
REFERENCE_DB = -20.0  # level of a sampled voice, by the RMS of its whole utterance
# Levels (mean, deviation) of the voices of WSJ0-2mix, by mean magnitude: the first, and a further one against it. From
# SpeechBrain's dynamic mixing, with which SepFormer and, later, Papez were trained.
WSJ0_FIRST_DB, WSJ0_FURTHER_DB, WSJ0_LIMITS_DB = (-27.43, 2.57), (-2.51, 2.66), (-45.0, 0.0)


def render_mixture(row: Mixture, rate: int | None = None) -> Rendered:
    """Make the mixture that a manifest row describes.

    Every source is cut, resampled to the mixture's rate (its speed with it) and scaled; then all are
    cut to the shortest ("min") or padded to the longest ("max"), and summed. A row that names a published
    generator is made as that one makes it.

    Args:
        row: the manifest row.
        rate: Hz to render at instead of the row's own rate.
    """
    rate = rate or row.sample_rate
    if row.rendering is not None:
        made = RENDERERS[row.rendering](row)
        mixture, sources = (audio.resample(part, row.sample_rate, rate) for part in made[:2])
        noise = None if made.noise is None else audio.resample(made.noise, row.sample_rate, rate)
        return Rendered(mixture, sources, noise)
    voices = [_read_at_gain(row, source, rate) for source in row.sources]
    lengths = [len(voice) for voice in voices]
    frames = min(lengths) if row.mode == "min" else max(lengths)
    if row.frames is not None:
        frames = round(row.frames * rate / row.sample_rate)
    if not frames:
        raise ManifestError(f"mixture {row.id} is empty: a source has no samples")
    check_padding(row, "frames", frames, lengths)
    sources = np.stack([pad_or_trim(voice, frames) for voice in voices])
    noise = pad_or_trim(_read_at_gain(row, row.noise, rate), frames) if row.noise else None
    if row.mixture is not None:
        return Rendered(
            pad_or_trim(audio.load_audio(row.locate(row.mixture), rate, whole=True), frames), sources, noise
        )
    mixture = sources.sum(axis=0, dtype=np.float32)
    return Rendered(mixture if noise is None else mixture + noise, sources, noise)


def mixture_seconds(row: Mixture) -> float:
    """Return how long a row is rendered, in seconds, from headers alone; resampling may differ by a sample.

    Raises:
        AudioError: a file that cannot be read.
    """
    if row.frames is not None:
        return row.frames / row.sample_rate
    seconds: list[float] = []
    for source in row.sources:
        info = audio.audio_info(row.locate(source.path))
        frames = source.frames if source.frames >= 0 else max(info.frames - source.start, 0)
        seconds.append(frames / info.rate / source.speed)
    return min(seconds) if row.mode == "min" else max(seconds)


def _read_at_gain(row: Mixture, source: Source, rate: int) -> np.ndarray:
    return read_source(row, source, rate) * np.float32(from_db(source.gain_db))


@dataclass(frozen=True, kw_only=True)
class Background:
    """Additive noise or music."""

    manifest: str  # manifest of its recordings, as ``prepare folder`` writes it
    snr_db: tuple[float, float] = (5.0, 20.0)  # SNR range of the sum of the voices, dB (Atss-Net, section 4.1.3)
    probability: float = 1.0  # fraction of the mixtures that have it

    def __post_init__(self) -> None:
        _check_range("snr_db", self.snr_db)
        _check_probability(self.probability)


@dataclass(frozen=True, kw_only=True)
class Reverberation:
    """Room impulse responses (RIRs) that voices are convolved with; the manifest's speakers are the rooms."""

    manifest: str  # manifest of the impulse responses, as ``prepare folder`` writes it
    probability: float = 1.0  # fraction of the mixtures that are reverberant

    def __post_init__(self) -> None:
        _check_probability(self.probability)


@dataclass(frozen=True, kw_only=True)
class DynamicMixing:
    """Dynamic mixing of training mixtures (Zeghidour and Grangier, 2021; SepFormer, section 4.1)."""

    sources: int = 2  # voices in a mixture
    seconds: float = 4.0  # length of a crop; 0 takes whole utterances, cut somewhere to the length of the shortest
    levels: Literal["uniform", "wsj0-2mix"] = "uniform"  # "wsj0-2mix": normally distributed, as there
    difference_db: tuple[float, float] = (-5.0, 5.0)  # "uniform": level of each further voice against the first
    speed: tuple[float, float] = (0.95, 1.05)  # range of the speed perturbation; (1, 1) is off
    # Standard deviation of a random equalizer on each voice, dB; makes few voices many
    random_eq_db: float = field(default=0.0, metadata={"formerly": "colour_db"})
    polarity_inversion: float = 0.0  # probability that a voice's sign is changed, which no ear can tell
    draw_by: Literal["speaker", "utterance"] = "speaker"  # "utterance": speakers as often as they have utterances
    same_gender: float = 0.0  # fraction of the mixtures of voices of one gender, which are harder; others are any
    rooms: Reverberation | None = None
    backgrounds: tuple[Background, ...] = ()
    partial_overlap: float = 0.0  # fraction of the mixtures in which each voice speaks for a part of the time
    single_probability: float = 0.0  # fraction of the mixtures of which only the first voice is left, the rest silence

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise ValueError(f"sources is {self.sources}; a mixture has at least one voice")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; a crop has a length, 0 stands for whole utterances")
        if not 0 <= self.random_eq_db < math.inf:
            raise ValueError(f"random_eq_db is {self.random_eq_db}; a deviation is not negative")
        for name in ("same_gender", "partial_overlap", "single_probability", "polarity_inversion"):
            _check_probability(getattr(self, name), name)
        for name in ("difference_db", "speed"):
            _check_range(name, getattr(self, name))
        if self.speed[0] <= 0:
            raise ValueError(f"speed is {list(self.speed)}; it has to be above 0")

    @property
    def manifests(self) -> list[str]:
        """Manifests of the augmentation sources: backgrounds and RIRs."""
        return [source.manifest for source in (*self.backgrounds, self.rooms) if source]


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if not -math.inf < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"{name} is {list(bounds)}; it is two numbers, the smaller one first")


def _check_probability(probability: float, name: str = "probability") -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} is {probability}; it lies between 0 and 1")


class AugmentationSources(NamedTuple):
    """Decoded recordings that mixtures are augmented with: one pool for each background, and one of RIRs."""

    backgrounds: tuple[UtterancePool, ...] = ()
    rooms: UtterancePool | None = None


def load_augmentation_sources(
    config: DynamicMixing, rate: int, jobs: int = 1, damaged_share: float = 0.0
) -> AugmentationSources:
    """Decode the backgrounds and RIRs of a mixing at ``rate`` Hz; see :func:`septool.data.speech_cache.load_pool`."""
    load = partial(load_pool, rate=rate, jobs=jobs, damaged_share=damaged_share)
    backgrounds = tuple(load(Path(background.manifest)) for background in config.backgrounds)
    # Of a response only the shape counts; a quiet one would lose its tail in 16 bits.
    return AugmentationSources(
        backgrounds, load(Path(config.rooms.manifest), full_scale=True) if config.rooms else None
    )


class SampledMixture(NamedTuple):
    """A training mixture, and the utterances of the pool that its voices are excerpts of."""

    parts: np.ndarray  # [part, time], float32
    utterances: tuple[int, ...]


def sample_parts(
    pool: UtterancePool,
    config: DynamicMixing,
    augmentation: AugmentationSources = AugmentationSources(),
    *,
    seed: int,
    epoch: int,
    index: int,
) -> np.ndarray:
    """Sample training mixture ``index`` of ``epoch`` as ``[part, time]``; see :func:`sample_mixture`."""
    return sample_mixture(pool, config, augmentation, seed=seed, epoch=epoch, index=index).parts


def sample_mixture(
    pool: UtterancePool, config: DynamicMixing, augmentation: AugmentationSources, *, seed: int, epoch: int, index: int
) -> SampledMixture:
    """Sample training mixture ``index`` of ``epoch``: parts ``[part, time]``, float32, that sum to it.

    The parts are the voices and, if the mixing has backgrounds, their noise: silence where none was sampled.
    The first voice stands at the level of its utterance made -20 dB, or where the level statistics put it,
    and the others at a random difference from it; the caller scales the mixture. Where one voice is alone the others
    are sampled all the same and silenced, so that the same voices come with ``single_probability`` and without.
    """
    if len(pool.speakers) < config.sources:
        raise ConfigError(f"{config.sources} voices in a mixture, but the pool has {len(pool.speakers)} speakers")
    if len(augmentation.backgrounds) != len(config.backgrounds) or (augmentation.rooms is None) != (
        config.rooms is None
    ):
        raise ConfigError("the mixing has other backgrounds or rooms than were loaded; see load_augmentation_sources")
    alike = False
    if config.same_gender:
        _check_genders(pool, config.sources)
        alike = np.random.default_rng([seed, epoch, index, GENDER_STREAM]).random() < config.same_gender
    parts, utterances = _sample_voices(pool, config, np.random.default_rng([seed, epoch, index]), alike=alike)
    if config.partial_overlap:
        turns = np.random.default_rng([seed, epoch, index, OVERLAP_STREAM])
        if turns.random() < config.partial_overlap:
            parts = _take_turns(parts, pool.rate, turns)
    single = np.random.default_rng([seed, epoch, index, SINGLE_STREAM])
    if config.single_probability and single.random() < config.single_probability:
        parts[1:] = 0  # the first stays: an extractor's target, a speaker network's answer
    if config.polarity_inversion:
        signs = np.random.default_rng([seed, epoch, index, POLARITY_STREAM])
        parts[signs.random(len(parts)) < config.polarity_inversion] *= -1
    random = np.random.default_rng([seed, epoch, index, AUGMENTATION_STREAM])
    if config.random_eq_db:
        parts = _random_eq(
            parts, config.random_eq_db, pool.rate, np.random.default_rng([seed, epoch, index, EQ_STREAM])
        )
    if config.rooms and augmentation.rooms and random.random() < config.rooms.probability:
        parts = _reverberate(parts, augmentation.rooms, random)
    if config.backgrounds:
        mixture = parts.sum(0)
        noise = np.zeros_like(mixture)
        for background, recordings in zip(config.backgrounds, augmentation.backgrounds, strict=True):
            if random.random() < background.probability:
                noise += _scale_to_snr(
                    mixture, _sample_excerpt(recordings, len(noise), random), random.uniform(*background.snr_db)
                )
        parts = np.concatenate([parts, noise[None]])
    return SampledMixture(parts, utterances)


def _check_genders(pool: UtterancePool, sources: int) -> None:
    if set(pool.gender_counts) == {None}:
        raise ConfigError("mixing.same_gender needs a manifest whose sources have a gender; this one has none")
    for gender, count in pool.gender_counts.items():
        if gender is not None and count < sources:
            raise ConfigError(f"mixing.same_gender mixes {sources} voices, but gender {gender!r} has {count} speakers")


def _sample_voices(
    pool: UtterancePool, config: DynamicMixing, random: np.random.Generator, *, alike: bool
) -> SampledMixture:
    """Sample crops of different speakers, ``[source, time]``; of one gender if they are to be alike."""
    frames = round(config.seconds * pool.rate)
    voices: list[np.ndarray] = []
    utterances: list[int] = []
    taken: set[int] = set()
    gains_db: list[float] = []
    first_db: float | None = None
    genders = set(pool.gender_counts) - ({None} if alike else set())
    for _ in range(config.sources):
        speaker = _sample_speaker(pool, config, random, taken, genders)
        taken.add(speaker)
        genders = {pool.genders[speaker]} if alike else genders
        gain_db = _sample_gain_db(config, first_db, random)
        first_db = gain_db if first_db is None else first_db
        voice, utterance = sample_crop(pool, speaker, frames, random.uniform(*config.speed), random)
        voices.append(voice)
        gains_db.append(gain_db)
        utterances.append(utterance)
    parts = np.zeros((config.sources, min(map(len, voices))), dtype=np.float32)
    for part, voice, gain_db in zip(parts, voices, gains_db, strict=True):
        start = int(random.integers(len(voice) - len(part) + 1))
        part[:] = voice[start : start + len(part)]
        part *= np.float32(from_db(gain_db) * (1.0 if config.levels == "uniform" else _to_mean_magnitude(part)))
    return SampledMixture(parts, tuple(utterances))


def _to_mean_magnitude(voice: np.ndarray) -> float:
    """Return the gain that brings the mean magnitude of a voice to :data:`REFERENCE_DB`, over its audible part."""
    reference = from_db(REFERENCE_DB)
    return reference / max(float(np.abs(voice).mean()), reference * from_db(SILENCE_DB))


def _sample_speaker(
    pool: UtterancePool, config: DynamicMixing, random: np.random.Generator, taken: set[int], genders: Set[str | None]
) -> int:
    while True:
        if config.draw_by == "speaker":
            speaker = int(random.integers(len(pool.speakers)))
        else:
            speaker = pool.speaker_of(int(random.integers(len(pool))))
        if speaker not in taken and pool.genders[speaker] in genders:
            return speaker


def _sample_gain_db(config: DynamicMixing, first_db: float | None, random: np.random.Generator) -> float:
    """Sample how far a voice is brought above :data:`REFERENCE_DB`, given that of the first voice."""
    if config.levels == "uniform":
        return 0.0 if first_db is None else random.uniform(*config.difference_db)
    mean, deviation = WSJ0_FIRST_DB if first_db is None else WSJ0_FURTHER_DB
    level_db = random.normal(mean, deviation) + (0.0 if first_db is None else first_db + REFERENCE_DB)
    return float(np.clip(level_db, *WSJ0_LIMITS_DB)) - REFERENCE_DB


def sample_crop(
    pool: UtterancePool, speaker: int, frames: int, speed: float, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Cut an excerpt with speech in it, brought to the reference level by its whole utterance's level.

    Returns:
        The excerpt ``[time]``, ``frames`` long, or for 0 a whole utterance; and the utterance's number.
    """
    speed = round(speed, 3)  # keeps the resampling ratio a fraction of small integers
    reference = from_db(REFERENCE_DB)
    voice, utterance = np.zeros(0, dtype=np.float32), -1
    for _ in range(ATTEMPTS):
        utterance = int(random.choice(pool.speakers[speaker]))
        there = pool.frames(utterance)
        needed = int(np.ceil(frames * speed)) + 1 if frames else there
        start = int(random.integers(max(there - needed, 0) + 1))
        voice = pool.segment(utterance, start, needed) * np.float32(reference / pool.level(utterance))
        voice = audio.resample(voice, speed, 1.0)
        if frames:
            voice = voice[:frames]
            offset = int(random.integers(frames - len(voice) + 1))
            voice = np.pad(voice, (offset, frames - len(voice) - offset))
        if rms_of(voice, None) > reference * from_db(SILENCE_DB):
            break
    return voice, utterance


def _take_turns(voices: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """Silence each voice ``[source, time]`` outside an excerpt of its own, as in a conversation.

    The excerpts are sampled independently, so that they follow, overlap and contain one another. Where a voice
    would be left with next to nothing, as its utterance pauses there, all are sampled again.
    """
    frames = voices.shape[1]
    fade = max(1, round(TURN_FADE_SECONDS * rate))
    numpy: Any = np  # whose stubs leave some of these types open
    chance: Any = random
    for _ in range(ATTEMPTS):
        lengths = numpy.ceil(chance.uniform(SHORTEST_TURN, 1, len(voices)) * frames).astype(int)
        starts = chance.integers(frames - lengths + 1)
        after_start = numpy.arange(frames) - starts[:, None] + 1  # samples
        before_end = lengths[:, None] + 1 - after_start
        turns = voices * np.clip(np.minimum(after_start, before_end) / fade, 0, 1).astype(np.float32)
        if all(
            rms_of(turn, None) > rms_of(voice, None) * from_db(TURN_DB)
            for turn, voice in zip(turns, voices, strict=True)
        ):
            return turns
    return voices


def _random_eq(voices: np.ndarray, deviation_db: float, rate: int, random: np.random.Generator) -> np.ndarray:
    """Filter each voice ``[source, time]`` by a random equalizer, as another mouth or microphone would; energies stay.

    The gains are normally distributed at places that are evenly spaced to the ear, and straight lines in dB
    between them.
    """
    frames = voices.shape[1]
    size = fft.next_fast_len(frames, real=True)
    mels = hz_to_mel(fft.rfftfreq(size, 1 / rate))
    knots = np.linspace(0, float(mels[-1]), EQ_KNOTS)
    gains_db = np.stack([np.interp(mels, knots, random.normal(0, deviation_db, EQ_KNOTS)) for _ in voices])
    equalized = np.asarray(fft.rfft(voices, size)) * from_db(gains_db)
    return _restore_levels(voices, np.asarray(fft.irfft(equalized, size))[:, :frames])


def _reverberate(voices: np.ndarray, rooms: UtterancePool, random: np.random.Generator) -> np.ndarray:
    """Convolve each voice ``[source, time]`` with another RIR of one room, as far as it has so many; energies stay."""
    of_room = rooms.speakers[int(random.integers(len(rooms.speakers)))]
    responses = [rooms.segment(n) for n in random.choice(of_room, len(voices), replace=len(of_room) < len(voices))]
    frames = voices.shape[1]
    size = fft.next_fast_len(frames + max(map(len, responses)) - 1, real=True)
    room = np.array([np.asarray(fft.rfft(response, size)) for response in responses])
    processed = np.asarray(fft.irfft(np.asarray(fft.rfft(voices, size)) * room, size))[:, :frames]
    return _restore_levels(voices, processed)


def _restore_levels(voices: np.ndarray, processed: np.ndarray) -> np.ndarray:
    """Scale each processed voice ``[source, time]`` to the RMS that it had before."""
    levels = [(rms_of(before, None), rms_of(after, None)) for before, after in zip(voices, processed, strict=True)]
    gains = np.array([before / after if after else 1 for before, after in levels], dtype=np.float32)
    return processed.astype(np.float32) * gains[:, None]


def _sample_excerpt(recordings: UtterancePool, frames: int, random: np.random.Generator) -> np.ndarray:
    """Cut an excerpt ``[time]`` that is not silent; a recording that is too short is repeated."""
    for _ in range(ATTEMPTS):
        recording = int(random.integers(len(recordings)))
        there = recordings.frames(recording)
        if there < frames:
            excerpt = np.resize(np.roll(recordings.segment(recording), int(random.integers(there))), frames)
        else:
            excerpt = recordings.segment(recording, int(random.integers(there - frames + 1)), frames)
        if rms_of(excerpt, None) > recordings.level(recording) * from_db(SILENCE_DB):
            return excerpt
    return np.zeros(frames, dtype=np.float32)


def _scale_to_snr(voices: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    level = rms_of(noise, None)
    return noise * np.float32(rms_of(voices, None) / level * from_db(-snr_db)) if level else noise

"""Mixtures: rendering a manifest row, and drawing new ones from a pool of speech.

Both are pure functions. Rendering depends on the row alone, so on the fly and written to disk give the
same samples; drawing depends on (seed, epoch, index) alone, so workers, ranks and restarts change nothing.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scipy import fft

from septool import audio
from septool.data.manifest import Mixture, Source
from septool.data.pool import Pool, load
from septool.data.renderers import GENERATORS, Rendered, fit
from septool.errors import ConfigError, ManifestError
from septool.signal.levels import from_db
from septool.signal.mel import mel

SILENCE_DB = -60.0  # a crop this far below its recording's level has nothing in it
ATTEMPTS = 10
COLOUR_KNOTS = 8
# What has random numbers of its own, so that the same voices are drawn with it and without it.
AROUND, ENROLMENT, COLOUR = 1, 2, 3
REFERENCE_DB = -20.0  # level of a drawn voice, by the RMS of its whole utterance
# Levels (mean, deviation) of the voices of WSJ0-2mix, by mean magnitude: the first, and a further one against it.
PAPEZ_FIRST_DB, PAPEZ_FURTHER_DB, PAPEZ_LIMITS_DB = (-27.43, 2.57), (-2.51, 2.66), (-45.0, 0.0)


def render(row: Mixture, rate: int | None = None) -> Rendered:
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
        made = GENERATORS[row.rendering](row)
        mixture, sources = (audio.resample(part, row.sample_rate, rate) for part in made[:2])
        noise = None if made.noise is None else audio.resample(made.noise, row.sample_rate, rate)
        return Rendered(mixture, sources, noise)
    voices = [_voice(row, source, rate) for source in row.sources]
    lengths = [len(voice) for voice in voices]
    frames = min(lengths) if row.mode == "min" else max(lengths)
    if row.frames is not None:
        frames = round(row.frames * rate / row.sample_rate)
    if not frames:
        raise ManifestError(f"mixture {row.id} is empty: a source has no samples")
    sources = np.stack([fit(voice, frames) for voice in voices])
    noise = fit(_voice(row, row.noise, rate), frames) if row.noise else None
    if row.mixture is not None:
        return Rendered(fit(audio.load_audio(row.locate(row.mixture), rate), frames), sources, noise)
    mixture = sources.sum(axis=0, dtype=np.float32)
    return Rendered(mixture if noise is None else mixture + noise, sources, noise)


def _voice(row: Mixture, source: Source, rate: int) -> np.ndarray:
    samples, own = audio.read_audio(row.locate(source.path), source.start, source.frames)
    audio.check_finite(samples, row.locate(source.path))
    # A voice at speed 1.05 is one whose rate was 1.05 times as high as the file says.
    voice = audio.resample(audio.to_mono(samples), own * source.speed, rate)
    return voice * np.float32(from_db(source.gain_db))


@dataclass(frozen=True, kw_only=True)
class Background:
    """Noise or music behind the voices."""

    manifest: str  # of its recordings, as ``prepare folder`` writes it
    snr_db: tuple[float, float] = (5.0, 20.0)  # all voices together against it (Atss-Net, section 4.1.3)
    probability: float = 1.0  # part of the mixtures that have it

    def __post_init__(self) -> None:
        _check_range("snr_db", self.snr_db)
        _check_probability(self.probability)


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Impulse responses that voices are heard through; what the manifest calls a speaker is a room here."""

    manifest: str
    probability: float = 1.0  # part of the mixtures that are reverberant

    def __post_init__(self) -> None:
        _check_probability(self.probability)


@dataclass(frozen=True, kw_only=True)
class DynamicMixing:
    """How training mixtures are drawn (Zeghidour and Grangier, 2021; SepFormer, section 4.1)."""

    sources: int = 2
    seconds: float = 4.0  # length of a crop; 0 takes whole utterances, cut to the shortest of a mixture
    # "papez": normally distributed as in WSJ0-2mix, which Papez's code draws from.
    levels: Literal["uniform", "papez"] = "uniform"
    difference_db: tuple[float, float] = (-5.0, 5.0)  # "uniform": level of each further voice against the first
    speed: tuple[float, float] = (0.95, 1.05)  # range of the speed perturbation; (1, 1) is off
    colour_db: float = 0.0  # deviation of the gains that each voice's spectrum is bent by; makes few voices many
    draw_by: Literal["speaker", "utterance"] = "speaker"  # "utterance": speakers as often as they have utterances
    rooms: Rooms | None = None
    backgrounds: tuple[Background, ...] = ()

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise ValueError(f"sources is {self.sources}; a mixture has at least one voice")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; a crop has a length, 0 stands for whole utterances")
        if not 0 <= self.colour_db < math.inf:
            raise ValueError(f"colour_db is {self.colour_db}; a deviation is not negative")
        for name in ("difference_db", "speed"):
            _check_range(name, getattr(self, name))
        if self.speed[0] <= 0:
            raise ValueError(f"speed is {list(self.speed)}; it has to be above 0")

    @property
    def manifests(self) -> list[str]:
        """What mixtures are drawn from besides speech."""
        return [each.manifest for each in (*self.backgrounds, self.rooms) if each]


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if not -math.inf < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"{name} is {list(bounds)}; it is two numbers, the smaller one first")


def _check_probability(probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; it lies between 0 and 1")


class Surroundings(NamedTuple):
    """What voices are heard in: recordings for each background of the mixing, and impulse responses."""

    backgrounds: tuple[Pool, ...] = ()
    rooms: Pool | None = None


def surroundings(how: DynamicMixing, rate: int, jobs: int = 1) -> Surroundings:
    """Decode what mixtures are drawn with besides speech; see :func:`septool.data.pool.load`."""
    backgrounds = tuple(load(Path(each.manifest), rate, jobs) for each in how.backgrounds)
    # Of a response only the shape counts; a quiet one would lose its tail in 16 bits.
    return Surroundings(backgrounds, load(Path(how.rooms.manifest), rate, jobs, full_scale=True) if how.rooms else None)


class Drawn(NamedTuple):
    """A training mixture, and which utterances of the pool its voices were cut from."""

    parts: np.ndarray  # [part, time]
    utterances: tuple[int, ...]


def draw(
    pool: Pool, how: DynamicMixing, around: Surroundings = Surroundings(), *, seed: int, epoch: int, index: int
) -> np.ndarray:
    """Draw training mixture ``index`` of ``epoch``: ``[part, time]``; see :func:`draw_named`."""
    return draw_named(pool, how, around, seed=seed, epoch=epoch, index=index).parts


def draw_named(pool: Pool, how: DynamicMixing, around: Surroundings, *, seed: int, epoch: int, index: int) -> Drawn:
    """Draw training mixture ``index`` of ``epoch``: ``[part, time]``, float32, parts that sum to it.

    The parts are the voices and, if the mixing has backgrounds, their noise: silence where none was drawn.
    The first voice stands at the level of its utterance made -20 dB, or where the level statistics put it,
    and the others at a random difference from it; the caller scales the mixture.
    """
    if len(pool.speakers) < how.sources:
        raise ConfigError(f"{how.sources} voices are to be mixed, the pool has {len(pool.speakers)} speakers")
    if len(around.backgrounds) != len(how.backgrounds) or (around.rooms is None) != (how.rooms is None):
        raise ConfigError("the mixing has other backgrounds or rooms than were loaded; see mixing.surroundings")
    parts, utterances = _voices(pool, how, np.random.default_rng([seed, epoch, index]))
    random = np.random.default_rng([seed, epoch, index, AROUND])
    if how.colour_db:
        parts = _coloured(parts, how.colour_db, pool.rate, np.random.default_rng([seed, epoch, index, COLOUR]))
    if how.rooms and around.rooms and random.random() < how.rooms.probability:
        parts = _in_a_room(parts, around.rooms, random)
    if how.backgrounds:
        mixture = parts.sum(0)
        noise = np.zeros_like(mixture)
        for background, recordings in zip(how.backgrounds, around.backgrounds, strict=True):
            if random.random() < background.probability:
                noise += _at_snr(mixture, _stretch(recordings, len(noise), random), random.uniform(*background.snr_db))
        parts = np.concatenate([parts, noise[None]])
    return Drawn(parts, utterances)


def _voices(pool: Pool, how: DynamicMixing, random: np.random.Generator) -> Drawn:
    """Draw voices of different speakers, ``[source, time]``."""
    frames = round(how.seconds * pool.rate)
    voices: list[np.ndarray] = []
    utterances: list[int] = []
    taken: set[int] = set()
    first_db: float | None = None
    for _ in range(how.sources):
        speaker = _speaker(pool, how, random, taken)
        taken.add(speaker)
        gain_db = _gain_db(how, first_db, random)
        first_db = gain_db if first_db is None else first_db
        voice, utterance = _crop(pool, speaker, frames, random.uniform(*how.speed), random)
        gain = from_db(gain_db)
        if how.levels == "papez":  # which are of the mean magnitude, not of the RMS
            gain *= pool.level(utterance) / pool.magnitude(utterance)
        voices.append(voice * np.float32(gain))
        utterances.append(utterance)
    shortest = min(map(len, voices))
    return Drawn(np.stack([voice[:shortest] for voice in voices]), tuple(utterances))


def _speaker(pool: Pool, how: DynamicMixing, random: np.random.Generator, taken: set[int]) -> int:
    while True:
        if how.draw_by == "speaker":
            speaker = int(random.integers(len(pool.speakers)))
        else:
            speaker = pool.speaker_of(int(random.integers(len(pool))))
        if speaker not in taken:
            return speaker


def _gain_db(how: DynamicMixing, first_db: float | None, random: np.random.Generator) -> float:
    """Draw how far a voice is brought above :data:`REFERENCE_DB`, given that of the first voice."""
    if how.levels == "uniform":
        return 0.0 if first_db is None else random.uniform(*how.difference_db)
    mean, deviation = PAPEZ_FIRST_DB if first_db is None else PAPEZ_FURTHER_DB
    level_db = random.normal(mean, deviation) + (0.0 if first_db is None else first_db + REFERENCE_DB)
    return float(np.clip(level_db, *PAPEZ_LIMITS_DB)) - REFERENCE_DB


def _crop(pool: Pool, speaker: int, frames: int, speed: float, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Cut a stretch with speech in it, brought to the reference level by its whole utterance's level.

    Returns:
        The stretch, ``frames`` long, or for 0 a whole utterance; and the utterance's number.
    """
    speed = round(speed, 3)  # keeps the resampling ratio a fraction of small integers
    reference = from_db(REFERENCE_DB)
    voice, utterance = np.zeros(0, dtype=np.float32), -1
    for _ in range(ATTEMPTS):
        utterance = int(random.choice(pool.speakers[speaker]))
        there = pool.frames(utterance)
        needed = int(np.ceil(frames * speed)) + 1 if frames else there
        start = int(random.integers(max(there - needed, 0) + 1))
        voice = pool.stretch(utterance, start, needed) * np.float32(reference / pool.level(utterance))
        voice = audio.resample(voice, speed, 1.0)
        if frames:
            voice = voice[:frames]
            offset = int(random.integers(frames - len(voice) + 1))
            voice = np.pad(voice, (offset, frames - len(voice) - offset))
        if _rms(voice) > reference * from_db(SILENCE_DB):
            break
    return voice, utterance


def _coloured(voices: np.ndarray, deviation_db: float, rate: int, random: np.random.Generator) -> np.ndarray:
    """Bend each voice's spectrum, as another mouth or microphone would, at the energy that it has without.

    The gains are normally distributed at places that are evenly spaced to the ear, and straight lines in dB
    between them.
    """
    frames = voices.shape[1]
    size = fft.next_fast_len(frames, real=True)
    places = mel(fft.rfftfreq(size, 1 / rate))
    knots = np.linspace(0, places[-1], COLOUR_KNOTS)
    gains_db = np.stack([np.interp(places, knots, random.normal(0, deviation_db, COLOUR_KNOTS)) for _ in voices])
    coloured = np.asarray(fft.rfft(voices, size)) * from_db(gains_db)
    return _at_levels(voices, np.asarray(fft.irfft(coloured, size))[:, :frames])


def _in_a_room(voices: np.ndarray, rooms: Pool, random: np.random.Generator) -> np.ndarray:
    """Put each voice at another place of a room, as far as it has so many, at the energy that it has without."""
    places = rooms.speakers[int(random.integers(len(rooms.speakers)))]
    responses = [rooms.stretch(n) for n in random.choice(places, len(voices), replace=len(places) < len(voices))]
    frames = voices.shape[1]
    size = fft.next_fast_len(frames + max(map(len, responses)) - 1, real=True)
    room = np.array([np.asarray(fft.rfft(response, size)) for response in responses])
    heard = np.asarray(fft.irfft(np.asarray(fft.rfft(voices, size)) * room, size))[:, :frames]
    return _at_levels(voices, heard)


def _at_levels(voices: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Scale what is heard of each voice to the level of the voice."""
    levels = [(_rms(before), _rms(after)) for before, after in zip(voices, heard, strict=True)]
    gains = np.array([before / after if after else 1 for before, after in levels], dtype=np.float32)
    return heard.astype(np.float32) * gains[:, None]


def _stretch(recordings: Pool, frames: int, random: np.random.Generator) -> np.ndarray:
    """Cut a stretch with a sound in it; a recording that is too short begins again."""
    for _ in range(ATTEMPTS):
        recording = int(random.integers(len(recordings)))
        there = recordings.frames(recording)
        if there < frames:
            stretch = np.resize(np.roll(recordings.stretch(recording), int(random.integers(there))), frames)
        else:
            stretch = recordings.stretch(recording, int(random.integers(there - frames + 1)), frames)
        if _rms(stretch) > recordings.level(recording) * from_db(SILENCE_DB):
            return stretch
    return np.zeros(frames, dtype=np.float32)


def _at_snr(voices: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    level = _rms(noise)
    return noise * np.float32(_rms(voices) / level * from_db(-snr_db)) if level else noise


def _rms(samples: np.ndarray) -> np.float32:
    return np.sqrt(np.mean(np.square(samples)))

"""Mixtures: rendering a manifest row, and drawing new ones from a pool of speech.

Both are pure functions. Rendering depends on the row alone, so on the fly and written to disk give the
same samples; drawing depends on (seed, epoch, index) alone, so workers, ranks and restarts change nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from septool import audio
from septool.errors import ConfigError, ManifestError
from septool.manifest import Mixture, Source
from septool.pool import Pool
from septool.signal.levels import from_db

SILENCE_DB = -60.0  # a crop this far below its utterance's level has no speech in it
ATTEMPTS = 10


class Rendered(NamedTuple):
    """A mixture in samples."""

    mixture: np.ndarray  # [time], float32
    sources: np.ndarray  # [source, time], float32; with the noise they sum to the mixture
    noise: np.ndarray | None = None  # [time]


def render(row: Mixture, rate: int | None = None) -> Rendered:
    """Make the mixture that a manifest row describes.

    Every source is cut, resampled to the mixture's rate (its speed with it) and scaled; then all are
    cut to the shortest ("min") or padded to the longest ("max"), and summed.

    Args:
        row: the manifest row.
        rate: Hz to render at instead of the row's own rate.
    """
    rate = rate or row.sample_rate
    voices = [_voice(row, source, rate) for source in row.sources]
    lengths = [len(voice) for voice in voices]
    frames = min(lengths) if row.mode == "min" else max(lengths)
    if row.frames is not None:
        frames = round(row.frames * rate / row.sample_rate)
    if not frames:
        raise ManifestError(f"mixture {row.id} is empty: a source has no samples")
    sources = np.stack([_fit(voice, frames) for voice in voices])
    noise = _fit(_voice(row, row.noise, rate), frames) if row.noise else None
    if row.mixture is not None:
        return Rendered(_fit(audio.load(row.locate(row.mixture), rate), frames), sources, noise)
    mixture = sources.sum(axis=0, dtype=np.float32)
    return Rendered(mixture if noise is None else mixture + noise, sources, noise)


def _voice(row: Mixture, source: Source, rate: int) -> np.ndarray:
    samples, own = audio.read(row.locate(source.path), source.start, source.frames)
    # A voice at speed 1.05 is one whose rate was 1.05 times as high as the file says.
    voice = audio.resample(audio.mono(samples), own * source.speed, rate)
    return voice * np.float32(from_db(source.gain_db))


def _fit(voice: np.ndarray, frames: int) -> np.ndarray:
    return np.pad(voice[:frames], (0, max(frames - len(voice), 0)))


@dataclass(frozen=True, kw_only=True)
class DynamicMixing:
    """How training mixtures are drawn (Zeghidour and Grangier, 2021; SepFormer, section 4.1)."""

    sources: int = 2
    seconds: float = 4.0  # length of a crop
    difference_db: tuple[float, float] = (-5.0, 5.0)  # level of each further voice against the first
    speed: tuple[float, float] = (0.95, 1.05)  # range of the speed perturbation; (1, 1) is off
    draw_by: str = "speaker"  # or "utterance": speakers as often as they have utterances

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"seconds is {self.seconds}; a crop has to have a length")
        if self.draw_by not in ("speaker", "utterance"):
            raise ValueError(f"draw_by is {self.draw_by!r}; it can be speaker or utterance")


def draw(pool: Pool, how: DynamicMixing, *, seed: int, epoch: int, index: int) -> np.ndarray:
    """Draw the sources of training mixture ``index`` of ``epoch``: ``[source, time]``, float32.

    Speakers differ within a mixture. The first voice stands at the level of its utterance made 0.1
    (-20 dB), the others at a random difference from it; the caller scales the mixture.
    """
    if len(pool.speakers) < how.sources:
        raise ConfigError(f"{how.sources} voices are to be mixed, the pool has {len(pool.speakers)} speakers")
    random = np.random.default_rng([seed, epoch, index])
    frames = round(how.seconds * pool.rate)
    voices: list[np.ndarray] = []
    taken: set[int] = set()
    for place in range(how.sources):
        speaker = _speaker(pool, how, random, taken)
        taken.add(speaker)
        gain_db = 0.0 if place == 0 else random.uniform(*how.difference_db)
        voices.append(_crop(pool, speaker, frames, random.uniform(*how.speed), random) * np.float32(from_db(gain_db)))
    return np.stack(voices)


def _speaker(pool: Pool, how: DynamicMixing, random: np.random.Generator, taken: set[int]) -> int:
    while True:
        if how.draw_by == "speaker":
            speaker = int(random.integers(len(pool.speakers)))
        else:
            speaker = pool.speaker_of(int(random.integers(len(pool))))
        if speaker not in taken:
            return speaker


def _crop(pool: Pool, speaker: int, frames: int, speed: float, random: np.random.Generator) -> np.ndarray:
    """Cut a stretch with speech in it, brought to the reference level by its whole utterance's level."""
    speed = round(speed, 3)  # keeps the resampling ratio a fraction of small integers
    needed = int(np.ceil(frames * speed)) + 1
    crop = np.zeros(frames, dtype=np.float32)
    for _ in range(ATTEMPTS):
        utterance = int(random.choice(pool.speakers[speaker]))
        samples, level = pool[utterance]
        start = int(random.integers(max(len(samples) - needed, 0) + 1))
        voice = samples[start : start + needed].astype(np.float32) * np.float32(0.1 / level)
        voice = audio.resample(voice, speed, 1.0)[:frames]
        offset = int(random.integers(frames - len(voice) + 1))
        crop[:] = 0
        crop[offset : offset + len(voice)] = voice
        if np.sqrt(np.mean(np.square(crop))) > 0.1 * from_db(SILENCE_DB):
            break
    return crop

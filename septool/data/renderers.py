"""Renderers of the published sets, equal to their scripts sample for sample (``rendering`` in a manifest).

Each is written from what its documentation and behaviour say. Whoever trained on a published set had these
samples: in 16 bits where the set has 16 bits, resampled with the filter of its script.
"""

# pyright: reportMissingTypeStubs=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from septool import audio
from septool.data.manifest import Mixture, Source
from septool.errors import ManifestError
from septool.signal.active_level import active_level
from septool.signal.levels import from_db

RATE = 16000  # rate of the recordings behind every published set
MOST_PADDING = 10  # times the longest voice that a mixture is long; more is no mixture, but a damaged number
FADE = 8001  # samples over which copies of a short noise are cross-faded


class Rendered(NamedTuple):
    """A mixture in samples."""

    mixture: np.ndarray  # [time], float32
    sources: np.ndarray  # [source, time], float32; with the noise they sum to the mixture (up to 16 bits' rounding)
    noise: np.ndarray | None = None  # [time]


def render_librimix(row: Mixture) -> Rendered:
    """LibriMix (``create_librimix_from_metadata.py`` of commit 09d4b8a): gain, resample, cut or pad, 16 bits."""
    rate = row.sample_rate
    voices = [_resample_polyphase(_read_channel(row, source) * _gain(source), rate) for source in row.sources]
    noise = None
    if row.noise:
        check_padding(row, "frames of noise", row.noise.frames, [len(voice) * RATE // rate for voice in voices])
        samples = audio.resample(_read_channel(row, row.noise), row.noise.speed, 1.0)
        noise = _resample_polyphase(_extend_noise(samples, row.noise.frames) * _gain(row.noise), rate)
    sources, noise = _align_lengths(row, voices, noise)
    mixture = sources.sum(axis=0)
    if noise is not None:
        mixture = (mixture + noise).astype(np.float32)  # a noise that was continued is float64
        noise = _truncate_to_16_bits(noise)
    return Rendered(_truncate_to_16_bits(mixture), _truncate_to_16_bits(sources), noise)


def render_wsj0_mix(row: Mixture) -> Rendered:
    """WSJ0-2mix and WSJ0-3mix (MATLAB, 2016): equal active levels, the list's gains, a peak of 0.9, 16 bits."""
    voices: list[np.ndarray] = []
    for source in row.sources:
        samples = _read_channel(row, source).astype(np.float64)
        narrow = _resample_polyphase(samples, 8000)
        level = active_level(narrow, 8000).power  # the 16 kHz set takes the levels of the 8 kHz one
        if not level:
            raise ManifestError(f"mixture {row.id}: {source.path} is silent, so it has no level to set")
        voice = narrow if row.sample_rate == 8000 else _resample_polyphase(samples, row.sample_rate)
        voices.append(voice * (_gain(source) / np.sqrt(level)))
    sources, _ = _align_lengths(row, voices)
    mixture = sources.sum(axis=0)
    gain = 0.9 / max(np.abs(mixture).max(), np.abs(sources).max())
    return Rendered(_round_to_16_bits(gain * mixture), _round_to_16_bits(gain * sources))


def render_wham(row: Mixture) -> Rendered:
    """WHAM! (``create_wham_from_scratch.py``): voices as in WSJ0-2mix, then one gain on all; noise; float samples.

    ``noise.start`` is where, in samples of the noise's file, speech begins: "min" cuts the noise there,
    "max" keeps all of it and lays the voices there.
    """
    gain = from_db(row.voices_gain_db)
    voices: list[np.ndarray] = []
    for source in row.sources:
        voice = _resample_polyphase(_read_channel(row, source).astype(np.float64), row.sample_rate) * _gain(source)
        voices.append(gain * _round_to_16_bits(voice).astype(np.float64))
    noise = None
    if row.noise:
        begin = row.noise.start * row.sample_rate // RATE
        noise = _resample_polyphase(_read_channel(row, row.noise).astype(np.float64), row.sample_rate) * _gain(
            row.noise
        )
        if row.mode == "min":
            noise = noise[begin:]
        else:
            voices = [np.pad(voice, (begin, 0)) for voice in voices]
    sources, noise = _align_lengths(row, voices, noise)
    mixture = sources.sum(axis=0) + (0 if noise is None else noise)
    single = np.float32
    return Rendered(mixture.astype(single), sources.astype(single), None if noise is None else noise.astype(single))


RENDERERS = {"librimix": render_librimix, "wsj0-mix": render_wsj0_mix, "wham": render_wham}


def _read_channel(row: Mixture, source: Source) -> np.ndarray:
    """Read the first channel; of a noise all, since where it is cut is up to the renderer."""
    start, frames = (0, -1) if source is row.noise else (source.start, source.frames)
    samples, rate = audio.read_audio(row.locate(source.path), start, frames, whole=True)
    if rate != RATE:
        raise ManifestError(f"mixture {row.id}: {source.path} is {rate} Hz; {row.rendering} is made from {RATE} Hz")
    return samples[0]


def _gain(source: Source) -> float:
    # Python's own float leaves float32 samples what they are; NumPy's would not.
    return float(from_db(source.gain_db))


def _extend_noise(noise: np.ndarray, frames: int) -> np.ndarray:
    """Cut a noise to ``frames`` (-1: leave it), or append cross-faded copies until it is long enough."""
    if frames < 0:
        return noise
    if len(noise) < frames and len(noise) <= FADE:
        raise ManifestError(f"a noise of {len(noise)} samples is too short to be continued; {FADE + 1} are needed")
    rise = np.hanning(2 * FADE - 1)[:FADE]
    longer = noise
    while len(longer) < frames:
        seam = longer[-FADE:] * rise[::-1] + noise[:FADE] * rise
        longer = np.concatenate([longer[:-FADE], seam, noise[FADE:]])
    return longer[:frames]


def _resample_polyphase(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample with a Kaiser window (beta 5) over ten zero crossings: MATLAB's ``resample`` and SciPy's default."""
    import scipy.signal

    untyped: Any = scipy.signal
    return samples if rate == RATE else untyped.resample_poly(samples, rate, RATE)


def _align_lengths(
    row: Mixture, voices: list[np.ndarray], noise: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    lengths = [len(voice) for voice in voices] + ([len(noise)] if noise is not None else [])
    frames = row.frames if row.frames is not None else (min if row.mode == "min" else max)(lengths)
    check_padding(row, "frames", frames, lengths)
    sources = np.stack([pad_or_trim(voice, frames) for voice in voices])
    return sources, None if noise is None else pad_or_trim(noise, frames)


def check_padding(row: Mixture, what: str, frames: int, lengths: Sequence[int]) -> None:
    """Refuse a mixture that would be almost all silence, or a noise that would be almost all copies.

    Args:
        row: for the message.
        what: that has ``frames`` samples, for the message.
        frames: how long it is to become.
        lengths: of its voices, in samples of the same rate.

    Raises:
        ManifestError: it is longer than the longest voice by a factor that nobody means.
    """
    if frames > MOST_PADDING * max(lengths):
        raise ManifestError(
            f"mixture {row.id} has {frames} {what}; its longest voice has {max(lengths)}, and {MOST_PADDING} times "
            "that is the most"
        )


def pad_or_trim(voice: np.ndarray, frames: int) -> np.ndarray:
    """Trim ``[time]`` to ``frames`` samples, or pad it with zeros at its end."""
    return np.pad(voice[:frames], (0, max(frames - len(voice), 0)))


def _truncate_to_16_bits(samples: np.ndarray) -> np.ndarray:
    """Go through 16 bits as libsndfile does when it clips: to 32 bits, of which the upper half is kept."""
    whole = np.floor(np.rint(samples * 2.0**31) / 2.0**16)
    return (np.clip(whole, -(2**15), 2**15 - 1) / 2**15).astype(np.float32)


def _round_to_16_bits(samples: np.ndarray) -> np.ndarray:
    """Go through 16 bits as MATLAB's ``int16(round(2^15 * x))``: halves away from zero."""
    whole = np.copysign(np.floor(np.abs(samples) * 2**15 + 0.5), samples)
    return (np.clip(whole, -(2**15), 2**15 - 1) / 2**15).astype(np.float32)

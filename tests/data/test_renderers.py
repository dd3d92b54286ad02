"""The published generators, each against an oracle written from its description alone, to the 16-bit sample."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from septool import audio
from septool.data import manifest, renderers
from septool.data.manifest import Mixture, Source
from septool.data.mixing import render_mixture
from septool.errors import ManifestError
from septool.signal.active_level import active_level
from septool.tasks.mix import mix_manifest
from tests import librimix
from tests.conftest import voice

RATE = 16000
GAINS = (0.8321096753421, 1.4352834120507272, 0.21427910081618)
DECIBELS = tuple(20 * math.log10(gain) for gain in GAINS)
LENGTHS = (26001, 20340, 31007)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three voices, loud enough that their sum is clipped, and noises of two channels that are long and short."""
    for index, length in enumerate(LENGTHS):
        sound = 3 * voice(100 + 50 * index, seconds=length / RATE, rate=RATE, seed=index)
        audio.write_audio(tmp_path / f"{index}.flac", sound, RATE)
    random = np.random.default_rng(9)
    for name, length in (("long", 60_000), ("short", 12_000)):
        audio.write_audio(tmp_path / f"{name}.wav", random.uniform(-0.3, 0.3, (2, length)).astype(np.float32), RATE)
    return tmp_path


def row(folder: Path, rendering: str, voices: int, **settings: object) -> Mixture:
    sources = tuple(
        Source(path=f"{index}.flac", frames=LENGTHS[index], gain_db=DECIBELS[index]) for index in range(voices)
    )
    values = {"sample_rate": 8000, "mode": "min", "rendering": rendering} | settings
    return Mixture(id="x", sources=sources, root=folder, **values)  # type: ignore[arg-type]


# LibriMix.


def on_disk(mixture: Mixture, folder: Path, subtype: str = "PCM_16") -> dict[str, np.ndarray]:
    """Return what ``septool mix`` writes for a row."""
    (folder / "rows.jsonl").write_text(manifest.dump_manifest([mixture]), encoding="utf-8")
    rendered = mix_manifest(folder / "rows.jsonl", out=folder / "out", subtype=subtype, force=True)
    assert rendered.failed == ()
    files = (folder / "out").glob("*.wav")
    # The row is called x: x.wav, x_s1.wav, ...
    return {path.stem[2:] or "mixture": soundfile.read(path, dtype="float64")[0] * 2**15 for path in files}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    ("kind", "noise"), [("clean", None), ("both", "long"), ("both", "short"), ("single", "short"), ("single", "long")]
)
@pytest.mark.parametrize("voices", [2, 3])
def test_librimix(recordings: Path, voices: int, rate: int, mode: str, kind: str, noise: str | None) -> None:
    ends = (min if mode == "min" else max)(LENGTHS[:voices])
    mixture = row(recordings, "librimix", voices, sample_rate=rate, mode=mode, frames=-(-ends * rate // RATE))
    if noise:
        hum = Source(path=f"{noise}.wav", frames=max(LENGTHS[:voices]), gain_db=20 * math.log10(0.7))
        mixture = replace(mixture, noise=hum)
    if kind == "single":
        mixture = replace(mixture, sources=mixture.sources[:1])
    listed = [(recordings / f"{index}.flac", GAINS[index]) for index in range(voices)]
    added = (recordings / f"{noise}.wav", 0.7) if noise else None
    expected = librimix.generate(listed, added, kind, mode, rate, recordings / "scratch.wav")
    found = on_disk(mixture, recordings)
    assert found.keys() == expected.keys() - ({"s2", "s3"} if kind == "single" else set())
    for name, samples in found.items():
        np.testing.assert_array_equal(samples, expected[name])
    assert kind == "single" or np.abs(expected["mixture"]).max() >= 2**15 - 1  # clipping is tried


def test_a_noise_at_another_speed_is_that_much_longer(recordings: Path) -> None:
    slow = Source(path="long.wav", frames=70_000, speed=0.8)
    with_noise = replace(row(recordings, "librimix", 1), noise=slow, frames=35_000)
    noise = render_mixture(with_noise).noise
    assert noise is not None
    # 60,000 samples last 75,000 at this speed, so nothing was continued.
    samples, _ = soundfile.read(recordings / "long.wav", dtype="float32")
    expected = resample_poly(audio.resample(samples[:, 0], 0.8, 1.0)[:70_000], 1, 2)
    np.testing.assert_allclose(noise, expected, atol=2**-15)


# WSJ0-mix.


def matlab_resample(samples: np.ndarray) -> np.ndarray:
    """Halve the rate with a truncated ideal low-pass under a Kaiser window (beta 5), ten zero crossings a side."""
    places = np.arange(-20, 21)
    taps = 0.5 * np.sinc(places / 2) * np.kaiser(41, 5)
    return np.convolve(samples, taps / taps.sum())[20:-20:2]


def wsj0(folder: Path, voices: int, rate: int, mode: str) -> dict[str, np.ndarray]:
    parts = []
    for index in range(voices):
        samples, _ = soundfile.read(folder / f"{index}.flac", dtype="float64")
        narrow = matlab_resample(samples)
        level = np.sqrt(active_level(narrow, 8000).power)
        parts.append((narrow if rate == 8000 else samples) / level * GAINS[index])
    length = (min if mode == "min" else max)(map(len, parts))
    parts = [np.concatenate([part[:length], np.zeros(max(length - len(part), 0))]) for part in parts]
    total = sum(parts)
    scale = 0.9 / max(float(np.abs(each).max()) for each in (total, *parts))
    written = {"mixture": total, **{f"s{index + 1}": part for index, part in enumerate(parts)}}
    return {name: np.round(scale * samples * 2**15) for name, samples in written.items()}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("voices", [2, 3])
def test_wsj0_mix(recordings: Path, voices: int, rate: int, mode: str) -> None:
    mixture = row(recordings, "wsj0-mix", voices, sample_rate=rate, mode=mode)
    expected, found = wsj0(recordings, voices, rate, mode), on_disk(mixture, recordings)
    assert found.keys() == expected.keys()
    for name, samples in found.items():
        assert len(samples) == len(expected[name])
        # Two sums in other orders may fall on either side of a half.
        difference = np.abs(samples - expected[name])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
    assert max(np.abs(samples).max() for samples in found.values()) == round(0.9 * 2**15)


def test_levels_are_the_lists(recordings: Path) -> None:
    mixture = row(recordings, "wsj0-mix", 2, mode="max")
    sources = render_mixture(mixture).sources
    # Of the voice alone: the padding would add its hangover to the time of speech.
    powers = [active_level(voice[: length // 2], 8000).power for voice, length in zip(sources, LENGTHS, strict=False)]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(DECIBELS[0] - DECIBELS[1], abs=0.01)


def test_a_voice_that_is_louder_than_the_mixture_has_the_peak(recordings: Path) -> None:
    samples, _ = soundfile.read(recordings / "0.flac", dtype="float32")
    audio.write_audio(recordings / "1.flac", -samples, RATE)
    both = tuple(Source(path=f"{index}.flac", frames=len(samples), gain_db=0.1 * index) for index in range(2))
    rendered = render_mixture(replace(row(recordings, "wsj0-mix", 2), sources=both))
    assert np.abs(rendered.sources).max() == pytest.approx(0.9, abs=1e-4)
    assert 0 < np.abs(rendered.mixture).max() < 0.1


def test_a_silent_voice_has_no_level_to_set(recordings: Path) -> None:
    audio.write_audio(recordings / "1.flac", np.zeros(LENGTHS[1], dtype=np.float32), RATE)
    with pytest.raises(ManifestError, match=r"mixture x: 1\.flac is silent"):
        render_mixture(row(recordings, "wsj0-mix", 2))


# WHAM!


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("kind", ["clean", "both", "single"])
def test_wham(recordings: Path, rate: int, mode: str, kind: str) -> None:
    begin, speech, hum = 1234, 0.61803, 0.9
    parts = []
    for index in range(2):
        samples, _ = soundfile.read(recordings / f"{index}.flac", dtype="float64")
        samples = resample_poly(samples, rate, RATE) * GAINS[index]
        parts.append(np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1) / 2**15 * speech)
    noise, _ = soundfile.read(recordings / "long.wav", dtype="float64")
    noise = hum * resample_poly(noise[:, 0], rate, RATE)
    start = begin * rate // RATE
    if mode == "min":
        length = min(map(len, parts))
        parts, noise = [part[:length] for part in parts], noise[start : start + length]
    else:
        parts = [np.concatenate([np.zeros(start), part, np.zeros(len(noise) - start - len(part))]) for part in parts]
    total = {"clean": parts[0] + parts[1], "both": noise + parts[0] + parts[1], "single": noise + parts[0]}[kind]

    source = Source(path="long.wav", start=begin, frames=1, gain_db=20 * math.log10(hum))
    mixture = row(recordings, "wham", 2, sample_rate=rate, mode=mode, voices_gain_db=20 * math.log10(speech))
    mixture = replace(mixture, noise=source, frames=len(total))
    if kind == "clean":
        mixture = replace(mixture, noise=None)
    elif kind == "single":
        mixture = replace(mixture, sources=mixture.sources[:1])
    if (mode, kind) == ("max", "clean"):  # without the noise nothing says where its speech begins
        total = sum(np.pad(part, (0, start))[start:] for part in parts)
    found = on_disk(mixture, recordings, "FLOAT")
    np.testing.assert_allclose(found["mixture"] / 2**15, total, atol=1e-6)
    assert np.abs(total).max() > 0.5


# All of them.


@pytest.mark.parametrize("rendering", ["librimix", "wsj0-mix", "wham"])
def test_another_rate_than_the_rows_is_the_set_resampled(recordings: Path, rendering: str) -> None:
    mixture = row(recordings, rendering, 2)
    wide, narrow = render_mixture(mixture, 16000), render_mixture(mixture)
    np.testing.assert_array_equal(wide.mixture, audio.resample(narrow.mixture, 8000, 16000))
    np.testing.assert_array_equal(wide.sources[1], audio.resample(narrow.sources[1], 8000, 16000))


@pytest.mark.parametrize("rendering", ["librimix", "wsj0-mix", "wham"])
def test_a_recording_at_another_rate_is_refused(recordings: Path, rendering: str) -> None:
    audio.write_audio(recordings / "1.flac", voice(100, rate=8000), 8000)
    with pytest.raises(ManifestError, match=rf"1\.flac is 8000 Hz; {rendering} is made from 16000 Hz"):
        render_mixture(replace(row(recordings, rendering, 2), sources=(Source(path="0.flac"), Source(path="1.flac"))))


@pytest.mark.parametrize("rendering", ["librimix", "wsj0-mix"])
def test_sixteen_bits_and_float_files_hold_the_same_samples(recordings: Path, rendering: str) -> None:
    mixture = row(recordings, rendering, 2)
    whole, exact = on_disk(mixture, recordings), on_disk(mixture, recordings, "FLOAT")
    for name, samples in whole.items():
        np.testing.assert_array_equal(samples, exact[name])
    np.testing.assert_array_equal(render_mixture(mixture).mixture * 2**15, whole["mixture"])


def test_a_noise_to_the_end_is_whole(recordings: Path) -> None:
    hum = Source(path="long.wav", frames=-1)
    rendered = render_mixture(replace(row(recordings, "librimix", 2, sample_rate=RATE, mode="max"), noise=hum))
    assert rendered.mixture.shape == (60_000,)


def test_a_noise_too_short_to_fade_is_refused(recordings: Path) -> None:
    audio.write_audio(recordings / "click.wav", np.ones((2, 8000), dtype=np.float32), RATE)
    hum = Source(path="click.wav", frames=max(LENGTHS[:2]))
    with pytest.raises(ManifestError, match="8000 samples is too short"):
        render_mixture(replace(row(recordings, "librimix", 2), noise=hum))


@pytest.mark.parametrize("samples", [1, renderers.FADE - 1, renderers.FADE])
def test_a_noise_that_is_all_cross_fade_is_refused(samples: int) -> None:
    """Its copies would add nothing, again and again."""
    with pytest.raises(ManifestError, match=f"a noise of {samples} samples is too short to be continued; 8002 are"):
        renderers._extend_noise(np.ones(samples, np.float32), 2 * renderers.FADE)
    assert len(renderers._extend_noise(np.ones(renderers.FADE + 2000, np.float32), 2 * renderers.FADE)) == 16002

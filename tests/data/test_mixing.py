"""Mixtures: what a row says is what is heard, and a drawn mixture depends on its number alone."""

import hashlib
import math
import re
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from septool import audio, config, workers
from septool.data import manifest, mixing, pool
from septool.data.manifest import Mixture, Source
from septool.data.mixing import (
    AugmentationSources,
    Background,
    DynamicMixing,
    Reverberation,
    load_augmentation_sources,
    render_mixture,
    sample_mixture,
    sample_parts,
)
from septool.data.pool import UtterancePool
from septool.errors import AudioError, ConfigError, ManifestError
from tests.conftest import RATE, ROOT, voice


def noise(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, frames).astype(np.float32)


ONE, TWO, HUM = noise(1000, 1), noise(700, 2), noise(800, 3)


@pytest.fixture
def row(tmp_path: Path) -> Mixture:
    for name, samples in (("one", ONE), ("two", TWO), ("hum", HUM)):
        audio.write_audio(tmp_path / f"{name}.wav", samples, RATE, "FLOAT")
    sources = (Source(path="one.wav"), Source(path="two.wav"))
    return Mixture(id="x", sample_rate=RATE, sources=sources, root=tmp_path)


def test_the_shortest_and_the_longest(row: Mixture) -> None:
    short, long = render_mixture(row), render_mixture(replace(row, mode="max"))
    np.testing.assert_array_equal(short.sources, [ONE[:700], TWO])
    np.testing.assert_array_equal(long.sources, [ONE, np.pad(TWO, (0, 300))])
    for result in (short, long):
        np.testing.assert_array_equal(result.mixture, result.sources.sum(0))
        assert result.mixture.dtype == np.float32
        assert result.noise is None


@pytest.mark.parametrize("frames", [300, 700, 900, 1500])
def test_the_length_of_the_row_counts(row: Mixture, frames: int) -> None:
    for mode in ("min", "max"):
        result = render_mixture(replace(row, frames=frames, mode=mode))
        np.testing.assert_array_equal(result.sources[1], np.pad(TWO, (0, 1000))[:frames])


def test_an_excerpt_and_a_gain(row: Mixture) -> None:
    first = replace(row.sources[0], start=100, frames=200, gain_db=-6.0)
    result = render_mixture(replace(row, sources=(first, row.sources[1])))
    np.testing.assert_allclose(result.sources[0], ONE[100:300] * 10 ** (-6 / 20), rtol=1e-6)
    np.testing.assert_array_equal(result.sources[1], TWO[:200])


def test_noise_is_part_of_the_mixture_only(row: Mixture) -> None:
    result = render_mixture(replace(row, noise=Source(path="hum.wav", gain_db=20.0)))
    assert result.noise is not None
    np.testing.assert_allclose(result.noise, 10 * HUM[:700], rtol=1e-6)
    np.testing.assert_allclose(result.mixture, ONE[:700] + TWO + 10 * HUM[:700], atol=1e-6)
    assert len(result.sources) == 2


def test_speed_shortens_and_raises(row: Mixture) -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(8400) / RATE).astype(np.float32)
    audio.write_audio(row.root / "one.wav", tone, RATE, "FLOAT")
    result = render_mixture(replace(row, sources=(Source(path="one.wav", speed=1.05),)))
    assert result.sources.shape == (1, 8000)
    expected = np.sin(2 * np.pi * 420 * np.arange(8000) / RATE)
    np.testing.assert_allclose(result.sources[0, 400:-400], expected[400:-400], atol=1e-3)


def test_another_rate_than_the_rows(row: Mixture) -> None:
    result = render_mixture(replace(row, frames=700), 16000)
    assert result.mixture.shape == (1400,)
    np.testing.assert_allclose(result.sources[1], audio.resample(TWO, RATE, 16000), atol=1e-6)


def test_a_rendered_mixture_is_read_and_not_made_again(row: Mixture) -> None:
    audio.write_audio(row.root / "made.wav", HUM, RATE, "FLOAT")
    np.testing.assert_array_equal(render_mixture(replace(row, mixture="made.wav")).mixture, HUM[:700])


def test_what_cannot_be_rendered(row: Mixture) -> None:
    with pytest.raises(ManifestError, match="mixture x is empty"):
        render_mixture(replace(row, sources=(Source(path="one.wav", frames=0),)))
    with pytest.raises(AudioError, match=r"one\.wav has 1000 samples, 1001 were asked for"):
        render_mixture(replace(row, sources=(Source(path="one.wav", start=1, frames=1000),)))
    with pytest.raises(AudioError, match=r"lost\.wav does not exist"):
        render_mixture(replace(row, noise=Source(path="lost.wav")))


# Drawing.


@pytest.fixture(scope="module")
def speech() -> UtterancePool:
    """Four speakers with one to four utterances of different lengths and levels."""
    utterances, names = [], []
    for speaker in range(4):
        for utterance in range(speaker + 1):
            sound = voice(80 + 40 * speaker, seconds=0.3 + 0.4 * utterance, seed=10 * speaker + utterance)
            utterances.append(sound * 0.5**speaker)
            names.append(f"speaker{speaker}")
    samples = np.round(np.concatenate(utterances) * pool.FULL_SCALE).astype(np.int16)
    bounds = np.cumsum([0, *map(len, utterances)])
    levels = np.array([np.sqrt(np.mean(x**2)) for x in utterances])
    return UtterancePool(samples, bounds, levels, names, RATE)


HOW = DynamicMixing(seconds=0.5)


def test_a_mixture_is_a_function_of_its_number(speech: UtterancePool) -> None:
    numbers = [(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in range(5)]
    forth = {n: sample_parts(speech, HOW, seed=n[0], epoch=n[1], index=n[2]) for n in numbers}
    back = {n: sample_parts(speech, HOW, seed=n[0], epoch=n[1], index=n[2]) for n in reversed(numbers)}
    for n in numbers:
        np.testing.assert_array_equal(forth[n], back[n])
    assert len({x.tobytes() for x in forth.values()}) == len(numbers)


def test_shape_type_and_level(speech: UtterancePool) -> None:
    how = replace(HOW, sources=3, seconds=0.25, difference_db=(-3.0, 3.0))
    for index in range(30):
        sources = sample_parts(speech, how, seed=0, epoch=0, index=index)
        assert sources.shape == (3, 2000)
        assert sources.dtype == np.float32
        assert np.isfinite(sources).all()
        assert (np.abs(sources).max(1) > 1e-3).all()  # no voice is silent


def labelled(speakers: int) -> UtterancePool:
    """Every sample of speaker n is 0.01 n, so that what was drawn can be told; levels are made equal by 0.1."""
    counts = [1, 9, *([5] * (speakers - 2))]
    names = [f"{n:02d}" for n in range(speakers) for _ in range(counts[n])]
    values = np.repeat(np.arange(1, speakers + 1), counts)
    samples = np.repeat(np.round(0.01 * values * pool.FULL_SCALE), 100).astype(np.int16)
    # Levels that are one tenth of what makes a sample its speaker's number.
    return UtterancePool(samples, 100 * np.arange(len(names) + 1), np.full(len(names), 0.001), names, RATE)


def who(sources: np.ndarray) -> list[int]:
    return [round(float(np.abs(source).max())) - 1 for source in sources]


PLAIN = DynamicMixing(seconds=50 / RATE, speed=(1.0, 1.0), difference_db=(0.0, 0.0))


@pytest.mark.parametrize("draw_by", ["speaker", "utterance"])
def test_speakers_differ_within_a_mixture(draw_by: str) -> None:
    how = replace(PLAIN, sources=4, draw_by=draw_by)
    for index in range(50):
        assert sorted(who(sample_parts(labelled(4), how, seed=0, epoch=0, index=index))) == [0, 1, 2, 3]


def test_speakers_come_as_often_as_each_other_or_as_they_have_utterances() -> None:
    speakers = labelled(2)  # one has a tenth of the utterances
    how = replace(PLAIN, sources=1)
    shares = {}
    for draw_by in ("speaker", "utterance"):
        drawn = [
            who(sample_parts(speakers, replace(how, draw_by=draw_by), seed=0, epoch=0, index=n))[0] for n in range(400)
        ]
        shares[draw_by] = drawn.count(0) / 400
    assert shares["speaker"] == pytest.approx(0.5, abs=0.1)
    assert shares["utterance"] == pytest.approx(0.1, abs=0.05)


def test_further_voices_stand_within_the_difference() -> None:
    how = replace(PLAIN, difference_db=(-5.0, 5.0))
    speakers = labelled(2)
    found = []
    for index in range(200):
        first, second = (float(np.abs(x).max()) for x in sample_parts(speakers, how, seed=0, epoch=0, index=index))
        # The first is at its own number; the ratio of the numbers is known from it.
        one, other = (1, 2) if round(first) == 1 else (2, 1)
        assert first == pytest.approx(one, rel=2e-3)
        found.append(20 * np.log10(second / other))
    assert -5.01 < min(found) < -4.5
    assert 4.5 < max(found) < 5.01


def test_a_short_utterance_lies_somewhere_in_silence() -> None:
    how = replace(PLAIN, sources=1, seconds=300 / RATE)
    places = set()
    for index in range(30):
        (sound,) = sample_parts(labelled(2), how, seed=0, epoch=0, index=index)
        there = np.flatnonzero(sound)
        assert len(there) == there[-1] - there[0] + 1 == 100
        places.add(int(there[0]))
    assert min(places) < 50
    assert max(places) > 150


def test_a_crop_without_speech_is_drawn_again() -> None:
    sound = np.zeros(10_000, dtype=np.int16)
    sound[5000:] = 8000
    speakers = UtterancePool(sound, np.array([0, 10_000]), np.array([0.17]), ["a"], RATE)
    how = replace(PLAIN, sources=1, seconds=4000 / RATE)
    for index in range(30):
        assert sample_parts(speakers, how, seed=0, epoch=0, index=index).any()


def test_silence_alone_comes_to_an_end() -> None:
    speakers = UtterancePool(np.zeros(100, dtype=np.int16), np.array([0, 100]), np.array([0.1]), ["a"], RATE)
    assert not sample_parts(speakers, replace(PLAIN, sources=1), seed=0, epoch=0, index=0).any()


def test_more_voices_than_speakers() -> None:
    with pytest.raises(ConfigError, match="3 voices in a mixture, but the pool has 2 speakers"):
        sample_parts(labelled(2), replace(PLAIN, sources=3), seed=0, epoch=0, index=0)


def test_what_is_drawn_has_not_changed() -> None:
    """Frozen from the code that drew the mixtures of the first training runs."""
    time = np.arange(20_000)
    samples = ((time * time // 50) % 16_001 - 8000).astype(np.int16)
    levels = np.array([0.1, 0.125, 0.25, 0.5])
    speakers = UtterancePool(samples, np.array([0, 3000, 9000, 10_000, 20_000]), levels, ["a", "b", "b", "c"], RATE)
    plain = replace(HOW, speed=(1.0, 1.0))
    drawn = b"".join(sample_parts(speakers, plain, seed=1, epoch=2, index=n).tobytes() for n in range(20))
    digest = hashlib.sha256(drawn).hexdigest()
    assert digest == "2fb7fd09e279574e735a226732ac446e6e5fd09f2f9c5f9224aa51c127afe698"
    # The resampler's last bits may differ from machine to machine.
    expected = [
        [[0.096085, -0.065194, -0.046541], [0.114531, 0.027699, 0.138379]],
        [[0.0, -0.078611, 0.0], [-0.017188, -0.013467, 0.019579]],
        [[-0.021762, 0.028389, 0.026877], [-0.133656, 0.027999, 0.001421]],
    ]
    for index in range(3):
        found = sample_parts(speakers, HOW, seed=1, epoch=2, index=index)[:, 1000::1000]
        np.testing.assert_allclose(found, expected[index], atol=2e-6)


def test_whole_utterances_are_cut_to_the_shortest(speech: UtterancePool) -> None:
    how = replace(HOW, seconds=0.0, speed=(1.0, 1.0))
    starts = set()
    for index in range(10):
        parts, utterances = sample_mixture(speech, how, AugmentationSources(), seed=0, epoch=0, index=index)
        shortest = min(map(speech.frames, utterances))
        assert parts.shape == (2, shortest)
        samples, level = speech[utterances[0]]
        start = places(parts[0], samples)
        starts.add(start)
        window = samples[start : start + shortest]
        np.testing.assert_allclose(parts[0], window * 0.1 / level, rtol=1e-5, atol=1e-7)
    assert len(starts) > 3  # the longer of two is not always cut off at its end


def places(part: np.ndarray, samples: np.ndarray) -> int:
    """Where in an utterance an excerpt of it, at another level, begins."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, len(part))
    return int(np.argmax(windows @ part / np.sqrt(np.square(windows).sum(1))))


def test_levels_of_wsj0_2mix_are_normal_in_the_mean_magnitude(speech: UtterancePool) -> None:
    how = replace(HOW, seconds=0.0, speed=(1.0, 1.0), levels="wsj0-2mix")
    first, further = [], []
    for index in range(600):
        parts, _ = sample_mixture(speech, how, AugmentationSources(), seed=0, epoch=0, index=index)
        one, two = 20 * np.log10(np.abs(parts).mean(1))
        first.append(one)
        further.append(two - one)
    assert np.mean(first) == pytest.approx(-27.43, abs=0.4)
    assert np.std(first) == pytest.approx(2.57, abs=0.25)
    assert np.mean(further) == pytest.approx(-2.51, abs=0.4)
    assert np.std(further) == pytest.approx(2.66, abs=0.25)


# What voices are heard in.


def test_a_voice_whose_sign_is_changed_is_otherwise_the_same(speech: UtterancePool) -> None:
    signs = set[tuple[float, ...]]()
    for index in range(20):
        plain, inverted = (
            sample_parts(speech, replace(HOW, polarity_inversion=each), seed=0, epoch=0, index=index)
            for each in (0, 0.5)
        )
        found = [float(np.sign((one * other).sum())) for one, other in zip(plain, inverted, strict=True)]
        np.testing.assert_array_equal(inverted, plain * np.array(found, np.float32)[:, None])
        signs.add(tuple(found))
    assert len(signs) == 4  # each by itself
    with pytest.raises(ValueError, match="polarity_inversion is 2"):
        replace(HOW, polarity_inversion=2)


def pool_of(
    *sounds: np.ndarray, names: list[str] | None = None, genders: dict[str, str] | None = None
) -> UtterancePool:
    samples = np.round(np.concatenate(sounds) * pool.FULL_SCALE).astype(np.int16)
    levels = np.array([np.sqrt(np.mean(np.square(sound, dtype=np.float64))) for sound in sounds])
    bounds = np.cumsum([0, *map(len, sounds)])
    return UtterancePool(samples, bounds, levels, names or [""] * len(sounds), RATE, genders)


HISS = pool_of(noise(3000, 5), 0.01 * noise(20_000, 6))  # one is shorter than a mixture
FADE = round(mixing.TURN_FADE_SECONDS * 8000)
HUMS = pool_of(np.sin(np.arange(9000) / 5).astype(np.float32))
# A room with two places that only delay, and one with a single place that also damps.
DELAYS = np.zeros((3, 500), dtype=np.float32)
DELAYS[0, 10] = DELAYS[1, 20] = 1.0
DELAYS[2, 30] = 0.25
ROOMS = pool_of(*DELAYS, names=["hall", "hall", "cell"])

HISSING = replace(HOW, backgrounds=(Background(manifest="", snr_db=(3.0, 3.0)),))
EVERYTHING = replace(
    HISSING,
    backgrounds=(Background(manifest="", probability=0.5), Background(manifest="", snr_db=(0.0, 9.0))),
    rooms=Reverberation(manifest="", probability=0.5),
)
AROUND = AugmentationSources((HISS, HUMS), ROOMS)


def level_db(samples: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_noise_stands_apart_at_the_ratio_asked_for(speech: UtterancePool) -> None:
    for index in range(20):
        parts = sample_parts(speech, HISSING, AugmentationSources((HISS,)), seed=0, epoch=0, index=index)
        assert parts.shape == (3, 4000)
        assert parts.dtype == np.float32
        voices = sample_parts(speech, HOW, seed=0, epoch=0, index=index)
        np.testing.assert_array_equal(parts[:2], voices)  # the same as without noise
        assert level_db(voices.sum(0)) - level_db(parts[2]) == pytest.approx(3.0, abs=1e-3)


def test_ratios_fill_their_range(speech: UtterancePool) -> None:
    how = replace(HOW, backgrounds=(Background(manifest="", snr_db=(-5.0, 15.0)),))
    ratios = []
    for index in range(200):
        parts = sample_parts(speech, how, AugmentationSources((HISS,)), seed=0, epoch=0, index=index)
        ratios.append(level_db(parts[:2].sum(0)) - level_db(parts[2]))
    assert -5.01 < min(ratios) < -4
    assert 14 < max(ratios) < 15.01
    assert np.mean(ratios) == pytest.approx(5.0, abs=1.5)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_noise_is_there_as_often_as_asked_for(speech: UtterancePool, probability: float) -> None:
    how = replace(HOW, backgrounds=(Background(manifest="", probability=probability),))
    noises = [sample_parts(speech, how, AugmentationSources((HISS,)), seed=0, epoch=0, index=n)[2] for n in range(200)]
    share = float(np.mean([sound.any() for sound in noises]))
    assert share == pytest.approx(probability, abs=0.08 if 0 < probability < 1 else 0)


def test_two_backgrounds_are_one_noise(speech: UtterancePool) -> None:
    how = replace(HISSING, backgrounds=2 * HISSING.backgrounds)
    parts = sample_parts(speech, how, AugmentationSources((HISS, HUMS)), seed=0, epoch=0, index=0)
    assert parts.shape == (3, 4000)
    spectrum = np.abs(np.fft.rfft(parts[2])) ** 2
    hum = round(4000 / (2 * np.pi * 5))
    line = spectrum[hum - 5 : hum + 6].sum() / spectrum.sum()
    assert line == pytest.approx(0.5, abs=0.05)  # each at 3 dB, so of the same power


def test_a_short_noise_begins_again(speech: UtterancePool) -> None:
    ramp = np.linspace(-0.9, 0.9, 1500, dtype=np.float32)
    noise = sample_parts(speech, HISSING, AugmentationSources((pool_of(ramp),)), seed=0, epoch=0, index=0)[2]
    np.testing.assert_array_equal(noise[1500:3000], noise[:1500])
    assert len(np.unique(noise)) > 1400


def test_silence_is_never_made_loud(speech: UtterancePool) -> None:
    silence = np.zeros(50_000, dtype=np.float32)
    silence[-100:] = 0.5  # its level is set by a click at its end
    for index in range(10):
        noise = sample_parts(speech, HISSING, AugmentationSources((pool_of(silence),)), seed=0, epoch=0, index=index)[2]
        assert np.isfinite(noise).all()
        assert np.count_nonzero(noise) in (0, 100) or np.flatnonzero(noise)[-1] == 3999
    silent = UtterancePool(np.zeros(9000, dtype=np.int16), np.array([0, 9000]), np.array([0.1]), ["a"], RATE)
    assert not sample_parts(
        silent, replace(HISSING, sources=1), AugmentationSources((HISS,)), seed=0, epoch=0, index=0
    ).any()
    assert not sample_parts(
        silent, replace(HISSING, sources=1), AugmentationSources((silent,)), seed=0, epoch=0, index=0
    ).any()
    reverberant = replace(HOW, sources=1, rooms=Reverberation(manifest=""))
    assert not sample_parts(silent, reverberant, AugmentationSources(rooms=ROOMS), seed=0, epoch=0, index=0).any()
    assert not sample_parts(silent, replace(HOW, sources=1, random_eq_db=4.0), seed=0, epoch=0, index=0).any()


def test_a_room_is_heard_and_keeps_the_level(speech: UtterancePool) -> None:
    how = replace(HOW, rooms=Reverberation(manifest=""))
    seen = set()
    for index in range(20):
        dry = sample_parts(speech, HOW, seed=0, epoch=0, index=index)
        wet = sample_parts(speech, how, AugmentationSources(rooms=ROOMS), seed=0, epoch=0, index=index)
        delays = []
        for before, after in zip(dry, wet, strict=True):
            delay = next(d for d in (10, 20, 30) if np.corrcoef(before[:-d], after[d:])[0, 1] > 0.9999)
            assert not np.abs(after[:delay]).max() > 1e-5
            assert level_db(after) == pytest.approx(level_db(before), abs=1e-3)
            delays.append(delay)
        seen.add(tuple(delays))
    assert seen == {(10, 20), (20, 10), (30, 30)}  # one room, and two places of it if it has two


def test_a_response_is_convolved(speech: UtterancePool) -> None:
    response = noise(700, 9) * np.exp(-np.arange(700) / 100).astype(np.float32)
    room = pool_of(response)
    dry = sample_parts(speech, HOW, seed=0, epoch=0, index=3)
    wet = sample_parts(
        speech,
        replace(HOW, rooms=Reverberation(manifest="")),
        AugmentationSources(rooms=room),
        seed=0,
        epoch=0,
        index=3,
    )
    for before, after in zip(dry, wet, strict=True):
        expected = np.convolve(before, room[0][0])[:4000]
        expected *= np.sqrt(np.mean(before**2) / np.mean(expected**2))
        np.testing.assert_allclose(after, expected, atol=1e-5)


def test_every_use_of_chance_has_numbers_of_its_own(speech: UtterancePool, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[int, ...]] = []
    default_rng = np.random.default_rng

    def seeded(seed: list[int]) -> np.random.Generator:
        seeds.append(tuple(seed))
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", seeded)
    everything = replace(EVERYTHING, random_eq_db=3.0, partial_overlap=0.5)
    sample_parts(speech, everything, AROUND, seed=5, epoch=6, index=7)
    assert (
        len(seeds) == len(set(seeds)) == 5
    )  # which voices, when each speaks, one of them alone, the color, rooms and noise
    assert all(seed[:3] == (5, 6, 7) for seed in seeds)


def test_a_colour_bends_spectra_by_its_deviation_and_keeps_levels(speech: UtterancePool) -> None:
    how, gains_db = replace(HOW, random_eq_db=4.0), []
    for index in range(40):
        plain, coloured = (sample_parts(speech, each, seed=0, epoch=0, index=index) for each in (HOW, how))
        assert coloured.dtype == np.float32
        assert [level_db(each) for each in coloured] == pytest.approx([level_db(each) for each in plain], abs=1e-3)
        bent = np.abs(np.fft.rfft(coloured)) / np.abs(np.fft.rfft(plain))
        gains_db.append(20 * np.log10(bent[:, 1:-1]))
    curves = np.concatenate(gains_db)
    assert np.abs(np.diff(curves, axis=1)).max() < 0.5  # smooth, from bin to bin
    assert 2.5 < (curves - curves.mean(1, keepdims=True)).std() < 3.5  # 4 at the knots, less between them
    assert not np.allclose(curves[0], curves[1])  # each voice has its own


def test_everything_together_is_a_function_of_its_number(speech: UtterancePool) -> None:
    numbers = [(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in range(5)]
    forth = {n: sample_parts(speech, EVERYTHING, AROUND, seed=n[0], epoch=n[1], index=n[2]) for n in numbers}
    for n in reversed(numbers):
        np.testing.assert_array_equal(
            forth[n], sample_parts(speech, EVERYTHING, AROUND, seed=n[0], epoch=n[1], index=n[2])
        )
    assert len({x.tobytes() for x in forth.values()}) == len(numbers)


def _drawn(speech: UtterancePool, index: int) -> bytes:
    return sample_parts(speech, EVERYTHING, AROUND, seed=0, epoch=0, index=index).tobytes()


def test_the_number_of_processes_changes_nothing(speech: UtterancePool) -> None:
    found = [list(workers.each(partial(_drawn, speech), range(12), jobs)) for jobs in (1, 2, 3)]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("how", [HISSING, replace(HOW, rooms=Reverberation(manifest=""))])
def test_surroundings_that_were_not_loaded(speech: UtterancePool, how: DynamicMixing) -> None:
    with pytest.raises(ConfigError, match="other backgrounds or rooms than were loaded"):
        sample_parts(speech, how, seed=0, epoch=0, index=0)


def test_surroundings_from_manifests(tmp_path: Path) -> None:
    for name, sound in (("hum", HUM), ("room", DELAYS[2])):
        audio.write_audio(tmp_path / f"{name}.wav", sound, RATE, "FLOAT")
        row = Mixture(id=name, sample_rate=RATE, sources=(Source(path=f"{name}.wav", speaker=name),))
        (tmp_path / f"{name}.jsonl").write_text(manifest.dump_manifest([row]))
    hums, rooms = str(tmp_path / "hum.jsonl"), str(tmp_path / "room.jsonl")
    how = config.build(
        DynamicMixing, {"backgrounds": [{"manifest": hums, "snr_db": [0, 10]}], "rooms": {"manifest": rooms}}
    )
    around = load_augmentation_sources(how, RATE)
    assert [len(each) for each in around.backgrounds] == [1]
    np.testing.assert_allclose(around.backgrounds[0].segment(0), HUM, atol=1 / pool.FULL_SCALE)
    assert around.rooms is not None
    np.testing.assert_array_equal(around.rooms.segment(0), DELAYS[2] / 0.25)
    assert load_augmentation_sources(DynamicMixing(), RATE) == AugmentationSources()


def test_the_settings_in_the_documentation_are_settings() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/mixing.md").read_text(), re.DOTALL)
    how = config.build(DynamicMixing, tomllib.loads(text)["mixing"])
    assert how.manifests == [f"{name}/train-speech.jsonl" for name in ("noise", "music", "rooms")]
    assert replace(how, backgrounds=(), rooms=None) == DynamicMixing()  # the values shown are the defaults


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sources": 0}, "sources is 0"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"random_eq_db": math.nan}, "random_eq_db is nan"),
        ({"draw_by": "chance"}, "draw_by is 'chance'"),
        ({"levels": "loud"}, "levels is 'loud'"),
        ({"difference_db": [5.0, -5.0]}, "difference_db is"),
        ({"difference_db": [0.0, math.inf]}, "difference_db is"),
        ({"speed": [0.0, 1.0]}, "speed is"),
        ({"rooms": {"manifest": "x", "probability": 1.5}}, r"rooms: probability is 1\.5"),
        ({"backgrounds": [{"manifest": "x", "snr_db": [5.0, 0.0]}]}, r"backgrounds\[0\]: snr_db is"),
        ({"backgrounds": [{"snr_db": [0.0, 5.0]}]}, r"backgrounds\[0\]\.manifest is missing"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.build(DynamicMixing, settings)


def test_one_voice_alone_is_the_first_of_the_same_mixture(speech: UtterancePool) -> None:
    both, single = DynamicMixing(seconds=0.2), DynamicMixing(seconds=0.2, single_probability=0.4)
    alone = 0
    for index in range(200):
        usual, parts = (sample_parts(speech, how, seed=1, epoch=2, index=index) for how in (both, single))
        np.testing.assert_array_equal(parts[0], usual[0])
        if parts[1].any():
            np.testing.assert_array_equal(parts[1], usual[1])
        else:
            alone += 1
    assert 60 <= alone <= 100  # 80 of 200, and three standard deviations


def test_a_silenced_voice_stays_silent_in_rooms_and_noise(speech: UtterancePool) -> None:
    background, rooms = Background(manifest="a", snr_db=(3, 3)), Reverberation(manifest="b")
    config = DynamicMixing(
        seconds=0.2, single_probability=1.0, random_eq_db=3.0, rooms=rooms, backgrounds=(background,)
    )
    augmentation = AugmentationSources((speech,), speech)
    voice, silence, noise = sample_parts(speech, config, augmentation, seed=0, epoch=0, index=0)
    assert not silence.any()
    assert 10 * np.log10(np.square(voice).mean() / np.square(noise).mean()) == pytest.approx(3, abs=1e-3)


def test_voices_that_overlap_partly_are_excerpts_of_the_same_voices() -> None:
    hisses = pool_of(noise(20_000, 5), noise(20_000, 6), names=["a", "b"])  # without a pause
    whole, partly = DynamicMixing(seconds=0.5), DynamicMixing(seconds=0.5, partial_overlap=0.5)
    changed, both, one = 0, 0, 0
    for index in range(200):
        usual, parts = (sample_parts(hisses, how, seed=1, epoch=2, index=index) for how in (whole, partly))
        if np.array_equal(parts, usual):
            continue
        changed += 1
        active = np.zeros(parts.shape, dtype=bool)
        for turn, before, there in zip(parts, usual, active, strict=True):
            spoken = np.flatnonzero(turn)
            first, last = int(spoken[0]), int(spoken[-1])
            there[first : last + 1] = True
            assert last - first >= 0.29 * len(turn)
            np.testing.assert_array_equal(turn[first + FADE : last - FADE], before[first + FADE : last - FADE])
        both += int(active.all(0).sum())
        one += int(active.any(0).sum()) - int(active.all(0).sum())
    assert 79 <= changed <= 121  # 100 of 200, and three standard deviations
    assert 0.3 < both / (both + one) < 0.7


def test_a_turn_is_not_a_pause() -> None:
    clicks = pool_of(*(np.where(np.arange(4000) < 100, noise(4000, n), 0) for n in (1, 2)), names=["a", "b"])
    how = DynamicMixing(seconds=0.5, speed=(1, 1), partial_overlap=1.0)
    for index in range(20):
        for turn in sample_parts(clicks, how, seed=0, epoch=0, index=index):
            assert np.abs(turn).max() > 0.01


def choir(names: str, genders: dict[str, str]) -> UtterancePool:
    return pool_of(*(noise(4000, number) for number in range(len(names))), names=list(names), genders=genders)


def test_same_gender_brings_more_mixtures_of_one() -> None:
    people = choir("abcde", {"a": "f", "b": "f", "c": "m", "d": "m"})
    halves = people.split_single_utterances()
    assert halves.genders == people.genders == ["f", "f", "m", "m", None]
    how, alike = DynamicMixing(seconds=0.1), DynamicMixing(seconds=0.1, same_gender=0.5)
    different = kept = 0
    for index in range(400):
        pair = sample_mixture(people, alike, AugmentationSources(), seed=1, epoch=0, index=index).utterances
        first, second = (people.genders[people.speaker_of(utterance)] for utterance in pair)
        assert pair[0] != pair[1]
        different += first is not None and first != second
        kept += pair == sample_mixture(people, how, AugmentationSources(), seed=1, epoch=0, index=index).utterances
    assert 92 <= different <= 148  # 120: half of 0.8 * 0.75 of 400, and three standard deviations
    assert kept >= 200  # where nothing is asked for, or it is so anyway, the voices are the same


@pytest.mark.parametrize(
    ("genders", "reason"),
    [
        ({}, "needs a manifest whose sources have a gender"),
        ({"a": "f", "b": "f", "c": "m"}, "mixes 2 voices, but gender 'm' has 1 speakers"),
    ],
)
def test_same_gender_needs_to_know_it(genders: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        sample_parts(choir("abc", genders), DynamicMixing(seconds=0.1, same_gender=0.5), seed=0, epoch=0, index=0)


@pytest.mark.parametrize("name", ["same_gender", "partial_overlap", "single_probability", "polarity_inversion"])
@pytest.mark.parametrize("probability", [-0.1, 1.5, math.nan])
def test_a_probability_lies_between_0_and_1(name: str, probability: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is .*; it lies between 0 and 1"):
        config.build(DynamicMixing, {name: probability})

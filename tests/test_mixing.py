"""Mixtures: what a row says is what is heard, and a drawn mixture depends on its number alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import audio, pool
from septool.errors import AudioError, ConfigError, ManifestError
from septool.manifest import Mixture, Source
from septool.mixing import DynamicMixing, draw, render
from septool.pool import Pool
from tests.conftest import RATE, voice


def noise(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, frames).astype(np.float32)


ONE, TWO, HUM = noise(1000, 1), noise(700, 2), noise(800, 3)


@pytest.fixture
def row(tmp_path: Path) -> Mixture:
    for name, samples in (("one", ONE), ("two", TWO), ("hum", HUM)):
        audio.write(tmp_path / f"{name}.wav", samples, RATE, "FLOAT")
    sources = (Source(path="one.wav"), Source(path="two.wav"))
    return Mixture(id="x", sample_rate=RATE, sources=sources, root=tmp_path)


def test_the_shortest_and_the_longest(row: Mixture) -> None:
    short, long = render(row), render(replace(row, mode="max"))
    np.testing.assert_array_equal(short.sources, [ONE[:700], TWO])
    np.testing.assert_array_equal(long.sources, [ONE, np.pad(TWO, (0, 300))])
    for result in (short, long):
        np.testing.assert_array_equal(result.mixture, result.sources.sum(0))
        assert result.mixture.dtype == np.float32
        assert result.noise is None


@pytest.mark.parametrize("frames", [300, 700, 900, 1500])
def test_the_length_of_the_row_counts(row: Mixture, frames: int) -> None:
    for mode in ("min", "max"):
        result = render(replace(row, frames=frames, mode=mode))
        np.testing.assert_array_equal(result.sources[1], np.pad(TWO, (0, 1000))[:frames])


def test_a_stretch_and_a_gain(row: Mixture) -> None:
    first = replace(row.sources[0], start=100, frames=200, gain_db=-6.0)
    result = render(replace(row, sources=(first, row.sources[1])))
    np.testing.assert_allclose(result.sources[0], ONE[100:300] * 10 ** (-6 / 20), rtol=1e-6)
    np.testing.assert_array_equal(result.sources[1], TWO[:200])


def test_noise_is_part_of_the_mixture_only(row: Mixture) -> None:
    result = render(replace(row, noise=Source(path="hum.wav", gain_db=20.0)))
    assert result.noise is not None
    np.testing.assert_allclose(result.noise, 10 * HUM[:700], rtol=1e-6)
    np.testing.assert_allclose(result.mixture, ONE[:700] + TWO + 10 * HUM[:700], atol=1e-6)
    assert len(result.sources) == 2


def test_speed_shortens_and_raises(row: Mixture) -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(8400) / RATE).astype(np.float32)
    audio.write(row.root / "one.wav", tone, RATE, "FLOAT")
    result = render(replace(row, sources=(Source(path="one.wav", speed=1.05),)))
    assert result.sources.shape == (1, 8000)
    expected = np.sin(2 * np.pi * 420 * np.arange(8000) / RATE)
    np.testing.assert_allclose(result.sources[0, 400:-400], expected[400:-400], atol=1e-3)


def test_another_rate_than_the_rows(row: Mixture) -> None:
    result = render(replace(row, frames=700), 16000)
    assert result.mixture.shape == (1400,)
    np.testing.assert_allclose(result.sources[1], audio.resample(TWO, RATE, 16000), atol=1e-6)


def test_a_rendered_mixture_is_read_and_not_made_again(row: Mixture) -> None:
    audio.write(row.root / "made.wav", HUM, RATE, "FLOAT")
    np.testing.assert_array_equal(render(replace(row, mixture="made.wav")).mixture, HUM[:700])


def test_what_cannot_be_rendered(row: Mixture) -> None:
    with pytest.raises(ManifestError, match="mixture x is empty"):
        render(replace(row, sources=(Source(path="one.wav", frames=0),)))
    with pytest.raises(AudioError, match=r"one\.wav has 1000 samples, 1001 were asked for"):
        render(replace(row, sources=(Source(path="one.wav", start=1, frames=1000),)))
    with pytest.raises(AudioError, match=r"lost\.wav does not exist"):
        render(replace(row, noise=Source(path="lost.wav")))


# Drawing.


@pytest.fixture(scope="module")
def speech() -> Pool:
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
    return Pool(samples, bounds, levels, names, RATE)


HOW = DynamicMixing(seconds=0.5)


def test_a_mixture_is_a_function_of_its_number(speech: Pool) -> None:
    numbers = [(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in range(5)]
    forth = {n: draw(speech, HOW, seed=n[0], epoch=n[1], index=n[2]) for n in numbers}
    back = {n: draw(speech, HOW, seed=n[0], epoch=n[1], index=n[2]) for n in reversed(numbers)}
    for n in numbers:
        np.testing.assert_array_equal(forth[n], back[n])
    assert len({x.tobytes() for x in forth.values()}) == len(numbers)


def test_shape_type_and_level(speech: Pool) -> None:
    how = replace(HOW, sources=3, seconds=0.25, difference_db=(-3.0, 3.0))
    for index in range(30):
        sources = draw(speech, how, seed=0, epoch=0, index=index)
        assert sources.shape == (3, 2000)
        assert sources.dtype == np.float32
        assert np.isfinite(sources).all()
        assert (np.abs(sources).max(1) > 1e-3).all()  # no voice is silent


def labelled(speakers: int) -> Pool:
    """Every sample of speaker n is 0.01 n, so that what was drawn can be told; levels are made equal by 0.1."""
    counts = [1, 9, *([5] * (speakers - 2))]
    names = [f"{n:02d}" for n in range(speakers) for _ in range(counts[n])]
    values = np.repeat(np.arange(1, speakers + 1), counts)
    samples = np.repeat(np.round(0.01 * values * pool.FULL_SCALE), 100).astype(np.int16)
    # Levels that are one tenth of what makes a sample its speaker's number.
    return Pool(samples, 100 * np.arange(len(names) + 1), np.full(len(names), 0.001), names, RATE)


def who(sources: np.ndarray) -> list[int]:
    return [round(float(np.abs(source).max())) - 1 for source in sources]


PLAIN = DynamicMixing(seconds=50 / RATE, speed=(1.0, 1.0), difference_db=(0.0, 0.0))


@pytest.mark.parametrize("draw_by", ["speaker", "utterance"])
def test_speakers_differ_within_a_mixture(draw_by: str) -> None:
    how = replace(PLAIN, sources=4, draw_by=draw_by)
    for index in range(50):
        assert sorted(who(draw(labelled(4), how, seed=0, epoch=0, index=index))) == [0, 1, 2, 3]


def test_speakers_come_as_often_as_each_other_or_as_they_have_utterances() -> None:
    speakers = labelled(2)  # one has a tenth of the utterances
    how = replace(PLAIN, sources=1)
    shares = {}
    for draw_by in ("speaker", "utterance"):
        drawn = [who(draw(speakers, replace(how, draw_by=draw_by), seed=0, epoch=0, index=n))[0] for n in range(400)]
        shares[draw_by] = drawn.count(0) / 400
    assert shares["speaker"] == pytest.approx(0.5, abs=0.1)
    assert shares["utterance"] == pytest.approx(0.1, abs=0.05)


def test_further_voices_stand_within_the_difference() -> None:
    how = replace(PLAIN, difference_db=(-5.0, 5.0))
    speakers = labelled(2)
    found = []
    for index in range(200):
        first, second = (float(np.abs(x).max()) for x in draw(speakers, how, seed=0, epoch=0, index=index))
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
        (sound,) = draw(labelled(2), how, seed=0, epoch=0, index=index)
        there = np.flatnonzero(sound)
        assert len(there) == there[-1] - there[0] + 1 == 100
        places.add(int(there[0]))
    assert min(places) < 50
    assert max(places) > 150


def test_a_crop_without_speech_is_drawn_again() -> None:
    sound = np.zeros(10_000, dtype=np.int16)
    sound[5000:] = 8000
    speakers = Pool(sound, np.array([0, 10_000]), np.array([0.17]), ["a"], RATE)
    how = replace(PLAIN, sources=1, seconds=4000 / RATE)
    for index in range(30):
        assert draw(speakers, how, seed=0, epoch=0, index=index).any()


def test_silence_alone_comes_to_an_end() -> None:
    speakers = Pool(np.zeros(100, dtype=np.int16), np.array([0, 100]), np.array([0.1]), ["a"], RATE)
    assert not draw(speakers, replace(PLAIN, sources=1), seed=0, epoch=0, index=0).any()


def test_more_voices_than_speakers() -> None:
    with pytest.raises(ConfigError, match="3 voices are to be mixed, the pool has 2 speakers"):
        draw(labelled(2), replace(PLAIN, sources=3), seed=0, epoch=0, index=0)


@pytest.mark.parametrize("settings", [{"seconds": 0.0}, {"draw_by": "chance"}])
def test_settings_that_make_no_sense(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings)))):
        DynamicMixing(**settings)  # type: ignore[arg-type]

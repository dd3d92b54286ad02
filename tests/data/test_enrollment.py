"""Training items that know who speaks."""

import math
from dataclasses import replace

import numpy as np
import pytest

from septool.data.enrollment import (
    EnrollmentSampling,
    SpeakerSampling,
    sample_clips,
    sample_enrolled_mixture,
    sample_speaker_item,
)
from septool.data.mixing import AugmentationSources, DynamicMixing, sample_parts
from septool.data.pool import FULL_SCALE, UtterancePool
from septool.errors import ConfigError

RATE = 1000
HOW = DynamicMixing(seconds=0.5, speed=(1, 1), difference_db=(-5, -5))
AROUND = AugmentationSources()


def pool(utterances: int = 2, speakers: int = 4, frames: int = 2000) -> UtterancePool:
    """A tone for every speaker, louder from utterance to utterance by a tenth, so that samples tell both."""
    time = np.arange(frames) / RATE
    waves, levels, names = [], [], []
    for speaker in range(speakers):
        for utterance in range(utterances):
            wave = (0.1 + 0.01 * utterance) * np.sin(2 * np.pi * (50 + 50 * speaker) * time)
            waves.append(np.round(wave * FULL_SCALE).astype(np.int16))
            levels.append(float(np.sqrt(np.mean(wave**2))))
            names.append(f"speaker{speaker}")
    bounds = np.cumsum([0, *map(len, waves)])
    return UtterancePool(np.concatenate(waves), bounds, np.array(levels), names, RATE)


def tone(wave: np.ndarray) -> int:
    """Number of the speaker whose tone is the loudest in a recording."""
    spectrum = np.abs(np.fft.rfft(wave))
    return round(spectrum.argmax() * RATE / len(wave) / 50) - 1


@pytest.mark.parametrize("index", range(8))
def test_the_enrollment_is_another_utterance_of_the_first_voice(index: int) -> None:
    speech = pool()
    item = sample_enrolled_mixture(
        speech, HOW, EnrollmentSampling(seconds=0.3, absent=0), AROUND, seed=0, epoch=0, index=index
    )
    assert item.parts.shape == (2, 500)
    assert item.enrollment.shape == (300,)
    assert item.parts.dtype == item.enrollment.dtype == np.float32
    assert tone(item.enrollment) == tone(item.parts[0]) != tone(item.parts[1])
    np.testing.assert_array_equal(item.parts.sum(0), sample_parts(speech, HOW, seed=0, epoch=0, index=index).sum(0))


def test_the_utterance_of_the_mixture_is_never_the_enrollment() -> None:
    speech = pool(utterances=2, speakers=2)
    own = {0: set(), 1: set()}
    for index in range(20):
        item = sample_enrolled_mixture(
            speech, HOW, EnrollmentSampling(seconds=2, absent=0), AROUND, seed=1, epoch=0, index=index
        )
        # The level of a voice is made the same; which utterance it was shows in the rounding of its samples.
        excerpts = [
            speech.segment(u) * np.float32(0.1 / speech.level(u))
            for u in map(int, speech.speakers[tone(item.enrollment)])
        ]
        which = [np.array_equal(excerpt, item.enrollment) for excerpt in excerpts]
        assert sum(which) == 1
        other = excerpts[1 - which.index(True)]
        starts = np.lib.stride_tricks.sliding_window_view(other, 500)
        assert (starts == item.parts[0]).all(axis=1).any()
        own[tone(item.enrollment)].add(which.index(True))
    assert own == {0: {0, 1}, 1: {0, 1}}


def test_where_the_voice_is_absent_its_part_is_silent_and_the_mixture_unchanged() -> None:
    speech = pool()
    item = sample_enrolled_mixture(
        speech, HOW, EnrollmentSampling(seconds=0.3, absent=1), AROUND, seed=0, epoch=0, index=3
    )
    assert not item.parts[0].any()
    sources = sample_parts(speech, HOW, seed=0, epoch=0, index=3)
    np.testing.assert_allclose(item.parts[1], sources.sum(0), atol=1e-7)
    assert tone(item.enrollment) not in {tone(source) for source in sources}


def test_how_often_it_is_absent() -> None:
    speech, how = pool(), EnrollmentSampling(seconds=0.1, absent=0.25)
    items = [sample_enrolled_mixture(speech, HOW, how, AROUND, seed=0, epoch=0, index=index) for index in range(400)]
    assert 0.19 < np.mean([not item.parts[0].any() for item in items]) < 0.31


def test_a_short_enrollment_is_said_again() -> None:
    item = sample_enrolled_mixture(
        pool(frames=600), HOW, EnrollmentSampling(seconds=1.5, absent=0), AROUND, seed=0, epoch=0, index=0
    )
    np.testing.assert_array_equal(item.enrollment[:600], item.enrollment[600:1200])


def test_nobody_left_to_be_absent_is_worded() -> None:
    with pytest.raises(ConfigError, match="2 speakers, none of them absent"):
        sample_enrolled_mixture(pool(speakers=2), HOW, EnrollmentSampling(absent=1), AROUND, seed=0, epoch=0, index=0)


@pytest.mark.parametrize("bad", [{"seconds": 0}, {"seconds": math.nan}, {"absent": 1.5}])
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"(seconds|absent) is "):
        EnrollmentSampling(**bad)


def test_the_speaker_of_a_recording_is_its_first_voice() -> None:
    how = replace(HOW, difference_db=(-20, -20))
    for index in range(8):
        item = sample_speaker_item(pool(), how, SpeakerSampling(), AROUND, seed=0, epoch=0, index=index)
        assert tone(item.recording) == item.speaker


def test_at_another_speed_a_voice_is_another_speakers() -> None:
    how = replace(HOW, difference_db=(-40, -40))
    met = set()
    for index in range(40):
        item = sample_speaker_item(
            pool(), how, SpeakerSampling(speeds=(0.8, 1.25)), AROUND, seed=0, epoch=0, index=index
        )
        turn, speaker = divmod(item.speaker, 4)
        spectrum = np.abs(np.fft.rfft(item.recording))
        heard = spectrum.argmax() * RATE / len(item.recording)
        assert heard == pytest.approx((50 + 50 * speaker) * (1, 0.8, 1.25)[turn], abs=2)
        met.add(item.speaker)
    assert len({number // 4 for number in met}) == 3


def test_clips_of_a_speaker_are_that_speakers_at_that_speed() -> None:
    sampling = SpeakerSampling(speeds=(0.8,), imprint=2)
    for speaker in range(8):
        clips = sample_clips(pool(), HOW, sampling, speaker=speaker, seed=0)
        assert clips.shape == (2, 500)
        turn, person = divmod(speaker, 4)
        for clip in clips:
            assert np.abs(np.fft.rfft(clip)).argmax() * 2 == pytest.approx((50 + 50 * person) * (1, 0.8)[turn], abs=2)


@pytest.mark.parametrize("speed", [0, 1, -1.1, math.inf])
def test_speeds_at_which_nobody_changes_are_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speeds is "):
        SpeakerSampling(speeds=(speed,))


def test_a_speakers_only_utterance_is_halved_and_others_are_not() -> None:
    single = pool(utterances=1, speakers=2)
    halves = single.split_single_utterances()
    assert [len(own) for own in halves.speakers] == [2, 2]
    assert [halves.frames(u) for u in range(4)] == pytest.approx([1000] * 4, abs=1)
    whole = np.concatenate([halves.segment(u) for u in range(4)])
    np.testing.assert_array_equal(whole, np.concatenate([single.segment(u) for u in range(2)]))
    several = pool(utterances=3).split_single_utterances()
    assert [several.frames(u) for u in range(len(several))] == [2000] * 12


def after_a_pause(frames: int, pause: int, utterances: int = 1, speakers: int = 2) -> UtterancePool:
    """Noise after silence, the second half of it four times as loud as the first."""
    random = np.random.default_rng(0)
    wave = random.normal(0, 1000, (speakers * utterances, frames))
    wave[:, :pause] = 0
    wave[:, (pause + frames) // 2 :] *= 4
    samples = wave.astype(np.int16)
    levels = np.sqrt(np.mean((samples / FULL_SCALE) ** 2, axis=1))
    names = [f"speaker{number // utterances}" for number in range(len(samples))]
    return UtterancePool(samples.ravel(), np.arange(len(samples) + 1) * frames, levels, names, RATE)


def test_no_half_of_an_utterance_is_its_pause_and_each_has_its_own_level() -> None:
    halves = after_a_pause(2000, 1000).split_single_utterances()
    for utterance in range(4):
        samples = halves.segment(utterance)
        assert samples.any()
        assert halves.level(utterance) == pytest.approx(float(np.sqrt(np.mean(samples**2))), rel=1e-5)
    click = np.zeros(2000, dtype=np.int16)
    click[700] = 9000
    halves = UtterancePool(click, np.array([0, 2000]), np.array([1e-3]), ["ann"], RATE).split_single_utterances()
    assert [halves.frames(0), halves.frames(1)] == [700, 1300]
    assert halves.level(0) > 0  # which gains are divided by


def test_an_enrollment_has_speech_in_it() -> None:
    speech, sampling = after_a_pause(2000, 1200, utterances=2), EnrollmentSampling(seconds=0.5, absent=0)
    items = [sample_enrolled_mixture(speech, HOW, sampling, AROUND, seed=0, epoch=0, index=n) for n in range(60)]
    assert all(item.enrollment.any() for item in items)

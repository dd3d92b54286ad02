"""Active level (ITU-T P.56): known activity, known level, and nothing else changes them."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import optimize, signal

from septool.signal.active_level import HANGOVER, active_level
from tests.conftest import voice

RATE = 8000


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    """White noise in the pass band of the measurement, at -20 dB."""
    white = np.random.default_rng(0).standard_normal(round(seconds * rate))
    sections = signal.butter(8, (300, min(5000, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    band = np.asarray(signal.sosfilt(sections, white))
    return 0.1 * band / np.sqrt(np.mean(band**2))


def db(power: float) -> float:
    return 10 * math.log10(power)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_steady_sound_has_its_own_level_and_is_always_active(rate: int) -> None:
    level = active_level(noise(4, rate), rate)
    assert db(level.power) == pytest.approx(-20, abs=0.1)
    assert level.activity == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("on", "off"), [(1.0, 2.0), (0.5, 1.5), (2.0, 0.5)])
def test_bursts_are_active_while_they_last_and_the_hangover_after(on: float, off: float) -> None:
    bursts = np.tile(np.r_[noise(on), np.zeros(round(off * RATE))], 6)
    level = active_level(bursts, RATE)
    # The envelope itself takes some hundredths of a second to fall below the threshold.
    assert level.activity == pytest.approx((on + HANGOVER) / (on + off), abs=0.1 / (on + off))
    assert db(level.power) == pytest.approx(-20 - db((on + HANGOVER) / on), abs=10 * 0.1 / (on + HANGOVER))


@pytest.mark.parametrize("gap", [0.05, 0.1, 0.19])
def test_a_pause_shorter_than_the_hangover_is_speech(gap: float) -> None:
    bursts = np.tile(np.r_[noise(0.4), np.zeros(round(gap * RATE))], 10)
    assert active_level(bursts, RATE).activity == pytest.approx(1, abs=0.02)


def test_silence_around_speech_changes_nothing() -> None:
    speech = voice(120, seconds=4).astype(np.float64)
    padded = np.pad(speech, 5 * RATE)
    assert db(active_level(padded, RATE).power) == pytest.approx(db(active_level(speech, RATE).power), abs=0.3)
    assert db(float(np.mean(padded**2))) < db(float(np.mean(speech**2))) - 5  # as the plain level does


@pytest.mark.parametrize("gain_db", [-60.0, -6.0206, 20.0])
def test_a_gain_shifts_the_level_by_itself(gain_db: float) -> None:
    speech = voice(200).astype(np.float64)
    before, after = (active_level(x, RATE) for x in (speech, speech * 10 ** (gain_db / 20)))
    # Thresholds lie at powers of two below the peak, so what is read off between them moves a little.
    assert db(after.power) == pytest.approx(db(before.power) + gain_db, abs=0.02)


def test_a_gain_of_two_shifts_it_exactly() -> None:
    speech = voice(200).astype(np.float64)
    assert active_level(2 * speech, RATE).power == pytest.approx(4 * active_level(speech, RATE).power, rel=1e-9)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1), np.zeros(RATE)])
def test_silence_has_no_level(samples: np.ndarray) -> None:
    assert active_level(samples, RATE) == (0.0, 0.0)


def test_hum_is_outside_the_band() -> None:
    time = np.arange(4 * RATE) / RATE
    speech = noise(4)
    with_hum = speech + 0.3 * np.sin(2 * np.pi * 50 * time)
    assert db(active_level(with_hum, RATE).power) == pytest.approx(-20, abs=0.2)


def chebyshev(stop: float, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Zeros, poles and gain of an analog filter of the standard, which lets 50 dB less through from ``stop`` on."""
    zeros_poles_gain: Any = signal.cheby2(5, 50, stop, kind, analog=True, output="zpk")
    return zeros_poles_gain


def by_the_book(samples: np.ndarray, rate: int) -> float:
    """Return the level the long way round: filters found by search, one sample at a time."""

    def at_edge(stop: float) -> float:
        zeros, poles, gain = chebyshev(stop, "high")
        return 20 * math.log10(abs(gain * np.prod(1j - zeros) / np.prod(1j - poles))) + 0.25

    high = optimize.root_scalar(at_edge, bracket=(0.1, 0.99)).root
    warped = 2 * rate * math.tan(math.pi * 200 / rate)
    sections = [chebyshev(high * warped, "high")]
    if rate >= 14_000:
        sections.append(chebyshev(2 * rate * math.tan(math.pi * 5500 / rate) / high, "low"))
    for section in sections:
        samples = np.asarray(signal.sosfilt(signal.zpk2sos(*signal.bilinear_zpk(*section, fs=rate)), samples))
    pole = math.exp(-1 / (0.03 * rate))
    first = second = 0.0
    octaves = []
    for sample in samples:
        first = pole * first + (1 - pole) * abs(sample)
        second = pole * second + (1 - pole) * first
        octaves.append(math.floor(math.log2(second**2)) + 1 if second else -9999)
    window = round(0.2 * rate) + 1
    held = [max(octaves[max(0, i - window + 1) : i + 1]) for i in range(len(octaves))]
    energy, top = sum(samples**2), max(held)
    levels = []
    for step in range(20):
        above = sum(octave >= top - step for octave in held) if step < 19 else len(held)
        level, threshold = 10 * math.log10(energy / above), 10 * math.log10(2) * (top - 1 - step)
        levels.append((level, level - threshold - 15.9))
    for (low, under), (high, over) in pairwise(levels):
        if under < 0 <= over:
            return low + (high - low) * under / (under - over)
    raise AssertionError("no crossing")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_against_the_long_way_round(rate: int) -> None:
    speech = voice(150, seconds=0.8, rate=rate).astype(np.float64)
    speech[: rate // 4] = 0
    assert db(active_level(speech, rate).power) == pytest.approx(by_the_book(speech, rate), abs=1e-6)

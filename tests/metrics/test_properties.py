"""What every score has to obey, whatever the signals: order and scale change nothing, more noise is no better."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from septool.metrics import METRICS
from septool.scoring.items import Item, ScoringInput, score_item
from tests.conftest import RATE, voice

# As few as show a fault; sir and sar, a second for a dozen of them, come in tests of their own.
few = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
FAST = ["si-snr", "si-snri", "si-sdr", "snr", "sdr", "sdri", "lsd"]
SLOW = ["sir", "sar"]
OF_ONE_SCALE = ["snr", "snri", "lsd"]  # the level is part of what they score
IMPROVEMENTS = [name for name, metric in METRICS.items() if metric.improvement]
PERCEPTUAL = ["pesq", "stoi", "estoi"]

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1200, 3000)
counts = st.integers(2, 3)
levels_db = st.floats(-40, 20)
noise_db = st.floats(-30, 10)


def sounds(seed: int, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """References and estimates with noise and a little of each other, ``[source, time]`` both."""
    random = np.random.default_rng(seed)
    taps = 0.8 ** np.arange(30)
    references = np.stack([np.convolve(row, taps)[:length] for row in random.standard_normal((count, length))])
    references *= 0.05 * random.uniform(0.5, 2, (count, 1))
    leak = random.uniform(0.05, 0.2, (count, count))
    np.fill_diagonal(leak, random.uniform(0.7, 1.2, count))
    return references, leak @ references + 0.01 * random.standard_normal((count, length))


def scored(metrics: list[str], references: np.ndarray, estimates: np.ndarray, mixture: Any = None) -> Item:
    mixture = references.sum(0) if mixture is None else mixture
    item = score_item(metrics, RATE, ScoringInput("a", [*references], [*estimates], mixture))
    assert not item.error
    return item


@few
@given(seeds, counts, lengths, levels_db)
def test_the_scale_of_estimates_changes_nothing(seed: int, count: int, length: int, level_db: float) -> None:
    references, estimates = sounds(seed, count, length)
    scale_free = [name for name in FAST if name not in OF_ONE_SCALE]
    before = scored(scale_free, references, estimates)
    after = scored(scale_free, references, estimates * 10 ** (level_db / 20))
    for name in scale_free:
        assert after.scores[name] == pytest.approx(before.scores[name], abs=1e-6)


@few
@given(seeds, counts, lengths, levels_db)
def test_the_scale_of_everything_changes_nothing(seed: int, count: int, length: int, level_db: float) -> None:
    references, estimates = sounds(seed, count, length)
    gain = 10 ** (level_db / 20)
    before, after = scored(FAST, references, estimates), scored(FAST, references * gain, estimates * gain)
    for name in FAST:
        assert after.scores[name] == pytest.approx(before.scores[name], abs=1e-6)


@few
@given(seeds, counts, lengths, st.randoms(use_true_random=False))
def test_the_order_of_estimates_changes_nothing(seed: int, count: int, length: int, random: Any) -> None:
    references, estimates = sounds(seed, count, length)
    order = list(range(count))
    random.shuffle(order)
    before, after = scored(FAST, references, estimates), scored(FAST, references, estimates[order])
    assert after.scores == before.scores
    assert [order[place] for place in after.order] == list(before.order)


@few
@given(seeds, counts, lengths)
def test_the_order_of_references_is_that_of_the_scores(seed: int, count: int, length: int) -> None:
    references, estimates = sounds(seed, count, length)
    before, after = scored(FAST, references, estimates), scored(FAST, references[::-1], estimates)
    for name in FAST:
        assert after.scores[name][::-1] == pytest.approx(before.scores[name], abs=1e-6)


@few
@given(seeds, lengths, noise_db, st.floats(1, 20))
def test_more_noise_is_never_better(seed: int, length: int, level_db: float, more_db: float) -> None:
    references, _ = sounds(seed, 2, length)
    noise = np.random.default_rng(seed + 1).standard_normal(references.shape)
    noise *= np.linalg.norm(references) / np.linalg.norm(noise)
    little, much = (
        scored(FAST, references, references + 10 ** (db / 20) * noise) for db in (level_db, level_db + more_db)
    )
    for name in FAST:
        for better, worse in zip(little.scores[name], much.scores[name], strict=True):
            assert better is not None
            assert worse is not None
            assert (better > worse) if METRICS[name].better == "higher" else (better < worse), name


@settings(few, max_examples=2)
@given(seeds, lengths, st.floats(-20, 0), levels_db)
def test_interference_and_artifacts(seed: int, length: int, leak_db: float, level_db: float) -> None:
    references, estimates = sounds(seed, 2, length)
    before = scored(SLOW, references, estimates)
    after = scored(SLOW, references[::-1], estimates * 10 ** (level_db / 20))
    for name in SLOW:
        assert after.scores[name][::-1] == pytest.approx(before.scores[name], abs=1e-6)
    much = scored(["sir"], references, estimates + 0.1 * 10 ** (leak_db / 20) * references[::-1])
    for better, worse in zip(before.scores["sir"], much.scores["sir"], strict=True):
        assert better is not None
        assert worse is not None
        assert better > worse


@few
@given(seeds, counts, lengths)
def test_the_mixture_gains_nothing_over_itself(seed: int, count: int, length: int) -> None:
    references, _ = sounds(seed, count, length)
    item = scored(IMPROVEMENTS, references, np.stack([references.sum(0)] * count))
    for name in IMPROVEMENTS:
        assert item.scores[name] == [0.0] * count


@pytest.mark.parametrize("name", PERCEPTUAL)
@settings(few, max_examples=3)
@given(pitch=st.floats(90, 250), seed=st.integers(0, 1000))
def test_noise_is_heard_by_what_models_hearing(name: str, pitch: float, seed: int) -> None:
    clean = voice(pitch, seconds=1.2, seed=seed).astype(np.float64)
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    noise *= np.linalg.norm(clean) / np.linalg.norm(noise)
    much, little = (scored([name], clean[None], (clean + gain * noise)[None]).scores[name][0] for gain in (3.0, 0.2))
    assert much is not None
    assert little is not None
    assert much < little

"""Speech activity: what is silent has a level, however loud what came before it is."""

import numpy as np
import pytest

from septool.conversation.activity import frame_levels, magnitudes, overlap_features, score_overlap

RATE = 8000


@pytest.mark.parametrize("seed", range(5))
def test_silence_behind_loud_speech_is_silence(seed: int) -> None:
    """Floats may hold integers. A running sum over such energies does not come back to nothing by itself."""
    random = np.random.default_rng(seed)
    voice = 32768 * random.uniform(-1, 1, 4 * RATE).astype(np.float32)
    voice[random.integers(RATE, 2 * RATE) :] = 0
    heard, tracks = magnitudes(voice, RATE), magnitudes(np.stack([voice, np.zeros_like(voice)]), RATE)
    assert frame_levels(heard)[-20:] == pytest.approx(-120)
    assert np.isfinite(overlap_features(heard, tracks)).all()
    log_odds, louder = score_overlap(heard, tracks)
    assert (log_odds[: RATE // 200] < 0).all()  # in silence nobody asks
    assert not louder.any()

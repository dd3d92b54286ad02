"""Joining segments: tracks keep their voice, and a seam that changes nothing is not heard."""

from itertools import permutations

import numpy as np
import pytest

from septool.signal.stitch import FRAME, Stitcher, best_order, correlations, log_band_spectra


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def coloured(samples: int, sources: int = 2, seed: int = 0) -> np.ndarray:
    """Noise whose spectra differ from source to source."""
    spectra = np.fft.rfft(noise(sources, samples, seed=seed))
    place = np.linspace(0, 1, spectra.shape[1])
    shapes = np.stack([np.exp(-(((place - (n + 0.5) / sources) / 0.1) ** 2)) for n in range(sources)])
    return np.fft.irfft(spectra * shapes, samples).astype(np.float32)


def cut(signal: np.ndarray, size: int, overlap: int) -> list[np.ndarray]:
    starts = range(0, signal.shape[1] - overlap, size - overlap)
    return [signal[:, start : start + size] for start in starts]


def stitch(segments: list[np.ndarray], overlap: int) -> tuple[np.ndarray, Stitcher]:
    stitcher = Stitcher(overlap)
    parts = [stitcher.push(segment) for segment in segments]
    return np.concatenate([*parts, stitcher.finish()], axis=1), stitcher


@pytest.mark.parametrize("samples", [1, 299, 300, 301, 1000, 1001, 1099, 1234])
def test_segments_of_one_signal_give_it_back(samples: int) -> None:
    signal = noise(2, samples)
    joined, _ = stitch(cut(signal, 300, 100) or [signal], 100)
    np.testing.assert_allclose(joined, signal, atol=1e-6)


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_any_order_of_every_segment_is_undone(sources: int) -> None:
    signal = coloured(9000, sources)
    random = np.random.default_rng(1)
    orders = [random.permutation(sources) for _ in range(20)]
    segments = [segment[order] for segment, order in zip(cut(signal, 2000, 500), orders, strict=False)]
    joined, stitcher = stitch(segments, 500)
    np.testing.assert_allclose(joined, signal[orders[0]], atol=1e-6)
    for seam, order in zip(stitcher.seams, orders[1:], strict=False):
        assert list(order[list(seam.order)]) == list(orders[0])
        assert seam.by == "overlap"


def test_after_silence_the_voice_goes_on_where_it_was() -> None:
    signal = coloured(9500)
    for start in range(1500, 9000, 1500):
        signal[:, start : start + 500] = 0
    segments = [s if n % 2 == 0 else s[::-1] for n, s in enumerate(cut(signal, 2000, 500))]
    joined, stitcher = stitch(segments, 500)
    np.testing.assert_allclose(joined, signal, atol=1e-6)
    assert {seam.by for seam in stitcher.seams} == {"voice"}
    assert all(seam.margin == 0 for seam in stitcher.seams)


def test_the_voice_decides_only_what_the_overlap_leaves_open() -> None:
    # One of three speaks in the overlap, and in the next segment it sounds like one of the others.
    first, second = coloured(2000, 3), coloured(2000, 3, seed=1)
    first[:, 1500:] = second[:, :500] = 0
    first[0, 1500:] = second[0, :500] = coloured(500, 3, seed=2)[0]
    second[0, 500:] = second[1, 500:]
    second[1, 500:] = 0
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        _, stitcher = stitch([first, second[order]], 500)
        assert stitcher.seams[0].by == "voice"
        assert order[stitcher.seams[0].order[0]] == 0


def test_a_voice_that_says_nothing_for_long_is_known_again() -> None:
    signal = coloured(20_000)
    signal[1, 4000:15_000] = 0
    signal[:, 14_000:15_000] = 0
    segments = [s if n % 2 == 0 else s[::-1] for n, s in enumerate(cut(signal, 2000, 500))]
    np.testing.assert_allclose(stitch(segments, 500)[0], signal, atol=1e-6)


def test_a_voice_is_known_again_at_another_level() -> None:
    signal = coloured(9500) + 0.1 * noise(2, 9500)
    signal[0] *= np.where(np.arange(9500) < 4500, 1e3, 1e-3)
    signal[1] *= np.where(np.arange(9500) < 4500, 1e-3, 1e3)
    signal[:, 4500:5000] = 0
    segments = [s if n < 3 else s[::-1] for n, s in enumerate(cut(signal, 2000, 500))]
    joined, stitcher = stitch(segments, 500)
    assert stitcher.seams[2].by == "voice"
    np.testing.assert_allclose(joined, signal, atol=1e-3)


def test_all_that_a_track_has_said_decides_and_not_its_beginning() -> None:
    signal = coloured(11_000)
    signal[:, :2000] = signal[::-1, :2000]  # the first segment sounds like the other voice
    signal[:, 7500:8000] = 0
    segments = [s if n < 5 else s[::-1] for n, s in enumerate(cut(signal, 2000, 500))]
    joined, stitcher = stitch(segments, 500)
    assert [seam.by for seam in stitcher.seams] == ["overlap"] * 4 + ["voice", "overlap"]
    np.testing.assert_allclose(joined, signal, atol=1e-6)


def test_the_crossfade_is_even() -> None:
    ones = np.ones((1, 300), dtype=np.float32)
    joined, _ = stitch([ones, 0 * ones], 100)
    fade = joined[0, 200:300]
    assert fade[0] > 0.999
    assert fade[-1] < 0.001
    np.testing.assert_allclose(fade + fade[::-1], 1, atol=1e-6)
    assert (np.diff(fade) < 0).all()


def test_what_is_held_back_is_never_more_than_the_overlap() -> None:
    stitcher = Stitcher(100)
    given = 0
    for before, segment in enumerate(cut(noise(2, 3100), 300, 100)):
        given += stitcher.push(segment).shape[1]
        assert given == 200 * before + 300 - 100
    assert stitcher.finish().shape[1] == 100


def test_correlations() -> None:
    x = noise(2, 100)
    tracks = np.stack((x[0], -2 * x[0], 0 * x[0]))
    found = correlations(tracks, x[:1])
    np.testing.assert_allclose(found[:, 0], [1, -1, 0], atol=1e-6)


def test_the_best_order_and_how_sure_it_is() -> None:
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.2, 0.1], [0.0, 0.1, 0.5]])
    order, margin = best_order(scores)
    assert order == (1, 0, 2)
    assert margin == pytest.approx((0.9 + 0.8 + 0.5 - (0.9 + 0.1 + 0.0)) / 3)
    assert best_order(np.array([[0.3]])) == ((0,), 1.0)


def test_of_many_voices_the_best_order_is_the_same() -> None:
    """As if all orders were tried, which for seven voices still can be."""
    random = np.random.default_rng(0)
    for _ in range(5):
        scores = random.standard_normal((7, 7))
        sums = sorted((scores[np.arange(7), order].mean(), order) for order in permutations(range(7)))
        order, margin = best_order(scores)
        assert order == sums[-1][1]
        assert margin == pytest.approx(sums[-1][0] - sums[-2][0])
    order, _ = best_order(np.eye(20)[random.permutation(20)])
    assert sorted(order) == list(range(20))


def test_voices_in_a_known_order_never_change_sides() -> None:
    """One ends within the overlap and leaks into the other's next segment: by waveform they would be exchanged."""
    ann, bob = noise(2, 3500)
    ann[1900:], bob[:2000] = 0, 0
    first = np.stack([ann[:2000], bob[:2000]])
    second = np.stack([np.zeros(2000, dtype=np.float32), bob[1500:] + 0.1 * ann[1500:]])
    assert stitch([first, second], 500)[1].seams[0].order == (1, 0)
    stitcher = Stitcher(500, ordered=True)
    joined = np.concatenate([stitcher.push(first), stitcher.push(second), stitcher.finish()], axis=1)
    assert not joined[0, 2000:].any()
    np.testing.assert_array_equal(joined[1, 2000:], bob[2000:])


def test_a_description_is_of_the_loud_frames_and_not_of_their_number() -> None:
    signal = coloured(40 * FRAME)
    quiet = signal.copy()
    quiet[:, 20 * FRAME :] *= 1e-3
    whole, half = log_band_spectra(signal), log_band_spectra(quiet)
    assert np.isfinite(log_band_spectra(0 * signal)).all()
    assert not log_band_spectra(0 * signal).any()
    for one, other in zip(whole, half, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.99
    assert np.corrcoef(whole)[0, 1] < 0.9

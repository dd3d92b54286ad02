"""Separating long recordings piece by piece: the same voices, on the same tracks, in the same memory."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from septool import audio
from septool.audio import writing
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference.level import ArrayEstimator, make_estimator, on_arrays
from septool.inference.streaming import EstimateSettings, FileEstimate, Segmenter, WindowedEstimator, estimate_file
from septool.models.base import Separator, SeparatorConfig
from septool.signal.stitch import Seam
from tests.conftest import RATE

SIZE, OVERLAP = 2 * RATE, RATE // 2
CPU = torch.device("cpu")
TAPS = 65
INSIDE = slice(TAPS, -TAPS)  # where the filter sees no end of the recording
TURNS = [(1, 0), (0, 1), (1, 0), (0, 1), (1, 0)]  # what puts the outputs of calls 2 to 6 on the tracks of the first


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    pass


class Bands(Separator[Config]):
    """What lies below 1 kHz and what lies above, the two in the other order at every call."""

    taps: Tensor

    def __init__(self, *, restless: bool = True) -> None:
        super().__init__()
        self.config, self.restless, self.calls = Config(), restless, 0
        time = torch.arange(TAPS) - TAPS // 2
        taps = torch.sinc(time / 4) * torch.hann_window(TAPS + 2)[1:-1]
        self.register_buffer("taps", taps / taps.sum())

    def forward(self, mixture: Tensor) -> Tensor:
        low = F.conv1d(mixture[:, None], self.taps[None, None], padding=TAPS // 2)[:, 0]
        self.calls += 1
        bands = torch.stack((low, mixture - low), 1)
        return bands.flip(1) if self.restless and self.calls % 2 == 0 else bands


def two_bands(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A hum below 600 Hz and a hiss from 2 to 3 kHz, each with a loudness that moves: ``[source, time]``."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    voices = [
        sum(np.sin(2 * np.pi * f * time + random.uniform(0, 6)) for f in tones) for tones in ((170, 410), (2100, 2900))
    ]
    loudness = [1 + 0.5 * np.sin(2 * np.pi * f * time) for f in (0.7, 1.1)]
    return (0.1 * np.stack(voices) * np.stack(loudness)).astype(np.float32)


def blocks(signal: np.ndarray, size: int = 3001) -> Iterator[np.ndarray]:
    yield from (signal[start : start + size] for start in range(0, len(signal), size))


SETTINGS = EstimateSettings(voices=2, model_rate=RATE, segment=2, overlap=0.5)


def estimator(model: Separator | None = None) -> ArrayEstimator:
    return on_arrays(make_estimator(model or Bands()), CPU)


def windowed(model: Separator | None = None, size: int = SIZE) -> WindowedEstimator:
    return WindowedEstimator(estimator(model), size=size, overlap=OVERLAP)


def in_pieces(signal: np.ndarray, model: Separator | None = None) -> tuple[np.ndarray, list[Seam]]:
    windows = windowed(model)
    pieces = windows.run(block[None] for block in blocks(signal))
    return np.concatenate(list(pieces), axis=1), list(windows.seams)


def in_two(source: Path, outputs: list[Path]) -> FileEstimate:
    return estimate_file(source, outputs, estimator(), SETTINGS, joined=len(outputs) == 1)


def at_once(signal: np.ndarray) -> np.ndarray:
    return np.concatenate(list(windowed(size=len(signal)).run([signal[None]])), axis=1)


@pytest.mark.parametrize("seconds", [1.9, 2.0, 2.001, 3.5, 3.501, 9.3])
def test_in_pieces_is_what_it_is_at_once(seconds: float) -> None:
    signal = two_bands(seconds).sum(0)
    whole, (pieces, seams) = at_once(signal), in_pieces(signal)
    assert pieces.shape == whole.shape == (2, len(signal))
    assert len(seams) == max(0, -(-(len(signal) - SIZE) // (SIZE - OVERLAP)))
    np.testing.assert_allclose(pieces, whole, atol=2e-3)


def test_a_model_that_swaps_its_outputs_is_followed() -> None:
    pieces, seams = in_pieces(two_bands(9).sum(0))
    assert [seam.order for seam in seams] == TURNS
    assert [seam.at for seam in seams] == [n * (SIZE - OVERLAP) for n in range(1, 6)]
    assert {seam.by for seam in seams} == {"overlap"}
    np.testing.assert_allclose(pieces[:, INSIDE], two_bands(9)[:, INSIDE], atol=0.02)


def test_a_model_that_keeps_its_order_is_left_alone() -> None:
    pieces, seams = in_pieces(two_bands(9).sum(0), Bands(restless=False))
    assert {seam.order for seam in seams} == {(0, 1)}
    np.testing.assert_allclose(pieces[:, INSIDE], two_bands(9)[:, INSIDE], atol=0.02)


def test_where_the_overlap_is_silent_the_voice_decides() -> None:
    voices = two_bands(9)
    for n in range(1, 6):
        start = n * (SIZE - OVERLAP)
        voices[:, start - TAPS : start + OVERLAP + TAPS] = 0
    pieces, seams = in_pieces(voices.sum(0))
    assert [(seam.by, seam.order) for seam in seams] == [("voice", turn) for turn in TURNS]
    np.testing.assert_allclose(pieces, voices, atol=0.05)


def test_where_one_voice_rests_the_other_decides() -> None:
    voices = two_bands(9)
    for n in range(1, 6):
        start = n * (SIZE - OVERLAP)
        voices[n % 2, start - TAPS : start + OVERLAP + TAPS] = 0
    pieces, seams = in_pieces(voices.sum(0))
    assert [(seam.by, seam.order) for seam in seams] == [("overlap", turn) for turn in TURNS]
    np.testing.assert_allclose(pieces, voices, atol=0.05)


def test_levels_are_those_of_the_recording() -> None:
    signal = two_bands(9)
    signal[:, 4 * RATE :] *= 0.01  # the model itself gets every segment at one level
    pieces = in_pieces(signal.sum(0))[0]
    for part in (slice(TAPS, 4 * RATE - TAPS), slice(4 * RATE + TAPS, -TAPS)):
        np.testing.assert_allclose(pieces[:, part], signal[:, part], atol=0.1 * np.abs(signal[:, part]).max())


@pytest.mark.parametrize("voice", [0, 3])
def test_a_voice_that_the_model_does_not_return_is_refused(voice: int) -> None:
    with pytest.raises(UsageError, match=f"--voice is {voice}; the model returns voices 1 to 2"):
        replace(SETTINGS, voice=voice)


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 17, 18, 23, 24, 25, 100])
@pytest.mark.parametrize("block", [1, 7, 40])
def test_segments_cover_everything_and_share_the_overlap(total: int, block: int) -> None:
    signal = np.arange(total, dtype=np.float32)
    segmenter = Segmenter(10, 3)
    found = [segment for part in blocks(signal, block) for segment in segmenter.push(part)] + [segmenter.finish()]
    assert all(len(segment) == 10 for segment in found[:-1])
    assert len(found[-1]) > 3 or len(found) == 1
    joined = np.concatenate([found[0], *(segment[3:] for segment in found[1:])])
    np.testing.assert_array_equal(joined.ravel(), signal)  # of nothing there is [1, 0]
    for before, after in pairwise(found):
        np.testing.assert_array_equal(before[-3:], after[:3])


@pytest.mark.parametrize(("size", "overlap"), [(1, 1), (4, 5), (4, -1), (0, 0)])
def test_segments_that_would_never_end_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=f"segments of {size} samples cannot share {overlap}"):
        Segmenter(size, overlap)


def test_memory_does_not_grow_with_the_recording() -> None:
    piece = two_bands(0.5).sum(0)

    def peak(seconds: int) -> int:
        stream = (piece[None] for _ in range(2 * seconds))
        tracemalloc.start()
        for part in windowed().run(stream):
            assert part.shape[1] <= SIZE
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)  # what is made once
    assert peak(80) < 1.1 * peak(8)


def test_a_stream_without_samples_is_still_something() -> None:
    empty = [np.zeros((1, 0), dtype=np.float32)]  # what a resampler may give for a single sample
    parts = list(windowed().run(empty))
    assert np.concatenate(parts, axis=1).shape == (2, 1)


def file_of(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples.T, rate, subtype="FLOAT")
    return path


def test_progress_is_told_in_seconds_of_the_recording(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    source = file_of(tmp_path / "long.wav", np.zeros((1, 25 * 11025), np.float32), 11025)
    outputs = [tmp_path / "a.wav", tmp_path / "b.wav"]
    estimate_file(
        source,
        outputs,
        estimator(),
        SETTINGS,
        progress=lambda *seconds: told.append(seconds),
    )
    assert told[:3] == [(1.5, 25.0), (3.0, 25.0), (4.5, 25.0)]
    assert told == sorted(told)
    assert told[-1] == (25.0, 25.0)


def test_progress_is_told_while_channels_are_compared(tmp_path: Path) -> None:
    """That reads all of a recording; whoever asked can give up meanwhile."""
    told: list[tuple[float, float]] = []
    source = file_of(tmp_path / "stereo.wav", np.zeros((2, 100 * 8000), np.float32), 8000)  # of two blocks
    outputs = [tmp_path / "a.wav", tmp_path / "b.wav"]

    def follow(*seconds: float) -> None:
        told.append(seconds)  # type: ignore[arg-type]
        if len(told) == 2:
            raise SeptoolError("enough")

    with pytest.raises(SeptoolError, match="enough"):
        estimate_file(source, outputs, estimator(), SETTINGS, progress=follow)
    assert told == [(0.0, 100.0), (0.0, 100.0)]
    assert not any(path.exists() for path in outputs)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 192000])
@pytest.mark.parametrize("samples", [1, 2, 999, 44101])
def test_any_rate_and_length_come_back(tmp_path: Path, rate: int, samples: int) -> None:
    source = file_of(tmp_path / "x.wav", two_bands(samples / rate, rate).sum(0), rate)
    outputs = [tmp_path / "1.wav", tmp_path / "2.wav"]
    estimate = in_two(source, outputs)
    assert (estimate.info.rate, estimate.info.frames, estimate.clipped) == (rate, samples, 0)
    assert len(estimate.seams) == max(0, -(-(samples / rate - 2) // 1.5))
    for path in outputs:
        assert audio.audio_info(path) == audio.audio_info(source)


@pytest.mark.parametrize("rate", [11025, 44100, 48000])
def test_resampling_shifts_nothing(tmp_path: Path, rate: int) -> None:
    voices = two_bands(5, rate)
    source = file_of(tmp_path / "x.wav", voices.sum(0), rate)
    outputs = [tmp_path / "1.wav", tmp_path / "2.wav"]
    in_two(source, outputs)
    inside = slice(rate // 10, -rate // 10)
    for path, true in zip(outputs, voices, strict=True):
        np.testing.assert_allclose(audio.read_audio(path)[0][0, inside], true[inside], atol=0.02)


def test_one_file_with_a_channel_for_each_voice(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.wav", two_bands(1).sum(0), RATE)
    in_two(source, [tmp_path / "both.wav"])
    np.testing.assert_allclose(
        audio.read_audio(tmp_path / "both.wav")[0][:, INSIDE], two_bands(1)[:, INSIDE], atol=0.02
    )


def test_more_than_a_wav_can_hold_is_written_as_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WAV_LIMIT", 4 * RATE)
    for seconds, form in ((1, "WAV"), (2, "RF64")):
        source = file_of(tmp_path / "x.wav", two_bands(seconds).sum(0), RATE)
        outputs = [tmp_path / "1.wav", tmp_path / "2.wav"]
        in_two(source, outputs)
        with soundfile.SoundFile(outputs[0]) as file:
            assert (file.format, file.frames) == (form, seconds * RATE)


def test_a_lack_of_memory_names_the_remedy() -> None:
    class Greedy(Bands):
        def forward(self, mixture: Tensor) -> Tensor:
            return super().forward(torch.empty(2**60))

    with pytest.raises(SeptoolError, match="not enough memory for 16000 samples at once; use a smaller --segment"):
        in_pieces(two_bands(3).sum(0), Greedy())


def test_an_error_of_ours_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Bands):
        def forward(self, mixture: Tensor) -> Tensor:
            return super().forward(mixture[None])

    with pytest.raises(RuntimeError, match="conv1d"):
        in_pieces(two_bands(3).sum(0), Broken())


@pytest.mark.parametrize("planned", [1, 2, 6])
def test_a_recording_with_other_channels_than_its_files_were_named_for_fails(tmp_path: Path, planned: int) -> None:
    audio.write_audio(tmp_path / "x.wav", two_bands(0.5), RATE)
    outputs = [tmp_path / f"{number}.wav" for number in range(planned)]
    with pytest.raises(AudioError, match=r"x\.wav has 2 channels now"):
        estimate_file(tmp_path / "x.wav", outputs, estimator(), replace(SETTINGS, channel="each"))
    assert not any(path.exists() for path in outputs)

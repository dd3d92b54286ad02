"""Several windows at once: the same voices, as many as there is memory for, and half of them where it runs out."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from septool import audio, checkpoints
from septool.errors import SeptoolError
from septool.inference.accelerators import MOST, SHARE, WindowBatches, accelerator_of
from septool.inference.level import make_estimator, on_arrays
from septool.inference.live import EstimateStream
from septool.inference.streaming import EstimateSettings, WindowedEstimator, estimate_file
from tests.conftest import RATE

SIZE, OVERLAP = RATE // 2, RATE // 8
STEP = SIZE - OVERLAP


@dataclass
class Device:
    """A device that has room for so many windows besides the first, each of a megabyte."""

    room: float = MOST
    released: int = 0

    def watch(self) -> None:
        pass

    def taken(self) -> int:
        return 10**6

    def free(self) -> int:
        return round(self.room * 10**6 / SHARE) + 1

    def release(self) -> None:
        self.released += 1


@dataclass
class Halves:
    """An estimator of two equal voices; it notes what it is given, and runs out of memory above so many windows."""

    limit: int = 10**6
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        self.shapes.append(windows.shape)
        if len(windows) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.repeat(windows[:, None] / 2, 2, axis=1)


def recording(windows: float, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(0)
    return (0.1 * random.standard_normal((channels, OVERLAP + round(windows * STEP)))).astype(np.float32)


def run(estimate: Halves, samples: np.ndarray, device: Device | None) -> np.ndarray:
    windows = WindowedEstimator(estimate, SIZE, OVERLAP, accelerator=device)
    blocks = np.array_split(samples, 7, axis=1)
    return np.concatenate(list(windows.run(blocks)), axis=1)


@pytest.mark.parametrize("consistency", [False, True])
def test_windows_together_are_windows_one_by_one(consistency: bool, tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    estimate = on_arrays(make_estimator(model, consistency=consistency), torch.device("cpu"))
    samples = recording(9.3) * np.geomspace(1, 0.01, OVERLAP + round(9.3 * STEP), dtype=np.float32) + 0.05
    one, several = (WindowedEstimator(estimate, SIZE, OVERLAP, accelerator=device) for device in (None, Device(4)))
    found = [np.concatenate(list(windows.run([samples])), axis=1) for windows in (one, several)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    assert [seam.order for seam in several.seams] == [seam.order for seam in one.seams]


def test_a_processor_takes_one_window_at_a_time() -> None:
    assert accelerator_of(torch.device("cpu")) is None
    estimate = Halves()
    run(estimate, recording(6, channels=2), None)
    assert set(estimate.shapes) == {(1, SIZE)}


def test_the_first_window_says_how_many_fit() -> None:
    estimate = Halves()
    samples = recording(12)
    np.testing.assert_allclose(run(estimate, samples, Device(4)), np.repeat(samples / 2, 2, axis=0), atol=1e-6)
    assert estimate.shapes == [(1, SIZE), (4, SIZE), (4, SIZE), (3, SIZE)]


@pytest.mark.parametrize(("room", "size"), [(0.0, 1), (0.9, 1), (2.5, 2), (1000.0, MOST)])
def test_how_many_there_is_room_for(room: float, size: int) -> None:
    batches = WindowBatches(Halves(), Device(room))
    batches(np.zeros((1, SIZE), np.float32))
    assert batches.size == size


def test_the_last_window_is_alone_if_it_is_shorter() -> None:
    estimate = Halves()
    samples = recording(5.4)
    np.testing.assert_allclose(run(estimate, samples, Device(8)), np.repeat(samples / 2, 2, axis=0), atol=1e-6)
    assert estimate.shapes == [(1, SIZE), (4, SIZE), (1, OVERLAP + round(0.4 * STEP))]


def test_channels_of_one_window_go_together() -> None:
    estimate = Halves()
    samples = recording(5, channels=2)
    found = run(estimate, samples, Device(4))
    np.testing.assert_allclose(found, np.repeat(samples / 2, 2, axis=0), atol=1e-6)
    assert estimate.shapes == [(1, SIZE), (1, SIZE), (4, SIZE), (4, SIZE)]


def test_half_as_many_are_tried_when_memory_runs_out() -> None:
    estimate, device = Halves(limit=3), Device(8)
    samples = recording(14)
    np.testing.assert_allclose(run(estimate, samples, device), np.repeat(samples / 2, 2, axis=0), atol=1e-6)
    tried = [shape[0] for shape in estimate.shapes]
    assert tried == [1, 8, 4, 2, 2, 2, 2, 2, 2, 1]  # and never more again
    assert device.released == 2


def test_a_window_that_does_not_fit_names_the_remedy() -> None:
    device = Device(2)
    with pytest.raises(SeptoolError, match=f"not enough memory for {SIZE} samples at once; use a smaller --segment"):
        run(Halves(limit=0), recording(3), device)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def broken(windows: np.ndarray) -> np.ndarray:
        if len(windows) > 1:
            raise RuntimeError("shapes do not match")
        return windows[:, None]

    batches = WindowBatches(broken, Device(4))
    batches(np.zeros((1, SIZE), np.float32))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        batches(np.zeros((4, SIZE), np.float32))


def test_a_file_is_the_same_with_reading_and_writing_beside(tmp_path: Path) -> None:
    settings = EstimateSettings(voices=2, model_rate=RATE, segment=SIZE / RATE, overlap=OVERLAP / RATE)
    source = tmp_path / "long.wav"
    audio.write_audio(source, recording(40.5), RATE, "FLOAT")
    found = []
    for device in (None, Device(3)):
        told: list[tuple[float, float]] = []
        targets = [tmp_path / f"{device is None}-{number}.wav" for number in (1, 2)]
        estimate = estimate_file(
            source,
            targets,
            Halves(),
            settings,
            accelerator=device,
            progress=lambda done, total, told=told: told.append((done, total)),
        )
        assert estimate.levels is not None
        powers = [each.mean.tolist() for each in (estimate.levels.recording, estimate.levels.voices)]
        found.append((replace(estimate, levels=None), powers, [path.read_bytes() for path in targets]))
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == told[-1][1] == estimate.info.frames / RATE
    assert found[0] == found[1]


def test_a_recording_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    settings = EstimateSettings(voices=2, model_rate=RATE, segment=SIZE / RATE, overlap=OVERLAP / RATE)
    samples = recording(80)
    samples[:, -RATE] = np.nan
    audio.write_audio(tmp_path / "bad.wav", samples, RATE, "FLOAT")
    targets = [tmp_path / "1.wav", tmp_path / "2.wav"]
    with pytest.raises(SeptoolError, match="non-finite"):
        estimate_file(tmp_path / "bad.wav", targets, Halves(), settings, accelerator=Device())
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]


def test_a_stream_gives_each_window_at_once() -> None:
    estimate = Halves()
    stream = EstimateStream(estimate, voices=2, rate=RATE, model_rate=RATE, segment=SIZE / RATE, overlap=OVERLAP / RATE)
    samples = recording(4)[0]
    parts = [stream.push(block).shape[1] for block in np.split(samples[: SIZE + 3 * STEP], [SIZE + 1, SIZE + STEP + 1])]
    assert parts == [STEP, STEP, STEP]


@pytest.mark.device
def test_a_gpu_takes_several_windows(tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    samples = recording(20.3)
    found = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        windows = WindowedEstimator(
            on_arrays(make_estimator(model.to(device)), device), SIZE, OVERLAP, accelerator=accelerator_of(device)
        )
        found.append(np.concatenate(list(windows.run([samples])), axis=1))
        assert (windows._batches.size > 1) == (name == "cuda")
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)

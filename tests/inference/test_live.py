"""Recordings that are still arriving: what leaves before they end, and that it is what comes of them whole."""

import io
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio
from septool.audio.writing import check_piped, without_lengths
from septool.errors import AudioError, InterruptedBySignal, UsageError
from septool.inference.live import EstimateStream, StoppableInput, estimate_stream
from septool.inference.streaming import EstimateSettings, FileEstimate, estimate_file
from tests.inference.test_streaming import RATE, SETTINGS, estimator, two_bands

SEGMENT, OVERLAP = SETTINGS.segment, SETTINGS.overlap


def stream(rate: int = RATE) -> EstimateStream:
    return EstimateStream(estimator(), voices=2, rate=rate, model_rate=RATE, segment=SEGMENT, overlap=OVERLAP)


def cut(samples: np.ndarray, seed: int = 0) -> Iterator[np.ndarray]:
    """Cut ``[time]`` into blocks of any lengths, some of nothing."""
    random, start = np.random.default_rng(seed), 0
    while start < samples.shape[-1]:
        size = int(random.choice([0, 1, 37, 800, 9000]))
        yield samples[start : start + size]
        start += size


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
@pytest.mark.parametrize("seconds", [0.001, 1.9, 5.3])
def test_blocks_are_what_the_file_is(tmp_path: Path, rate: int, seconds: float) -> None:
    recording = two_bands(seconds, rate).sum(0)
    audio.write_audio(tmp_path / "x.wav", recording, rate, "FLOAT")
    outputs = [tmp_path / "1.wav", tmp_path / "2.wav"]
    estimate_file(tmp_path / "x.wav", outputs, estimator(), SETTINGS)
    live = stream(rate)
    parts = [*map(live.push, cut(recording)), live.finish()]
    assert all(part.dtype == np.float32 for part in parts)
    expected = np.concatenate([audio.read_audio(path)[0] for path in outputs])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-6)


def test_voices_leave_before_the_recording_ends() -> None:
    live, recording = stream(), two_bands(10).sum(0)
    late = []
    for start in range(0, len(recording), 400):
        live.push(recording[start : start + 400])
        late.append(live.received - live.returned)
    assert max(late) <= SEGMENT * RATE + 400
    assert min(late[round(SEGMENT * RATE / 400) + 1 :]) >= OVERLAP * RATE


def test_a_stream_that_is_finished_takes_no_more() -> None:
    live = stream()
    live.push(two_bands(0.1).sum(0))
    live.finish()
    for again in (live.finish, lambda: live.push(np.zeros(1, np.float32))):
        with pytest.raises(UsageError, match="finished"):
            again()
    with pytest.raises(AudioError, match="no samples"):
        stream().finish()
    with pytest.raises(UsageError, match="a block has the shape"):
        stream().push(np.zeros((2, 5), np.float32))
    with pytest.raises(UsageError, match="a block is int16; give floating-point samples between -1 and 1"):
        stream().push(np.zeros(160, np.int16))
    block = two_bands(3).sum(0).astype(np.float32)
    np.testing.assert_array_equal(stream().push(torch.from_numpy(block)), stream().push(block))
    with pytest.raises(AudioError, match="non-finite"):
        stream().push(np.full(5, np.nan, np.float32))


class Sink(io.BytesIO):
    """A reader of standard output that keeps nothing, but how much there was."""

    total = 0

    def write(self, content: object) -> int:
        self.total += len(bytes(content))  # type: ignore[call-overload]
        return len(bytes(content))  # type: ignore[call-overload]


class Pipe(io.RawIOBase):
    """Samples as they arrive, of 16 bits; ``arrived`` is told the seconds that there were before each part."""

    def __init__(self, samples: np.ndarray, arrived: Callable[[float], None] = lambda _: None) -> None:
        self.content, self.given, self.arrived = np.round(samples * 2**15).astype("<i2").tobytes(), 0, arrived

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.arrived(self.given / 2 / RATE)
        part = self.content[self.given : self.given + min(len(buffer), 1000)]
        buffer[: len(part)] = part
        self.given += len(part)
        return len(part)


RAW = EstimateSettings(voices=2, model_rate=RATE, segment=1, overlap=0.25, raw=audio.RawFormat("s16le", RATE, 1))


def through(pipe: Pipe, targets: list[Path], sink: Sink) -> FileEstimate:
    reader: Any = io.BufferedReader(pipe)
    return estimate_stream(reader, targets, estimator(), RAW, out=sink, suffix="s16le")


def test_a_slow_writer_sees_voices_before_it_has_written_everything() -> None:
    def arrived(seconds: float) -> None:
        late.append(seconds - sink.total / 4 / RATE)  # and no assertion: a library calls this

    late: list[float] = []
    sink = Sink()
    through(Pipe(two_bands(5).sum(0), arrived), [], sink)
    assert sink.total == 4 * 5 * RATE
    assert max(late) <= RAW.segment + 0.3  # and what is read at once
    assert min(late[20:-3]) >= RAW.overlap - 0.2


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("in_files", [False, True])
def test_ctrl_c_ends_the_recording_and_keeps_what_had_arrived(tmp_path: Path, in_files: bool) -> None:
    def arrived(seconds: float) -> None:
        if seconds > 3.3 and not pressed:
            pressed.append(seconds)
            signal.raise_signal(signal.SIGINT)

    pressed: list[float] = []
    before = signal.getsignal(signal.SIGINT)
    targets = [tmp_path / "1.wav", tmp_path / "2.wav"] if in_files else []
    pipe, sink = Pipe(two_bands(60).sum(0), arrived), Sink()
    assert str(through(pipe, targets, sink).interrupted) == "SIGINT"
    assert signal.getsignal(signal.SIGINT) is before
    assert 3.3 < pipe.given / 2 / RATE < 3.5
    if in_files:
        assert [audio.audio_info(path).frames for path in targets] == [pipe.given // 2] * 2
        assert sorted(tmp_path.iterdir()) == targets
    else:
        assert sink.total == 2 * pipe.given


def test_memory_does_not_grow_with_what_arrives() -> None:
    def peak(seconds: int) -> int:
        sink, pipe = Sink(), Pipe(np.zeros(seconds * RATE))
        tracemalloc.start()
        through(pipe, [], sink)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sink.total == 2 * 2 * seconds * RATE
        return most

    peak(2)  # what is made once
    assert peak(60) < 1.2 * peak(6)


def test_a_pipe_that_is_told_to_ends_after_what_has_arrived() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as writer:
        source = StoppableInput(pipe)
        writer.write(b"abcdef")
        assert source.read(2) == b"ab"
        source.stopped = InterruptedBySignal("SIGINT")
        assert source.read(3) == b"cde"
        writer.write(b"late")  # as one that never ends goes on
        assert source.read(10) == b"f"
        assert source.read(10) == b""  # though its writer has not closed it


@pytest.mark.parametrize("suffix", ["wav", "au", "flac", "ogg", "opus", "s16le", "s24be", "f32le", "mulaw"])
def test_what_is_written_to_a_pipe_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    voices = two_bands(2.5)
    out = io.BytesIO()
    with audio.PipeWriter(out, 2, RATE, RATE, "PCM_16", suffix) as writer:
        sizes = []
        for start in range(0, voices.shape[1], 4000):
            writer.write(voices[:, start : start + 4000])
            sizes.append(len(out.getvalue()))
        writer.write(np.zeros((2, 0), np.float32), last_frame=voices.shape[1])
    assert sizes[-1] > sizes[0]  # not all at the end
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(out.getvalue())
    raw = audio.RawFormat(suffix, RATE, 2) if suffix[-1] in "ew" else None
    with audio.open_audio(path, raw=raw) as file:
        found = file.read()
    assert found.shape == voices.shape
    if suffix in ("wav", "au", "flac", "s16le", "s24be", "f32le"):
        np.testing.assert_allclose(found, voices, atol=2**-15)
    else:
        assert np.corrcoef(found[0], voices[0])[0, 1] > 0.98


@pytest.mark.parametrize("suffix", ["caf", "aiff", "w64", "rf64"])
def test_what_has_to_be_gone_back_in_is_refused(suffix: str) -> None:
    with pytest.raises(UsageError, match=f"--format {suffix} cannot be written to a pipe as it is made; it can be"):
        audio.PipeWriter(io.BytesIO(), 2, RATE, RATE, "PCM_16", suffix)


def test_a_format_in_capitals_is_that_format() -> None:
    check_piped("WAV")


def test_lengths_that_nobody_knows_are_those_of_ffmpeg(tmp_path: Path) -> None:
    audio.write_audio(tmp_path / "x.wav", np.zeros(100), RATE, "FLOAT")
    content = (tmp_path / "x.wav").read_bytes()
    patched = without_lengths(content)
    assert len(patched) == len(content)
    data = content.index(b"data") + 4
    assert patched[4:8] == patched[data : data + 4] == b"\xff" * 4
    assert patched[data + 4 :] == content[data + 4 :]


@pytest.mark.parametrize(
    "text",
    ["s16le", "s16le:8000", "s16:8000:1", "s16le:0:1", "s16le:8000:0", "s16le:8k:1", "", f"s16le:{'8' * 5000}:1"],
    ids=lambda text: text[:12],
)
def test_what_is_no_raw_format_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it as ENCODING:RATE:CHANNELS, such as s16le:16000:1"):
        audio.RawFormat.parse(text)

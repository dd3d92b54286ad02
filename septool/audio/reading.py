"""Reading a recording: its properties, part of it, all of it, or block by block."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from septool.audio.file import BLOCK_SAMPLES, AudioFile, AudioInfo
from septool.audio.opening import open_audio
from septool.audio.resampling import StreamResampler, resample, to_mono
from septool.errors import AudioError
from septool.printable import count, printable


def is_pipe(path: Path) -> bool:
    """Return whether a path is a named pipe, which can be read only once."""
    with suppress(OSError):  # opening it reports the reason
        return path.is_fifo()
    return False


def refuse_pipe(path: Path) -> None:
    """Refuse a named pipe where a recording is read more than once.

    Raises:
        AudioError: it is one.
    """
    if is_pipe(path):
        raise AudioError(f"{printable(path)} is a pipe, which can be read only once; write it to a file first")


def audio_info(path: Path, *, decode: bool = False) -> AudioInfo:
    """Return the properties of a file. If its header is not reliable, all of it is decoded.

    Args:
        path: the file.
        decode: decode all of it in any case, to find damage within.

    Raises:
        AudioError: it cannot be read as audio.
    """
    refuse_pipe(path)
    with open_audio(path) as file:
        if decode or file.exact_frames is None:
            while file.read(BLOCK_SAMPLES // file.channels).size:
                pass
        return file.info()


def read_audio(
    path: Path, start: int = 0, frames: int = -1, *, track: int = 1, whole: bool = False
) -> tuple[np.ndarray, int]:
    """Read ``frames`` samples from ``start`` (all of them by default).

    Args:
        path: the file.
        start: first sample.
        frames: number of samples; -1 reads to the end.
        track: audio track, from 1, in containers with several.
        whole: when reading to the end, refuse a file that is truncated or has gaps.

    Returns:
        Samples ``[channel, time]`` and the rate in Hz.

    Raises:
        AudioError: the file cannot be decoded, has no samples, or ends before ``start + frames``.
    """
    with open_audio(path, track=track) as file:
        file.seek(start)
        if file.position < start or (file.exact_frames is not None and start > file.exact_frames):
            raise AudioError(f"{file.name} has {file.frames} samples, {start} are to be skipped")
        samples = file.read(frames)
        if frames and not file.position:
            raise file.empty()
        if frames >= 0 and samples.shape[1] < frames:
            raise AudioError(f"{file.name} has {file.position} samples, {start + frames} were asked for")
        partial = [finding for finding in file.findings if finding.is_partial]
        if whole and frames < 0 and partial:
            raise AudioError(partial[0].describe(file.name))
        return samples, file.rate


def load_audio(
    path: Path, rate: int, start: int = 0, frames: int = -1, *, track: int = 1, whole: bool = False
) -> np.ndarray:
    """Read a file as one channel ``[time]`` at ``rate`` Hz; the rest is as in :func:`read_audio`."""
    samples, file_rate = read_audio(path, start, frames, track=track, whole=whole)
    return resample(to_mono(samples), file_rate, rate)


class Reader:
    """A recording as one channel at ``rate`` Hz, block by block, in constant memory.

    Args:
        file: the recording.
        rate: Hz of the blocks.
        channel: channel to read, from 1; all are averaged by default.
        block_seconds: length of a block; with many channels they are shorter.
        each_channel: yield all channels, ``[channel, time]``, instead of one.
    """

    def __init__(
        self,
        file: AudioFile,
        rate: int,
        channel: int | None = None,
        block_seconds: float = 10.0,
        *,
        each_channel: bool = False,
    ) -> None:
        if channel is not None and channel > file.channels:
            raise AudioError(f"{file.name} has {count(file.channels, 'channel')}; there is no channel {channel}")
        self.file, self.rate, self.channel, self.each_channel = file, rate, channel, each_channel
        self.block = max(min(round(block_seconds * file.rate), BLOCK_SAMPLES // file.channels), 1)
        self.frames = 0  # samples read so far, at the file's rate

    def __iter__(self) -> Iterator[np.ndarray]:
        file_rate = self.file.rate
        resampler = StreamResampler(file_rate, self.rate, self.file.channels if self.each_channel else 1)
        while True:
            samples = self.file.read(self.block)
            self.frames += samples.shape[1]
            last = samples.shape[1] < self.block
            chosen = samples if self.each_channel else to_mono(samples, self.channel)[None]
            resampled = resampler.push(chosen, last=last)
            yield resampled if self.each_channel else resampled[0]
            if last:
                break
        if not self.frames:
            raise self.file.empty()

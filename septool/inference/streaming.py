"""Segment-wise inference on recordings of any length, rate and channel count, in constant memory.

A recording is read block by block at the model's rate and cut into overlapping segments; the model's estimates are
stitched together and written at the recording's own rate.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from septool import audio, workers
from septool.atomic import atomic_write_group
from septool.errors import AudioError, InterruptedBySignal, UsageError
from septool.inference.accelerators import Accelerator, WindowBatches
from septool.inference.background_io import read_ahead, write_behind
from septool.inference.channels import Channel, channel_number
from septool.inference.findings import Levels, loudest_if_cancelling
from septool.inference.level import ArrayEstimator, check_finite_estimate
from septool.signal.levels import to_db
from septool.signal.stitch import Seam, Stitcher

# Samples over full scale are kept, as floats; all voices are attenuated by one gain; or the samples are clipped.
Clip = Literal["none", "rescale", "clamp"]


@dataclass(frozen=True)
class FileEstimate:
    """The properties of a recording, known once its voices are written."""

    info: audio.AudioInfo
    clipped: int  # samples over full scale
    seams: tuple[Seam, ...]  # seams of a long recording
    levels: Levels | None = None  # levels of the recording and of its voices, where they were measured
    cancelling: int | None = None  # the loudest channel, used because the channels cancel each other
    gain_db: float = 0.0  # gain on all voices that keeps them within full scale
    interrupted: InterruptedBySignal | None = None  # signal that ended a live recording; its voices are complete


@dataclass(frozen=True, kw_only=True)
class EstimateSettings:
    """How the voices of recordings are estimated and written."""

    voices: int  # outputs of the model
    model_rate: int  # Hz
    segment: float  # length of a segment, s
    overlap: float  # overlap of neighboring segments, s
    channel: Channel = None  # from 1; mix and None average all channels, or use the loudest if they cancel
    track: int = 1  # audio track, in containers with several
    raw: audio.RawFormat | None = None  # format of headerless recordings
    voice: int | None = None  # the only voice that is written, from 1
    clip: Clip = "clamp"  # how samples over full scale are treated
    ordered: bool = False  # the model returns the same voice in the same place for every segment

    def __post_init__(self) -> None:
        """Refuse a voice that the model does not return."""
        if self.voice is not None and not 1 <= self.voice <= self.voices:
            raise UsageError(f"--voice is {self.voice}; the model returns voices 1 to {self.voices}")

    @property
    def channel_number(self) -> int | None:
        """The selected channel, or None if it is not a single one."""
        return channel_number(self.channel)

    def written(self, channels: int) -> int:
        """Return the number of voices written for a recording with a number of channels."""
        return (self.voices if self.voice is None else 1) * (channels if self.channel == "each" else 1)

    def written_subtype(self, file_subtype: str) -> str:
        """Return the sample format of the voices, given that of the recording."""
        return "FLOAT" if self.clip == "none" else voice_subtype(file_subtype)


def voice_subtype(file_subtype: str) -> str:
    """Return the sample format of voices, given that of the recording: the same, or the nearest that is written."""
    if file_subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        return file_subtype
    return "FLOAT" if file_subtype == "DOUBLE" else "PCM_16"


def check_segment(segment: float, overlap: float) -> None:
    """Refuse a segment and an overlap, in seconds, that do not go together."""
    if not 0 < 2 * overlap <= segment < math.inf:
        raise UsageError(f"overlap is {overlap:g} s; it has to be above 0 and at most half of segment ({segment:g} s)")


class Segmenter:
    """Cuts a stream of blocks ``[..., time]`` into segments of ``size`` that share ``overlap`` samples.

    The last segment may be shorter, but it is longer than the overlap unless it is the only one.

    Raises:
        UsageError: the overlap is not shorter than the segment.
    """

    def __init__(self, size: int, overlap: int) -> None:
        if not 0 <= overlap < size:
            raise UsageError(f"segments of {size} samples cannot share {overlap}; use a longer --segment")
        self.size, self.overlap = size, overlap
        self._blocks: list[np.ndarray] = []
        self._held = 0  # samples

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Append a block; yield the complete segments ``[..., size]``."""
        self._blocks.append(block)
        self._held += block.shape[-1]
        while self._held > self.size:
            joined = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, axis=-1)
            self._blocks = [joined[..., self.size - self.overlap :]]
            self._held -= self.size - self.overlap
            yield joined[..., : self.size]

    def finish(self) -> np.ndarray:
        """Return the last segment ``[..., time]``."""
        return np.concatenate(self._blocks, axis=-1) if self._blocks else np.zeros((1, 0), dtype=np.float32)


@dataclass
class WindowedEstimator:
    """The voices of a stream of blocks at the model's rate, estimated segment by segment.

    In total, :meth:`push` and :meth:`finish` yield as many samples as the stream has.

    Args:
        estimate: maps ``[batch, time]`` to ``[batch, voice, time]``; of one segment without an accelerator.
        size: length of a segment in samples.
        overlap: of neighboring segments in samples.
        accelerator: the device that computes, which batches segments; final samples then come a batch at a time.
        ordered: the model returns the voices in the same order for every segment.
    """

    estimate: ArrayEstimator
    size: int
    overlap: int
    accelerator: Accelerator | None = None
    ordered: bool = False
    stitchers: list[Stitcher] = field(default_factory=list)  # one per channel

    def __post_init__(self) -> None:
        self._segmenter = Segmenter(self.size, self.overlap)
        self._batches = WindowBatches(self.estimate, self.accelerator)
        self._waiting: list[np.ndarray] = []  # segments [channel, time] of one length

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Append a block ``[channel, time]`` of any length; yield final samples ``[channel * voice, time]``.

        Raises:
            SeptoolError: the model returned NaN or infinity, or there is not enough memory for a segment.
        """
        for segment in self._segmenter.push(block):
            self._waiting.append(segment)
            if len(self._waiting) * len(segment) >= self._batches.size:
                yield from self._estimated()

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the remaining samples, ``[channel * voice, time]``.

        Raises:
            SeptoolError: as for :meth:`push`.
        """
        rest = self._segmenter.finish()
        if not rest.shape[-1]:  # the resampler returned no samples, as for a file of one sample
            rest = np.zeros((*rest.shape[:-1], 1), dtype=np.float32)
        if rest.shape[-1] != self.size:
            yield from self._estimated()
        self._waiting.append(rest)
        yield from self._estimated()
        yield np.concatenate([stitcher.finish() for stitcher in self.stitchers])

    def run(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the voices ``[source, time]`` of all blocks ``[1, time]``."""
        for block in blocks:
            yield from self.push(block)
        yield from self.finish()

    @property
    def seams(self) -> tuple[Seam, ...]:
        """The seams between segments, channel after channel."""
        return tuple(seam for stitcher in self.stitchers for seam in stitcher.seams)

    def _estimated(self) -> Iterator[np.ndarray]:
        """Yield the samples that become final with each queued segment, ``[channel * voice, time]``."""
        if not self._waiting:
            return
        voices = self._batches(np.concatenate(self._waiting))  # [segment * channel, voice, time]
        check_finite_estimate(voices)
        channels = len(self._waiting[0])
        self._waiting = []
        self.stitchers = self.stitchers or [Stitcher(self.overlap, self.ordered) for _ in range(channels)]
        for first in range(0, len(voices), channels):
            yield np.concatenate(
                [stitcher.push(voices[first + index]) for index, stitcher in enumerate(self.stitchers)]
            )


def estimate_file(
    source: Path,
    targets: Sequence[Path],
    estimate: ArrayEstimator,
    settings: EstimateSettings,
    *,
    joined: bool = False,
    accelerator: Accelerator | None = None,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> FileEstimate:
    """Estimate the voices of one file.

    Args:
        source: the recording.
        targets: one file per voice that is written, or a single one if they are joined.
        estimate: maps ``[batch, time]`` at the model's rate to ``[batch, voice, time]``.
        settings: how.
        joined: one file has a channel per voice.
        accelerator: the device that computes, unless it is the CPU: segments are batched, and files are read and
            written in the background.
        progress: called with the seconds done and the seconds in total.

    Raises:
        AudioError: the recording cannot be read, has more or fewer channels than it had when its files were named, or a
            target cannot be written.
    """
    cancelling = None
    if settings.channel in (None, "mix"):
        cancelling = loudest_if_cancelling(source, track=settings.track, raw=settings.raw, progress=progress)
    with ExitStack() as stack:
        file = stack.enter_context(audio.open_audio(source, track=settings.track, raw=settings.raw))
        voices = settings.written(file.channels)
        if len(targets) != (1 if joined else voices):
            raise AudioError(f"{file.name} has {file.channels} channels now; it had another number a while ago")
        partials = stack.enter_context(atomic_write_group(targets))
        subtype = settings.written_subtype(file.subtype)
        twice = settings.clip == "rescale" and audio.nearest_subtype(targets[0], subtype) not in ("FLOAT", "DOUBLE")
        first, named = partials, targets[0]
        if twice:  # the gain is known only after the last sample
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-")))
            first = [folder / f"{number}.w64" for number in range(len(targets))]
            named = first[0]
        with audio.Writer(
            first, voices, settings.model_rate, file.rate, "FLOAT" if twice else subtype, named, expected=file.frames
        ) as writer:
            result = estimate_opened(
                file, writer, estimate, settings, cancelling=cancelling, accelerator=accelerator, progress=progress
            )
        if not twice:
            return result
        gain = 1 / max(writer.peak, 1.0)
        for source_path, partial, target in zip(first, partials, targets, strict=True):
            audio.transcode(source_path, partial, target, subtype, gain=gain)
        return replace(result, gain_db=to_db(gain))


def estimate_opened(
    file: audio.AudioFile,
    writer: audio.Writer,
    estimate: ArrayEstimator,
    settings: EstimateSettings,
    *,
    cancelling: int | None,
    accelerator: Accelerator | None = None,
    block_seconds: float = 10.0,
    progress: Callable[[float, float], None],
) -> FileEstimate:
    """Estimate the voices of a recording that is open, and write each part as soon as it is final.

    Args:
        file: the recording.
        writer: gets the voices.
        estimate: as for :func:`estimate_file`.
        settings: how.
        cancelling: the loudest channel, if the channels cancel each other.
        accelerator: as for :func:`estimate_file`; None for minimum latency.
        block_seconds: length of the blocks that are read.
        progress: as for :func:`estimate_file`.
    """
    rate, levels = settings.model_rate, Levels()
    each_channel = settings.channel == "each"
    reader = audio.Reader(file, rate, settings.channel_number or cancelling, block_seconds, each_channel=each_channel)
    windows = WindowedEstimator(
        estimate,
        round(settings.segment * rate),
        round(settings.overlap * rate),
        accelerator=accelerator,
        ordered=settings.ordered,
    )
    recording = levels.watch_recording(reader)
    final = 0  # samples of each voice, at the model's rate
    with ExitStack() as stack:
        write: Callable[[np.ndarray], None] = writer.write
        if accelerator is not None:
            write = stack.enter_context(write_behind(write))
            recording = stack.enter_context(read_ahead(recording))
        for block in windows.run(block if each_channel else block[None] for block in recording):
            chosen = block if settings.voice is None else block[settings.voice - 1 :: settings.voices]
            levels.voices.add(chosen)
            write(chosen)
            final += block.shape[-1]
            workers.check_stopping()
            progress(final / rate, file.frames / file.rate)
    writer.write(np.zeros((settings.written(file.channels), 0), dtype=np.float32), last_frame=reader.frames)
    progress(reader.frames / file.rate, file.frames / file.rate)
    return FileEstimate(file.info(), writer.clipped, windows.seams, levels, cancelling)

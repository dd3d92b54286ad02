"""Recordings of any length, rate and channel count through a model, in constant memory.

A recording is read block by block at the model's rate, cut into overlapping segments, and what the model returns for
them is stitched together and written at the recording's own rate.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from septool import audio, workers
from septool.device import enough_memory
from septool.errors import SeptoolError, UsageError
from septool.files import atomic_write_group
from septool.inference.findings import Peaks, loudest_if_cancelling
from septool.inference.level import Estimator
from septool.signal.stitch import Seam, Stitcher

# What the voices are written as, by the input's sample format; anything else becomes PCM_16.
SUBTYPES = {name: name for name in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")} | {"DOUBLE": "FLOAT"}


@dataclass(frozen=True)
class FileEstimate:
    """What a file was found to be while its voices were written."""

    info: audio.AudioInfo
    clipped: int  # samples that went over full scale
    seams: tuple[Seam, ...]  # of a long recording
    peaks: Peaks | None = None  # of the recording and of its voices, where they were watched
    cancelling: int | None = None  # the channel that was used because all together cancel each other


def check_segment(segment: float, overlap: float) -> None:
    """Refuse segments, in seconds, that cannot be joined."""
    if not 0 < 2 * overlap <= segment < math.inf:
        raise UsageError(f"overlap is {overlap:g} s; it has to be above 0 and at most half of segment ({segment:g} s)")


def segments(blocks: Iterable[np.ndarray], size: int, overlap: int) -> Iterator[np.ndarray]:
    """Cut a stream of blocks ``[time]`` into segments ``[size]`` that share ``overlap`` samples.

    The last one is as long as what is left, and never shorter than the overlap unless it is the only one.
    """
    if not 0 <= overlap < size:
        raise UsageError(f"segments of {size} samples cannot share {overlap}; use a longer --segment")
    buffer = np.zeros(0, dtype=np.float32)
    for block in blocks:
        buffer = np.concatenate((buffer, block))
        while len(buffer) > size:
            yield buffer[:size]
            buffer = buffer[size - overlap :]
    yield buffer


@torch.inference_mode()
def estimate_blocks(
    estimate: Estimator, blocks: Iterable[np.ndarray], stitcher: Stitcher, *, size: int, device: torch.device
) -> Iterator[np.ndarray]:
    """Estimate the voices of a stream of blocks ``[time]`` at the model's rate.

    Args:
        estimate: maps ``[1, time]`` to ``[1, voice, time]``.
        blocks: of any lengths.
        stitcher: joins the segments' voices.
        size: samples given to the model at once.
        device: where the model is.

    Yields:
        ``[voice, time]``, whose lengths add up to the stream's.

    Raises:
        SeptoolError: the model returned NaN or infinity, or there is not enough memory for a segment.
    """
    for segment in segments(blocks, size, stitcher.overlap):
        if not len(segment):  # the resampler gave nothing, as for a file of one sample
            segment = np.zeros(1, dtype=np.float32)
        mixture = torch.from_numpy(np.ascontiguousarray(segment))[None].to(device)
        with enough_memory(f"for {len(segment)} samples at once; use a smaller --segment"):
            voices = estimate(mixture)[0].cpu().numpy()
        if not np.isfinite(voices).all():
            raise SeptoolError("the model returned non-finite samples; are its weights damaged?")
        yield stitcher.push(voices)
    yield stitcher.finish()


def estimate_file(
    source: Path,
    targets: Sequence[Path],
    estimate: Estimator,
    *,
    voices: int,
    model_rate: int,
    device: torch.device,
    segment: float,
    overlap: float,
    channel: int | None = None,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> FileEstimate:
    """Estimate the voices of one file.

    Args:
        source: the recording.
        targets: one file per voice, or a single one with a channel per voice.
        estimate: maps ``[1, time]`` at ``model_rate`` to ``[1, voice, time]``.
        voices: how many.
        model_rate: Hz.
        device: where the model is.
        segment: seconds given to the model at once.
        overlap: seconds that two segments share.
        channel: the one to listen to, from 1; by default all are averaged, or, where they cancel each other, the
            loudest is used.
        progress: called with the seconds that are done, and with all of them.

    Raises:
        AudioError: the recording cannot be read, or a target not be written.
    """
    stitcher, peaks = Stitcher(overlap=round(overlap * model_rate)), Peaks()
    cancelling = loudest_if_cancelling(source) if channel is None else None
    with ExitStack() as stack:
        file = stack.enter_context(audio.open_audio(source))
        reader = audio.Reader(file, model_rate, channel or cancelling)
        partials = stack.enter_context(atomic_write_group(targets))
        subtype = SUBTYPES.get(file.subtype, "PCM_16")
        writer = stack.enter_context(
            audio.Writer(partials, voices, model_rate, file.rate, subtype, targets[0], expected=file.frames)
        )
        size = round(segment * model_rate)
        held: np.ndarray | None = None  # one block back, so that the last one is known as such
        blocks = estimate_blocks(estimate, peaks.watch_recording(reader), stitcher, size=size, device=device)
        for block in peaks.watch_voices(blocks):
            if held is not None:
                writer.write(held)
            held = block
            workers.check_stopping()
            progress(reader.frames / file.rate, file.frames / file.rate)
        assert held is not None
        writer.write(held, last_frame=reader.frames)
        info = file.info()
    return FileEstimate(info, writer.clipped, tuple(stitcher.seams), peaks, cancelling)

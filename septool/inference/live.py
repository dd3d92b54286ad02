"""Streaming inference on live recordings, in constant memory, without temporary files."""

import io
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from septool import audio
from septool.atomic import atomic_write_group
from septool.errors import AudioError, InterruptedBySignal, UsageError
from septool.inference.findings import ChannelPowers
from septool.inference.level import ArrayEstimator
from septool.inference.streaming import EstimateSettings, FileEstimate, WindowedEstimator, estimate_opened

if TYPE_CHECKING:  # torch may not be imported
    from _typeshed import WriteableBuffer
    from torch import Tensor

try:
    import fcntl
    import termios
except ImportError:  # Windows, where pipes are not polled
    fcntl = termios = None

POLL_S = 0.1  # interval at which signals are checked while no input arrives
BLOCK_S = 0.1  # length of the blocks that are read


class StoppableInput(io.RawIOBase):
    """A pipe that ends when its writer closes it or, after the bytes it holds by then, when it is stopped."""

    def __init__(self, pipe: BinaryIO) -> None:
        self.stopped: InterruptedBySignal | None = None
        self._pipe = pipe
        self._left: int | None = None  # bytes still to read after it was stopped, since its writer may never end
        try:
            self._number: int | None = pipe.fileno() if os.name != "nt" else None  # where select takes only sockets
        except OSError:  # a stream in memory
            self._number = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if self._number is None:
            part = b"" if self.stopped else getattr(self._pipe, "read1", self._pipe.read)(len(view))
        else:
            while not self.stopped and not select.select([self._number], [], [], POLL_S)[0]:
                pass
            if self.stopped and self._left is None:
                self._left = _waiting_bytes(self._number)
            part = os.read(self._number, len(view) if self._left is None else min(self._left, len(view)))
            if self._left is not None:
                self._left -= len(part)
        view[: len(part)] = part
        return len(part)


def _waiting_bytes(number: int) -> int:
    """Return the number of unread bytes in a pipe; 0 for anything else."""
    if fcntl is None or termios is None or not stat.S_ISFIFO(os.fstat(number).st_mode):
        return 0
    waiting = fcntl.ioctl(number, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder)


@contextmanager
def end_on_signal(pipe: StoppableInput) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end a pipe, since that is how live recordings end.

    Input that has arrived is still processed, and ``pipe.stopped`` names the signal. A second signal ends at once.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    # Only handlers that Python installed.
    before = {number: handler for number, handler in handlers.items() if handler is not None}

    def stop(number: int, _: FrameType | None) -> None:
        pipe.stopped = InterruptedBySignal(signal.Signals(number).name)
        for restored, handler in before.items():
            signal.signal(restored, handler)

    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe_latency(settings: EstimateSettings) -> str:
    """Return a one-line description of the latency of the voices."""
    hop = settings.segment - settings.overlap
    return (
        f"voices come up to {settings.segment:g} s (--segment) late and {settings.overlap:g} s (--overlap) at least, "
        f"{hop:g} s of them at a time, and as much later as the model computes for {settings.segment:g} s"
    )


def estimate_stream(
    pipe: BinaryIO,
    targets: Sequence[Path],
    estimate: ArrayEstimator,
    settings: EstimateSettings,
    *,
    out: BinaryIO,
    suffix: str,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> FileEstimate:
    """Estimate the voices of a recording while it arrives.

    Args:
        pipe: the recording.
        targets: one file per voice, complete when the recording ends; none if voices go to ``out``.
        estimate: maps ``[batch, time]`` at the model's rate to ``[batch, voice, time]``.
        settings: how.
        out: a pipe for the final samples of the voices, one channel each.
        suffix: format of ``out``.
        progress: called with the seconds done and the seconds that have arrived.

    Returns:
        The properties of the recording, and the signal that ended it, if one did; the voices of all input that had
        arrived by then are written.

    Raises:
        AudioError: the recording cannot be read, or a target not be written.
    """
    source = StoppableInput(pipe)
    with ExitStack() as stack:
        stack.enter_context(end_on_signal(source))
        buffered = cast(BinaryIO, io.BufferedReader(source))
        file = stack.enter_context(
            audio.open_audio(buffered, track=settings.track, raw=settings.raw, name="standard input")
        )
        cancelling = None
        if settings.channel in (None, "mix") and file.channels > 1:  # nothing is final before a whole segment
            powers = ChannelPowers()
            powers.add(file.peek(round(settings.segment * file.rate)))
            cancelling = powers.loudest_if_cancelling()
        subtype, voices = settings.written_subtype(file.subtype), settings.written(file.channels)
        if targets:
            partials = stack.enter_context(atomic_write_group(targets))
            writer = audio.Writer(
                partials, voices, settings.model_rate, file.rate, subtype, targets[0], expected=file.frames
            )
        else:
            writer = audio.PipeWriter(out, voices, settings.model_rate, file.rate, subtype, suffix)
        stack.enter_context(writer)
        result = estimate_opened(
            file, writer, estimate, settings, cancelling=cancelling, block_seconds=BLOCK_S, progress=progress
        )
    return replace(result, interrupted=source.stopped)


class EstimateStream:
    """Streaming estimation of the voices of a recording in memory that arrives block by block.

    The concatenated results of :meth:`push` and :meth:`finish` are the voices of the recording: as long as it is, and
    equal to those estimated from the whole recording.

    Args:
        estimate: maps ``[1, time]`` at ``model_rate`` to ``[1, voice, time]``.
        voices: number of voices.
        rate: of the recording in Hz.
        model_rate: of the model in Hz.
        segment: length of a segment in seconds.
        overlap: of neighboring segments in seconds.
    """

    def __init__(
        self,
        estimate: ArrayEstimator,
        *,
        voices: int,
        rate: int,
        model_rate: int,
        segment: float,
        overlap: float,
    ) -> None:
        self.voices, self.rate = voices, rate
        self.received, self.returned = 0, 0  # samples
        self._windows = WindowedEstimator(
            estimate, size=round(segment * model_rate), overlap=round(overlap * model_rate)
        )
        self._to_model = audio.StreamResampler(rate, model_rate, 1)
        self._from_model = audio.StreamResampler(model_rate, rate, voices)
        self._finished = False

    def push(self, block: "np.ndarray | Tensor") -> np.ndarray:
        """Take the next samples of the recording.

        Args:
            block: array or tensor ``[time]`` of floating-point samples between -1 and 1, of any length.

        Returns:
            Final samples of the voices, ``[voice, time]`` in float32; often none.

        Raises:
            AudioError: it holds non-finite samples.
            UsageError: the recording was finished, or the block has more than one channel or integers.
        """
        if self._finished:
            raise UsageError("this recording is finished; start another stream")
        samples = audio.as_samples(block, "a block")
        audio.check_finite(samples, "the recording")
        self.received += len(samples)
        mono = self._to_model.push(samples[None])
        return self._returned([self._from_model.push(part) for part in self._windows.push(mono)])

    def finish(self) -> np.ndarray:
        """End the recording; return the remaining samples of the voices, ``[voice, time]``."""
        if self._finished:
            raise UsageError("this recording is finished; start another stream")
        self._finished = True
        if not self.received:
            raise AudioError("the recording has no samples")
        rest = self._to_model.push(np.zeros((1, 0), dtype=np.float32), last=True)
        parts = [*self._windows.push(rest), *self._windows.finish()]
        nothing = np.zeros((self.voices, 0), dtype=np.float32)
        final = [self._from_model.push(part) for part in parts] + [self._from_model.push(nothing, last=True)]
        voices = np.concatenate(final, axis=1)[:, : self.received - self.returned]  # lengths may be off by one
        return self._returned([np.pad(voices, ((0, 0), (0, self.received - self.returned - voices.shape[1])))])

    def _returned(self, parts: list[np.ndarray]) -> np.ndarray:
        voices = np.concatenate(parts, axis=1) if parts else np.zeros((self.voices, 0), dtype=np.float32)
        self.returned += voices.shape[1]
        return voices

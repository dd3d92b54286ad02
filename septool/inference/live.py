"""Streaming inference on recordings that are still arriving, in constant memory, without temporary files."""

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
except ImportError:  # Windows, where no pipe is asked
    fcntl = termios = None

POLL_S = 0.1  # after which a signal is noticed while nothing arrives
BLOCK_S = 0.1  # read at once


class StoppableInput(io.RawIOBase):
    """A pipe that ends when its writer closes it, or, after what it holds by then, when it is told to."""

    def __init__(self, pipe: BinaryIO) -> None:
        self.stopped: InterruptedBySignal | None = None
        self._pipe = pipe
        self._left: int | None = None  # bytes that had arrived when it was stopped: its writer may go on for ever
        try:
            self._number: int | None = pipe.fileno() if os.name != "nt" else None  # select takes sockets alone there
        except OSError:  # memory that plays a pipe
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
    """Return how many bytes wait in an open pipe to be read; of a file, which has no such end, none."""
    if fcntl is None or termios is None or not stat.S_ISFIFO(os.fstat(number).st_mode):
        return 0
    waiting = fcntl.ioctl(number, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder)


@contextmanager
def end_on_signal(pipe: StoppableInput) -> Iterator[None]:
    """Take the first Ctrl-C or termination for the end of a pipe, which is how recording live ends.

    What has arrived is worked on to its end, and ``pipe.stopped`` says which it was. A second one ends at once.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main one's
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, _: FrameType | None) -> None:
        pipe.stopped = InterruptedBySignal(signal.Signals(number).name)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in numbers:
        if before[number] not in (signal.SIG_IGN, None):
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def describe_latency(settings: EstimateSettings) -> str:
    """Return one line about how late voices are behind a recording that is still arriving."""
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
        targets: one file per voice, complete when the recording is; none if they go to ``out``.
        estimate: maps ``[batch, time]`` at the model's rate to ``[batch, voice, time]``.
        settings: how.
        out: a pipe that gets the voices as soon as they are final, a channel each.
        suffix: its format.
        progress: called with the seconds that are done, and with all that have arrived.

    Returns:
        What it was found to be, and the signal by which the user ended it, if that is how it did: what had arrived by
        then is written.

    Raises:
        AudioError: it cannot be read, or what it is to be written to not be written.
    """
    source = StoppableInput(pipe)
    with ExitStack() as stack:
        stack.enter_context(end_on_signal(source))
        buffered = cast(BinaryIO, io.BufferedReader(source))
        file = stack.enter_context(
            audio.open_audio(buffered, track=settings.track, raw=settings.raw, name="standard input")
        )
        cancelling = None
        if settings.channel in (None, "mix") and file.channels > 1:  # nothing is final before a segment is there anyway
            powers = ChannelPowers(file.channels)
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
    """A recording in memory that arrives block by block, and its voices as soon as they are final.

    All samples that :meth:`push` and :meth:`finish` return are one after the other the voices of the recording, as
    long as it and the same as if it had been there at once.

    Args:
        estimate: maps ``[1, time]`` at ``model_rate`` to ``[1, voice, time]``.
        voices: how many.
        rate: of the recording, Hz.
        model_rate: Hz.
        segment: seconds given to the model at once.
        overlap: seconds that two segments share.
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
            What is final by now, ``[voice, time]`` in float32; often no samples.

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
        """Return the rest of the voices, ``[voice, time]``; the recording ends here."""
        if self._finished:
            raise UsageError("this recording is finished; start another stream")
        self._finished = True
        if not self.received:
            raise AudioError("the recording has no samples")
        rest = self._to_model.push(np.zeros((1, 0), dtype=np.float32), last=True)
        parts = [*self._windows.push(rest), *self._windows.finish()]
        nothing = np.zeros((self.voices, 0), dtype=np.float32)
        final = [self._from_model.push(part) for part in parts] + [self._from_model.push(nothing, last=True)]
        voices = np.concatenate(final, axis=1)[:, : self.received - self.returned]  # a total can be a sample off
        return self._returned([np.pad(voices, ((0, 0), (0, self.received - self.returned - voices.shape[1])))])

    def _returned(self, parts: list[np.ndarray]) -> np.ndarray:
        voices = np.concatenate(parts, axis=1) if parts else np.zeros((self.voices, 0), dtype=np.float32)
        self.returned += voices.shape[1]
        return voices

"""Writing audio: whole files or none, at any rate, block by block."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr

from septool.audio.formats import format_of, nearest_subtype
from septool.audio.sources import byte_name
from septool.errors import AudioError
from septool.files import atomic_write
from septool.printable import printable

WAV_LIMIT = 2**32 - 2**16  # bytes; a longer wav is written as RF64, its extension to 64 bits
PIECE = 2**16  # frames given to libsndfile at once; libvorbis keeps them on the stack, which millions overflow


def write_audio(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> None:
    """Write ``[channel, time]`` or ``[time]``; the file appears whole or not at all.

    Args:
        path: the suffix decides the format.
        samples: float samples; those beyond full scale are clipped where the subtype has integers.
        rate: Hz.
        subtype: libsndfile's name (``PCM_16``, ``FLOAT``) where the format has it.
    """
    voices = np.atleast_2d(samples)
    channels, frames = voices.shape
    with atomic_write(path) as partial, Writer([partial], channels, rate, rate, subtype, path, frames) as writer:
        writer.write(voices)


class Writer:
    """Several files of one channel, or one of several, written block by block at another rate.

    Args:
        paths: one per channel, or a single one that gets all channels.
        channels: how many.
        rate: Hz of the blocks.
        target: Hz of the files.
        subtype: libsndfile's name of the sample format; the nearest one that the format has is used.
        named: a path whose suffix decides the format.
        expected: frames that will be written, as far as known.
    """

    def __init__(
        self, paths: list[Path], channels: int, rate: int, target: int, subtype: str, named: Path, expected: int = 0
    ) -> None:
        self.target, self.written, self.clipped = target, 0, 0
        self._paths, self._files = paths, []
        kind, subtype = format_of(named), nearest_subtype(named, subtype)
        self._limit = float("inf") if subtype in ("FLOAT", "DOUBLE") else 1.0
        self._resampler = soxr.ResampleStream(rate, target, channels, dtype="float32") if rate != target else None
        width = 1 if len(paths) == channels else channels
        if kind == "WAV" and 4 * width * expected > WAV_LIMIT:
            kind = "RF64"
        try:
            for path in paths:
                self._files.append(
                    soundfile.SoundFile(byte_name(path), "w", target, width, subtype=subtype, format=kind)
                )
        except soundfile.LibsndfileError as error:
            self.abandon()
            reason = str(error.error_string).removeprefix("Error : ").rstrip(".")
            raise AudioError(f"{printable(named)} cannot be written at {target} Hz: {reason}") from None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def write(self, block: np.ndarray, *, last_frame: int | None = None) -> None:
        """Append ``[channel, time]``; with ``last_frame`` end the files at exactly that many samples."""
        samples = np.ascontiguousarray(block.T)
        if self._resampler:
            samples = self._resampler.resample_chunk(samples, last=last_frame is not None)
        if last_frame is not None:  # a resampler's total can be a sample off
            left = last_frame - self.written
            samples = np.pad(samples[:left], ((0, max(left - len(samples), 0)), (0, 0)))
        self.written += len(samples)
        self.clipped += int((np.abs(samples) > self._limit).sum())
        samples = np.clip(samples, -self._limit, self._limit)
        parts = [samples] if len(self._files) == 1 else [samples[:, i] for i in range(len(self._files))]
        for file, part, path in zip(self._files, parts, self._paths, strict=True):
            try:
                for start in range(0, len(part), PIECE):
                    file.write(part[start : start + PIECE])
            except (soundfile.LibsndfileError, AssertionError):  # soundfile asserts that all was written
                raise _full(path) from None

    def close(self) -> None:
        """Close all files and make sure that everything is in them."""
        for file, path in zip(self._files, self._paths, strict=True):
            whole = True
            try:
                file.close()
                # Some codecs say nothing of a full disk; that the last sample can be read says enough.
                if self.written:
                    with soundfile.SoundFile(byte_name(path)) as again:
                        again.seek(self.written - 1)
                        whole = len(again.read(2)) == 1
            except soundfile.LibsndfileError:
                whole = False
            if not whole:
                raise _full(path)

    def abandon(self) -> None:
        """Close all files, whatever is in them."""
        for file in self._files:
            with suppress(soundfile.LibsndfileError):
                file.close()


def _full(path: Path) -> AudioError:
    return AudioError(f"{printable(path.parent)} cannot be written to; is the disk full?")

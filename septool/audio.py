"""Decoding, resampling and writing audio: the only file that touches codecs.

Samples are float32 in [-1, 1], time last: ``[channel, time]`` for files, ``[time]`` for one voice.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from septool.errors import AudioError, UsageError
from septool.files import atomic_write

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf"})
FOREIGN = frozenset({".aac", ".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma"})  # not for libsndfile
WAV_LIMIT = 2**32 - 2**16  # bytes; a longer wav is written as RF64, its extension to 64 bits
PIECE = 2**16  # frames given to libsndfile at once; libvorbis keeps them on the stack, which millions overflow


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself; ``frames`` counts samples per channel."""

    rate: int
    frames: int
    channels: int
    subtype: str
    header_frames: int  # frames by the header; more than there are if the file was cut off


def audio_info(path: Path) -> AudioInfo:
    """Read a file's header."""
    with open_audio(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.subtype, header_frames(file))


def header_frames(file: soundfile.SoundFile) -> int:
    """Return the frames that the header promises; libsndfile itself counts those that are there."""
    found = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be ([1-9]\d*)\)$", file.extra_info, re.MULTILINE)
    if not found or int(found[1]) >= 2**31 - 2**16:  # what writers to a pipe put there
        return file.frames
    return file.frames * int(found[1]) // int(found[2])


class FoundAudio(NamedTuple):
    """What a folder and those below hold, each list sorted."""

    files: list[Path]  # recordings, by their suffixes
    left_out: list[Path]  # everything else that is not hidden


def find_audio_files(folder: Path) -> FoundAudio:
    """Search a folder and those below for recordings; links are followed.

    What is hidden, or in a hidden folder below, is other programs' own, such as the ._call.wav that macOS leaves
    beside call.wav.

    Raises:
        AudioError: a folder cannot be listed.
    """
    found = FoundAudio([], [])
    for path in sorted(_below(folder, frozenset())):
        found[path.suffix.lower() not in SUFFIXES].append(path)
    return found


def _below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        about = folder.stat()
        here = (about.st_dev, about.st_ino)
        if here in above:  # a link to a folder that it is in
            return
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise AudioError(f"{folder} cannot be listed: {error.strerror}") from None
    for entry in seen:
        if entry.is_dir():
            yield from _below(folder / entry.name, above | {here})
        elif entry.is_file():
            yield folder / entry.name


@contextmanager
def open_audio(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file for reading; what libsndfile says becomes one clear line."""
    try:
        about = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{path} does not exist") from None
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(about.st_mode):
        raise AudioError(f"{path} is a directory, not an audio file")
    if not stat.S_ISREG(about.st_mode):
        raise AudioError(f"{path} is not a regular file; give - and pipe it in")
    if not about.st_size:
        raise AudioError(f"{path} is empty")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path} cannot be read: no permission")
    try:
        file = soundfile.SoundFile(_name(path))
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).rstrip(".")
        if _shortened(path):
            raise AudioError(
                f"{path} is compressed with shorten, which nothing here reads; convert it with sph2pipe -f wav"
            ) from None
        raise AudioError(f"{path} cannot be read as audio ({reason}); is it a wav, flac, ogg, opus or mp3?") from None
    except TypeError:  # soundfile wants to be told the rate
        raise AudioError(f"{path} has no header that says what it is; convert it to wav") from None
    with file:
        if file.frames > 2**62:
            raise AudioError(f"{path} does not say how long it is (flac from a pipe?); convert it to wav")
        yield file


def _shortened(path: Path) -> bool:
    """Say whether it is a NIST SPHERE file as they lie on the LDC's discs; libsndfile reads the plain ones."""
    try:
        with path.open("rb") as file:
            header = file.read(1024)
    except OSError:
        return False
    return header.startswith(b"NIST_1A") and b"shorten" in header


def _name(path: Path) -> Any:
    """Return a file's name as bytes, since names need not be text; soundfile takes them without saying so."""
    return os.fsencode(path)


def read_audio(path: Path, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
    """Read ``frames`` samples from ``start`` (all of them by default).

    Returns:
        Samples ``[channel, time]`` and the rate in Hz.

    Raises:
        AudioError: the file cannot be decoded, or ends before ``start + frames``.
    """
    with open_audio(path) as file:
        try:
            if start > file.frames:
                raise AudioError(f"{path} has {file.frames} samples, {start} are to be skipped")
            file.seek(start)
            samples = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path} breaks off while decoding: {error.error_string}") from None
        if frames >= 0 and len(samples) < frames:
            raise AudioError(f"{path} has {start + len(samples)} samples, {start + frames} were asked for")
        return samples.T, file.samplerate


def check_finite(samples: np.ndarray, name: object) -> None:
    """Refuse the samples of a recording of which one is not finite."""
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds samples that are not numbers (NaN or infinite)")


def to_mono(samples: np.ndarray, channel: int | None = None) -> np.ndarray:
    """Average the channels of ``[channel, time]``, or take one of them, counted from 1."""
    if channel is not None:
        return np.ascontiguousarray(samples[channel - 1])
    return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)


def resample(samples: np.ndarray, rate: float, target: float) -> np.ndarray:
    """Resample ``[time]`` (or ``[channel, time]``) with soxr's high-quality filter."""
    if rate == target:
        return samples
    return soxr.resample(samples.T, rate, target, quality="HQ").T


def load_audio(path: Path, rate: int, start: int = 0, frames: int = -1) -> np.ndarray:
    """Read a file as one channel at ``rate`` Hz; ``start`` and ``frames`` count samples of the file."""
    samples, own = read_audio(path, start, frames)
    return resample(to_mono(samples), own, rate)


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


def format_of(path: Path) -> str:
    """Return libsndfile's format name for a path's suffix."""
    suffix = path.suffix.lower()
    if not suffix:
        raise UsageError(f"{path} names no format; give a file name that ends in .wav, say")
    if suffix not in SUFFIXES:
        raise UsageError(f"{path} has the suffix {suffix!r}; audio can be written as {', '.join(sorted(SUFFIXES))}")
    return {".opus": "OGG", ".aif": "AIFF"}.get(suffix, suffix[1:].upper())


def nearest_subtype(path: Path, wanted: str) -> str:
    """Return ``wanted`` if the format of ``path`` has it, else what loses least."""
    if path.suffix.lower() == ".opus":
        return "OPUS"
    kind = format_of(path)
    if soundfile.check_format(kind, wanted):
        return wanted
    return "PCM_24" if soundfile.check_format(kind, "PCM_24") else str(soundfile.default_subtype(kind))


class Reader:
    """A file as one channel at ``rate`` Hz, block by block, in constant memory."""

    def __init__(
        self,
        file: soundfile.SoundFile,
        path: Path,
        rate: int,
        channel: int | None = None,  # from 1; all are averaged by default
        block_seconds: float = 10.0,
    ) -> None:
        if channel is not None and channel > file.channels:
            raise AudioError(f"{path} has {file.channels} channel(s); there is no channel {channel}")
        self.file, self.path, self.rate, self.channel = file, path, rate, channel
        self.block = max(round(block_seconds * file.samplerate), 1)
        self.frames = 0  # samples read so far, at the file's rate

    def __iter__(self) -> Iterator[np.ndarray]:
        own = self.file.samplerate
        resampler = soxr.ResampleStream(own, self.rate, 1, dtype="float32") if own != self.rate else None
        while True:
            try:
                samples = self.file.read(self.block, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{self.path} breaks off while decoding: {error.error_string}") from None
            self.frames += len(samples)
            check_finite(samples, self.path)
            last = len(samples) < self.block
            voice = to_mono(samples.T, self.channel)
            yield resampler.resample_chunk(voice, last=last) if resampler else voice
            if last:
                break
        if not self.frames:
            raise AudioError(f"{self.path} has no samples")


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
        each = 1 if len(paths) == channels else channels
        if kind == "WAV" and 4 * each * expected > WAV_LIMIT:
            kind = "RF64"
        try:
            for path in paths:
                self._files.append(soundfile.SoundFile(_name(path), "w", target, each, subtype=subtype, format=kind))
        except soundfile.LibsndfileError as error:
            self.abandon()
            reason = str(error.error_string).removeprefix("Error : ").rstrip(".")
            raise AudioError(f"{named} cannot be written at {target} Hz: {reason}") from None

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
                    with open_audio(path) as again:
                        again.seek(self.written - 1)
                        whole = len(again.read(2)) == 1
            except (soundfile.LibsndfileError, AudioError):
                whole = False
            if not whole:
                raise _full(path)

    def abandon(self) -> None:
        """Close all files, whatever is in them."""
        for file in self._files:
            with suppress(soundfile.LibsndfileError):
                file.close()


def _full(path: Path) -> AudioError:
    return AudioError(f"{path.parent} cannot be written to; is the disk full?")

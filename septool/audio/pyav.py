"""Decoding of any container, including video, by FFmpeg through PyAV, if installed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from septool.audio.decoders import TOLERANCE_S, compared
from septool.audio.findings import Finding, FindingKind
from septool.audio.sources import ByteSource
from septool.errors import AudioError, UsageError
from septool.printable import count

if TYPE_CHECKING:
    from av.audio import AudioFrame, AudioStream
    from av.audio.resampler import AudioResampler
    from av.packet import Packet

SCALES = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "s64": 2.0**-63}
FRUITLESS = 1000  # consecutive packets without samples, after which decoding stops
CODEC_NAMES = {"pcm_s16le": "PCM_16", "pcm_s24le": "PCM_24", "pcm_s32le": "PCM_32", "pcm_f32le": "FLOAT"}


class _File:
    """A source as a file object for PyAV; FFmpeg never gets file names, some of which it would take for URLs."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0
        self.error: AudioError | None = None
        if source.size is not None:
            self.seek, self.tell = self._seek, self._tell

    def read(self, count: int) -> bytes:
        try:
            part = self._source.read_available(count)
        except AudioError as error:
            self.error, part = error, b""
        self._position += len(part)
        return part

    def _seek(self, offset: int, whence: int = 0) -> int:
        assert self._source.size is not None
        self._position = {0: 0, 1: self._position, 2: self._source.size}[whence] + offset
        self._source.seek(self._position)
        return self._position

    def _tell(self) -> int:
        return self._position


class AvDecoder:
    """Decoder of an audio track.

    Args:
        source: the file or stream.
        track: audio track, from 1.

    Raises:
        AudioError: FFmpeg does not support the format either, or the container has no audio.
        UsageError: there is no such track.
    """

    def __init__(self, source: ByteSource, track: int) -> None:
        import av
        import av.error
        import av.logging

        av.logging.set_level(None)  # FFmpeg's log is disabled; errors are detected here
        self._errors = (av.error.FFmpegError, EOFError, OSError, ValueError)
        source.seek(0)
        self._source, self._file = source, _File(source)
        self.findings: list[Finding] = []
        try:
            container = av.open(
                self._file,
                mode="r",
                metadata_errors="replace",
                container_options={"protocol_whitelist": "none"},  # playlists must not fetch anything
            )
        except self._errors as error:
            if self._file.error:
                raise self._file.error from None
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioError(f"{source.name} cannot be read as audio ({reason})") from None
        self._container = container
        try:
            tracks = container.streams.audio
            if not tracks:
                raise AudioError(f"{source.name} holds no sound")
            if track > len(tracks):
                raise UsageError(f"{source.name} has {count(len(tracks), 'track')} of sound; there is no track {track}")
            self._stream = tracks[track - 1]
            if self._stream.codec_context is None:
                raise AudioError(f"{source.name} holds sound of a kind that FFmpeg does not know")
            self._lost, self._gaps, self._first_gap = 0, 0, 0
            self._frames = 0
            self._blocks = self._decode()
            self._ahead = next(self._blocks, None)
            if self._ahead is None:
                late = source.size is None and "mp4" in container.format.name
                advice = "; its index may lie at its end: save it as a file" if late else ""
                raise AudioError(f"{source.name} has no samples{advice}")
        except BaseException:
            container.close()
            raise
        self.rate: int
        self.channels: int
        codec: str = self._stream.codec_context.name
        self.subtype: str = str(CODEC_NAMES.get(codec, codec.upper()))
        self.header_frames: int | None = self._announced()
        self.expected = self.header_frames or 0

    def _announced(self) -> int | None:
        """Return the announced samples of this track; None if the container has no length per track."""
        stream, container = self._stream, self._container
        if "mp3" in container.format.name or container.format.name in ("aac", "amr", "ac3", "eac3", "dts"):
            return None  # only an estimate from the bit rate
        if stream.duration and stream.time_base:
            return round(stream.duration * stream.time_base * self.rate)
        if container.duration and all(stream.type == "audio" for stream in container.streams):
            return round(container.duration * self.rate / 1_000_000)
        return None

    def _packets(self) -> Iterator["Packet[AudioStream]"]:
        fruitless = 0
        while fruitless < FRUITLESS:
            try:
                for packet in self._container.demux(self._stream):
                    fruitless = 0
                    yield packet
                return
            except self._errors as error:
                if self._file.error:
                    raise self._file.error from None
                if isinstance(error, EOFError):
                    return
                self._gap(0)
                fruitless += 1

    def _gap(self, size: int) -> None:
        if not self._gaps:
            self._first_gap = self._decoded
        self._gaps += 1
        self._lost += size

    _decoded = 0

    def _decode(self) -> Iterator[np.ndarray]:
        """Yield samples ``[time, channel]`` until the last packet."""
        resampler: AudioResampler | None = None
        first = form = ("", "", "")
        fruitless, primed = 0, self._priming()
        for packet in self._packets():
            try:
                frames = packet.decode()
            except self._errors:
                fruitless += 1
                self._gap(packet.size)
                if fruitless > FRUITLESS:
                    return
                continue
            for frame in frames:
                fruitless = 0
                frame_format = (str(frame.sample_rate), frame.layout.name, frame.format.name)
                if not form[0]:
                    self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
                    first = form = frame_format
                if frame_format != form:  # the format may change within a track; the first one is kept
                    yield from self._flush(resampler)
                    resampler, form = self._resampler(first) if frame_format != first else None, frame_format
                for part in resampler.resample(frame) if resampler else [frame]:
                    samples = _samples(part, self.channels)[primed:]
                    primed -= min(primed, part.samples)
                    self._decoded += len(samples)
                    if len(samples):
                        yield samples
        yield from self._flush(resampler)

    def _priming(self) -> int:
        """Return the encoder delay in samples that FFmpeg does not remove.

        Opus is decoded at 48 kHz, and its delay is in samples at that rate (RFC 7845); in Matroska, FFmpeg 8 takes it
        for one at the input rate of the encoder.
        """
        codec = self._stream.codec_context
        head = codec.extradata or b""
        if codec.name not in ("opus", "libopus") or "matroska" not in self._container.format.name or len(head) < 12:
            return 0
        return max(int.from_bytes(head[10:12], "little") - codec.delay, 0)

    def _resampler(self, first: tuple[str, str, str]) -> "AudioResampler":
        from av.audio.resampler import AudioResampler

        rate, layout, kind = first
        return AudioResampler(format=kind, layout=layout, rate=int(rate))

    def _flush(self, resampler: "AudioResampler | None") -> Iterator[np.ndarray]:
        for part in resampler.resample(None) if resampler else []:
            if part.samples:
                samples = _samples(part, self.channels)
                self._decoded += len(samples)
                yield samples

    def read(self, frames: int) -> np.ndarray:
        """Return up to ``frames`` samples of each channel, ``[time, channel]``."""
        parts: list[np.ndarray] = []
        left = frames
        while left and self._ahead is not None:
            part, rest = self._ahead[:left], self._ahead[left:]
            parts.append(part)
            left -= len(part)
            self._frames += len(part)
            self._ahead = rest if len(rest) else next(self._blocks, None)
        if self._ahead is None:
            found = [Finding(FindingKind.GAP, self.rate, self._first_gap, None, self._lost, self._gaps)]
            tolerance = TOLERANCE_S * self.rate + 2048  # plus a frame of most codecs
            self.findings = found[: bool(self._gaps)] + compared(self.rate, self._frames, self.header_frames, tolerance)
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), dtype=np.float32)

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - it is only read forwards
        return False

    def close(self) -> None:
        self._blocks.close()  # pyright: ignore[reportAttributeAccessIssue]
        with suppress(*self._errors):
            self._container.close()


def _samples(frame: "AudioFrame", channels: int) -> np.ndarray:
    """Return a frame as ``[time, channel]`` in float32."""
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    scale = SCALES.get(frame.format.name.removesuffix("p"))
    if scale is None:
        return samples.astype(np.float32)
    offset = 128 if samples.dtype == np.uint8 else 0
    return ((samples.astype(np.float64) - offset) * scale).astype(np.float32)

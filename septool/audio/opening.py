"""Choosing the decoder of a recording by its first bytes, then by its name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import soundfile

from septool.audio import flac, mpeg, ogg, plain_headers
from septool.audio.decoders import words_of
from septool.audio.file import AudioFile
from septool.audio.formats import AV_HINT, FOREIGN, HEADERLESS, has_av
from septool.audio.forward import Feed, ForwardDecoder
from septool.audio.plain import NotPlainError, PlainDecoder
from septool.audio.raw import RawDecoder, RawFormat
from septool.audio.seeking import NotSeekingError, open_seeking
from septool.audio.sources import ByteSource, FileSource, StreamSource, open_source
from septool.errors import AudioError, UsageError
from septool.limits import HIGHEST_RATE, LOWEST_RATE
from septool.printable import printable

# Containers whose contents could be mistaken for MPEG audio after leading garbage.
MPEG_ELSEWHERE = (b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"\0\0\1", b"G", b"FLV", b"\x30\x26\xb2\x75", b".RMF", b"FORM")


@contextmanager
def open_audio(
    recording: Path | BinaryIO, *, track: int = 1, raw: RawFormat | None = None, name: str | None = None
) -> Iterator[AudioFile]:
    """Open a recording: a file of any format, a named pipe, or a stream such as standard input.

    Args:
        recording: a path, or a binary stream, which need not be seekable.
        track: audio track, from 1, in containers with several.
        raw: format of a headerless recording.
        name: of a stream, for messages.

    Raises:
        AudioError: it cannot be read as audio.
        UsageError: it has no such track.
    """
    if track < 1:
        raise UsageError(f"track is {track}; tracks are counted from 1")
    if isinstance(recording, Path):
        source = open_source(recording)
    else:
        source = StreamSource(recording, name or printable(getattr(recording, "name", "the stream")))
    try:
        suffix = Path(source.name).suffix.lower()
        file = _decoded(source, track, suffix, raw)
        if isinstance(source, FileSource):
            file.reopen_by(lambda: _decoded(source, track, suffix, raw))
        if not LOWEST_RATE <= file.rate <= HIGHEST_RATE:
            file.close()
            raise AudioError(
                f"{source.name} says that its rate is {file.rate} Hz; "
                f"recordings of {LOWEST_RATE} Hz to 1 MHz can be worked with"
            )
    except BaseException:
        source.close()
        raise
    try:
        yield file
    finally:
        file.close()


def _decoded(source: ByteSource, track: int, suffix: str, raw: RawFormat | None = None) -> AudioFile:
    if not source.peek(0, 1):
        raise AudioError(f"{source.name} is empty")
    if raw is not None:
        return _raw(source, raw)
    if track == 1:
        file = _plain(source) or _flac(source) or _ogg(source) or _mpeg(source)
        if file:
            return file
    data, reason = plain_headers.locate_samples(source), ""
    if track == 1 and source.size is not None:
        try:
            decoder = open_seeking(source, data)
            return AudioFile(source, decoder, lambda: decoder.expected)
        except NotSeekingError as error:
            reason = str(error)
    if source.peek(0, 1024)[:7] == b"NIST_1A" and b"shorten" in source.peek(0, 1024):
        raise AudioError(
            f"{source.name} is compressed with shorten, which nothing here reads; convert it with sph2pipe -f wav"
        )
    if has_av() and suffix not in HEADERLESS:  # FFmpeg would guess a format from headerless samples
        from septool.audio.pyav import AvDecoder

        try:
            return AudioFile(source, AvDecoder(source, track), lambda: None)
        except AudioError:
            if track > 1 or suffix in FOREIGN or not reason:
                raise  # otherwise libsndfile's reason is more informative for its own formats
    if track > 1:
        raise AudioError(f"{source.name}: to choose track {track} takes PyAV: pip install 'septool[av]'")
    if not has_av() and (suffix in FOREIGN or source.peek(4, 4) == b"ftyp" or source.peek(0, 4) == b"\x1aE\xdf\xa3"):
        raise AudioError(f"{source.name}: {AV_HINT}")
    if source.size is None and data:
        raise AudioError(f"{source.name} holds samples of a kind that cannot be read from a pipe; save it as a file")
    if suffix in HEADERLESS:
        raise AudioError(f"{source.name} has no header that says what it is; say it with --raw, such as s16le:8000:1")
    text = f" ({reason})" if reason else ""
    raise AudioError(f"{source.name} cannot be read as audio{text}; septool doctor lists the formats that can be read")


def _raw(source: ByteSource, form: RawFormat) -> AudioFile:
    decoder = RawDecoder(source, form)
    return AudioFile(source, decoder, lambda: decoder.expected if source.size is not None else None)


def _plain(source: ByteSource) -> AudioFile | None:
    data = plain_headers.locate_samples(source)
    if data is None:
        return None
    try:
        decoder = PlainDecoder(source, data)
    except NotPlainError:
        return None
    return AudioFile(source, decoder, lambda: decoder.expected if source.size is not None else None)


def _forward(source: ByteSource, feed: Feed, *, expected: int = 0) -> ForwardDecoder:
    """Decode compressed audio sequentially; ``expected`` samples per channel, if they were counted."""
    try:
        return ForwardDecoder(source.name, feed, expected=expected)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{source.name} cannot be read as audio ({words_of(error)}); is it damaged?") from None


def _flac(source: ByteSource) -> AudioFile | None:
    start = flac.flac_start(source)
    if start is None:
        return None
    decoder = _forward(source, flac.FlacFeed(source, start))

    def exact() -> int | None:
        return decoder.header_frames if source.size is not None and flac.is_confirmed(source, start) else None

    return AudioFile(source, decoder, exact)


def _ogg(source: ByteSource) -> AudioFile | None:
    if ogg.first_codec(source) is None:
        return None
    decoder = _forward(source, ogg.OggFeed(source))

    def exact() -> int | None:
        if not isinstance(source, FileSource):
            return None
        with closing(source.again()) as other:
            walk = ogg.OggFeed(other)
            parts = walk.count_parts()
        if parts != 1 or walk.gaps or not walk.has_end:
            return None
        try:
            found = open_seeking(source)
        except NotSeekingError:
            return None
        found.close()
        return found.expected if found.expected < 2**62 else None

    return AudioFile(source, decoder, exact)


def _mpeg(source: ByteSource) -> AudioFile | None:
    start = mpeg.first_frame(source)
    head = source.peek(0, 12)
    if start is None or (start and head[:3] != b"ID3" and (head.startswith(MPEG_ELSEWHERE) or head[4:8] == b"ftyp")):
        return None
    length = None
    if isinstance(source, FileSource):
        with closing(source.again()) as other:
            walk = mpeg.MpegFeed(other, start)
            counted = walk.count()
        if walk.ends_as_announced and walk.has_end and not walk.gaps:
            length = counted
    decoder = _forward(source, mpeg.MpegFeed(source, start), expected=length or 0)
    return AudioFile(source, decoder, lambda: length)

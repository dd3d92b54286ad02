"""Decoding, resampling and writing audio: the only package that touches codecs.

Samples are float32 in [-1, 1], time last: ``[channel, time]`` for files, ``[time]`` for one voice.
"""

from septool.audio.file import AudioFile, AudioInfo
from septool.audio.findings import Finding, FindingKind
from septool.audio.folders import FoundAudio, describe_left_out, find_audio_files
from septool.audio.formats import (
    FOREIGN,
    RAW_SUFFIXES,
    SUFFIXES,
    WRITTEN,
    format_of,
    has_float,
    nearest_subtype,
    readable_suffixes,
)
from septool.audio.opening import open_audio
from septool.audio.raw import RawFormat
from septool.audio.reading import Reader, audio_info, is_pipe, load_audio, read_audio, refuse_pipe
from septool.audio.resampling import StreamResampler, as_samples, check_finite, resample, to_mono
from septool.audio.writing import PipeWriter, Writer, check_piped, encode_audio, transcode, write_audio

__all__ = [
    "FOREIGN",
    "RAW_SUFFIXES",
    "SUFFIXES",
    "WRITTEN",
    "AudioFile",
    "AudioInfo",
    "Finding",
    "FindingKind",
    "FoundAudio",
    "PipeWriter",
    "RawFormat",
    "Reader",
    "StreamResampler",
    "Writer",
    "as_samples",
    "audio_info",
    "check_finite",
    "check_piped",
    "describe_left_out",
    "encode_audio",
    "find_audio_files",
    "format_of",
    "has_float",
    "is_pipe",
    "load_audio",
    "nearest_subtype",
    "open_audio",
    "read_audio",
    "readable_suffixes",
    "refuse_pipe",
    "resample",
    "to_mono",
    "transcode",
    "write_audio",
]

"""Audio formats: suffixes that can be written, suffixes and decoders for reading, and sample formats of each."""

import importlib.util
from functools import cache
from pathlib import Path

import soundfile

from septool.audio.raw import ENCODINGS
from septool.errors import UsageError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf"})
WRITTEN = (*sorted(SUFFIXES), *(f".{encoding}" for encoding in ENCODINGS))  # the latter have no header
# Read by libsndfile, not written here.
READ_ONLY = frozenset(
    {".aifc", ".avr", ".bw64", ".bwf", ".ircam", ".mp1", ".mp2", ".mpga", ".nist", ".oga", ".paf", ".pvf", ".sds"}
    | {".sf", ".snd", ".sph", ".svx", ".voc", ".wav49", ".wave", ".wv1", ".wv2", ".wve", ".xi"}
)
# Read by FFmpeg's libraries, which the package av brings.
FOREIGN = frozenset(
    {".3g2", ".3gp", ".aac", ".ac3", ".adts", ".amr", ".ape", ".asf", ".avi", ".dts", ".eac3", ".f4v", ".flv"}
    | {".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpeg", ".mpg", ".mts", ".ogv"}
    | {".ra", ".rm", ".spx", ".ts", ".tta", ".vob", ".webm", ".wma", ".wmv", ".wv"}
)
HEADERLESS = frozenset({".al", ".gsm", ".pcm", ".raw", ".s16", ".sln", ".ul", ".vox"})  # headerless samples
# Those that --raw can describe; it has no encoding for .gsm and .vox.
RAW_SUFFIXES = HEADERLESS - {".gsm", ".vox"} | {f".{encoding}" for encoding in ENCODINGS}
# Formats that can be written to a pipe; others seek back to write their lengths.
PIPED = frozenset({".wav", ".au", ".flac", ".ogg", ".opus", ".mp3"} | {f".{encoding}" for encoding in ENCODINGS})
AV_HINT = "reading it takes PyAV: pip install 'septool[av]'"


@cache
def has_av() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of all readable formats."""
    return SUFFIXES | READ_ONLY | (FOREIGN if has_av() else frozenset())


def format_of(path: Path) -> str:
    """Return libsndfile's format name for the suffix of a path to write."""
    suffix = path.suffix.lower()
    if not suffix:
        raise UsageError(f"{path} names no format; give a file name that ends in .wav, say")
    if suffix[1:] in ENCODINGS:
        return "RAW"
    if suffix not in SUFFIXES:
        raise UsageError(f"{path} has the suffix {suffix!r}; audio can be written as {', '.join(WRITTEN)}")
    return {".opus": "OGG", ".aif": "AIFF"}.get(suffix, suffix[1:].upper())


def has_float(path: Path) -> bool:
    """Return whether the format of a path to write can have samples beyond full scale."""
    return nearest_subtype(path, "FLOAT") in ("FLOAT", "DOUBLE")


def nearest_subtype(path: Path, wanted: str) -> str:
    """Return ``wanted`` if the format of ``path`` supports it, else the subtype that loses least."""
    if path.suffix.lower() == ".opus":
        return "OPUS"
    if path.suffix.lower()[1:] in ENCODINGS:
        return ENCODINGS[path.suffix.lower()[1:]][0]
    kind = format_of(path)
    if soundfile.check_format(kind, wanted):
        return wanted
    return "PCM_24" if soundfile.check_format(kind, "PCM_24") else str(soundfile.default_subtype(kind))

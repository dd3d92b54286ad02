"""File formats for speaker turns (RTTM, JSON, Audacity, WebVTT)."""

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from septool.atomic import atomic_write
from septool.errors import ManifestError
from septool.files import read_text
from septool.signal.turns import Turn, find_overlaps, merge_turns


def rttm_field(text: str) -> str:
    """Return a name as it stands in an RTTM file: blanks, which separate the fields, become underscores."""
    return "_".join(text.split())


def to_rttm(turns: Sequence[Turn], recording: str) -> str:
    """Write turns as NIST's Rich Transcription Time Marked lines, as dscore, pyannote and meeteval read them.

    Args:
        turns: who speaks when.
        recording: file identifier.
    """
    name = rttm_field(recording) or "recording"
    return "".join(
        f"SPEAKER {name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {rttm_field(turn.speaker)} "
        "<NA> <NA>\n"
        for turn in turns
    )


def read_rttm(path: Path) -> dict[str, list[Turn]]:
    """Read the turns of every recording of an RTTM file, by its identifier.

    Raises:
        ManifestError: naming the file, the line and what is wrong with it.
    """
    try:
        lines = read_text(path).split("\n")  # not splitlines: a name may hold U+2028 and its like
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is not an RTTM file: it is not text") from None
    turns: dict[str, list[Turn]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":  # comments and records of other types
            continue
        try:
            start, duration = float(fields[3]), float(fields[4])
            if not (0 <= start < float("inf") and 0 <= duration < float("inf")):
                raise ValueError
            turns.setdefault(fields[1], []).append(Turn(start, start + duration, fields[7]))
        except (IndexError, ValueError):
            raise ManifestError(
                f"{path}, line {number}: {line[:60]!r} is no turn; one reads: SPEAKER FILE 1 START SECONDS "
                "<NA> <NA> NAME <NA> <NA>"
            ) from None
    return {recording: merge_turns(of_recording) for recording, of_recording in turns.items()}


def to_json(turns: Sequence[Turn], recording: str) -> str:
    """Write turns and overlaps as one JSON object."""
    content = {
        "recording": recording,
        "speakers": sorted({turn.speaker for turn in turns}),
        "turns": [rounded(turn) for turn in turns],
        "overlaps": [{"start": round(turn.start, 3), "end": round(turn.end, 3)} for turn in find_overlaps(turns)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def rounded(turn: Turn) -> dict[str, object]:
    """Return a turn as it stands in JSON, in milliseconds."""
    return {"start": round(turn.start, 3), "end": round(turn.end, 3), "speaker": turn.speaker}


def to_audacity(turns: Sequence[Turn], recording: str) -> str:  # noqa: ARG001 - same signature as the others
    """Write turns as a label track of Audacity: start, end and text a line, overlaps marked."""
    marked = sorted([*turns, *find_overlaps(turns)])
    return "".join(f"{turn.start:.6f}\t{turn.end:.6f}\t{turn.speaker}\n" for turn in marked)


def to_webvtt(turns: Sequence[Turn], recording: str) -> str:  # noqa: ARG001 - same signature as the others
    """Write turns as WebVTT cues without words: a voice tag a turn."""
    cues = ["WEBVTT\n"]
    for turn in turns:
        name = html.escape(turn.speaker, quote=False)
        cues.append(f"{_clock(turn.start)} --> {_clock(turn.end)}\n<v {name}>{name}</v>\n")
    return "\n".join(cues)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


# What ``--activity`` takes, with the suffix that tells it.
FORMATS: dict[str, tuple[str, Callable[[Sequence[Turn], str], str]]] = {
    "rttm": (".rttm", to_rttm),
    "json": (".json", to_json),
    "audacity": (".txt", to_audacity),
    "webvtt": (".vtt", to_webvtt),
}


def activity_path(folder: Path, recording: str, name: str) -> Path:
    """Return the file in a folder that says who speaks when in a recording, in a format of :data:`FORMATS`."""
    return folder / f"{recording}{FORMATS[name][0]}"  # not with_suffix, which would cut off what follows a dot


def write_activity(path: Path, format: str, turns: Sequence[Turn]) -> str:
    """Write turns to a file, which has the recording's name, in a format of :data:`FORMATS`; return what is in it."""
    text = FORMATS[format][1](turns, path.stem)
    with atomic_write(path) as partial_path:
        partial_path.write_text(text, encoding="utf-8", errors="replace")  # names of files need not be text
    return text

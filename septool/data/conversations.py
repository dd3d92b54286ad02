"""Conversation manifests: JSON lines of timed segments, rendered to a mixture and one track per speaker.

A row says of every segment who speaks it, where it is cut from and where in the conversation it starts; between
the segments there is silence. Paths are relative to the manifest's own folder.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from septool import audio
from septool.config import JsonDict, field_values
from septool.data.manifest import check_cut, check_level, check_row, dump_row, read_rows
from septool.signal.levels import from_db
from septool.signal.turns import Turn, merge_turns

LONGEST_S = 86400.0  # a day


@dataclass(frozen=True, kw_only=True)
class ConversationSegment:
    """Somebody speaking: ``frames`` samples of a file from ``start`` on, at the file's own rate."""

    speaker: str
    path: str
    at: float  # s in the conversation
    start: int = 0
    frames: int = -1  # -1: to the end
    gain_db: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.at < float("inf"):
            raise ValueError(f"{self.path} is at {self.at} s; a segment starts at 0 s or later")
        check_cut(self.path, self.start, self.frames)
        check_level(f"{self.path} has the gain", self.gain_db)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row: a recording of ``seconds`` in which segments of several speakers stand at their places."""

    id: str
    sample_rate: int
    seconds: float
    segments: tuple[ConversationSegment, ...]
    speakers: tuple[str, ...] = ()  # in the order of the tracks; by default in that of their first words
    split: str = ""
    root: Path = field(default=Path(), compare=False)  # where relative paths start; not in the file

    def __post_init__(self) -> None:
        check_row(self.id, self.sample_rate)
        if not self.segments:
            raise ValueError("segments is empty")
        last = max(segment.at for segment in self.segments)
        if not last < self.seconds <= LONGEST_S:
            raise ValueError(
                f"seconds is {self.seconds}; the last segment starts at {last} s, and a day has {LONGEST_S}"
            )
        present = dict.fromkeys(segment.speaker for segment in sorted(self.segments, key=lambda segment: segment.at))
        if not self.speakers:
            object.__setattr__(self, "speakers", tuple(present))
        elif sorted(self.speakers) != sorted(present):
            raise ValueError(f"speakers are {', '.join(self.speakers)}; the segments are of {', '.join(present)}")

    def locate(self, path: str) -> Path:
        """Return the file that a path of this row means."""
        return self.root / PurePosixPath(path)

    def recordings(self) -> list[Path]:
        """Return the files of all that the row is made of."""
        return [self.locate(segment.path) for segment in self.segments]


class RenderedConversation(NamedTuple):
    """A conversation as samples."""

    mixture: np.ndarray  # [time]
    sources: np.ndarray  # [speaker, time]
    turns: list[Turn]  # who speaks when; pauses within a segment belong to it


def holds_conversations(path: Path) -> bool:
    """Return whether a manifest's first row is a conversation's; what cannot be read is for its reader to say."""
    try:
        if not path.is_file():  # what is read here is gone from a pipe
            return False
        with path.open(encoding="utf-8-sig") as file:
            row = json.loads(next((line for line in file if line.strip()), "{}"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "segments" in row


def read_conversations(path: Path) -> list[Conversation]:
    """Read a manifest of conversations, sorted by id.

    Raises:
        ManifestError: naming the file, the line and what is wrong with it.
    """
    return sorted(read_rows(path, Conversation), key=lambda row: row.id)


def dump_conversations(rows: list[Conversation]) -> str:
    """Return a manifest's text, rows sorted by id."""
    return "".join(dump_row(conversation_to_dict(row)) for row in sorted(rows, key=lambda row: row.id))


def conversation_to_dict(row: Conversation) -> JsonDict:
    """Return a row as it stands in the file."""
    values = {key: value for key, value in field_values(row).items() if key not in ("root", "segments")}
    return values | {"segments": [field_values(segment) for segment in row.segments]}


def render_conversation(row: Conversation, rate: int | None = None) -> RenderedConversation:
    """Render a row: every segment is cut, resampled, scaled and put in its place; what goes beyond the end is cut.

    Args:
        row: the manifest row.
        rate: Hz to render at instead of the row's own rate.
    """
    rate = rate or row.sample_rate
    frames = round(row.seconds * rate)
    sources = np.zeros((len(row.speakers), frames), dtype=np.float32)
    turns: list[Turn] = []
    for segment in row.segments:
        path = row.locate(segment.path)
        voice = audio.load_audio(path, rate, segment.start, segment.frames, whole=True)
        start = round(segment.at * rate)
        voice = voice[: frames - start] * np.float32(from_db(segment.gain_db))
        sources[row.speakers.index(segment.speaker), start : start + len(voice)] += voice
        turns.append(Turn(start / rate, (start + len(voice)) / rate, segment.speaker))
    return RenderedConversation(sources.sum(axis=0, dtype=np.float32), sources, merge_turns(turns))

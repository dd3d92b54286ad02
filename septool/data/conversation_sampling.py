"""Sampling conversations from single utterances: turn order, pauses and overlaps.

The styles are the conditions of LibriCSS (Chen et al., "Continuous speech separation: dataset and analysis", ICASSP
2020): no overlap with short or long pauses, and 10 to 40 % of the speech overlapped. As there, at most two people speak
at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from septool import audio
from septool.data.conversations import Conversation, ConversationSegment
from septool.data.manifest import MOST_DB, Mixture
from septool.errors import UsageError
from septool.signal.levels import EMPTY_DB, power_of, power_to_db

LEVEL_DB = -26.0  # RMS level of an utterance
SPEAKER_DB = 4.0  # a person is at most so much louder or quieter than that
LONGEST_S = 12.0  # longest utterance; longer ones are cut
OVERLAP_SHARES = 0.2, 0.8  # share of the shorter of two utterances that overlaps
MOST_SILENT = 100  # excerpts of a conversation that have nobody in them, in place of which others are drawn
BETWEEN_S = 0.1  # from the end of one person's words to that person's next, or a third person's


class Style(NamedTuple):
    """How people take turns."""

    overlap: float  # share of the time with speech in which two people speak
    pause: tuple[float, float]  # s between two turns that do not overlap


STYLES = {
    "0S": Style(0.0, (0.1, 0.5)),
    "0L": Style(0.0, (2.9, 3.0)),
    **{f"OV{percent}": Style(percent / 100, (0.1, 0.5)) for percent in (10, 20, 30, 40)},
}


@dataclass(frozen=True)
class Utterance:
    """A recording of one person, or a part of one."""

    path: Path
    rate: int  # Hz
    start: int  # sample
    frames: int


def list_utterances(rows: Sequence[Mixture]) -> dict[str, list[Utterance]]:
    """Return the utterances of each speaker of a manifest of single voices.

    Raises:
        UsageError: a row has several voices, or one of nobody.
    """
    found: dict[str, list[Utterance]] = {}
    for row in rows:
        source = row.sources[0]
        if len(row.sources) != 1 or not source.speaker:
            raise UsageError(f"row {row.id} is no utterance of one speaker; septool prepare folder lists those")
        path = row.locate(source.path)
        info = audio.audio_info(path)
        frames = info.frames - source.start if source.frames < 0 else source.frames
        found.setdefault(source.speaker, []).append(Utterance(path, info.rate, source.start, frames))
    return found


def sample_conversation(
    pool: dict[str, list[Utterance]],
    style: Style,
    *,
    id: str,
    people: int,
    seconds: float,
    sample_rate: int,
    random: np.random.Generator,
) -> Conversation:
    """Sample one conversation.

    Args:
        pool: the utterances of each speaker.
        style: how people take turns.
        id: of the conversation.
        people: that take part.
        seconds: that it lasts at least; it ends with the utterance that is running then.
        sample_rate: Hz of the recording.
        random: decides everything.

    Raises:
        UsageError: the pool has fewer speakers, or hardly anything but silence.
    """
    if people > len(pool):
        raise UsageError(f"{people} people in a conversation, but there are {len(pool)} speakers")
    names = [str(name) for name in random.choice(sorted(pool), people, replace=False)]
    gains = dict(zip(names, random.uniform(-SPEAKER_DB, SPEAKER_DB, people), strict=True))
    unused: dict[str, list[Utterance]] = {name: [] for name in names}
    segments: list[ConversationSegment] = []
    ends = dict.fromkeys(names, 0.0)  # end of each speaker's last utterance; 0 before the first
    end, length, previous = 0.0, 0.0, ""  # the last utterance's
    spoken, overlapped, silent_excerpts = 0.0, 0.0, 0
    while end < seconds or not all(ends.values()):
        silent = [name for name in names if not ends[name]]
        # Towards the end those are called.
        others = silent if silent and end > seconds * (1 - len(silent) / (2 * people)) else names
        speaker = str(random.choice([name for name in others if name != previous] or [names[0]]))
        if not unused[speaker]:
            unused[speaker] = [pool[speaker][n] for n in random.permutation(len(pool[speaker]))]
        utterance = unused[speaker].pop()
        frames = min(utterance.frames, round(LONGEST_S * utterance.rate))
        start = utterance.start + int(random.integers(utterance.frames - frames + 1))
        duration = frames / utterance.rate
        at = end + random.uniform(*style.pause) if segments else random.uniform(0.2, 1.0)
        if segments and spoken and overlapped < style.overlap * spoken:
            at = end - random.uniform(*OVERLAP_SHARES) * min(length, duration)
            # At most two at once, and nobody over themselves.
            rest = [ends[name] for name in names if name != previous]
            at = max(at, max(rest, default=0.0) + BETWEEN_S, ends[speaker] + BETWEEN_S)
        voice = audio.to_mono(audio.read_audio(utterance.path, start, frames)[0])  # as it is rendered
        level_db = float(power_to_db(float(power_of(voice, None))))
        if level_db < EMPTY_DB:
            silent_excerpts += 1
            if silent_excerpts > MOST_SILENT:
                raise UsageError(f"nearly everything that was drawn of {', '.join(names)} is silent")
            continue
        segments.append(
            ConversationSegment(
                speaker=speaker,
                path=str(utterance.path),
                at=round(at, 3),
                start=start,
                frames=frames,
                gain_db=round(max(LEVEL_DB + gains[speaker] - level_db, -MOST_DB), 3),
            )
        )
        shared = max(min(end, at + duration) - at, 0.0)
        overlapped, spoken = overlapped + shared, spoken + duration - shared
        ends[speaker] = at + duration
        if at + duration > end:
            end, length, previous = at + duration, duration, speaker
    return Conversation(id=id, sample_rate=sample_rate, seconds=round(end + 0.5, 3), segments=tuple(segments))

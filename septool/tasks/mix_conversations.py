"""Writing conversations to files, sampled from utterances or rendered from a manifest."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from septool import audio
from septool.atomic import atomic_write_group
from septool.conversation.speaker_count import parse_count
from septool.data.conversation_sampling import STYLES, list_utterances, sample_conversation
from septool.data.conversations import (
    LONGEST_S,
    Conversation,
    conversation_to_dict,
    dump_conversations,
    read_conversations,
    render_conversation,
)
from septool.data.manifest import file_stem, manifest_path, read_manifest
from septool.data.turns import to_rttm
from septool.errors import SeptoolError, UsageError
from septool.signal.levels import to_db
from septool.tasks.mix import SCALED_PEAK, headroom
from septool.tasks.rendering import RenderedRow, Rendering, RowKind, check_rendering, render_rows

LAST_WORDS_S = 60.0  # more than a conversation goes on for until what is said has been said


@dataclass(frozen=True)
class RenderedConversations:
    """Conversations that were written."""

    manifest: str
    files: tuple[str, ...]  # the recordings
    failed: tuple[str, ...]  # a line for each that could not be
    scaled_db: dict[str, float]  # by id: gain on all of it that kept its peak below full scale


def sample_conversations(
    source: Path,
    style: str,
    *,
    out: Path,
    count: int = 10,
    speakers: str = "2-4",
    seconds: float = 120.0,
    sample_rate: int | None = None,
    seed: int = 0,
    subtype: str = "PCM_16",
    force: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    report: Callable[[int, int], None] = lambda *_: None,
) -> RenderedConversations:
    """Sample conversations from utterances, and write them as :func:`render_conversations` does.

    Args:
        source: manifest of utterances of one speaker each, as ``septool prepare folder`` writes it.
        style: how people take turns, one of :data:`septool.data.conversation_sampling.STYLES`.
        out: folder of the files.
        count: conversations.
        speakers: people in each, ``N`` or ``N-M``.
        seconds: that each lasts at least.
        sample_rate: Hz; by default the highest of the first utterances of the speakers.
        seed: another one draws others; the same draws the same, however many.
        subtype: PCM_16 or FLOAT.
        force: replace files that are there.
        jobs: processes; any number writes the same files.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers take their place.
        report: called with the number done, of how many.

    Raises:
        UsageError: an unknown style, fewer speakers than are asked for, or rows that are no utterances.
    """
    check_rendering(source, out, subtype)
    if style not in STYLES:
        raise UsageError(f"--conversation is {style!r}; it can be {', '.join(STYLES)}")
    if not 0 < seconds <= LONGEST_S - LAST_WORDS_S:
        raise UsageError(f"--seconds is {seconds}; a conversation is at most {LONGEST_S - LAST_WORDS_S:g} s long")
    if count < 1:
        raise UsageError(f"--count is {count}; it has to be at least 1")
    people = parse_count(speakers)
    if speakers == "auto":
        raise UsageError("--speakers is 'auto'; say how many people are to talk, such as 3 or 2-5")
    pool = list_utterances(read_manifest(source))
    rate = sample_rate or max(utterances[0].rate for utterances in pool.values())
    rows = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        rows.append(
            sample_conversation(
                pool,
                STYLES[style],
                id=f"{style.lower()}-{number:04}",
                people=int(random.integers(people.least, people.most + 1)),
                seconds=seconds,
                sample_rate=rate,
                random=random,
            )
        )
    return _write(rows, source, Rendering(out, None, subtype, force, jobs, cluster, report))


def render_conversations(
    source: Path,
    *,
    out: Path,
    sample_rate: int | None = None,
    subtype: str = "PCM_16",
    force: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    report: Callable[[int, int], None] = lambda *_: None,
) -> RenderedConversations:
    """Write every row of a manifest of conversations as ``{id}.wav``, ``{id}_s1.wav``, ... and ``{id}.rttm``.

    Rows that are there already are left as they are, so a stopped run resumes; what is there of
    another row, rate or subtype is refused.

    The sources add up to the recording; what would go over full scale is scaled down with them, but in FLOAT, which
    has room for it. A manifest beside the files has the same rows, with paths from there and the gains of the files.

    Args:
        source: the manifest.
        out: folder of the files.
        sample_rate: Hz instead of each row's own.
        subtype: PCM_16 or FLOAT.
        force: replace files that are there.
        jobs: processes; any number writes the same files.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers take their place.
        report: called with the number done, of how many.
    """
    check_rendering(source, out, subtype)
    settings = Rendering(out, sample_rate, subtype, force, jobs, cluster, report)
    return _write(read_conversations(source), source, settings)


def _write(rows: Sequence[Conversation], source: Path, settings: Rendering) -> RenderedConversations:
    made = render_rows(CONVERSATIONS, rows, source, settings)
    files = tuple(str(_targets(rendered.row, settings.out)[0]) for rendered in made.rows)
    return RenderedConversations(str(made.path), files, tuple(made.failed), made.scaled_db)


def _targets(row: Conversation, out: Path) -> list[Path]:
    """Return the files of a row: the recording, who speaks when, and a track for each speaker."""
    stem = file_stem(row.id)
    tracks = (f"{stem}_s{number}.wav" for number in range(1, len(row.speakers) + 1))
    return [out / name for name in (f"{stem}.wav", f"{stem}.rttm", *tracks)]


def _write_conversation(
    row: Conversation, *, out: Path, sample_rate: int | None, subtype: str, outdated: Set[str]
) -> RenderedRow[Conversation] | SeptoolError:
    rate = sample_rate or row.sample_rate
    files = _targets(row, out)
    recording = files[0]
    try:
        if row.id in outdated or not all(path.exists() for path in files):
            rendered = render_conversation(row, rate)
            gain = 1.0 if subtype == "FLOAT" else headroom(rendered.sources)
            with atomic_write_group(files) as (mixed, turns, *voices):
                audio.encode_audio(mixed, rendered.mixture * np.float32(gain), rate, subtype, recording)
                turns.write_text(to_rttm(rendered.turns, recording.stem), encoding="utf-8", errors="replace")
                for path, voice in zip(voices, rendered.sources, strict=True):
                    audio.encode_audio(path, voice * np.float32(gain), rate, subtype, recording)
        else:
            gain = _gain_of_files(row, files, rate)
    except SeptoolError as error:
        return error
    scaled_db = to_db(gain)
    moved = tuple(
        replace(
            segment,
            path=manifest_path(row.locate(segment.path), out).as_posix(),
            gain_db=segment.gain_db + scaled_db,
        )
        for segment in row.segments
    )
    return RenderedRow(replace(row, segments=moved), round(scaled_db, 2))


def _gain_of_files(row: Conversation, files: Sequence[Path], rate: int) -> float:
    """Return by how much the files of a row that are there were scaled; their peak says whether, but not by how much.

    Kept nowhere, so that it is known of whatever a run that was killed has left.
    """
    recordings = [path for path in files if path.suffix == ".wav"]
    peak = max(float(np.abs(audio.read_audio(path)[0]).max(initial=0.0)) for path in recordings)
    return headroom(render_conversation(row, rate).sources) if abs(peak - SCALED_PEAK) < 1e-4 else 1.0


CONVERSATIONS = RowKind[Conversation](
    called="conversations",
    list_name="conversations.jsonl",
    read=read_conversations,
    to_dict=conversation_to_dict,
    targets=_targets,
    render=_write_conversation,
    dump=dump_conversations,
)

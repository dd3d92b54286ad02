"""Writing conversations to files, sampled from utterances or rendered from a manifest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from septool import audio
from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.conversation.people import parse_count
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
from septool.files import make_folder
from septool.inference.paths import PIPE, abspath_key
from septool.tasks.mix import check_list, check_subtype, check_targets, headroom, record_rows, render_rows, row_key

MANIFEST = "conversations.jsonl"
LAST_WORDS_S = 60.0  # more than a conversation goes on for until what is said has been said


@dataclass(frozen=True)
class RenderedConversations:
    """Conversations that were written."""

    manifest: str
    files: tuple[str, ...]  # the recordings
    failed: tuple[str, ...]  # a line for each that could not be


def draw_conversations(
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
    """Draw conversations of utterances, and write them as :func:`render_conversations` does.

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
    if style not in STYLES:
        raise UsageError(f"--conversation is {style!r}; it can be {', '.join(STYLES)}")
    if not 0 < seconds <= LONGEST_S - LAST_WORDS_S:
        raise UsageError(f"--seconds is {seconds}; a conversation is at most {LONGEST_S - LAST_WORDS_S:g} s long")
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
    return _write(
        rows, source, out=out, sample_rate=None, subtype=subtype, force=force, jobs=jobs, cluster=cluster, report=report
    )


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

    Rows that are there already are left as they are, so a run that was stopped goes on; what is there of
    another row, rate or subtype is refused.

    The sources add up to the recording; what would go over full scale is scaled down with them. A manifest beside the
    files has the same rows, with paths from there.

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
    rows = read_conversations(source)
    return _write(
        rows,
        source,
        out=out,
        sample_rate=sample_rate,
        subtype=subtype,
        force=force,
        jobs=jobs,
        cluster=cluster,
        report=report,
    )


def _write(
    rows: Sequence[Conversation],
    source: Path,
    *,
    out: Path,
    sample_rate: int | None,
    subtype: str,
    force: bool,
    jobs: int,
    cluster: str | None,
    report: Callable[[int, int], None],
) -> RenderedConversations:
    check_subtype(subtype)
    if str(out) == PIPE:
        raise UsageError("conversations are many files; name a folder with --out")
    path = out / MANIFEST
    if abspath_key(path) == abspath_key(source):
        raise UsageError(f"{path} would be written over while it is read; name another --out")
    targets = {row.id: _targets(row, out) for row in rows}
    check_targets(
        [path for files in targets.values() for path in files],
        (row.locate(segment.path) for row in rows for segment in row.segments),
        source,
    )
    known = () if force or not path.exists() else read_conversations(path)
    check_list((row.id for row in known), (row.id for row in rows), path, source)
    make_folder(out)
    keys = {row.id: row_key(conversation_to_dict(row), sample_rate or row.sample_rate, subtype) for row in rows}
    about: JsonDict = {"manifest": str(source), "sample_rate": sample_rate, "subtype": subtype}
    record_rows(out, targets, keys, about, force=force)
    work = partial(_write_conversation, out=out, sample_rate=sample_rate, subtype=subtype)
    written, failed = render_rows(rows, work, jobs, report, cluster)
    if not written:
        raise SeptoolError(f"none of the {len(rows)} conversations could be written; the first: {failed[0]}")
    with atomic_write(path) as partial_path:
        partial_path.write_text(dump_conversations(written), encoding="utf-8")
    files = tuple(str(_targets(row, out)[0]) for row in written)
    return RenderedConversations(str(path), files, tuple(failed))


def _targets(row: Conversation, out: Path) -> list[Path]:
    """Return the files of a row: the recording, who speaks when, and a track for each speaker."""
    stem = file_stem(row.id)
    tracks = (f"{stem}_s{number}.wav" for number in range(1, len(row.speakers) + 1))
    return [out / name for name in (f"{stem}.wav", f"{stem}.rttm", *tracks)]


def _write_conversation(
    row: Conversation, *, out: Path, sample_rate: int | None, subtype: str
) -> Conversation | SeptoolError:
    rate = sample_rate or row.sample_rate
    recording, turns, *voices = _targets(row, out)
    try:
        if not all(path.exists() for path in (recording, turns, *voices)):
            rendered = render_conversation(row, rate)
            gain = np.float32(headroom(rendered.sources))
            for path, voice in zip(voices, rendered.sources, strict=True):
                audio.write_audio(path, voice * gain, rate, subtype)
            with atomic_write(turns) as partial_path:
                partial_path.write_text(to_rttm(rendered.turns, recording.stem), encoding="utf-8", errors="replace")
            # Last: a recording that is there says that all of it is.
            audio.write_audio(recording, rendered.mixture * gain, rate, subtype)
    except SeptoolError as error:
        return error
    moved = tuple(
        replace(segment, path=manifest_path(row.locate(segment.path), out).as_posix()) for segment in row.segments
    )
    return replace(row, segments=moved)

"""Conversations in files: one recording in, one track per speaker out, in constant memory."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from septool import audio, workers
from septool.atomic import atomic_write_group
from septool.batch.inputs import Input
from septool.batch.output_names import find_owners
from septool.conversation.blocks import mark_last
from septool.conversation.diarization import Diarization
from septool.conversation.separation import ConversationSeparator
from septool.data.turns import activity_path
from septool.inference.findings import Levels, loudest_if_cancelling
from septool.inference.streaming import FileEstimate, voice_subtype

FormatTargets = Callable[[Sequence[str]], Sequence[Path]]  # returns the files of speakers, by their names
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class ConversationEstimate:
    """The diarization of a recording, and the files that were written."""

    file: FileEstimate
    diarization: Diarization
    targets: tuple[Path, ...]


def plan_activity(recordings: Sequence[Input], out: str, name: str) -> dict[str, Path]:
    """Return the activity file of each recording, by the recording's label.

    It is named after the recording, including the suffix where recordings differ by that alone. Existing files have no
    influence: the same recordings always give the same names.

    Args:
        recordings: in all.
        out: the output folder.
        name: of a format of :data:`septool.data.turns.FORMATS`.

    Raises:
        UsageError: two recordings would have the same file.
    """
    suffixes: dict[tuple[Path, str], set[str]] = {}
    for recording in recordings:
        suffixes.setdefault((recording.subfolder, recording.stem), set()).add(recording.path.suffix)
    files: list[tuple[Input, Path]] = []
    for recording in recordings:
        suffix = recording.path.suffix[1:] if len(suffixes[recording.subfolder, recording.stem]) > 1 else ""
        called = f"{recording.stem}_{suffix}" if suffix else recording.stem
        files.append((recording, activity_path(Path(out) / recording.subfolder, called, name)))
    find_owners(files, has_name=False)
    return {recording.label: file for recording, file in files}


def diarize_file(
    source: Path,
    conversation: ConversationSeparator,
    *,
    channel: int | None = None,
    track: int = 1,
    raw: audio.RawFormat | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[FileEstimate, Diarization]:
    """Diarize a file.

    Args:
        source: the recording.
        conversation: the conversation separator, as an entered context.
        channel: the one to listen to, from 1; by default all are averaged, or, where they cancel each other, the
            loudest is used.
        track: which of those of a container that hold sound, from 1.
        raw: what it is, where it has no header.
        progress: called with the seconds that are done, and with all of them.

    Raises:
        AudioError: the recording cannot be read.
    """
    cancelling = None
    if channel is None:
        cancelling = loudest_if_cancelling(source, track=track, raw=raw, progress=progress)
    levels = Levels()
    with audio.open_audio(source, track=track, raw=raw) as file:
        rate = conversation.choose_rate(file.rate)
        reader = audio.Reader(file, rate, channel or cancelling)
        for _ in conversation.listen(levels.watch_recording(reader), rate):
            workers.check_stopping()
            progress(reader.frames / file.rate, file.frames / file.rate)
        info = file.info()

    estimate = FileEstimate(info, 0, (), levels, cancelling)
    return estimate, conversation.diarize(partial(_check_wanted, info, progress))


def _check_wanted(info: audio.AudioInfo, progress: Progress) -> None:
    """Let a signal, or the callback, end what follows once a recording was read."""
    workers.check_stopping()
    progress(info.frames / info.rate, info.frames / info.rate)


def separate_conversation(
    source: Path,
    format_targets: FormatTargets,
    conversation: ConversationSeparator,
    *,
    rest: Path | None = None,
    channel: int | None = None,
    track: int = 1,
    raw: audio.RawFormat | None = None,
    progress: Progress = lambda *_: None,
) -> ConversationEstimate:
    """Write the track of each speaker of a file.

    Args:
        source: the recording.
        format_targets: names the files by the speakers' names: one each, or a single one with a channel per speaker.
        conversation: the conversation separator, as an entered context.
        rest: file for the residual, which is in no speaker's track.
        channel: as for :func:`diarize_file`.
        track: as for :func:`diarize_file`.
        raw: as for :func:`diarize_file`.
        progress: called with the seconds that are done, and with all of them.

    Raises:
        AudioError: the recording cannot be read, or a target not be written.
    """
    found, diarization = diarize_file(source, conversation, channel=channel, track=track, raw=raw, progress=progress)
    info = found.info
    people = len(diarization.speakers)
    targets = tuple(format_targets(diarization.speakers)) if people else ()
    subtype = voice_subtype(info.subtype)
    with ExitStack() as stack:

        def open_writer(paths: Sequence[Path], voices: int) -> audio.Writer:
            partials = stack.enter_context(atomic_write_group(paths))
            return stack.enter_context(
                audio.Writer(partials, voices, conversation.rate, info.rate, subtype, paths[0], expected=info.frames)
            )

        writers = []
        if targets:
            writers.append((open_writer(targets, people), slice(0, people)))
        if rest is not None:
            writers.append((open_writer([rest], 1), slice(people, people + 1)))
        for block, last in mark_last(conversation.voices() if writers else ()):
            _check_wanted(info, progress)
            for writer, part in writers:
                writer.write(block[part], last_frame=info.frames if last else None)
        clipped = sum(writer.clipped for writer, _ in writers)
    return ConversationEstimate(replace(found, clipped=clipped), diarization, targets)

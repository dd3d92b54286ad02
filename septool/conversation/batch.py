"""Separating many recordings as conversations, with one track and the activity of each person."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from septool.atomic import atomic_write
from septool.conversation.networks import load_conversation_networks
from septool.conversation.people import parse_count
from septool.conversation.recording import separate_conversation
from septool.conversation.result import SeparatedConversation
from septool.data.turns import FORMATS, activity_path, format_activity
from septool.errors import UsageError
from septool.files import make_folder, refuse_existing
from septool.inference.batch import Batch
from septool.inference.findings import Caveat, CaveatKind
from septool.inference.html_report import Entry, Track
from septool.inference.outcomes import Failed, Skipped
from septool.inference.output_folder import find_group, record_group, record_outputs
from septool.inference.paths import PIPE, FoundInputs, Job, format_pattern, format_targets
from septool.inference.runner import Task, run_batch, write_report
from septool.inference.voiceprints import network_digest, voice_digests


def separate_conversations(
    batch: Batch,
    inputs: FoundInputs,
    explicit: Sequence[str],
    model: str,
    speakers: str,
    activity: str | None,
    rest: Path | None,
    speaker_model: str,
    references: Sequence[Path],
    who: str | None = None,
    passes: int | None = None,
) -> Iterator[SeparatedConversation | Failed | Skipped]:
    """Separate recordings of any number of people; see :func:`septool.tasks.separate.separate`."""
    count = parse_count(speakers)
    if references:
        raise UsageError("--reference is for a known number of voices; leave out --speakers")
    if activity is not None and activity not in FORMATS:
        raise UsageError(f"--activity is {activity!r}; it can be {', '.join(FORMATS)}")
    if activity is not None and batch.out == PIPE:
        raise UsageError("--activity goes beside the voices; use septool activity, or a folder with --out")
    if rest is not None and len(inputs.recordings) != 1:
        raise UsageError(f"--rest {rest} takes one recording, {len(inputs.recordings)} were given")
    networks = load_conversation_networks(model, speaker_model, batch.device, passes)
    voices = networks.find_voices(who)
    todo = batch.plan(inputs.recordings, explicit, (), voices=1, model=networks.name)

    def folder_of(job: Job) -> Path:
        return Path(batch.out) / job.subfolder

    def pattern_of(job: Job) -> str:
        return format_pattern(job, batch.name, batch.suffix, networks.name)

    def find_written(job: Job) -> tuple[Path, ...]:
        return find_group(folder_of(job), pattern_of(job))

    def work(task: Task) -> SeparatedConversation:
        started = time.perf_counter()
        job = task.job
        written = None
        if activity is not None:
            written = activity_path(folder_of(job), job.stem, activity)
        for beside in (written, rest):
            if beside is not None:
                refuse_existing(beside, force=batch.force)
                make_folder(beside.parent)  # before the work, not after it

        def name_targets(speakers: Sequence[str]) -> Sequence[Path]:
            if batch.out == PIPE:
                return task.targets
            called = len(speakers) if who is None else speakers
            targets = format_targets(job, batch.out, batch.name, batch.suffix, called, networks.name)
            for target in targets:
                refuse_existing(target, force=batch.force)
            for folder in {target.parent for target in targets}:
                make_folder(folder)
            return targets

        with networks.start(count, voices) as conversation:
            found = separate_conversation(
                task.local_path,
                name_targets,
                conversation,
                rest=rest,
                channel=batch.settings(voices=1, model_rate=networks.rate).channel_number,
                track=batch.track,
                raw=batch.raw_format,
                progress=task.progress,
            )
        task.note_caveats(found.file, networks.name, networks.rate)
        diarization = found.diarization
        if not diarization.speakers and not any(each.kind == CaveatKind.EMPTY for each in task.findings):
            text = f"{job.display_name}: nobody speaks in it"
            task.findings.append(Caveat(CaveatKind.EMPTY, text, job.display_name))
        if activity is not None and written is not None:
            with atomic_write(written) as partial_path:
                partial_path.write_text(format_activity(activity, diarization.turns, job.stem), encoding="utf-8")
        if batch.out != PIPE:
            record_outputs([*found.targets, *([] if rest is None else [rest])])
            record_group(folder_of(job), pattern_of(job), found.targets)
        return SeparatedConversation(
            **vars(task.complete(found.file, networks.name, started)),
            outputs=(PIPE,) if batch.out == PIPE else tuple(map(str, found.targets)),
            speakers=diarization.speakers,
            spoken=tuple(round(seconds, 2) for seconds in diarization.seconds),
            turns=tuple(diarization.turns),
            activity=None if written is None else str(written),
            rest=None if rest is None else str(rest),
        )

    def describe(result: SeparatedConversation | Skipped) -> Entry:
        tracks = [Track("recording", Path(result.input))]
        if isinstance(result, SeparatedConversation):
            for name, path in zip(result.speakers, result.outputs, strict=True):
                spans = [(turn.start, turn.end) for turn in result.turns if turn.speaker == name]
                tracks.append(Track(name, Path(path), spans))
        else:
            tracks += [Track(Path(path).stem, Path(path)) for path in result.outputs]
        if rest is not None:
            tracks.append(Track("what is in nobody's track", rest, []))
        return Entry(result.input, tracks=tracks)

    title = f"Separated by {networks.name}"
    asked = {
        "name": batch.name,
        "speakers": speakers,
        "activity": activity,
        "speaker_model": speaker_model,
        "speaker_weights": network_digest(networks.speaker_net.embedding),
        "who": None if who is None else voice_digests(voices),
        "passes": networks.passes,
    }
    record = batch.open_record(networks.name, networks.path, asked)
    results = run_batch(batch, todo, work, inputs.unreadable, record, find_written)
    yield from write_report(results, batch.html, title, describe)

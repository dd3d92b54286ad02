"""Separating many recordings as conversations, with one track and the activity of each person."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

from septool import audio
from septool.batch.html_report import Entry, Track
from septool.batch.inputs import FoundInputs, Input
from septool.batch.outcomes import Failed, Skipped
from septool.batch.output_folder import GroupLists, OutputLists, record_group, record_outputs
from septool.batch.output_names import Job, OutputNaming
from septool.batch.path_keys import abspath_key, keys_read
from septool.batch.runner import Task, run_batch, write_report
from septool.batch.settings import BatchSettings
from septool.batch.stdio import PIPE
from septool.conversation.networks import ConversationNetworks, load_conversation_networks
from septool.conversation.recording import plan_activity, separate_conversation
from septool.conversation.result import SeparatedConversation
from septool.conversation.speaker_count import SpeakerCount, parse_count
from septool.data.turns import FORMATS, write_activity
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing
from septool.inference.channels import channel_number
from septool.inference.findings import CaveatKind
from septool.inference.voiceprints import voice_digests
from septool.printable import printable


def separate_conversations(
    batch: BatchSettings,
    inputs: FoundInputs,
    explicit: Sequence[str],
    *,
    model: str,
    speakers: str,
    activity: str | None,
    rest: Path | None,
    speaker_model: str,
    references: Sequence[Path],
    who: str | None = None,
    passes: int | None = None,
    obtain: Callable[..., None] = lambda *_: None,
) -> Iterator[SeparatedConversation | Failed | Skipped]:
    """Separate recordings of any number of speakers; see :func:`septool.tasks.separate.separate`."""
    count = parse_count(speakers)
    if references:
        raise UsageError("--reference is not for conversations; leave out --speakers")
    if activity is not None and activity not in FORMATS:
        raise UsageError(f"--activity is {activity!r}; it can be {', '.join(FORMATS)}")
    if activity is not None and batch.out == PIPE:
        raise UsageError("--activity goes beside the voices; use septool activity, or a folder with --out")
    if rest is not None and len(inputs.recordings) != 1:
        raise UsageError(f"--rest {rest} takes one recording, {len(inputs.recordings)} were given")
    if rest is not None:
        audio.format_of(rest)  # refuses a name without one
    kept = {key for recording in inputs.recordings for key in keys_read(recording.path)}
    if rest is not None and abspath_key(rest) in kept:
        raise UsageError(f"--rest {rest} would replace the recording; name another file")
    written = {} if activity is None else plan_activity(inputs.recordings, batch.out, activity)
    obtain(model, speaker_model)
    networks = load_conversation_networks(model, speaker_model, batch.device, passes, batch.report)
    naming = batch.naming(networks.name)
    _check_name(naming, inputs.recordings, count, named=who is not None)
    todo = batch.plan(inputs.recordings, explicit, (), voices=1, model=networks.name)
    kept -= {abspath_key(target) for job in todo for target in job.targets}  # which the plan has judged
    kept |= set() if rest is None else {abspath_key(rest)}
    conversations = _Conversations(batch, networks, count, who, activity, written, rest, kept)
    asked = {
        "name": batch.name,
        "speakers": speakers,
        "activity": activity,
        "speaker_model": speaker_model,
        "speaker_weights": networks.digest,
        "who": None if who is None else voice_digests(conversations.voices),
        "passes": networks.passes,
    }
    record = batch.open_record(networks.name, networks.path, asked)
    todo = [replace(job, beside=conversations.files_beside(job)) for job in todo]
    results = run_batch(batch, todo, conversations.separate, inputs.unreadable, record, conversations.find_written)
    yield from write_report(results, batch.html, f"Separated by {networks.name}", conversations.describe)


def _check_name(naming: OutputNaming, recordings: Sequence[Input], count: SpeakerCount, *, named: bool) -> None:
    """Refuse a ``--name`` that gives two speakers the same file, before the speakers are known."""
    if naming.out == PIPE:
        return
    people = [f"speaker{number}" for number in range(1, 1 + min(count.most, 2))]
    for recording in recordings:
        naming.targets(recording, people if named else len(people))


class _Conversations:
    """The work on each recording of a batch."""

    def __init__(
        self,
        batch: BatchSettings,
        networks: ConversationNetworks,
        count: SpeakerCount,
        who: str | None,
        activity: str | None,
        written: Mapping[str, Path],
        rest: Path | None,
        kept: Set[str],
    ) -> None:
        self.batch, self.networks, self.count = batch, networks, count
        self.naming = batch.naming(networks.name)
        self.voices, self.by_name = networks.find_voices(who), who is not None
        self.activity, self.written, self.rest = activity, written, rest  # written: activity files, by label
        self.groups = GroupLists()
        self.kept = kept  # keys of files that no track may replace, even with --force

    def separate(self, task: Task) -> SeparatedConversation:
        """Write the tracks and the activity file of one recording."""
        started, job, networks = time.perf_counter(), task.job, self.networks
        written = self.written.get(job.label)
        for beside in job.beside:
            refuse_existing(beside, force=self.batch.force)
            make_folder(beside.parent)  # before the separation rather than after it
        with networks.start(self.count, self.voices) as conversation:
            found = separate_conversation(
                task.local_path,
                partial(self._name_targets, task),
                conversation,
                rest=self.rest,
                channel=channel_number(self.batch.channel),
                track=self.batch.track,
                raw=self.batch.raw_format,
                progress=task.progress,
            )
        if self.batch.out == PIPE and not found.targets:
            raise SeptoolError(f"{job.display_name}: nobody speaks in it; there is nothing to write to standard output")
        task.note_caveats(found.file, networks.name, networks.rate)
        diarization = found.diarization
        if not diarization.speakers:
            task.note(CaveatKind.EMPTY, "nobody speaks in it, so no track was written")
        if shortfall := self.count.describe_shortfall(len(diarization.speakers)):
            task.note(CaveatKind.FEWER, shortfall)
        if self.activity is not None and written is not None:
            write_activity(written, self.activity, diarization.turns)
        if self.batch.out != PIPE:
            earlier = self.find_written(job)
            task.sums = record_outputs([*found.targets, *([] if self.rest is None else [self.rest])])
            record_group(self.naming.folder(job), self.naming.voice_pattern(job), found.targets)
            self._clear_earlier(set(earlier or ()) - set(found.targets))
        return SeparatedConversation(
            **vars(task.complete(found.file, networks.name, started)),
            outputs=(PIPE,) if self.batch.out == PIPE else tuple(map(str, found.targets)),
            speakers=diarization.speakers,
            spoken=tuple(round(seconds, 2) for seconds in diarization.seconds),
            turns=tuple(diarization.turns),
            activity=None if written is None else str(written),
            rest=None if self.rest is None else str(self.rest),
        )

    def files_beside(self, job: Job) -> tuple[Path, ...]:
        """Return the requested files of a recording other than its tracks."""
        return tuple(path for path in (self.written.get(job.label), self.rest) if path is not None)

    def find_written(self, job: Job) -> tuple[Path, ...] | None:
        """Return the tracks that an earlier run wrote for a recording, or None."""
        return self.groups.find(self.naming.folder(job), self.naming.voice_pattern(job))

    def _clear_earlier(self, tracks: Set[Path]) -> None:
        """Remove tracks of speakers that an earlier run found in a recording and this run did not."""
        lists = OutputLists()
        for track in tracks:
            if abspath_key(track) not in self.kept and lists.is_output(track):  # and was not replaced by the user since
                track.unlink()

    def describe(self, result: SeparatedConversation | Skipped) -> Entry:
        """Return what the HTML report shows of a recording."""
        tracks = [Track("recording", Path(result.input))]
        if isinstance(result, SeparatedConversation):
            for name, path in zip(result.speakers, result.outputs, strict=True):
                spans = [(turn.start, turn.end) for turn in result.turns if turn.speaker == name]
                tracks.append(Track(name, Path(path), spans))
        else:
            tracks += [Track(Path(path).stem, Path(path)) for path in result.outputs]
        if self.rest is not None:
            tracks.append(Track("what is in nobody's track", self.rest, []))
        return Entry(result.input, tracks=tracks)

    def _name_targets(self, task: Task, speakers: Sequence[str]) -> Sequence[Path]:
        """Name the files of the speakers, and create their folders."""
        batch = self.batch
        if batch.out == PIPE:
            return task.targets
        called = speakers if self.by_name else len(speakers)
        targets = self.naming.targets(task.job, called)
        for target in targets:
            if abspath_key(target) in self.kept:
                voice = f"a voice of {task.job.display_name}"
                raise SeptoolError(f"{printable(target)} would be replaced by {voice}; use --name or --out")
            refuse_existing(target, force=batch.force)
        for folder in {target.parent for target in targets}:
            make_folder(folder)
        return targets

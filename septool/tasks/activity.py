"""Diarization of recordings, without writing voices."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from septool.batch.inputs import list_inputs
from septool.batch.outcomes import Failed, Skipped
from septool.batch.output_names import Job
from septool.batch.runner import Task, run_batch
from septool.batch.settings import BatchSettings, Progress
from septool.batch.stdio import PIPE, check_files_to_skip
from septool.config import JsonDict
from septool.conversation.networks import ConversationNetworks, load_conversation_networks
from septool.conversation.recording import diarize_file, plan_activity
from septool.conversation.speaker_count import SpeakerCount, parse_count
from septool.conversation.windows import OVERLAP_S, WINDOW_S
from septool.data.turns import FORMATS, rounded, write_activity
from septool.device import choose_device
from septool.errors import UsageError
from septool.inference.channels import channel_number, parse_channel
from septool.inference.findings import Caveat, CaveatKind, WithFindings
from septool.inference.voiceprints import Voiceprint
from septool.models import SPEAKER_MODEL
from septool.signal.turns import Turn


@dataclass(frozen=True, kw_only=True)
class FoundActivity(WithFindings):
    """Who speaks when in one recording."""

    input: str
    output: str  # file, - for standard output
    text: str  # what is in it
    model: str
    seconds: float  # length of the audio
    speakers: tuple[str, ...]
    spoken: tuple[float, ...]  # seconds of speech of each, without the pauses in turns
    turns: tuple[Turn, ...]
    findings: tuple[Caveat, ...] = ()  # what a listener may want to know

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        values = asdict(self) | {"turns": [rounded(turn) for turn in self.turns]}
        values["findings"] = [finding.row() for finding in self.findings]
        del values["text"]
        return values


def find_activity(
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    from_file: str | None = None,
    model: str = "galr",
    speaker_model: str = SPEAKER_MODEL,
    who: str | None = None,
    speakers: str = "auto",
    format: str = "rttm",
    out: str = ".",
    device: str = "auto",
    jobs: int | None = None,
    channel: int | str | None = None,
    track: int = 1,
    raw: str | None = None,
    force: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    shard: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
    obtain: Callable[..., None] = lambda *_: None,
) -> Iterator[FoundActivity | Failed | Skipped]:
    """Find who speaks when; one result for each recording, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), or ``-`` for standard input.
        from_file: file with a recording a line, in place of inputs; see :func:`septool.tasks.separate.separate`.
        model: separator with two outputs, by the name of a checkpoint or of a model, or a ``.safetensors`` file.
        speaker_model: the speaker network that distinguishes voices.
        who: files of voiceprints; people who sound like one of them are called by its name.
        speakers: how many people there are, ``auto``, ``N`` or ``N-M``.
        format: rttm, json, audacity or webvtt.
        out: folder for the files, made if missing; ``-`` leaves the text to the caller.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: processes; by default as many as are worth it.
        channel: the one to listen to, from 1, or ``mix``; all are averaged by default.
        track: which of those of a container that hold sound, from 1.
        raw: what recordings without a header are, ``ENCODING:RATE:CHANNELS``.
        force: replace files that are there.
        skip_existing: skip recordings whose file is there.
        fail_fast: end with the first recording that fails.
        shard: part ``I/N`` of the recordings.
        report: callback for warnings.
        progress: callback for how far a recording is.
        obtain: callback that fetches missing weights; see :func:`septool.tasks.separate.separate`.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: no such model, a damaged one, or one that is not here.
    """
    if format not in FORMATS:
        raise UsageError(f"--format is {format!r}; it can be {', '.join(FORMATS)}")
    check_files_to_skip(out, skip_existing=skip_existing)
    count = parse_count(speakers)
    with ExitStack() as stack:
        folder = out if out != PIPE else stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
        batch = BatchSettings(
            out=folder,
            name="{stem}",
            suffix="wav",  # format of voices, none of which is written
            segment=WINDOW_S,
            overlap=OVERLAP_S,
            device=choose_device(device),
            channel=parse_channel(channel),
            track=track,
            raw=raw,
            jobs=jobs,
            force=force,
            skip_existing=skip_existing,
            fail_fast=fail_fast,
            shard=shard,
            report=report,
            progress=progress,
        )
        if batch.channel == "each":
            raise UsageError("a conversation is one channel or their mix; leave out --channel each")
        found = batch.find_inputs(list_inputs(inputs, from_file))
        batch.check_inputs(found.recordings)
        if out == PIPE and format != "rttm" and len(found.recordings) > 1:  # whose lines say of which each is
            raise UsageError(f"--out - takes one recording in the format {format}, {len(found.recordings)} were given")
        files = plan_activity(found.recordings, folder, format)
        todo = batch.take_share(
            [Job(**vars(recording), targets=(files[recording.label],)) for recording in found.recordings]
        )
        obtain(model, speaker_model)
        networks = load_conversation_networks(model, speaker_model, batch.device, report=report)
        work = partial(_find, networks=networks, count=count, voices=networks.find_voices(who), format=format, out=out)
        yield from run_batch(batch, todo, work, found.unreadable)


def _find(
    task: Task,
    *,
    networks: ConversationNetworks,
    count: SpeakerCount,
    voices: Sequence[Voiceprint],
    format: str,
    out: str,
) -> FoundActivity:
    """Write who speaks when in one recording."""
    (target,) = task.targets
    with networks.start(count, voices) as conversation:
        estimate, found = diarize_file(
            task.local_path,
            conversation,
            channel=channel_number(task.batch.channel),
            track=task.batch.track,
            raw=task.batch.raw_format,
            progress=task.progress,
        )
    task.note_caveats(estimate, networks.name, networks.rate)
    if shortfall := count.describe_shortfall(len(found.speakers)):
        task.note(CaveatKind.FEWER, shortfall)
    text = write_activity(target, format, found.turns)
    return FoundActivity(
        input=task.job.label,
        output=PIPE if out == PIPE else str(target),
        text=text,
        model=networks.name,
        seconds=estimate.info.frames / estimate.info.rate,
        speakers=found.speakers,
        spoken=tuple(round(seconds, 2) for seconds in found.seconds),
        turns=tuple(found.turns),
        findings=tuple(task.findings),
    )

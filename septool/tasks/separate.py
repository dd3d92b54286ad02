"""Separating recordings of any length, rate and channel count, in constant memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from septool import catalogue, checkpoints
from septool.conversation.clustering import parse_count
from septool.conversation.networks import SPEAKER_MODEL, load_conversation_networks
from septool.conversation.recording import separate_conversation
from septool.data.turns import FORMATS, Turn, activity_path, format_activity
from septool.device import choose_device
from septool.errors import UsageError
from septool.files import atomic_write, refuse_existing
from septool.inference.batch import Batch, Completed, Failed, Progress, Skipped, Task, run_batch, write_report
from septool.inference.findings import Caveat, CaveatKind, report_caveats
from septool.inference.html_report import Entry, Track
from septool.inference.level import make_estimator
from septool.inference.output_folder import record_outputs
from septool.inference.paths import PIPE, FoundInputs, format_targets, looks_like_file
from septool.scoring.references import read_references, score_outputs
from septool.signal.stitch import Seam


@dataclass(frozen=True, kw_only=True)
class Separated(Completed):
    """What became of one recording."""

    outputs: tuple[str, ...]
    joints: tuple[Seam, ...]  # where a long recording was stitched together, and how
    si_snri: tuple[float | None, ...] = ()  # dB of each output, if references were given; None is undefined

    @property
    def gains(self) -> tuple[str, ...]:
        """The improvement of each output in words."""
        return tuple("SI-SNRi undefined" if gain is None else f"SI-SNRi {gain:+.2f} dB" for gain in self.si_snri)


@dataclass(frozen=True, kw_only=True)
class SeparatedConversation(Completed):
    """What became of a recording of a number of people that was not known."""

    outputs: tuple[str, ...]  # a file a person, or - for all of them
    speakers: tuple[str, ...]
    spoken: tuple[float, ...]  # seconds of speech of each
    turns: tuple[Turn, ...]
    activity: str | None = None  # file that says who speaks when
    rest: str | None = None  # file with what is in nobody's track

    @property
    def summary(self) -> str:
        """How many people, and how long it took."""
        people = "1 person" if len(self.speakers) == 1 else f"{len(self.speakers) or 'no'} people"
        return f"{people}; {super().summary}"

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return super().row() | {"turns": [turn._asdict() for turn in self.turns]}


def separate(
    inputs: Sequence[str],
    *,
    model: str = "galr",
    out: str = ".",
    device: str = "auto",
    jobs: int = 1,
    channel: int | None = None,
    suffix: str = "wav",
    name: str | None = None,
    segment: float = 30.0,
    overlap: float = 4.0,
    speakers: str | None = None,
    activity: str | None = None,
    rest: Path | None = None,
    speaker_model: str = SPEAKER_MODEL,
    references: Sequence[Path] = (),
    html: Path | None = None,
    force: bool = False,
    skip_existing: bool = False,
    shard: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Iterator[Separated | SeparatedConversation | Failed | Skipped]:
    """Separate recordings; one result for each, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), or ``-`` for standard input.
        model: name of a checkpoint, of a model (its default checkpoint), or what
            :func:`septool.catalogue.resolve_checkpoint` takes else.
        out: folder for the voices, made if missing; ``-`` writes one file with a channel per voice to
            standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: processes that work on a recording each, where the device is the processor.
        channel: the one to listen to, from 1; all are averaged by default.
        suffix: format of the files written.
        name: file name, made of ``{stem}`` and ``{suffix}`` of the recording, ``{voice}`` (from 1) and ``{model}``;
            by default ``{stem}_s{voice}``, or ``{stem}_clean`` where there is one voice.
        segment: seconds given to the model at once; longer recordings are cut and stitched together.
        overlap: seconds that two segments share.
        speakers: takes recordings as conversations of so many people, ``auto``, ``N`` or ``N-M``: a track for each,
            silent where they are. ``segment`` and ``overlap`` are fixed then.
        activity: format of a file that says who speaks when, beside the voices: rttm, json, audacity or webvtt.
        rest: file for what is in nobody's track, of a single recording.
        speaker_model: the speaker network that voices of a conversation are told apart by.
        references: the reference sources, to print the improvement of each voice, at the model's rate.
        html: HTML report with players and spectrograms of the recordings, the references and the voices.
        force: replace files that are there.
        skip_existing: skip recordings whose voices are there.
        shard: ``I/N`` works on the I-th of N parts of the recordings alone, for N machines.
        report: callback for warnings.
        progress: callback for how far a recording is, where there is one process.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: no such model, or a damaged one.
    """
    batch = Batch(
        out=out,
        name=name or "{stem}_s{voice}",
        suffix=suffix.lstrip("."),
        segment=segment,
        overlap=overlap,
        device=choose_device(device),
        channel=channel,
        jobs=jobs,
        force=force,
        skip_existing=skip_existing,
        shard=shard,
        html=html,
        report=report,
        progress=progress,
    )
    found = batch.find_inputs(inputs)
    recordings = found.recordings
    batch.check_inputs(recordings)
    if looks_like_file(out):
        raise UsageError(f"--out {out} is named like a file; name a folder, and the files with --name and --format")
    if references and len(recordings) != 1:
        raise UsageError(f"--reference takes one input, {len(recordings)} were given")
    if speakers is not None:
        yield from _separate_conversations(
            batch, found, inputs, model, speakers, activity, rest, speaker_model, references
        )
        return
    if activity is not None or rest is not None:
        raise UsageError(f"--{'rest' if activity is None else 'activity'} is for conversations; give --speakers auto")
    checkpoint, path = catalogue.resolve_checkpoint(model)
    network, header = checkpoints.load(path)
    network.to(batch.device)
    if references and len(references) != header.sources:
        raise UsageError(f"{checkpoint} gives {header.sources} voices; give as many references, not {len(references)}")
    if name is None and header.sources == 1:
        batch = replace(batch, name="{stem}_clean")
    todo = batch.plan(recordings, inputs, references, voices=header.sources, model=checkpoint)

    def work(task: Task) -> Separated:
        sources = read_references(references, task.local_path) if references else None
        completed, estimate = task.estimate(
            make_estimator(network), voices=header.sources, model=checkpoint, model_rate=header.sample_rate
        )
        gains = ()
        if sources is not None:
            gains = score_outputs(
                task.local_path, task.targets, sources, header.sample_rate, channel or estimate.cancelling
            )
        return Separated(**vars(completed), outputs=task.outputs, joints=estimate.seams, si_snri=gains)

    def describe(result: Separated | Skipped) -> Entry:
        tracks = [Track("recording", Path(result.input))]
        tracks += [Track(f"reference {number}", path) for number, path in enumerate(references, 1)]
        gains = result.gains if isinstance(result, Separated) else ()
        for number, (output, gain) in enumerate(zip_longest(result.outputs, gains), 1):
            tracks.append(Track(f"voice {number}" + (f" ({gain})" if gain else ""), Path(output)))
        return Entry(result.input, tracks=tracks)

    results = run_batch(batch, todo, work, found.unreadable)
    yield from write_report(results, html, f"Separated by {checkpoint}", describe)


def _separate_conversations(
    batch: Batch,
    inputs: FoundInputs,
    explicit: Sequence[str],
    model: str,
    speakers: str,
    activity: str | None,
    rest: Path | None,
    speaker_model: str,
    references: Sequence[Path],
) -> Iterator[SeparatedConversation | Failed | Skipped]:
    """Separate recordings of any number of people; see :func:`separate`."""
    count = parse_count(speakers)
    if references:
        raise UsageError("--reference is for a known number of voices; leave out --speakers")
    if activity is not None and activity not in FORMATS:
        raise UsageError(f"--activity is {activity!r}; it can be {', '.join(FORMATS)}")
    if activity is not None and batch.out == PIPE:
        raise UsageError("--activity goes beside the voices; use septool activity, or a folder with --out")
    if rest is not None and len(inputs.recordings) != 1:
        raise UsageError(f"--rest {rest} takes one recording, {len(inputs.recordings)} were given")
    networks = load_conversation_networks(model, speaker_model, batch.device)
    todo = batch.plan(inputs.recordings, explicit, (), voices=1, model=networks.name)

    def work(task: Task) -> SeparatedConversation:
        started = time.perf_counter()
        job = task.job
        written = None
        if activity is not None:
            written = activity_path(Path(batch.out) / job.subfolder, job.stem, activity)
        for beside in (written, rest):
            if beside is not None:
                refuse_existing(beside, force=batch.force)

        def name_targets(people: int) -> Sequence[Path]:
            if batch.out == PIPE:
                return task.targets
            targets = format_targets(job, batch.out, batch.name, batch.suffix, people, networks.name)
            for target in targets:
                refuse_existing(target, force=batch.force)
            return targets

        with networks.start(count) as conversation:
            found = separate_conversation(
                task.local_path,
                name_targets,
                conversation,
                rest=rest,
                channel=batch.channel,
                progress=partial(batch.progress, job.display_name) if batch.jobs == 1 else lambda *_: None,
            )
        task.findings += report_caveats(
            job.display_name, found.file, channel=batch.channel, model=networks.name, model_rate=networks.rate
        )
        diarization = found.diarization
        if not diarization.speakers:
            text = f"{job.display_name}: nobody speaks in it"
            task.findings.append(Caveat(CaveatKind.EMPTY, text, job.display_name))
        if activity is not None and written is not None:
            with atomic_write(written) as partial_path:
                partial_path.write_text(format_activity(activity, diarization.turns, job.stem), encoding="utf-8")
        if batch.out != PIPE:
            record_outputs([*found.targets, *([] if rest is None else [rest])])
        info = found.file.info
        return SeparatedConversation(
            input=job.label,
            model=networks.name,
            seconds=info.frames / info.rate,
            elapsed=time.perf_counter() - started,
            rate=info.rate,
            channels=info.channels,
            clipped=found.file.clipped,
            findings=tuple(task.findings),
            outputs=(PIPE,) if batch.out == PIPE else tuple(map(str, found.targets)),
            speakers=diarization.speakers,
            spoken=tuple(round(seconds, 2) for seconds in diarization.seconds),
            turns=tuple(diarization.turns),
            activity=None if written is None else str(written),
            rest=None if rest is None else str(rest),
        )

    def describe(result: SeparatedConversation | Skipped) -> Entry:
        names = result.speakers if isinstance(result, SeparatedConversation) else [Path(p).stem for p in result.outputs]
        tracks = [Track("recording", Path(result.input))]
        tracks += [Track(name, Path(path)) for name, path in zip(names, result.outputs, strict=True)]
        return Entry(result.input, tracks=tracks)

    title = f"Separated by {networks.name}"
    yield from write_report(run_batch(batch, todo, work, inputs.unreadable), batch.html, title, describe)

"""Separating recordings of any length, rate and channel count, in constant memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

from septool import catalogue
from septool.batch.html_report import Entry, Track
from septool.batch.inputs import FoundInputs, list_inputs, one_or_several
from septool.batch.outcomes import Completed, Failed, Skipped
from septool.batch.output_names import looks_like_file
from septool.batch.runner import Task, run_batch, write_report
from septool.batch.settings import BatchSettings, Cluster, Progress
from septool.conversation.result import SeparatedConversation
from septool.device import choose_device, processor
from septool.errors import UsageError
from septool.files import path_or_none
from septool.inference import OVERLAP_S, SEGMENT_S
from septool.inference.channels import name_pattern, parse_channel
from septool.inference.dtype import ChosenDtype, check_dtype, choose_dtype, torch_dtype
from septool.inference.engines import Engine, LoadedSeparator, engine_for, load_engine, may_use_onnx
from septool.inference.findings import Caveat, CaveatKind
from septool.inference.onnx_runtime import Precision
from septool.inference.streaming import Clip
from septool.inference.wideband import has_sound_above
from septool.models import SPEAKER_MODEL


@dataclass(frozen=True)
class SeamRow:
    """How one segment was attached to what came before; see :class:`septool.signal.stitch.Seam`."""

    at: float  # s, where the overlap begins
    order: tuple[int, ...]  # output that continues each track
    margin: float
    by: str


@dataclass(frozen=True, kw_only=True)
class Separated(Completed):
    """What became of one recording."""

    outputs: tuple[str, ...]
    joints: tuple[SeamRow, ...]  # where a long recording was stitched together, and how
    si_snri: tuple[float | None, ...] = ()  # dB of each output, if references were given; None is undefined
    undefined: tuple[str, ...] = ()  # why each of them is; empty where it is not

    @property
    def gains(self) -> tuple[str, ...]:
        """The improvement of each output in words."""
        return tuple(
            f"SI-SNRi undefined: {reason}" if gain is None else f"SI-SNRi {gain:+.2f} dB"
            for gain, reason in zip(self.si_snri, self.undefined, strict=True)
        )


def separate(
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    from_file: str | None = None,
    model: str = "galr",
    out: str = ".",
    device: str = "auto",
    dtype: str = "auto",
    engine: Engine = "auto",
    jobs: int | None = None,
    cluster: str | None = None,
    channel: int | str | None = None,
    track: int = 1,
    raw: str | None = None,
    suffix: str = "wav",
    name: str | None = None,
    segment: float = SEGMENT_S,
    overlap: float = OVERLAP_S,
    voice: int | None = None,
    passes: int | None = None,
    consistency: bool = True,
    clip: Clip = "clamp",
    stream: bool = False,
    speakers: str | None = None,
    activity: str | None = None,
    rest: str | Path | None = None,
    speaker_model: str = SPEAKER_MODEL,
    who: str | None = None,
    references: str | Path | Sequence[str | Path] = (),
    html: str | Path | None = None,
    force: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    shard: str | None = None,
    manifest: str | Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
    obtain: Callable[..., None] = lambda *_: None,
) -> Iterator[Separated | SeparatedConversation | Failed | Skipped]:
    """Separate recordings; one result for each, failed ones among them.

    Args:
        inputs: a file or folder (searched recursively), several of them, or ``-`` for standard input.
        from_file: list of more of them, a line each or with NULs between; ``-`` reads it from standard input.
        model: name of a checkpoint, of a model (its default checkpoint), or what
            :func:`septool.catalogue.resolve_checkpoint` takes else.
        out: folder for the voices, made if missing; ``-`` writes one file with a channel per voice to
            standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: what the network computes in: ``fp32``, ``bf16``, on a GPU ``fp16``, or, by ONNX Runtime on the
            processor, ``int8`` in its linear and LSTM layers. ``auto`` is bf16 by torch where the device is faster in
            it and the checkpoint was measured to be as good, else fp32, as for conversations and a cluster.
        engine: ``torch``, or ``onnx``: ONNX Runtime on the processor, which starts without importing torch and gives
            the same to 1e-4; a checkpoint is exported to it once, into the cache. ``auto`` takes it where that was
            done, it is about as fast in float32, and nothing that was asked for needs torch.
        jobs: processes that work on a recording each, where the device is the processor; by default as many as there
            are processors for many short recordings, else one with all threads.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers take the place of processes and have
            a device each.
        channel: the one to listen to, from 1; ``mix``, the default, averages all (or takes the loudest, where they
            cancel each other), ``each`` works on each by itself, with ``_c{channel}`` in the names of its files.
        track: which of those of a container that hold sound, from 1.
        raw: what recordings without a header are, ``ENCODING:RATE:CHANNELS`` such as ``s16le:16000:1``.
        suffix: format of the files written.
        name: file name, made of ``{stem}`` and ``{suffix}`` of the recording, ``{voice}`` (from 1) and ``{model}``;
            by default ``{stem}_s{voice}``, or ``{stem}_clean`` where there is one voice.
        segment: seconds given to the model at once; longer recordings are cut and stitched together.
        overlap: seconds that two segments share.
        voice: the only one that goes to standard output, from 1; all do by default, a channel each.
        passes: over the recording, whose voices are averaged: better and that many times slower; as the checkpoint
            says by default.
        consistency: makes the voices add up to the recording, as the model hears it: without an offset and up to its
            highest frequency.
        clip: what becomes of samples over full scale where integers are written: ``clamp`` sets them to it, ``rescale``
            lowers all voices of the recording together, ``none`` writes float samples. Floats always keep them.
        stream: works on standard input while it arrives, without a temporary file.
        speakers: takes recordings as conversations of so many people, ``auto``, ``N`` or ``N-M``: a track for each,
            silent where they are not. ``segment`` and ``overlap`` are fixed then.
        activity: format of a file that says who speaks when, beside the voices: rttm, json, audacity or webvtt.
        rest: file for what is in nobody's track, of a single recording.
        speaker_model: the speaker network that distinguishes the voices of a conversation.
        who: files of voiceprints; people of a conversation who sound like one of them are called by its name. See
            :func:`septool.inference.voiceprints.find_voiceprints`.
        references: the reference sources, to print the improvement of each voice, at the model's rate.
        html: HTML report with players and spectrograms of the recordings, the references and the voices.
        force: replace files that are there.
        skip_existing: skip recordings whose voices are there.
        fail_fast: end with the first recording that fails.
        shard: ``I/N`` works on the I-th of N parts of the recordings alone, for N machines.
        manifest: record of results, a JSON line each, with the sha256 of recordings, outputs and checkpoint; with
            ``skip_existing`` outputs are done only if it says so, and they are what was written.
        report: callback for warnings.
        progress: callback for how far a recording is, where there is one process.
        obtain: callback that fetches missing weights by the names of their checkpoints, once the request is found to be
            in order.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: a damaged model; NotFetchedError where its weights are neither here nor fetched by ``obtain``.
    """
    inputs = list_inputs(inputs, from_file)
    references = [Path(reference) for reference in one_or_several(references)]
    html, manifest, rest = map(path_or_none, (html, manifest, rest))
    if speakers is not None:
        of_voices = {
            f"--dtype {dtype}": dtype not in ("auto", "fp32"),
            f"--cluster {cluster}": cluster is not None,
            f"--clip {clip}": clip != "clamp",
            f"--voice {voice}": voice is not None,
            "--no-consistency": not consistency,
            f"--segment {segment:g}": segment != SEGMENT_S,
            f"--overlap {overlap:g}": overlap != OVERLAP_S,
        }
        _check_conversation(each_channel=channel == "each", stream=stream, others=of_voices)
    of_torch = {
        "--cluster": cluster is not None,
        "--speakers": speakers is not None,
        f"--dtype {dtype}": dtype not in ("auto", "fp32", "int8"),
    }
    engine = engine_for(engine, dtype)
    torch_only = [option for option, given in of_torch.items() if given]
    onnx = may_use_onnx(engine, device, torch_only, better_with_torch=bool(references))
    batch = BatchSettings(
        out=out,
        name=name or name_pattern("s{voice}" if who is None else "{voice}", channel),
        suffix=suffix.lstrip("."),
        segment=segment,
        overlap=overlap,
        device=processor() if onnx else choose_device(device if cluster is None else "cpu"),
        channel=parse_channel(channel),
        track=track,
        raw=raw,
        voice=voice,
        clip=clip,
        stream=stream,
        jobs=jobs,
        cluster=None if cluster is None else Cluster(cluster, device),
        force=force,
        skip_existing=skip_existing,
        fail_fast=fail_fast,
        shard=shard,
        manifest=manifest,
        html=html,
        report=report,
        progress=progress,
    )
    precision: Precision = "int8" if dtype == "int8" else "fp32"
    check_dtype(dtype, batch.computing_device, others=["int8"])
    found = batch.find_inputs(inputs)
    batch.check_inputs(found.recordings)
    if looks_like_file(out):
        raise UsageError(f"--out {out} is named like a file; name a folder, and the files with --name and --format")
    _check_references(batch, references, recordings=len(found.recordings))
    if speakers is not None:
        from septool.conversation.batch import separate_conversations  # SciPy takes a second to import

        yield from separate_conversations(
            batch,
            found,
            inputs,
            model=model,
            speakers=speakers,
            activity=activity,
            rest=rest,
            speaker_model=speaker_model,
            references=references,
            who=who,
            passes=passes,
            obtain=obtain,
        )
        return
    speaker = None if speaker_model == SPEAKER_MODEL else speaker_model
    for option, value in (("activity", activity), ("rest", rest), ("who", who), ("speaker-model", speaker)):
        if value is not None:
            raise UsageError(f"--{option} is for conversations; give --speakers auto")
    obtain(model)
    checkpoint, path = catalogue.resolve_checkpoint(model)
    separator = load_engine(engine, checkpoint, path, onnx=onnx, precision=precision, report=report)
    if onnx and separator.engine == "torch":
        batch = replace(batch, device=choose_device(device))
    if name is None and separator.header.sources == 1:
        batch = replace(batch, name=name_pattern("clean", channel))
    by_torch = batch.own_device if separator.engine == "torch" else None
    chosen = choose_dtype(dtype, by_torch, separator.header.measured)
    work = _Work(separator, checkpoint, references, consistency=consistency, dtype=chosen.name, passes=passes)
    yield from _separate_voices(batch, found, inputs, work, path, chosen)


def _separate_voices(
    batch: BatchSettings,
    inputs: FoundInputs,
    explicit: Sequence[str],
    work: "_Work",
    checkpoint: Path,
    dtype: ChosenDtype,
) -> Iterator[Separated | Failed | Skipped]:
    """Separate recordings of as many voices as the model has outputs."""
    name, header, references = work.checkpoint, work.separator.header, work.references
    voices = header.sources
    if references and len(references) != voices:
        raise UsageError(f"{name} gives {voices} voices; give as many references, not {len(references)}")
    batch.estimate_settings(voices=voices, model_rate=header.sample_rate)  # refuses what this model cannot do
    if batch.voice is not None and references:
        raise UsageError("--reference is compared with all voices; leave out --voice")
    todo = batch.plan(inputs.recordings, explicit, references, voices=voices, model=name)
    settings = {
        "name": batch.name,
        "consistency": work.consistency,
        "dtype": dtype.name,
        "passes": header.choose_passes(work.passes),
    }
    record = batch.open_record(name, checkpoint, settings, {"dtype": dtype.accepted})
    results = run_batch(batch, todo, work, inputs.unreadable, record)
    describe = partial(_describe, references=references, voices=voices, each_channel=batch.channel == "each")
    yield from write_report(results, batch.html, f"Separated by {name}", describe)


def _check_references(batch: BatchSettings, references: Sequence[Path], *, recordings: int) -> None:
    """Refuse references that nothing can be compared with."""
    if not references:
        return
    if recordings != 1:
        raise UsageError(f"--reference takes one input, {recordings} were given")
    if batch.channel == "each":
        raise UsageError("--reference is for one channel or their mix; leave out --channel each")
    if batch.stream:
        raise UsageError("--reference is compared with a whole recording; leave out --stream")


def _check_conversation(*, each_channel: bool, stream: bool, others: Mapping[str, bool]) -> None:
    """Refuse what only goes with a known number of voices: ``others`` says which such options were given."""
    if each_channel:
        raise UsageError("--speakers is for one channel or their mix; leave out --channel each")
    if stream:
        raise UsageError("--speakers listens to a whole recording first; leave out --stream")
    for option, given in others.items():
        if given:
            raise UsageError(f"{option} is not for conversations; leave out --speakers")


@dataclass
class _Work:
    """What is done with each recording."""

    separator: LoadedSeparator
    checkpoint: str
    references: Sequence[Path]
    _: KW_ONLY
    consistency: bool
    dtype: str
    passes: int | None

    def __post_init__(self) -> None:
        header = self.separator.header
        self.wider = catalogue.suggest_wider(header.sources, header.sample_rate)  # advice, if any

    def __call__(self, task: Task) -> Separated:
        """Separate a recording, and score its voices if there are references."""
        voices, rate = self.separator.header.sources, self.separator.header.sample_rate
        settings = task.batch.estimate_settings(voices=voices, model_rate=rate)
        sources = None
        if self.references:
            from septool.scoring.references import read_references  # with torch

            sources = read_references(self.references, task.local_path, settings)
        if self.wider and not task.batch.stream:
            above = has_sound_above(task.local_path, rate / 2, track=settings.track, raw=settings.raw)
            fact = f"there is sound above {rate // 2} Hz"
            task.findings += [Caveat(CaveatKind.BANDWIDTH, fact, advice=self.wider)] * above
        completed, estimate = task.estimate(
            self.separator.estimator(
                task.batch.device,
                consistency=self.consistency,
                dtype=torch_dtype(self.dtype),
                passes=self.passes,
            ),
            voices=voices,
            model=self.checkpoint,
            model_rate=rate,
        )
        improvements = ()
        if sources is not None:
            from septool.scoring.references import score_outputs

            improvements = score_outputs(task.local_path, task.targets, sources, settings, estimate.cancelling)
        return Separated(
            **vars(replace(completed, engine=self.separator.engine, dtype=self.dtype)),
            outputs=task.outputs,
            joints=tuple(
                SeamRow(round(seam.at / rate, 3), seam.order, seam.margin, seam.by) for seam in estimate.seams
            ),
            si_snri=tuple(improvement.si_snri for improvement in improvements),
            undefined=tuple(improvement.reason for improvement in improvements),
        )


def _describe(result: Separated | Skipped, *, references: Sequence[Path], voices: int, each_channel: bool) -> Entry:
    """Return what the report shows of a recording: itself, the references and its voices."""
    tracks = [Track("recording", Path(result.input))]
    tracks += [Track(f"reference {number}", path) for number, path in enumerate(references, 1)]
    gains = result.gains if isinstance(result, Separated) else ()
    for index, (output, gain) in enumerate(zip_longest(result.outputs, gains)):
        channel, voice = divmod(index, voices)
        title = f"channel {channel + 1}, voice {voice + 1}" if each_channel else f"voice {voice + 1}"
        tracks.append(Track(title + (f" ({gain})" if gain else ""), Path(output)))
    return Entry(result.input, tracks=tracks)

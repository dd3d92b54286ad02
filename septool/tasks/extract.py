"""Extracting one known voice from recordings of any length, rate and channel count, in constant memory."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from septool import audio, catalogue
from septool.batch.html_report import Entry, Track
from septool.batch.inputs import FoundInputs, Input, list_inputs, one_or_several
from septool.batch.outcomes import Completed, Failed, Skipped
from septool.batch.output_names import looks_like_file
from septool.batch.record import Record
from septool.batch.runner import Task, run_batch, write_report
from septool.batch.settings import BatchSettings, Cluster, Progress
from septool.batch.stdio import PIPE
from septool.config import JsonDict, JsonMapping
from septool.data import manifest as manifests
from septool.data.mixing import render_mixture
from septool.device import choose_device
from septool.errors import UsageError
from septool.files import path_or_none, sha256_of
from septool.inference import EXTRACTION_OVERLAP_S, EXTRACTION_SEGMENT_S
from septool.inference.cascade import load_extractor
from septool.inference.channels import name_pattern, parse_channel
from septool.inference.dtype import ChosenDtype, check_dtype, choose_dtype, torch_dtype
from septool.inference.enrollment import (
    KnownVoicesEstimator,
    Reference,
    embed_references,
    load_reference,
    parse_reference,
    read_enrollment,
)
from septool.inference.level import on_arrays
from septool.inference.streaming import Clip
from septool.inference.voiceprints import Voiceprint, find_voiceprints, network_digest, voice_digests
from septool.models.base import Extractor


@dataclass(frozen=True, kw_only=True)
class Extracted(Completed):
    """What became of one recording."""

    output: str  # the first of the outputs
    outputs: tuple[str, ...]  # one, or one per channel where each was asked for
    presence: float  # the highest score of a segment, on the model's scale, and of any channel
    channel_presence: tuple[float, ...] = ()  # scores by channel, where each was asked for
    threshold: float | None = None  # segments with a lower score were silenced; None if that was not asked for
    manifest_sha256: str | None = None  # hash of the manifest whose row it is

    @property
    def present(self) -> bool | None:
        """Whether the voice was found anywhere, if that was asked for."""
        return None if self.threshold is None else self.presence >= self.threshold

    @property
    def judgment(self) -> str:
        """The answer in words, if it was asked for."""
        return "" if self.threshold is None else judge_presence(self.presence, self.threshold)

    @property
    def judgments(self) -> tuple[str, ...]:
        """The answer for each output."""
        if self.threshold is None or len(self.channel_presence) != len(self.outputs):
            return (self.judgment,) * len(self.outputs)
        return tuple(judge_presence(score, self.threshold) for score in self.channel_presence)

    def row(self) -> JsonDict:
        return super().row() | {"present": self.present}


@dataclass(frozen=True, kw_only=True)
class ExtractedVoices(Completed):
    """What became of one recording in which several known voices were looked for."""

    outputs: tuple[str, ...]  # one for each voice; silent where it is not there
    voices: tuple[str, ...]  # whose
    presence: tuple[float, ...]  # highest score of a segment for each voice, on the model's scale
    threshold: float  # segments with a lower score were silenced

    @property
    def present(self) -> tuple[str, ...]:
        """The voices that were found anywhere."""
        return tuple(name for name, score in zip(self.voices, self.presence, strict=True) if score >= self.threshold)

    @property
    def judgments(self) -> tuple[str, ...]:
        """The answer for each voice in words."""
        return tuple(judge_presence(score, self.threshold) for score in self.presence)

    @property
    def summary(self) -> str:
        """Who is there, and how long it took."""
        return f"{', '.join(self.present) or 'none of them'} there; {super().summary}"

    def row(self) -> JsonDict:
        return super().row() | {"present": list(self.present)}


def judge_presence(score: float, threshold: float) -> str:
    """Return whether a voice is there."""
    answer = "there" if score >= threshold else "not there, silence"
    return f"presence {score:.2f}, {answer} (from {threshold:.2f})"


def extract(
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    from_file: str | None = None,
    references: str | Path | Sequence[str | Path] = (),
    who: str | None = None,
    model: str = "galr",
    speaker_model: str | None = None,
    out: str = ".",
    device: str = "auto",
    dtype: str = "auto",
    passes: int | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    channel: int | str | None = None,
    track: int = 1,
    raw: str | None = None,
    suffix: str = "wav",
    name: str | None = None,
    segment: float = EXTRACTION_SEGMENT_S,
    overlap: float = EXTRACTION_OVERLAP_S,
    clip: Clip = "clamp",
    stream: bool = False,
    presence: bool = False,
    threshold: float | None = None,
    html: str | Path | None = None,
    force: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    shard: str | None = None,
    manifest: str | Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
    obtain: Callable[..., None] = lambda *_: None,
) -> Iterator[Extracted | ExtractedVoices | Failed | Skipped]:
    """Extract a voice from recordings; one result for each, failed ones among them.

    Args:
        inputs: a file or folder (searched recursively), several of them, ``-`` for standard input, or one manifest
            whose rows have enrollments.
        from_file: list of more of them, a line each or with NULs between; ``-`` reads it from standard input.
        references: recordings of the wanted voice alone, or excerpts ``FILE@START-END`` of recordings; what it is
            known by is averaged over them.
        who: files of voiceprints, in place of references; every voice in them gets a file, silent where it is not
            there. See :func:`septool.inference.voiceprints.find_voiceprints`.
        model: name of a checkpoint, of a model (its default checkpoint), or a ``.safetensors`` file: an extractor, or a
            separator, whose outputs a speaker network chooses from.
        speaker_model: that speaker network; by default the one of ``septool enroll``.
        out: the voice's file, or for several recordings a folder, made if missing; ``-`` is standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: what the network computes in: ``fp32``, ``bf16`` or, on a GPU, ``fp16``; see
            :func:`septool.tasks.separate.separate` for ``auto``. A speaker network computes in float32.
        passes: over the recording, whose voices are averaged: better and that many times slower; as the checkpoint
            says by default.
        jobs: processes that work on a recording each, where the device is the processor; by default as many as there
            are processors for many short recordings, else one with all threads.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers take the place of processes and have
            a device each.
        channel: the one to listen to, from 1; ``mix``, the default, averages all (or takes the loudest, where they
            cancel each other), ``each`` works on each by itself, with ``_c{channel}`` in the names of its files.
        track: which of those of a container that hold sound, from 1.
        raw: what recordings without a header are, ``ENCODING:RATE:CHANNELS`` such as ``s16le:16000:1``.
        suffix: format of files in a folder and of standard output.
        name: file name in a folder, made of ``{stem}`` and ``{suffix}`` of the recording, ``{model}`` and, of several
            voices, ``{voice}``; by default ``{stem}_voice``, or ``{stem}_{voice}``.
        segment: seconds given to the model at once; longer recordings are cut and stitched together.
        overlap: seconds that two segments share.
        clip: what becomes of samples over full scale where integers are written: ``clamp`` sets them to it, ``rescale``
            lowers all voices of the recording together, ``none`` writes float samples. Floats always keep them.
        stream: works on standard input while it arrives, without a temporary file.
        presence: write silence where the voice is not there.
        threshold: score from which it counts as there; by default the checkpoint's, as measured.
        html: HTML report with players and spectrograms of the recordings, the references and the voice; of a
            manifest, whose mixtures are no files, of the voice alone.
        force: replace files that are there.
        skip_existing: skip recordings whose voice is there.
        fail_fast: end with the first recording that fails.
        shard: ``I/N`` works on the I-th of N parts of the recordings alone, for N machines.
        manifest: record of results, a JSON line each, with the sha256 of recordings, outputs and checkpoint; with
            ``skip_existing`` outputs are done only if it says so, and they are what was written.
        report: callback for warnings.
        progress: callback for how far a recording is, where there is one process.
        obtain: callback that fetches missing weights; see :func:`septool.tasks.separate.separate`.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        AudioError: a reference that cannot be used.
        CheckpointError: a damaged model; NotFetchedError where its weights are neither here nor fetched by ``obtain``.
    """
    inputs = list_inputs(inputs, from_file)
    references = one_or_several(references)
    html, manifest = map(path_or_none, (html, manifest))
    batch = BatchSettings(
        out=out,
        name=name or name_pattern("voice" if who is None else "{voice}", channel),
        suffix=suffix.lstrip("."),
        segment=segment,
        overlap=overlap,
        device=choose_device(device if cluster is None else "cpu"),
        channel=parse_channel(channel),
        track=track,
        raw=raw,
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
    check_dtype(dtype, batch.computing_device)
    excerpts = [parse_reference(reference) for reference in references]
    if threshold is not None and not presence and who is None:
        raise UsageError(f"--threshold {threshold:g} is for --presence, which was not given")
    rows: Mapping[str, manifests.Mixture] = {}
    if who is not None:
        _check_enrolled(batch, who, inputs, references)
    else:
        rows = manifest_rows(inputs, references)
        _check_rows(batch, rows, inputs)
    # A row is no file; a path below the manifest is none that a voice could replace.
    mixtures = tuple(
        Input(
            row.id,
            Path(inputs[0]) / f"{manifests.file_stem(row.id)}.wav",
            made_of=tuple(row.recordings()),
        )
        for row in rows.values()
    )
    found = FoundInputs(mixtures) if rows else batch.find_inputs(inputs)
    batch.check_inputs(found.recordings)
    obtain(model, speaker_model)
    checkpoint, path = catalogue.resolve_checkpoint(model)
    network, header = load_extractor(path, speaker_model)
    if presence or who is not None:
        threshold = resolve_threshold(threshold, header.presence_threshold, checkpoint)
    network.to(batch.device)
    chosen = choose_dtype(dtype, batch.own_device, header.measured)
    extractor = _LoadedExtractor(
        network, checkpoint, path, header.sample_rate, threshold, chosen, header.choose_passes(passes)
    )
    if who is not None:
        yield from _extract_enrolled(batch, found, inputs, extractor, find_voiceprints(who, network.speaker))
        return
    if looks_like_file(out):
        batch, found = name_output(batch, found, name)
    if rows:
        yield from _extract_rows(batch, found, inputs, extractor, rows)
    else:
        yield from _extract_target(batch, found, inputs, extractor, excerpts)


def _check_rows(batch: BatchSettings, rows: Mapping[str, manifests.Mixture], inputs: Sequence[str]) -> None:
    """Refuse what says how recordings are read, where the rows of a manifest say it."""
    if rows and batch.channel is not None:
        raise UsageError(f"the mixtures of {inputs[0]} have one channel; leave out --channel")
    if rows and (batch.track != 1 or batch.raw is not None):
        raise UsageError(f"the mixtures of {inputs[0]} are made by its rows; leave out --track and --raw")


def _check_enrolled(batch: BatchSettings, who: str, inputs: Sequence[str], references: Sequence[str | Path]) -> None:
    """Refuse what does not go with enrolled voices, each of which gets a file."""
    if references or any(name.endswith(".jsonl") for name in inputs):
        raise UsageError(f"--who {who} takes the place of references; give the one or the other")
    if batch.stream or batch.channel == "each":
        raise UsageError(f"--who writes a file a voice; leave out {'--stream' if batch.stream else '--channel each'}")
    if batch.out == PIPE or looks_like_file(batch.out):
        raise UsageError(f"--who writes a file a voice; --out is a folder for them, not {batch.out}")


@dataclass
class _LoadedExtractor:
    """A checkpoint that extracts known voices from recordings."""

    network: Extractor
    checkpoint: str
    path: Path
    rate: int  # Hz
    threshold: float | None  # score from which a voice is present; None asks for no score
    dtype: ChosenDtype
    passes: int

    @property
    def title(self) -> str:
        """Of the HTML report."""
        return f"Extracted by {self.checkpoint}"

    def open_record(self, batch: BatchSettings, known_by: JsonMapping) -> Record | None:
        """Open the record of results, if one is wanted; ``known_by`` says what the voices are known by."""
        settings = {
            **known_by,
            "threshold": self.threshold,
            "dtype": self.dtype.name,
            "passes": self.passes,
            "speaker_weights": network_digest(self.network.speaker),
        }
        return batch.open_record(self.checkpoint, self.path, settings, {"dtype": self.dtype.accepted})

    def estimate(self, task: Task, embeddings: torch.Tensor) -> tuple[Completed, list[tuple[float, ...]]]:
        """Write the voices that are known by ``embeddings [voice, embedding]``; return their scores by channel too."""
        device = task.batch.device
        self.network.to(device)
        each_channel = task.batch.channel == "each"
        estimator = KnownVoicesEstimator(
            self.network,
            embeddings.to(device),
            self.threshold,
            torch_dtype(self.dtype.name),
            self.passes,
            each_channel=each_channel,
        )
        completed, found = task.estimate(
            on_arrays(estimator, device),
            voices=len(embeddings),
            model=self.checkpoint,
            model_rate=self.rate,
            ordered=True,
        )
        presence = estimator.presence(found.info.channels if each_channel else 1)
        return replace(completed, dtype=self.dtype.name), presence

    def extract(self, task: Task, embedding: torch.Tensor, manifest_sha256: str | None = None) -> Extracted:
        """Write the one voice that is known by ``embedding [1, embedding]``."""
        completed, presence = self.estimate(task, embedding)
        return Extracted(
            **vars(completed),
            output=task.outputs[0],
            outputs=task.outputs,
            presence=max(score for (score,) in presence),
            channel_presence=tuple(score for (score,) in presence) if task.batch.channel == "each" else (),
            threshold=self.threshold,
            manifest_sha256=manifest_sha256,
        )


def _extract_target(
    batch: BatchSettings,
    inputs: FoundInputs,
    explicit: Sequence[str],
    extractor: _LoadedExtractor,
    references: Sequence[Reference],
) -> Iterator[Extracted | Failed | Skipped]:
    """Extract the voice of references from each recording."""
    paths = [reference.path for reference in references]
    todo = batch.plan(inputs.recordings, explicit, paths, voices=1, model=extractor.checkpoint)
    loaded = [load_reference(reference, extractor.rate, batch.report) for reference in references]
    embedding = embed_references(extractor.network.speaker, loaded, extractor.rate, batch.device)
    sums = (
        [f"{sha256_of(reference.path)} {reference.start:g} {reference.end}" for reference in references]
        if batch.manifest
        else []
    )
    record = extractor.open_record(batch, {"references": sums, "rows": None})
    work = partial(extractor.extract, embedding=embedding)
    whole = [Track("reference", reference.path) for reference in references if reference.end is None]

    def describe(result: Extracted | Skipped) -> Entry:
        voices = _voice_tracks(result, each_channel=batch.channel == "each")
        return Entry(result.input, tracks=[Track("recording", Path(result.input)), *whole, *voices])

    results = run_batch(batch, todo, work, inputs.unreadable, record)
    yield from write_report(results, batch.html, extractor.title, describe)


def _extract_rows(
    batch: BatchSettings,
    inputs: FoundInputs,
    explicit: Sequence[str],
    extractor: _LoadedExtractor,
    rows: Mapping[str, manifests.Mixture],
) -> Iterator[Extracted | Failed | Skipped]:
    """Extract from each mixture of a manifest the voice of its own enrollment."""
    todo = batch.plan(inputs.recordings, explicit, (), voices=1, model=extractor.checkpoint)
    rows_sha256 = sha256_of(Path(explicit[0]))
    record = extractor.open_record(batch, {"references": [], "rows": rows_sha256})

    def describe(result: Extracted | Skipped) -> Entry:
        return Entry(result.input, tracks=_voice_tracks(result, each_channel=False))

    work = partial(_extract_row, extractor=extractor, rows=rows, rows_sha256=rows_sha256)
    results = run_batch(batch, todo, work, inputs.unreadable, record)
    yield from write_report(results, batch.html, extractor.title, describe)


def _extract_row(
    task: Task, *, extractor: _LoadedExtractor, rows: Mapping[str, manifests.Mixture], rows_sha256: str
) -> Extracted:
    """Extract from a mixture, which is rendered for it, the voice of its enrollment."""
    row, device = rows[task.job.label], task.batch.device
    enrolled = read_enrollment(row, extractor.rate)
    embedding = embed_references(extractor.network.to(device).speaker, [enrolled], extractor.rate, device)
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        task.local_path = Path(folder) / "mixture.wav"
        audio.write_audio(task.local_path, render_mixture(row).mixture, row.sample_rate, "FLOAT")
        return extractor.extract(task, embedding, rows_sha256)


def _voice_tracks(result: Extracted | Skipped, *, each_channel: bool) -> list[Track]:
    """Return the outputs that the report shows of a recording."""
    judgments = result.judgments if isinstance(result, Extracted) else [""] * len(result.outputs)
    tracks = []
    for number, (output, verdict) in enumerate(zip(result.outputs, judgments, strict=True), 1):
        judgment = f" ({verdict})" if verdict else ""
        of_channel = f" of channel {number}" if each_channel else ""
        tracks.append(Track(f"voice{of_channel}{judgment}", Path(output)))
    return tracks


def _extract_enrolled(
    batch: BatchSettings,
    inputs: FoundInputs,
    explicit: Sequence[str],
    extractor: _LoadedExtractor,
    voices: Sequence[Voiceprint],
) -> Iterator[ExtractedVoices | Failed | Skipped]:
    """Extract those of several voices that are there."""
    names, threshold = [voice.name for voice in voices], extractor.threshold
    assert threshold is not None, "enrolled voices are always asked whether they are there"
    record = extractor.open_record(batch, {"who": voice_digests(voices)})
    todo = batch.plan(inputs.recordings, explicit, (), voices=names, model=extractor.checkpoint)
    embeddings = torch.from_numpy(np.stack([voice.embedding for voice in voices])).to(batch.device)

    def work(task: Task) -> ExtractedVoices:
        completed, presence = extractor.estimate(task, embeddings)
        return ExtractedVoices(
            **vars(completed),
            outputs=task.outputs,
            voices=tuple(names),
            presence=presence[0],
            threshold=threshold,
        )

    def describe(result: ExtractedVoices | Skipped) -> Entry:
        judgments = result.judgments if isinstance(result, ExtractedVoices) else [""] * len(names)
        tracks = [Track("recording", Path(result.input))]
        for name, judgment, path in zip(names, judgments, result.outputs, strict=True):
            tracks.append(Track(name + (f" ({judgment})" if judgment else ""), Path(path)))
        return Entry(result.input, tracks=tracks)

    results = run_batch(batch, todo, work, inputs.unreadable, record)
    yield from write_report(results, batch.html, extractor.title, describe)


def manifest_rows(inputs: Sequence[str], references: Sequence[str | Path]) -> dict[str, manifests.Mixture]:
    """Return the rows of a manifest by id; none if the inputs are recordings.

    Raises:
        UsageError: references are missing, or given twice over.
    """
    named = [name for name in inputs if name.endswith(".jsonl")]
    if not named:
        if not references:
            raise UsageError(
                "give a recording of the wanted voice with --reference, or a voice that septool enroll kept with --who"
            )
        return {}
    if len(inputs) > 1:
        raise UsageError(f"{named[0]} is a manifest; give it alone")
    if references:
        raise UsageError(f"{named[0]} has its own enrollments; leave out --reference")
    rows = manifests.read_manifest(Path(named[0]))
    return {row.id: row for row in sorted(rows, key=lambda row: row.id)}


def resolve_threshold(requested: float | None, measured: float | None, model: str) -> float:
    """Return the score from which a voice counts as there.

    Raises:
        UsageError: neither the user nor the checkpoint has one.
    """
    if requested is not None:
        if not math.isfinite(requested):
            raise UsageError(f"--threshold is {requested}; it is a score")
        return requested
    if measured is None:
        raise UsageError(f"{model} has no measured threshold for --presence; give one with --threshold")
    return measured


def name_output(
    batch: BatchSettings, inputs: FoundInputs, name: str | None = None
) -> tuple[BatchSettings, FoundInputs]:
    """Return a batch and its input, so that the one recording's voice is written to the file that ``--out`` names.

    Raises:
        UsageError: there are several voices, or ``name``, the user's for files in a folder, or a format says otherwise.
    """
    file = Path(batch.out)
    audio.format_of(file)
    if len(inputs.recordings) != 1:
        raise UsageError(f"--out {batch.out} is a file, {len(inputs.recordings)} recordings were given; name a folder")
    if batch.channel == "each":
        raise UsageError(f"--out {batch.out} is one file, and --channel each writes one a channel; name a folder")
    if name is not None:
        raise UsageError(f"--out {batch.out} names the file; leave out --name, or name a folder")
    if batch.suffix not in ("wav", file.suffix[1:]):  # wav is the default
        raise UsageError(f"--out {batch.out} has another format than --format {batch.suffix}; leave one of them out")
    called = file.stem.replace("{", "{{").replace("}", "}}")
    batch = replace(batch, out=str(file.parent), name=called, suffix=file.suffix[1:])
    recordings = tuple(replace(recording, subfolder=Path()) for recording in inputs.recordings)
    return batch, replace(inputs, recordings=recordings)

"""Extracting one known voice from recordings of any length, rate and channel count, in constant memory."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from septool import audio, catalogue, checkpoints
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.device import choose_device
from septool.errors import UsageError
from septool.files import sha256_of
from septool.inference.batch import (
    Failed,
    Progress,
    Skipped,
    check_page,
    check_segments,
    estimate_file,
    on_page,
    tell,
    work_through,
)
from septool.inference.enrolment import Voice, embed, read_reference, reference_of
from septool.inference.html_report import Entry, Track
from septool.inference.paths import (
    PIPE,
    Plan,
    check_pipe,
    check_replaced,
    find_inputs,
    is_like_a_file,
    make_plans,
    named,
    share,
)
from septool.models.base import Extractor


@dataclass(frozen=True)
class Extracted:
    """What became of one recording."""

    outcome: ClassVar[str] = "done"
    input: str
    output: str
    model: str
    seconds: float  # of audio
    elapsed: float  # seconds it took
    rate: int
    channels: int
    clipped: int  # samples that went over full scale
    presence: float  # the highest score of a stretch; what the scale is, the model says
    threshold: float | None = None  # stretches with a lower score were silenced; None if that was not asked for
    manifest_sha256: str | None = None  # of the manifest whose row it is

    @property
    def present(self) -> bool | None:
        """Whether the voice was found anywhere, if that was asked for."""
        return None if self.threshold is None else self.presence >= self.threshold

    @property
    def judged(self) -> str:
        """The answer in words, if it was asked for."""
        if self.threshold is None:
            return ""
        answer = "there" if self.present else "not there, silence"
        return f"presence {self.presence:.2f}, {answer} (from {self.threshold:.2f})"

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"present": self.present}


def extract(
    inputs: Sequence[str],
    *,
    references: Sequence[Path] = (),
    model: str = "galr-extractor",
    out: str = ".",
    device: str = "auto",
    jobs: int = 1,
    channel: int | None = None,
    suffix: str = "wav",
    name: str = "{stem}_voice",
    segment: float = 10.0,
    overlap: float = 2.0,
    presence: bool = False,
    threshold: float | None = None,
    html: Path | None = None,
    force: bool = False,
    skip_existing: bool = False,
    shard: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Iterator[Extracted | Failed | Skipped]:
    """Extract a voice from recordings; one result for each, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), ``-`` for standard input, or one manifest whose rows
            have enrolments.
        references: recordings of the wanted voice alone; what it is known by is averaged over them.
        model: name of a checkpoint, of a model (its default checkpoint), or a ``.safetensors`` file.
        out: the voice's file, or for several recordings a folder, made if missing; ``-`` is standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: processes that work on a recording each, where the device is the processor.
        channel: the one that is listened to, from 1; all are averaged by default.
        suffix: format of files in a folder and of standard output.
        name: file name in a folder, made of ``{stem}`` and ``{suffix}`` of the recording and ``{model}``.
        segment: seconds given to the model at once; longer recordings are cut and put together.
        overlap: seconds that two such pieces share.
        presence: write silence where the voice is not there.
        threshold: score from which it counts as there; by default the checkpoint's, as measured.
        html: page with players and spectrograms of the recordings, the references and the voice; of a manifest,
            whose mixtures are no files, of the voice alone.
        force: replace files that are there.
        skip_existing: leave recordings alone whose voice is there.
        shard: ``I/N`` works on the I-th of N parts of the recordings alone, for N machines.
        report: told what is worth a word while it happens.
        progress: told how far a recording is, where there is one process.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        AudioError: a reference that cannot be used.
        CheckpointError: no such model, or a damaged one.
    """
    check_segments(segment, overlap)
    suffix = suffix.lstrip(".")
    audio.format_of(Path(f"voice.{suffix}"))
    if threshold is not None and not presence:
        raise UsageError(f"--threshold {threshold:g} is for --presence, which was not given")
    rows = manifest_rows(inputs, references)
    if rows and channel is not None:
        raise UsageError(f"the mixtures of {inputs[0]} have one channel; leave out --channel")
    digest = sha256_of(Path(inputs[0])) if rows else None
    # A row is no file; a path below the manifest is none that a voice could replace.
    below = [(id, Path(inputs[0]) / f"{manifest.file_stem(id)}.wav", Path()) for id in rows]
    found = below or find_inputs(inputs)
    check_page(html, found, out, force=force)
    check_pipe(out, found)
    entry, path = catalogue.resolve_checkpoint(model)
    network, header = checkpoints.load(path, Extractor)
    threshold = limit(threshold, header.presence_threshold, entry) if presence else None
    where = choose_device(device)
    network.to(where)
    plans = make_outputs(found, inputs, out=out, name=name, suffix=suffix, model=entry, report=report)
    for plan in plans:
        check_replaced(references, plan)
    known = (
        embed(network, [read_reference(each, header.sample_rate) for each in references], where) if not rows else None
    )

    def work(plan: Plan, real: Path, targets: Sequence[Path], say: Callable[[str], None]) -> Extracted:
        with tempfile.TemporaryDirectory(prefix="septool-") as folder:
            embedding = known
            if plan.shown in rows:
                row = rows[plan.shown]
                embedding = embed(network, [reference_of(row, header.sample_rate)], where)
                real = Path(folder) / "mixture.wav"
                audio.write_audio(real, render_mixture(row).mixture, row.sample_rate, "FLOAT")
            assert embedding is not None
            voice = Voice(network, embedding, threshold)
            started = time.perf_counter()
            about, clipped, _ = estimate_file(
                real,
                targets,
                voice,
                voices=1,
                model_rate=header.sample_rate,
                device=where,
                segment=segment,
                overlap=overlap,
                channel=channel,
                progress=partial(progress, named(plan.shown)) if jobs == 1 else lambda *_: None,
            )
            elapsed = time.perf_counter() - started
        tell(say, named(plan.shown), about, clipped, channel=channel, model=entry, model_rate=header.sample_rate)
        return Extracted(
            plan.shown,
            PIPE if out == PIPE else str(targets[0]),
            entry,
            about.frames / about.rate,
            elapsed,
            about.rate,
            about.channels,
            clipped,
            max(voice.scores),
            threshold,
            digest,
        )

    def heard(result: Extracted | Skipped) -> Entry:
        tracks = [] if rows else [Track("recording", Path(result.input))]
        tracks += [Track("reference", each) for each in references]
        if isinstance(result, Skipped):
            tracks.append(Track("voice", Path(result.outputs[0])))
        else:
            tracks.append(Track("voice" + (f" ({result.judged})" if result.judged else ""), Path(result.output)))
        return Entry(result.input, "", tracks)

    results = work_through(
        share(plans, shard),
        work,
        out=out,
        suffix=suffix,
        force=force,
        skip_existing=skip_existing,
        jobs=jobs,
        device=where,
        report=report,
    )
    yield from on_page(results, html, f"Extracted by {entry}", heard)


def manifest_rows(inputs: Sequence[str], references: Sequence[Path]) -> dict[str, manifest.Mixture]:
    """Return the rows of a manifest by id; none if the inputs are recordings.

    Raises:
        UsageError: references are missing, or given twice over.
    """
    manifests = [name for name in inputs if name.endswith(".jsonl")]
    if not manifests:
        if not references:
            raise UsageError("give a recording of the wanted voice with --reference")
        return {}
    if len(inputs) > 1:
        raise UsageError(f"{manifests[0]} is a manifest; give it alone")
    if references:
        raise UsageError(f"{manifests[0]} has its own enrolments; leave out --reference")
    rows = manifest.read_manifest(Path(manifests[0]))
    return {row.id: row for row in sorted(rows, key=lambda row: row.id)}


def limit(asked: float | None, measured: float | None, model: str) -> float:
    """Return the score from which a voice counts as there."""
    if asked is None and measured is None:
        raise UsageError(f"{model} has no measured threshold for --presence; give one with --threshold")
    return asked if asked is not None else float(measured or 0.0)


def make_outputs(
    found: list[tuple[str, Path, Path]],
    inputs: Sequence[str],
    *,
    out: str,
    name: str,
    suffix: str,
    model: str,
    report: Callable[[str], None],
) -> list[Plan]:
    """Decide where the voices go; ``out`` is a file if it is named like one."""
    if is_like_a_file(out):
        file = Path(out)
        audio.format_of(file)
        if len(found) != 1:
            raise UsageError(f"--out {out} is a file, {len(found)} recordings were given; name a folder")
        out, name, suffix = str(file.parent), file.stem.replace("{", "{{").replace("}", "}}"), file.suffix[1:]
        found = [(shown, source, Path()) for shown, source, _ in found]
    return make_plans(found, inputs, out=out, name=name, suffix=suffix, voices=1, model=model, report=report)

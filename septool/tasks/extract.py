"""Extracting one known voice from recordings of any length, rate and channel count, in constant memory."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from septool import audio, checkpoints, manifest
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference import choose_device, find
from septool.mixing import render
from septool.models.base import Extractor
from septool.signal.levels import centred, from_db, model_gain
from septool.tasks.listening import Entry, Track
from septool.tasks.plans import (
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
from septool.tasks.recordings import (
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

SILENT_DB = -80.0  # a reference whose loudest frame lies below this has no voice in it
SPEECH_DB = 30.0  # frames this far below the loudest one are pauses
SHORTEST = 1.0  # seconds of speech that a reference needs
LONGEST = 60.0  # seconds of a reference that are listened to, from its beginning


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


class Voice:
    """One stretch's estimate of a known voice, keeping the score of each."""

    def __init__(self, model: Extractor, embedding: Tensor, threshold: float | None) -> None:
        self.model, self.embedding, self.threshold = model, embedding, threshold
        self.scores: list[float] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        """Map ``[1, time]`` to ``[1, 1, time]``."""
        voice, presence = find(self.model, mixture, self.embedding)
        self.scores.append(presence.item())
        if self.threshold is not None and self.scores[-1] < self.threshold:
            voice = torch.zeros_like(voice)
        return voice[:, None]


def read_reference(path: Path, rate: int, start: int = 0, frames: int = -1) -> np.ndarray:
    """Read a recording of the wanted voice, ``[time]`` at ``rate``; ``start`` and ``frames`` as in a manifest.

    Raises:
        AudioError: it cannot be read, or it holds too little of a voice.
    """
    own = audio.info(path)
    longest = min(round(LONGEST * own.rate), own.frames - start)
    cut = longest < (own.frames - start if frames < 0 else frames)
    samples, _ = audio.read(path, start, longest if frames < 0 else min(frames, longest))
    voice = audio.resample(audio.mono(samples), own.rate, rate)
    check_reference(voice, rate, f"reference {path}" + (f" (its first {LONGEST:g} s)" if cut else ""))
    return voice


def check_reference(voice: np.ndarray, rate: int, name: str) -> None:
    """Refuse a recording ``[time]`` that a voice cannot be known by.

    Raises:
        AudioError: it is silent, damaged, or holds too little of a voice.
    """
    audio.check_numbers(voice, name)
    spoken = seconds_of_speech(voice, rate)
    if spoken is None:
        raise AudioError(f"{name} is silent; give a recording in which the voice speaks")
    if spoken < SHORTEST:
        raise AudioError(f"{name} has {spoken:.1f} s of speech; {SHORTEST:g} s are needed, 3 s are better")


def seconds_of_speech(voice: np.ndarray, rate: int) -> float | None:
    """Return how long a recording is without its pauses; None if it is silent."""
    size = rate // 100
    frames = np.resize(voice, (max(len(voice) // size, 1), size)) if len(voice) else np.zeros((1, 1))
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    if levels.max() < from_db(SILENT_DB):
        return None
    return float((levels > levels.max() * from_db(-SPEECH_DB)).sum()) / 100


@torch.inference_mode()
def embed(model: Extractor, references: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Return what a model knows a voice by, ``[1, embedding]``: the mean over its references."""
    waves = [centred(torch.from_numpy(voice)[None].to(device)) for voice in references]
    return torch.stack([model.speaker(wave * model_gain(wave)).float() for wave in waves]).mean(0)


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
    audio.container(Path(f"voice.{suffix}"))
    if threshold is not None and not presence:
        raise UsageError(f"--threshold {threshold:g} is for --presence, which was not given")
    rows = manifest_rows(inputs, references)
    if rows and channel is not None:
        raise UsageError(f"the mixtures of {inputs[0]} have one channel; leave out --channel")
    digest = manifest.digest(Path(inputs[0])) if rows else None
    # A row is no file; a path below the manifest is none that a voice could replace.
    below = [(id, Path(inputs[0]) / f"{manifest.file_stem(id)}.wav", Path()) for id in rows]
    found = below or find_inputs(inputs)
    check_page(html, found, out, force=force)
    check_pipe(out, found)
    entry, path = checkpoints.resolve(model)
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
                audio.write(real, render(row).mixture, row.sample_rate, "FLOAT")
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
    rows = manifest.read(Path(manifests[0]))
    return {row.id: row for row in sorted(rows, key=lambda row: row.id)}


def reference_of(row: manifest.Mixture, rate: int) -> np.ndarray:
    """Read the enrolment of a manifest's row."""
    if row.enrolment is None:
        raise SeptoolError(f"mixture {row.id} has no enrolment")
    how = row.enrolment
    return read_reference(row.locate(how.path), rate, how.start, how.frames)


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
        audio.container(file)
        if len(found) != 1:
            raise UsageError(f"--out {out} is a file, {len(found)} recordings were given; name a folder")
        out, name, suffix = str(file.parent), file.stem.replace("{", "{{").replace("}", "}}"), file.suffix[1:]
        found = [(shown, source, Path()) for shown, source, _ in found]
    return make_plans(found, inputs, out=out, name=name, suffix=suffix, voices=1, model=model, report=report)

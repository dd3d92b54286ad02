"""Separating recordings of any length, rate and channel count, in constant memory."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from septool import audio, checkpoints
from septool.errors import SeptoolError, UsageError
from septool.inference import choose_device, feed, fit_scale
from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator
from septool.signal.levels import centred
from septool.signal.stitch import Joint
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
    Estimate,
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


@dataclass(frozen=True)
class Separated:
    """What became of one recording."""

    outcome: ClassVar[str] = "done"
    input: str
    outputs: tuple[str, ...]
    model: str
    seconds: float  # of audio
    elapsed: float  # seconds it took
    rate: int
    channels: int
    clipped: int  # samples that went over full scale
    joints: tuple[Joint, ...]  # where a long recording was put together, and how
    si_snri: tuple[float | None, ...] = ()  # dB of each output, if references were given; None is undefined

    @property
    def gains(self) -> tuple[str, ...]:
        """The improvement of each output in words."""
        return tuple("SI-SNRi undefined" if gain is None else f"SI-SNRi {gain:+.2f} dB" for gain in self.si_snri)

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def separate(
    inputs: Sequence[str],
    *,
    model: str = "galr",
    out: str = ".",
    device: str = "auto",
    jobs: int = 1,
    channel: int | None = None,
    suffix: str = "wav",
    name: str = "{stem}_s{voice}",
    segment: float = 30.0,
    overlap: float = 4.0,
    references: Sequence[Path] = (),
    html: Path | None = None,
    force: bool = False,
    skip_existing: bool = False,
    shard: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Iterator[Separated | Failed | Skipped]:
    """Separate recordings; one result for each, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), or ``-`` for standard input.
        model: name of a checkpoint, of a model (its default checkpoint), or a ``.safetensors`` file.
        out: folder for the voices, made if missing; ``-`` writes one file with a channel per voice to
            standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: processes that work on a recording each, where the device is the processor.
        channel: the one that is listened to, from 1; all are averaged by default.
        suffix: format of the files written.
        name: file name, made of ``{stem}`` and ``{suffix}`` of the recording, ``{voice}`` (from 1) and ``{model}``.
        segment: seconds given to the model at once; longer recordings are cut and put together.
        overlap: seconds that two such pieces share.
        references: the true voices, to print the improvement of each, at the model's rate.
        html: page with players and spectrograms of the recordings, the references and the voices.
        force: replace files that are there.
        skip_existing: leave recordings alone whose voices are there.
        shard: ``I/N`` works on the I-th of N parts of the recordings alone, for N machines.
        report: told what is worth a word while it happens.
        progress: told how far a recording is, where there is one process.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: no such model, or a damaged one.
    """
    check_segments(segment, overlap)
    suffix = suffix.lstrip(".")
    audio.container(Path(f"voice.{suffix}"))
    found = find_inputs(inputs)
    check_page(html, found, out, force=force)
    check_pipe(out, found)
    if is_like_a_file(out):
        raise UsageError(f"--out {out} is named like a file; name a folder, and the files with --name and --format")
    if references and len(found) != 1:
        raise UsageError(f"--reference takes one input, {len(found)} were given")
    entry, path = checkpoints.resolve(model)
    network, header = checkpoints.load(path)
    where = choose_device(device)
    network.to(where)
    if references and len(references) != header.sources:
        raise UsageError(f"{entry} gives {header.sources} voices; give as many references, not {len(references)}")
    plans = make_plans(
        found, inputs, out=out, name=name, suffix=suffix, voices=header.sources, model=entry, report=report
    )

    for plan in plans:
        check_replaced(references, plan)

    def work(plan: Plan, real: Path, targets: Sequence[Path], say: Callable[[str], None]) -> Separated:
        true = read_references(references, real) if references else None
        started = time.perf_counter()
        about, clipped, joints = estimate_file(
            real,
            targets,
            voices_by(network),
            voices=header.sources,
            model_rate=header.sample_rate,
            device=where,
            segment=segment,
            overlap=overlap,
            channel=channel,
            progress=partial(progress, named(plan.shown)) if jobs == 1 else lambda *_: None,
        )
        elapsed = time.perf_counter() - started
        gains = score(real, targets, true, header.sample_rate, channel) if true is not None else ()
        tell(say, named(plan.shown), about, clipped, channel=channel, model=entry, model_rate=header.sample_rate)
        return Separated(
            plan.shown,
            (PIPE,) if out == PIPE else tuple(map(str, targets)),
            entry,
            about.frames / about.rate,
            elapsed,
            about.rate,
            about.channels,
            clipped,
            joints,
            gains,
        )

    def heard(result: Separated | Skipped) -> Entry:
        tracks = [Track("recording", Path(result.input))]
        tracks += [Track(f"reference {number}", each) for number, each in enumerate(references, 1)]
        gains = result.gains if isinstance(result, Separated) else ()
        for number, (output, gain) in enumerate(zip_longest(result.outputs, gains), 1):
            tracks.append(Track(f"voice {number}" + (f" ({gain})" if gain else ""), Path(output)))
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
    yield from on_page(results, html, f"Separated by {entry}", heard)


def voices_by(model: Separator) -> Estimate:
    """Return the separation of one stretch by a model."""
    return lambda mixture: fit_scale(centred(mixture), feed(model, mixture))


def read_references(references: Sequence[Path], mixture: Path) -> torch.Tensor:
    """Read the true voices at the recording's rate, ``[source, time]`` in float64."""
    heard, rate = audio.read(mixture)
    true = [audio.load(path, rate) for path in references]
    for path, voice in zip(references, true, strict=True):
        if len(voice) != heard.shape[1]:
            raise SeptoolError(f"{path} has {len(voice)} samples at {rate} Hz, {mixture} has {heard.shape[1]}")
    return torch.from_numpy(np.stack(true)).double()


def score(
    mixture: Path, outputs: Sequence[Path], true: torch.Tensor, rate: int, channel: int | None = None
) -> tuple[float | None, ...]:
    """SI-SNRi in dB of each output over the recording, at the reference that fits it in the best order.

    All are brought to ``rate``, the model's: what the model cannot hear says nothing of how well it separates,
    and published scores are at that rate.
    """

    def heard(samples: np.ndarray, own: int) -> torch.Tensor:
        return torch.from_numpy(audio.resample(samples, own, rate)).double()

    mixed, own = audio.read(mixture)
    mixed = heard(audio.mono(mixed, channel), own)
    voices = torch.stack([heard(voice, own) for path in outputs for voice in audio.read(path)[0]])
    true = torch.stack([heard(voice, own) for voice in true.numpy()])
    order = best_permutation(si_snr, estimate=voices[None], reference=true[None]).order[0]
    gains = torch.empty(len(voices), dtype=torch.float64)
    gains[order] = si_snr(estimate=voices[order], reference=true) - si_snr(estimate=mixed, reference=true)
    return tuple(round(gain, 2) if math.isfinite(gain) else None for gain in gains.tolist())

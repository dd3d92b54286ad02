"""Separating recordings of any length, rate and channel count, in constant memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from septool import audio, catalogue, checkpoints
from septool.device import choose_device
from septool.errors import UsageError
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
from septool.inference.html_report import Entry, Track
from septool.inference.level import make_estimator
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
from septool.scoring.references import read_references, score_outputs
from septool.signal.stitch import Joint


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
    audio.format_of(Path(f"voice.{suffix}"))
    found = find_inputs(inputs)
    check_page(html, found, out, force=force)
    check_pipe(out, found)
    if is_like_a_file(out):
        raise UsageError(f"--out {out} is named like a file; name a folder, and the files with --name and --format")
    if references and len(found) != 1:
        raise UsageError(f"--reference takes one input, {len(found)} were given")
    entry, path = catalogue.resolve_checkpoint(model)
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
            make_estimator(network),
            voices=header.sources,
            model_rate=header.sample_rate,
            device=where,
            segment=segment,
            overlap=overlap,
            channel=channel,
            progress=partial(progress, named(plan.shown)) if jobs == 1 else lambda *_: None,
        )
        elapsed = time.perf_counter() - started
        gains = score_outputs(real, targets, true, header.sample_rate, channel) if true is not None else ()
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

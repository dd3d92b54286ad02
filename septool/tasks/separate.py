"""Separating recordings of any length, rate and channel count, in constant memory."""

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from septool import audio, checkpoints
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference import choose_device, enough_memory, feed, fit_scale
from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator
from septool.signal.stitch import Joint, Stitcher

PIPE = "-"
# What the voices are written as, by the input's sample format; anything else becomes PCM_16.
SUBTYPES = {name: name for name in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")} | {"DOUBLE": "FLOAT"}


@dataclass(frozen=True)
class Separated:
    """What became of one recording."""

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

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Failed:
    """A recording that could not be separated, and why."""

    input: str
    error: str

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A recording whose voices are there already."""

    input: str
    outputs: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"skipped": True}


class Plan(NamedTuple):
    """A recording and where its voices go."""

    shown: str  # as the user named it
    source: Path
    targets: list[Path]


def stretches(blocks: Iterable[np.ndarray], size: int, overlap: int) -> Iterator[np.ndarray]:
    """Cut a stream of blocks ``[time]`` into stretches of ``size`` that share ``overlap`` samples.

    The last one is as long as what is left, and never shorter than the overlap unless it is the only one.
    """
    buffer = np.zeros(0, dtype=np.float32)
    for block in blocks:
        buffer = np.concatenate((buffer, block))
        while len(buffer) > size:
            yield buffer[:size]
            buffer = buffer[size - overlap :]
    yield buffer


@torch.inference_mode()
def separate_blocks(
    model: Separator, blocks: Iterable[np.ndarray], stitcher: Stitcher, *, size: int, device: torch.device
) -> Iterator[np.ndarray]:
    """Separate a stream at the model's rate; yield ``[source, time]`` whose lengths add up to the stream's."""
    for stretch in stretches(blocks, size, stitcher.overlap):
        if not len(stretch):  # the resampler gave nothing, as for a file of one sample
            stretch = np.zeros(1, dtype=np.float32)
        mixture = torch.from_numpy(np.ascontiguousarray(stretch))[None].to(device)
        with enough_memory(f"for {len(stretch)} samples at once; use a smaller --segment"):
            estimate = fit_scale(mixture, feed(model, mixture))[0].cpu().numpy()
        if not np.isfinite(estimate).all():
            raise SeptoolError("the model gave samples that are not numbers; are its weights damaged?")
        yield stitcher.push(estimate)
    yield stitcher.finish()


def separate_file(
    source: Path,
    outputs: Sequence[Path],
    model: Separator,
    *,
    model_rate: int,
    device: torch.device,
    segment: float = 30.0,
    overlap: float = 4.0,
    subtype: str | None = None,
) -> tuple[audio.Info, int, tuple[Joint, ...]]:
    """Separate one file into ``outputs``: one file per voice, or a single one with a channel per voice.

    Returns:
        What the input is, the number of clipped samples, and the joints of a long recording.
    """
    stitcher = Stitcher(overlap=round(overlap * model_rate))
    with ExitStack() as stack:
        file = stack.enter_context(audio.opened(source))
        reader = audio.Reader(file, source, model_rate)
        partials = [stack.enter_context(audio.replacing(path)) for path in outputs]
        chosen = subtype or SUBTYPES.get(file.subtype, "PCM_16")
        writer = stack.enter_context(
            audio.Writer(
                partials, model.config.sources, model_rate, file.samplerate, chosen, outputs[0], expected=file.frames
            )
        )
        size = round(segment * model_rate)
        held: np.ndarray | None = None  # one block back, so that the last one is known as such
        for block in separate_blocks(model, reader, stitcher, size=size, device=device):
            if held is not None:
                writer.write(held)
            held = block
        assert held is not None
        writer.write(held, last_frame=reader.frames)
        about = audio.Info(file.samplerate, reader.frames, file.channels, file.subtype, audio.announced(file))
    return about, writer.clipped, tuple(stitcher.joints)


def find_inputs(inputs: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """List recordings as (as named, file, folder of the outputs below ``out``); folders are searched."""
    found: list[tuple[str, Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if name == PIPE or not path.is_dir():
            found.append((name, path, Path()))
            continue
        # Hidden files are other programs' own, such as the ._call.wav that macOS leaves beside call.wav.
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.suffix.lower() in audio.SUFFIXES and not p.name.startswith(".") and p.is_file()
        )
        if not inside:
            raise UsageError(f"{path} holds no audio files ({', '.join(sorted(audio.SUFFIXES))})")
        found.extend((str(p), p, p.parent.relative_to(path)) for p in inside)
    return found


def make_plans(
    found: list[tuple[str, Path, Path]],
    named: Sequence[str],
    *,
    out: Path,
    name: str,
    suffix: str,
    voices: int,
    model: str,
    report: Callable[[str], None],
) -> list[Plan]:
    """Decide where the voices of every recording go.

    What was found in a folder and is itself the voice of another recording there is left out, so that
    a folder can be separated into itself twice; a recording that was ``named`` is not.

    Raises:
        UsageError: two voices would get the same file, or a recording would be replaced by a voice.
    """
    plans: list[Plan] = []
    makers: dict[str, str] = {}
    for shown, source, below in found:
        stem = "stdin" if shown == PIPE else source.stem
        try:
            names = [name.format(stem=stem, voice=voice + 1, model=model) for voice in range(voices)]
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise UsageError(f"--name {name!r} can use {{stem}}, {{voice}} and {{model}} only") from None
        if len(set(names)) < len(names):
            raise UsageError(f"--name {name!r} gives every voice the same file; put {{voice}} in it")
        targets = [out / below / f"{each}.{suffix}" for each in names]
        for target in targets:
            key = os.path.abspath(target)  # noqa: PTH100 - resolve() would ask the disk
            if key in makers:
                raise UsageError(f"{makers[key]} and {shown} would both be written to {target}; use --name or --out")
            makers[key] = shown
        plans.append(Plan(shown, source, targets))
    kept = []
    for plan in plans:
        maker = None if plan.shown == PIPE else makers.get(os.path.abspath(plan.source))  # noqa: PTH100
        if maker is None:
            kept.append(plan)
        elif maker == plan.shown or plan.shown in named:
            raise UsageError(f"{plan.shown} would be replaced by a voice of {maker}; use --name or --out")
    if len(kept) < len(plans):
        report(f"{len(plans) - len(kept)} files are left out: they are voices of the others")
    return kept


@contextmanager
def stdin_as_file() -> Iterator[Path]:
    """Keep standard input in a temporary file: decoders seek, pipes do not, and memory stays constant."""
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / "recording"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise AudioError(f"standard input cannot be kept in {folder}: {error.strerror}") from None
        if not path.stat().st_size:
            raise AudioError("standard input is empty")
        yield path


def to_stdout(path: Path) -> None:
    """Copy a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever read has had enough
    except OSError as error:
        raise AudioError(f"standard output cannot be written to: {error.strerror}") from None


def separate(
    inputs: Sequence[str],
    *,
    model: str = "galr",
    out: str = ".",
    device: str = "auto",
    suffix: str = "wav",
    name: str = "{stem}_s{voice}",
    segment: float = 30.0,
    overlap: float = 4.0,
    references: Sequence[Path] = (),
    force: bool = False,
    skip_existing: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Separated | Failed | Skipped]:
    """Separate recordings; one result for each, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), or ``-`` for standard input.
        model: name of a checkpoint, of a model (its default checkpoint), or a ``.safetensors`` file.
        out: folder for the voices, made if missing; ``-`` writes one file with a channel per voice to
            standard output.
        device: auto, cpu, cuda, cuda:N or mps.
        suffix: format of the files written.
        name: file name, made of ``{stem}``, ``{voice}`` (from 1) and ``{model}``.
        segment: seconds given to the model at once; longer recordings are cut and put together.
        overlap: seconds that two such pieces share.
        references: the true voices, to print the improvement of each.
        force: replace files that are there.
        skip_existing: leave recordings alone whose voices are there.
        report: told what is worth a word while it happens.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: no such model, or a damaged one.
    """
    if not 0 < 2 * overlap <= segment < math.inf:
        raise UsageError(f"overlap is {overlap:g} s; it has to be above 0 and at most half of segment ({segment:g} s)")
    suffix = suffix.lstrip(".")
    audio.container(Path(f"voice.{suffix}"))
    found = find_inputs(inputs)
    if out == PIPE and len(found) != 1:
        raise UsageError(f"--out - takes one input, {len(found)} were given")
    if references and len(found) != 1:
        raise UsageError(f"--reference takes one input, {len(found)} were given")
    entry, path = checkpoints.resolve(model)
    network, header = checkpoints.load(path)
    where = choose_device(device)
    network.to(where)
    if references and len(references) != header.sources:
        raise UsageError(f"{entry} gives {header.sources} voices; give as many references, not {len(references)}")
    if out == PIPE:
        plans = [Plan(shown, source, []) for shown, source, _ in found]
    else:
        plans = make_plans(
            found,
            inputs,
            out=Path(out),
            name=name,
            suffix=suffix,
            voices=header.sources,
            model=entry,
            report=report,
        )

    for shown, source, targets in plans:
        subject = "standard input" if shown == PIPE else shown
        real = source
        try:
            if out != PIPE:
                there = [target for target in targets if target.exists()]
                if skip_existing and len(there) == len(targets):
                    yield Skipped(shown, tuple(map(str, targets)))
                    continue
                if there and not force:
                    raise SeptoolError(f"{there[0]} exists; use --force to replace it or --skip-existing")
                audio.make_folder(targets[0].parent)
            with ExitStack() as stack:
                if shown == PIPE:
                    real = stack.enter_context(stdin_as_file())
                if out == PIPE:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
                    targets = [Path(folder) / f"voices.{suffix}"]
                true = read_references(references, real) if references else None
                started = time.perf_counter()
                about, clipped, joints = separate_file(
                    real,
                    targets,
                    network,
                    model_rate=header.sample_rate,
                    device=where,
                    segment=segment,
                    overlap=overlap,
                )
                elapsed = time.perf_counter() - started
                gains = score(real, targets, true) if true is not None else ()
                if out == PIPE:
                    to_stdout(targets[0])
            if about.announced - about.frames > 0.1 * about.rate:
                promised, there_are = about.announced / about.rate, about.frames / about.rate
                report(f"{subject} is cut off: its header says {promised:.1f} s, {there_are:.1f} s are there")
            if about.channels > 1:
                report(f"{subject}: {about.channels} channels were averaged to one")
            if about.rate > header.sample_rate:
                report(
                    f"{subject}: {entry} hears up to {header.sample_rate // 2} Hz; what lies above is not in the voices"
                )
            if clipped:
                report(f"{subject}: {clipped} samples went over full scale and were clipped")
            yield Separated(
                shown,
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
        except SeptoolError as error:
            told = str(error).replace(str(real), subject)
            yield Failed(shown, told if subject in told else f"{subject}: {told}")


def read_references(references: Sequence[Path], mixture: Path) -> torch.Tensor:
    """Read the true voices at the recording's rate, ``[source, time]`` in float64."""
    heard, rate = audio.read(mixture)
    true = [audio.load(path, rate) for path in references]
    for path, voice in zip(references, true, strict=True):
        if len(voice) != heard.shape[1]:
            raise SeptoolError(f"{path} has {len(voice)} samples at {rate} Hz, {mixture} has {heard.shape[1]}")
    return torch.from_numpy(np.stack(true)).double()


def score(mixture: Path, outputs: Sequence[Path], true: torch.Tensor) -> tuple[float | None, ...]:
    """SI-SNRi in dB of each output over the recording, at the reference that fits it in the best order."""
    voices = torch.from_numpy(np.concatenate([audio.read(path)[0] for path in outputs])).double()
    mixed = torch.from_numpy(audio.mono(audio.read(mixture)[0])).double()
    order = best_permutation(si_snr, estimate=voices[None], reference=true[None]).order[0]
    gains = torch.empty(len(voices), dtype=torch.float64)
    gains[order] = si_snr(estimate=voices[order], reference=true) - si_snr(estimate=mixed, reference=true)
    return tuple(round(gain, 2) if math.isfinite(gain) else None for gain in gains.tolist())

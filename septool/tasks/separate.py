"""Separating recordings of any length, rate and channel count, in constant memory."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from septool import audio, checkpoints
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference import choose_device, feed, fit_scale
from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator
from septool.signal.stitch import Joint, Stitcher

PIPE = "-"
SUBTYPES = {"PCM_16", "PCM_24", "PCM_32", "FLOAT"}  # kept from the input; anything else becomes PCM_16


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
    si_snri: tuple[float, ...] = ()  # dB for each reference, if references were given

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
        estimate = fit_scale(mixture, feed(model, mixture))[0].cpu().numpy()
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
        chosen = subtype or (file.subtype if file.subtype in SUBTYPES else "PCM_16")
        try:
            writer = audio.Writer(
                partials, model.config.sources, model_rate, file.samplerate, chosen, audio.container(outputs[0])
            )
        except (RuntimeError, OSError) as error:
            raise AudioError(f"{outputs[0]} cannot be written: {error}") from None
        stack.callback(writer.close)
        size = round(segment * model_rate)
        held: np.ndarray | None = None  # one block back, so that the last one is known as such
        for block in separate_blocks(model, reader, stitcher, size=size, device=device):
            if held is not None:
                writer.write(held)
            held = block
        assert held is not None
        writer.write(held, last_frame=reader.frames)
        writer.close()
        about = audio.Info(file.samplerate, reader.frames, file.channels, file.subtype)
    return about, writer.clipped, tuple(stitcher.joints)


def find_inputs(inputs: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """List recordings as (as named, file, folder of the outputs below ``out``); folders are searched."""
    found: list[tuple[str, Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if name == PIPE or not path.is_dir():
            found.append((name, path, Path()))
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in audio.SUFFIXES and p.is_file())
        if not inside:
            raise UsageError(f"{path} holds no audio files ({', '.join(sorted(audio.SUFFIXES))})")
        found.extend((str(p), p, p.parent.relative_to(path)) for p in inside)
    return found


@contextmanager
def stdin_as_file() -> Iterator[Path]:
    """Keep standard input in a temporary file: decoders seek, pipes do not, and memory stays constant."""
    with tempfile.NamedTemporaryFile(prefix="septool-", suffix=".audio") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        if not file.tell():
            raise AudioError("standard input is empty")
        yield Path(file.name)


def separate(
    inputs: Sequence[str],
    *,
    model: str = "papez",
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
    if overlap * 2 > segment:
        raise UsageError(f"overlap is {overlap:g} s; it can be at most half of the segment ({segment:g} s)")
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

    def outputs(shown: str, source: Path, below: Path) -> list[Path]:
        stem = "stdin" if shown == PIPE else source.stem
        try:
            names = [name.format(stem=stem, voice=n + 1, model=entry) for n in range(header.sources)]
        except (KeyError, IndexError, ValueError):
            raise UsageError(f"--name {name!r} can use {{stem}}, {{voice}} and {{model}} only") from None
        return [Path(out) / below / f"{each}.{suffix.lstrip('.')}" for each in names]

    plans = [(shown, source, outputs(shown, source, below)) for shown, source, below in found]
    taken: dict[Path, str] = {}
    for shown, _, targets in plans if out != PIPE else []:
        if len(set(targets)) < len(targets):
            raise UsageError(f"--name {name!r} gives every voice the same file; put {{voice}} in it")
        for target in targets:
            if target in taken:
                raise UsageError(f"{taken[target]} and {shown} would both be written to {target}; use --name or --out")
            taken[target] = shown

    for shown, source, targets in plans:
        try:
            if out != PIPE:
                there = [target for target in targets if target.exists()]
                if there and skip_existing and len(there) == len(targets):
                    yield Skipped(shown, tuple(map(str, targets)))
                    continue
                if there and not force:
                    raise SeptoolError(f"{there[0]} exists; use --force to replace it or --skip-existing")
            with ExitStack() as stack:
                real = stack.enter_context(stdin_as_file()) if shown == PIPE else source
                if out == PIPE:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-")))
                    real_targets = [folder / "voices.wav"]
                else:
                    audio.make_folder(targets[0].parent)
                    real_targets = targets
                started = time.perf_counter()
                about, clipped, joints = separate_file(
                    real,
                    real_targets,
                    network,
                    model_rate=header.sample_rate,
                    device=where,
                    segment=segment,
                    overlap=overlap,
                )
                elapsed = time.perf_counter() - started
                gains = score(real, real_targets, references) if references else ()
                if out == PIPE:
                    with real_targets[0].open("rb") as file:
                        shutil.copyfileobj(file, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
            if about.channels > 1:
                report(f"{shown}: {about.channels} channels were averaged to one")
            if about.rate > header.sample_rate:
                report(
                    f"{shown}: {entry} hears up to {header.sample_rate // 2} Hz; what lies above is not in the voices"
                )
            if clipped:
                report(f"{shown}: {clipped} samples went over full scale and were clipped")
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
        except BrokenPipeError:
            raise
        except SeptoolError as error:
            yield Failed(shown, str(error).replace(str(source), shown) if shown != PIPE else str(error))


def score(mixture: Path, outputs: Sequence[Path], references: Sequence[Path]) -> tuple[float, ...]:
    """SI-SNRi in dB of each reference's voice, in the best order, at the recording's rate."""
    heard, rate = audio.read(mixture)
    true = torch.from_numpy(np.stack([audio.load(path, rate) for path in references])).double()
    voices = torch.from_numpy(np.concatenate([audio.read(path)[0] for path in outputs])).double()
    mixed = torch.from_numpy(audio.mono(heard)).double()
    if true.shape[-1] != voices.shape[-1]:
        raise SeptoolError(f"the references have {true.shape[-1]} samples, {mixture} has {voices.shape[-1]}")
    order = best_permutation(si_snr, estimate=voices[None], reference=true[None]).order[0]
    gains = si_snr(estimate=voices[order], reference=true) - si_snr(estimate=mixed, reference=true)
    return tuple(round(gain, 2) for gain in gains.tolist())

"""Recordings in, voices out: any length, rate and channel count, in constant memory.

What ``separate`` and ``extract`` have in common: cutting long recordings into stretches for a model and joining what it
gives, pipes, and going on after a failure.
"""

import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from septool import audio, workers
from septool.device import enough_memory
from septool.errors import AudioError, InterruptedBySignal, SeptoolError, UsageError
from septool.files import atomic_write, make_folder
from septool.inference import html_report
from septool.inference.paths import PIPE, Plan, named, to_stdout
from septool.signal.stitch import Joint, Stitcher

# What the voices are written as, by the input's sample format; anything else becomes PCM_16.
SUBTYPES = {name: name for name in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")} | {"DOUBLE": "FLOAT"}
Estimate = Callable[[Tensor], Tensor]  # [1, time] to [1, voice, time], levels as in the recording
Progress = Callable[[str, float, float], None]  # a recording, the seconds of it that are done, and in all
Done = TypeVar("Done")


@dataclass(frozen=True)
class Failed:
    """A recording that could not be worked on, and why."""

    outcome: ClassVar[str] = "failed"
    input: str
    error: str

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A recording whose voices are there already."""

    outcome: ClassVar[str] = "there already"
    input: str
    outputs: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"skipped": True}


def check_segments(segment: float, overlap: float) -> None:
    """Refuse stretches that cannot be joined."""
    if not 0 < 2 * overlap <= segment < math.inf:
        raise UsageError(f"overlap is {overlap:g} s; it has to be above 0 and at most half of segment ({segment:g} s)")


def stretches(blocks: Iterable[np.ndarray], size: int, overlap: int) -> Iterator[np.ndarray]:
    """Cut a stream of blocks ``[time]`` into stretches of ``size`` that share ``overlap`` samples.

    The last one is as long as what is left, and never shorter than the overlap unless it is the only one.
    """
    if not 0 <= overlap < size:
        raise UsageError(f"stretches of {size} samples cannot share {overlap}; use a longer --segment")
    buffer = np.zeros(0, dtype=np.float32)
    for block in blocks:
        buffer = np.concatenate((buffer, block))
        while len(buffer) > size:
            yield buffer[:size]
            buffer = buffer[size - overlap :]
    yield buffer


@torch.inference_mode()
def estimate_blocks(
    estimate: Estimate, blocks: Iterable[np.ndarray], stitcher: Stitcher, *, size: int, device: torch.device
) -> Iterator[np.ndarray]:
    """Take a stream apart at the model's rate; yield ``[voice, time]`` whose lengths add up to the stream's."""
    for stretch in stretches(blocks, size, stitcher.overlap):
        if not len(stretch):  # the resampler gave nothing, as for a file of one sample
            stretch = np.zeros(1, dtype=np.float32)
        mixture = torch.from_numpy(np.ascontiguousarray(stretch))[None].to(device)
        with enough_memory(f"for {len(stretch)} samples at once; use a smaller --segment"):
            voices = estimate(mixture)[0].cpu().numpy()
        if not np.isfinite(voices).all():
            raise SeptoolError("the model gave samples that are not numbers; are its weights damaged?")
        yield stitcher.push(voices)
    yield stitcher.finish()


def estimate_file(
    source: Path,
    outputs: Sequence[Path],
    estimate: Estimate,
    *,
    voices: int,
    model_rate: int,
    device: torch.device,
    segment: float,
    overlap: float,
    channel: int | None = None,
    subtype: str | None = None,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> tuple[audio.AudioInfo, int, tuple[Joint, ...]]:
    """Take one file apart into ``outputs``: one file per voice, or a single one with a channel per voice.

    Returns:
        What the input is, the number of clipped samples, and the joints of a long recording.
    """
    stitcher = Stitcher(overlap=round(overlap * model_rate))
    with ExitStack() as stack:
        file = stack.enter_context(audio.open_audio(source))
        reader = audio.Reader(file, source, model_rate, channel)
        partials = [stack.enter_context(atomic_write(path)) for path in outputs]
        chosen = subtype or SUBTYPES.get(file.subtype, "PCM_16")
        writer = stack.enter_context(
            audio.Writer(partials, voices, model_rate, file.samplerate, chosen, outputs[0], expected=file.frames)
        )
        size = round(segment * model_rate)
        held: np.ndarray | None = None  # one block back, so that the last one is known as such
        for block in estimate_blocks(estimate, reader, stitcher, size=size, device=device):
            if held is not None:
                writer.write(held)
            held = block
            if workers.stopping():
                raise InterruptedBySignal("the parent's")
            progress(reader.frames / file.samplerate, file.frames / file.samplerate)
        assert held is not None
        writer.write(held, last_frame=reader.frames)
        about = audio.AudioInfo(file.samplerate, reader.frames, file.channels, file.subtype, audio.header_frames(file))
    return about, writer.clipped, tuple(stitcher.joints)


@contextmanager
def stdin_as_file() -> Iterator[Path]:
    """Keep standard input in a temporary file: decoders seek, pipes do not, and memory stays constant."""
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / "recording"
        if sys.stdin is None:
            raise AudioError("standard input is closed")
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise AudioError(f"standard input cannot be kept in {folder}: {error.strerror}") from None
        if not path.stat().st_size:
            raise AudioError("standard input is empty")
        yield path


def work_through(
    plans: Sequence[Plan],
    work: Callable[[Plan, Path, Sequence[Path], Callable[[str], None]], Done],
    *,
    out: str,
    suffix: str,
    force: bool,
    skip_existing: bool,
    jobs: int,
    device: torch.device,
    report: Callable[[str], None],
) -> Iterator[Done | Failed | Skipped]:
    """Work on recordings; one that fails does not keep the others from it.

    Args:
        plans: the recordings.
        work: makes the result of a plan, its recording as a file, the files that its voices go to, and what is
            told of it.
        out: ``-`` for standard output.
        suffix: format of what goes there.
        force: replace files that are there.
        skip_existing: leave recordings alone whose voices are there.
        jobs: processes; any number gives the same, in the same order.
        device: where the work is done.
        report: told what is worth a word.
    """
    if jobs > 1 and (device.type != "cpu" or not workers.FORKS):
        raise UsageError(f"--jobs {jobs} takes --device cpu and Linux; leave it out")
    if any(plan.shown == PIPE for plan in plans):
        jobs = 1  # other processes have another standard input
    one = partial(_work_on, work, out=out, suffix=suffix, force=force, skip_existing=skip_existing)
    said: set[str] = set()  # of all recordings, so that once is enough
    for plan, (result, told) in zip(plans, workers.each(one, plans, jobs), strict=True):
        for line in told:
            if named(plan.shown) in line or line not in said:
                report(line)
            if named(plan.shown) not in line:
                said.add(line)
        yield result


def _work_on(
    work: Callable[[Plan, Path, Sequence[Path], Callable[[str], None]], Done],
    plan: Plan,
    *,
    out: str,
    suffix: str,
    force: bool,
    skip_existing: bool,
) -> tuple[Done | Failed | Skipped, list[str]]:
    """Return the result of a recording, and what is worth a word."""
    shown, real, targets = plan
    subject = named(plan.shown)
    told: list[str] = []
    try:
        if out != PIPE:
            there = [target for target in targets if target.exists()]
            if skip_existing and len(there) == len(targets):
                return Skipped(shown, tuple(map(str, targets))), told
            if there and not force:
                advice = "use --force to replace it or --skip-existing"
                if skip_existing:  # half a result is not one that is done, and may be somebody's
                    advice = "the other voices do not; remove it or use --force"
                raise SeptoolError(f"{there[0]} exists; {advice}")
            for folder in {target.parent for target in targets}:
                make_folder(folder)
        with ExitStack() as stack:
            if shown == PIPE:
                real = stack.enter_context(stdin_as_file())
            if out == PIPE:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
                targets = [Path(folder) / f"voices.{suffix}"]
            result = work(plan, real, targets, told.append)
            if out == PIPE:
                to_stdout(targets[0])
        return result, told
    except BrokenPipeError:
        raise
    except OSError as error:  # a name that is too long, a folder that is not ours
        return Failed(shown, f"{subject}: {error.strerror or error}"), told
    except SeptoolError as error:
        said = str(error) if real == plan.source else str(error).replace(str(real), subject)
        return Failed(shown, said if subject in said else f"{subject}: {said}"), told


def check_page(html: Path | None, found: Iterable[tuple[str, Path, Path]], out: str, *, force: bool) -> None:
    """Refuse, before anything is done, a page that cannot be made: it points to files."""
    if html is None:
        return
    if out == PIPE or any(shown == PIPE for shown, _, _ in found):
        raise UsageError(f"--html {html} points to files; name them instead of standard input and output")
    html_report.check(html, force=force)


def on_page(
    results: Iterable[Done | Failed | Skipped],
    html: Path | None,
    title: str,
    entry: Callable[[Done | Skipped], html_report.Entry],
) -> Iterator[Done | Failed | Skipped]:
    """Pass results on, and when all are there write the page, if one is wanted."""
    entries: list[html_report.Entry] = []
    for result in results:
        entries.append(html_report.Entry(result.input, result.error) if isinstance(result, Failed) else entry(result))
        yield result
    if html is not None:
        html_report.write(html, title, entries)


def tell(
    report: Callable[[str], None],
    subject: str,
    about: audio.AudioInfo,
    clipped: int,
    *,
    channel: int | None,
    model: str,
    model_rate: int,
) -> None:
    """Say what a listener may want to know of how a recording was worked on."""
    if about.header_frames - about.frames > 0.1 * about.rate:
        promised, there_are = about.header_frames / about.rate, about.frames / about.rate
        report(f"{subject} is cut off: its header says {promised:.1f} s, {there_are:.1f} s are there")
    if about.channels > 1 and channel is None:
        report(f"{subject}: {about.channels} channels were averaged to one; --channel takes one of them")
    if about.rate > model_rate:
        report(f"{model} hears up to {model_rate // 2} Hz; what lies above is left out")
    if clipped:
        report(f"{subject}: {clipped} samples went over full scale and were clipped")

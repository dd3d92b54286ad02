"""What one network costs on this machine: time, memory, multiply-accumulates, size on disk.

Memory is what a process with nothing else in it needs more once the network is there and has run, its
weights included: on a GPU the allocator's peak, on a processor (Linux) the growth of the resident set.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool import audio, checkpoints
from septool.errors import SeptoolError
from septool.files import atomic_write
from septool.losses import LOSSES
from septool.models.base import Extractor, Separator
from septool.models.build import build_model
from septool.models.papez import Papez
from septool.profiling.macs import count
from septool.signal.levels import model_gain

Dtype = Literal["fp32", "tf32", "fp16", "bf16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}
Network = Separator | Extractor
SETTLED = 0.04  # width of what is said of a median, relative to it, at which repeating ends
FEWEST, FEW, MOST = 3, 6, 1000  # repeats: whatever the budget and in all rounds, to be 95 % sure, at the most


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to measure."""

    name: str
    model: str
    config: dict[str, Any]
    rate: int  # Hz
    weights: Path | None = None  # fresh ones without
    quality: float | None = None  # SI-SNRi in dB
    quality_from: Literal["", "published", "measured"] = ""

    def build(self) -> Network:
        """Build the network, ready to use; fresh weights are the same every time."""
        torch.manual_seed(0)
        model = cast(Network, build_model(self.model, self.config))
        if self.weights:
            checkpoints.load_into(model, self.weights)
        return model.eval()


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How subjects are measured."""

    device: str = "cpu"
    dtype: Dtype = "fp32"
    threads: int | None = None
    batch: int = 1
    compile: bool = False
    train: bool = False
    rounds: int = 1  # fresh processes for each subject
    budget: float = 10.0  # seconds of repeating, for each subject, length and kind of pass, in all rounds together
    speech: Path | None = None  # what subjects hear; noise without
    trace: Path | None = None
    nvtx: bool = False

    @property
    def fewest(self) -> int:
        """Repeats in a process, whatever the budget."""
        return math.ceil(FEWEST / self.rounds)

    def autocast(self) -> Any:
        """Return a context with products at the precision asked for; weights stay float32."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, AUTOCAST[self.dtype]) if self.dtype in AUTOCAST else nullcontext()


@dataclass(frozen=True)
class Timing:
    """Seconds of wall clock."""

    median: float
    low: float  # the true median is between these with 95 %, or 75 % to 94 % if there are fewer than six repeats
    high: float
    repeats: int
    processes: int = 1  # with several, the median is that of their medians, and so is what it lies between


@dataclass(frozen=True, kw_only=True)
class Row:
    """One subject at one length."""

    model: str
    seconds: float  # of audio
    parameters: int
    bytes: int  # on disk
    macs: int  # of one recording
    flops: int  # two for each MAC
    latency: Timing
    real_time_factor: float  # latency of a batch over the audio in it
    memory: int | None  # bytes
    training: Timing | None = None  # one step
    training_memory: int | None = None
    running: tuple[float, ...] = ()  # Papez: share of the tokens that still run, step by step
    quality: float | None = None  # SI-SNRi in dB
    quality_from: str = ""


@dataclass(frozen=True)
class Failed:
    """What could not be measured, and why."""

    model: str
    seconds: float | None  # None: at any length
    error: str


def measure(subject: Subject, lengths: Sequence[float], how: Conditions) -> Iterator[Row | Failed]:
    """Measure a subject at every length, the shortest first: a peak of before never hides one of after.

    Results come as they are there; a row comes once more when its training step has been measured.
    """
    device = torch.device(how.device)
    if how.threads:
        torch.set_num_threads(how.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # events are recorded on the current one
        wanted = "tf32" if how.dtype == "tf32" else "ieee"
        torch.backends.fp32_precision = wanted  # pyright: ignore[reportAttributeAccessIssue] - not in its stubs
    wake(device)
    gauge = Gauge(device)
    try:
        model = subject.build().to(device)
    except (RuntimeError, SeptoolError) as error:  # no room even for the weights; weights that do not fit
        yield Failed(subject.name, None, str(error).partition("\n")[0])
        return
    rows: list[Row] = []
    for seconds in sorted(lengths):
        result = _guarded(subject, seconds, lambda at: _forward(subject, model, at, how, gauge))
        if isinstance(result, Row):
            rows.append(result)
        yield result
    for row in rows if how.train else ():  # after all forward passes, which need less memory
        yield _guarded(subject, row.seconds, lambda _, row=row: _with_training(row, subject, model, how, gauge))


def _guarded(subject: Subject, seconds: float, work: Callable[[float], Row]) -> Row | Failed:
    try:
        return work(seconds)
    except (RuntimeError, MemoryError, SeptoolError) as error:  # out of memory; an operation that a device lacks
        return Failed(subject.name, seconds, str(error).partition("\n")[0] or type(error).__name__)


def _forward(subject: Subject, model: Network, seconds: float, how: Conditions, gauge: "Gauge") -> Row:
    mixture = recording(how.speech, subject.rate, seconds, how.batch).to(gauge.device)
    inputs = inputs_of(model, mixture)
    run: Callable[..., Any] = model
    if how.compile:
        torch.compiler.reset()  # one graph for each length, however many lengths
        run = torch.compile(model, dynamic=False)

    def call() -> None:
        with torch.inference_mode(), how.autocast():
            run(*inputs)

    gauge.reset()
    latency = timed(call, gauge.device, how.budget / how.rounds, how.fewest)
    memory = _memory(how, gauge)
    if how.trace:
        trace(call, how.trace)
    if how.nvtx:
        mark(model, call)
    # The data decide how much is done.
    papez = model if isinstance(model, Papez) and model.config.halting != "none" else None
    macs = count(papez, mixture[:1]).total if papez else macs_by_shape(subject, mixture.shape[-1])
    return Row(
        model=subject.name,
        seconds=seconds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=subject.weights.stat().st_size if subject.weights else _size(model),
        macs=macs,
        flops=2 * macs,
        latency=latency,
        real_time_factor=latency.median / (seconds * how.batch),
        memory=memory,
        running=tuple(papez.active_fraction_per_step(mixture[:1])) if papez else (),
        quality=subject.quality,
        quality_from=subject.quality_from,
    )


def _with_training(row: Row, subject: Subject, model: Network, how: Conditions, gauge: "Gauge") -> Row:
    mixture = recording(how.speech, subject.rate, row.seconds, how.batch).to(gauge.device)
    gauge.reset()
    timing = timed(training_step(model, mixture, how), gauge.device, how.budget / how.rounds, how.fewest)
    model.eval()
    return replace(row, training=timing, training_memory=_memory(how, gauge))


def _memory(how: Conditions, gauge: "Gauge") -> int | None:
    """Return the peak; a compiler at work in this process would be counted with the network."""
    return None if how.compile and gauge.device.type == "cpu" else gauge.peak()


def training_step(model: Network, mixture: Tensor, how: Conditions) -> Callable[[], None]:
    """Return a step as in training: forward, the paper's loss, backward, clipping, Adam.

    The learning rate is zero, which costs the same and leaves every repeat the same work.
    """
    model.train()
    if how.compile:
        torch.compiler.reset()
        model.compile(dynamic=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    loss = LOSSES[model.loss]
    voices = model.config.sources if isinstance(model, Separator) else 1
    # Voices only have to differ: the recording at other times.
    sources = torch.stack([mixture.roll(mixture.shape[-1] * voice // (voices + 1), -1) for voice in range(voices)], 1)
    arguments = (sources[:, 0], mixture) if isinstance(model, Extractor) else (sources,)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with how.autocast():
            losses = loss(model, mixture, *arguments)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return step


def inputs_of(model: Network, mixture: Tensor) -> tuple[Tensor, ...]:
    """Return what a network is called with; an enrolment is as long as the mixture."""
    return (mixture, mixture) if isinstance(model, Extractor) else (mixture,)


def recording(speech: Path | None, rate: int, seconds: float, batch: int) -> Tensor:
    """Return ``[batch, time]`` at the level of models: speech, repeated until it is long enough, or noise."""
    samples = round(seconds * rate)
    if speech is None:
        wave = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    else:
        wave = torch.from_numpy(np.resize(audio.load_audio(speech, rate), samples))
    mixture = wave.expand(batch, -1).contiguous()
    return mixture * model_gain(mixture)


def macs_by_shape(subject: Subject, samples: int) -> int:
    """Count the MACs of one recording without computing anything."""
    with torch.device("meta"):
        model = cast(Network, build_model(subject.model, subject.config).eval())
        return count(model, *inputs_of(model, torch.empty(1, samples))).total


def _size(model: Network) -> int:
    return sum(value.nbytes for value in model.state_dict().values())


def trace(call: Callable[[], None], path: Path) -> None:
    """Write what torch's profiler sees of one call, for chrome://tracing or Perfetto."""
    with torch.profiler.profile(record_shapes=True, profile_memory=True) as profiler:
        call()
    with atomic_write(path) as partial:
        profiler.export_chrome_trace(str(partial))


def mark(model: Network, call: Callable[[], None]) -> None:
    """Make one call for Nsight Systems to capture, with an NVTX range for every module."""

    def enter(path: str) -> Callable[..., None]:
        def push(*_: Any) -> None:
            torch.cuda.nvtx.range_push(path)  # a hook that returned its number would replace the input

        return push

    def leave(*_: Any) -> None:
        torch.cuda.nvtx.range_pop()

    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(path or type(model).__name__)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        with torch.cuda.profiler.profile():
            call()
            torch.cuda.synchronize()
    finally:
        for hook in hooks:
            hook.remove()


def timed(call: Callable[[], None], device: torch.device, budget: float, fewest: int = FEWEST) -> Timing:
    """Time a call until its median is known well or ``budget`` seconds are over."""
    return timed_in_turns([call], device, budget, fewest)[0]


def timed_in_turns(
    calls: Sequence[Callable[[], None]], device: torch.device, budget: float, fewest: int = FEWEST
) -> list[Timing]:
    """Time several calls, one after the other and again, so that what disturbs the machine disturbs all alike."""
    for call in calls:
        call()  # kernels are chosen, tables built, pages mapped
    times: list[list[float]] = [[] for _ in calls]
    started = time.perf_counter()
    for repeats in range(MOST):
        over = time.perf_counter() - started >= budget
        if repeats >= fewest and (over or all(_settled(summary(own)) for own in times)):
            break
        for call, own in zip(calls, times, strict=True):
            own.append(_once(call, device))
    return [summary(own) for own in times]


def summary(times: Sequence[float]) -> Timing:
    """Return the median of repeats, and the two of them that the true one lies between, whatever their distribution.

    Fewer than k of n repeats are below the true median with 2.5 % if k = n / 2 - 1.96 sqrt(n) / 2: they are coin
    tosses. The k-th from either end are the ones, or the extremes where that is none.
    """
    ordered = sorted(times)
    place = max(int((len(ordered) - 1.96 * len(ordered) ** 0.5) / 2), 1)
    return Timing(statistics.median(ordered), ordered[place - 1], ordered[-place], len(ordered))


def _settled(timing: Timing) -> bool:
    return timing.repeats >= FEW and timing.high - timing.low < SETTLED * timing.median


def _once(call: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    before = time.perf_counter()
    call()
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - before


def wake(device: torch.device) -> None:
    """Run one of each kind of operation, and the counter: their libraries are not what a network needs."""
    x = torch.zeros(1, 64, 64, device=device)
    with torch.inference_mode():
        nn.LSTM(64, 64, bidirectional=True, device=device)(x)
        nn.Conv1d(64, 64, 3, device=device)(F.layer_norm(x, (64,)))
        nn.Linear(64, 64, device=device)(F.gelu(x) * torch.tanh(x))
        F.scaled_dot_product_attention(x, x, x)
        torch.fft.irfft(torch.fft.rfft(x))
    count(nn.Linear(1, 1, device="meta"), torch.empty(1, 1, device="meta"))


def exponent(lengths: Sequence[float], values: Sequence[float]) -> float:
    """Return the p of the ``length ** p`` that fits best: the slope of the line through the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


class Gauge:
    """The most memory that was in use since the last reset, over what was in use when the gauge was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._status = Path("/proc/self/status")
        self._before = self._read("VmRSS", "allocated_bytes.all.current")

    def reset(self) -> None:
        """Forget the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "cpu":
            with suppress(OSError):  # without it, the peak since the start, which grows with the length anyway
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int | None:
        """Return bytes, or None where the system does not say."""
        peak = self._read("VmHWM", "allocated_bytes.all.peak")
        return None if peak is None or self._before is None else peak - self._before

    def _read(self, resident: str, allocated: str) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.memory_stats(self.device)[allocated]
        if self.device.type == "cpu" and self._status.exists():
            line = next(line for line in self._status.read_text().splitlines() if line.startswith(resident + ":"))
            return int(line.split()[1]) * 1024  # "VmHWM:   1234 kB"
        return None

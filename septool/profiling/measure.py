"""Measuring one network on this machine: time, memory, multiply-accumulates, size on disk.

Memory is what a process with nothing else in it needs more once the network is there and has run, its
weights included: on a GPU the allocator's peak, on a processor (Linux) the growth of the resident set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool import audio, checkpoints
from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.errors import SeptoolError
from septool.inference.dtype import torch_dtype
from septool.losses import LOSSES
from septool.models.base import AdaptiveCompute, Extractor, Separator
from septool.models.build import build_model
from septool.profiling.macs import count_macs
from septool.profiling.memory import PeakMemory
from septool.profiling.records import Failure, Row, Settings
from septool.profiling.roofline import layer_costs
from septool.profiling.timing import time_call
from septool.signal.levels import model_gain

Network = Separator | Extractor


@dataclass(frozen=True, kw_only=True)
class Target:
    """A network to measure."""

    name: str
    model: str
    config: JsonDict
    rate: int  # Hz
    weights: Path | None = None  # fresh ones without
    quality: float | None = None  # SI-SNRi in dB
    quality_from: Literal["", "published", "measured"] = ""

    def build(self) -> Network:
        """Build the network, ready to use; fresh weights are the same every time."""
        torch.manual_seed(0)
        model = cast(Network, build_model(self.model, self.config))
        if self.weights:
            checkpoints.load_weights(model, self.weights, checkpoints.read_header(self.weights))
        return model.eval()


def measure(target: Target, lengths: Sequence[float], settings: Settings) -> Iterator[Row | Failure]:
    """Measure a target at every length, the shortest first: a peak of before never hides one of after.

    Results come as they are there; a row comes once more when its training step has been measured.
    """
    device = torch.device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # events are recorded on the current one
        wanted = "tf32" if settings.dtype == "tf32" else "ieee"
        torch.backends.fp32_precision = wanted  # pyright: ignore[reportAttributeAccessIssue] - not in its stubs
    warm_up(device)
    memory = PeakMemory(device)
    try:
        model = target.build().to(device)
    except (RuntimeError, SeptoolError) as error:  # no room even for the weights; weights that do not fit
        yield Failure(target.name, None, str(error).partition("\n")[0])
        return
    rows: list[Row] = []
    for seconds in sorted(lengths):
        asked = replace(settings, by_layer=settings.by_layer and seconds == max(lengths))
        result = _guarded(target, seconds, lambda at, asked=asked: _forward(target, model, at, asked, memory))
        if isinstance(result, Row):
            rows.append(result)
        yield result
    for row in rows if settings.train else ():  # after all forward passes, which need less memory
        yield _guarded(target, row.seconds, lambda _, row=row: _with_training(row, target, model, settings, memory))


def autocast(settings: Settings) -> AbstractContextManager[object]:
    """Return a context with products at the precision asked for; weights stay float32."""
    dtype = torch_dtype(settings.dtype)
    return nullcontext() if dtype is None else torch.autocast(torch.device(settings.device).type, dtype)


def _guarded(target: Target, seconds: float, work: Callable[[float], Row]) -> Row | Failure:
    try:
        return work(seconds)
    except (RuntimeError, MemoryError, SeptoolError) as error:  # out of memory; an operation that a device lacks
        return Failure(target.name, seconds, str(error).partition("\n")[0] or type(error).__name__)


def _forward(target: Target, model: Network, seconds: float, settings: Settings, memory: PeakMemory) -> Row:
    mixture = load_batch(settings.speech, target.rate, seconds, settings.batch).to(memory.device)
    inputs = model_inputs(model, mixture)
    run: Callable[..., object] = model
    if settings.compile:
        torch.compiler.reset()  # one graph for each length, however many lengths
        run = torch.compile(model, dynamic=False)

    def call() -> None:
        with torch.inference_mode(), autocast(settings):
            run(*inputs)

    memory.reset()
    latency = time_call(call, memory.device, settings.budget / settings.rounds, settings.min_repeats)
    peak = _peak(settings, memory)
    if settings.trace:
        write_trace(call, settings.trace)
    if settings.nvtx:
        mark_modules(model, call)
    layers = layer_costs(model, memory.device, call) if settings.by_layer else ()
    # The data decide how much is done.
    adaptive = model if isinstance(model, AdaptiveCompute) and model.halts else None
    item = mixture[:1]
    macs = count_macs(model, *model_inputs(model, item)).total if adaptive else macs_by_shape(target, item.shape[-1])
    return Row(
        model=target.name,
        seconds=seconds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=target.weights.stat().st_size if target.weights else _size(model),
        macs=macs,
        flops=2 * macs,
        latency=latency,
        real_time_factor=latency.median / (seconds * settings.batch),
        memory=peak,
        running=tuple(adaptive.active_fraction_per_step(item)) if adaptive else (),
        quality=target.quality,
        quality_from=target.quality_from,
        layers=layers,
    )


def _with_training(row: Row, target: Target, model: Network, settings: Settings, memory: PeakMemory) -> Row:
    mixture = load_batch(settings.speech, target.rate, row.seconds, settings.batch).to(memory.device)
    memory.reset()
    timing = time_call(
        training_step(model, mixture, settings), memory.device, settings.budget / settings.rounds, settings.min_repeats
    )
    model.eval()
    return replace(row, training=timing, training_memory=_peak(settings, memory))


def _peak(settings: Settings, memory: PeakMemory) -> int | None:
    """Return the peak; a compiler at work in this process would be counted with the network."""
    return None if settings.compile and memory.device.type == "cpu" else memory.peak()


def training_step(model: Network, mixture: Tensor, settings: Settings) -> Callable[[], None]:
    """Return a step on a mixture ``[batch, time]`` as in training: forward, the paper's loss, backward, clipping, Adam.

    The learning rate is zero, which costs the same and leaves every repeat the same work.
    """
    model.train()
    if settings.compile:
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
        with autocast(settings):
            losses = loss(model, mixture, *arguments)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return step


def model_inputs(model: Network, mixture: Tensor) -> tuple[Tensor, ...]:
    """Return what a network is called with for a mixture ``[batch, time]``; an enrollment is as long."""
    return (mixture, mixture) if isinstance(model, Extractor) else (mixture,)


def load_batch(speech: Path | None, rate: int, seconds: float, batch: int) -> Tensor:
    """Return ``[batch, time]`` at the level of models: speech, repeated until it is long enough, or noise."""
    samples = round(seconds * rate)
    if speech is None:
        wave = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    else:
        wave = torch.from_numpy(np.resize(audio.load_audio(speech, rate), samples))
    mixture = wave.expand(batch, -1).contiguous()
    return mixture * model_gain(mixture)


def macs_by_shape(target: Target, samples: int) -> int:
    """Count the MACs of one recording without computing anything."""
    with torch.device("meta"):
        model = cast(Network, build_model(target.model, target.config).eval())
        return count_macs(model, *model_inputs(model, torch.empty(1, samples))).total


def _size(model: Network) -> int:
    return sum(value.nbytes for value in model.state_dict().values())


def write_trace(call: Callable[[], None], path: Path) -> None:
    """Write what torch's profiler sees of one call, for chrome://tracing or Perfetto."""
    with torch.profiler.profile(record_shapes=True, profile_memory=True) as profiler:
        call()
    with atomic_write(path) as partial:
        profiler.export_chrome_trace(str(partial))


def mark_modules(model: Network, call: Callable[[], None]) -> None:
    """Make one call for Nsight Systems to capture, with an NVTX range for every module."""

    def enter(path: str) -> Callable[..., None]:
        def push(*_: object) -> None:
            torch.cuda.nvtx.range_push(path)  # a hook that returned its number would replace the input

        return push

    def leave(*_: object) -> None:
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


def warm_up(device: torch.device) -> None:
    """Run one of each kind of operation, and the counter: their libraries are not what a network needs."""
    x = torch.zeros(1, 64, 64, device=device)
    with torch.inference_mode():
        nn.LSTM(64, 64, bidirectional=True, device=device)(x)
        nn.Conv1d(64, 64, 3, device=device)(F.layer_norm(x, (64,)))
        nn.Linear(64, 64, device=device)(F.gelu(x) * torch.tanh(x))
        F.scaled_dot_product_attention(x, x, x)
        torch.fft.irfft(torch.fft.rfft(x))
    count_macs(nn.Linear(1, 1, device="meta"), torch.empty(1, 1, device="meta"))

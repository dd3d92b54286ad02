"""Records of measurements: settings, timings, rows, failures. Imports no torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Dtype = Literal["fp32", "tf32", "fp16", "bf16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
MIN_REPEATS = 3  # least number of measurements of a time, in all rounds together, whatever the budget


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How networks are measured."""

    device: str = "cpu"
    dtype: Dtype = "fp32"
    threads: int | None = None
    batch: int = 1
    compile: bool = False
    train: bool = False
    rounds: int = 1  # fresh processes for each target
    budget: float = 10.0  # seconds of repeating, for each target, length and kind of pass, in all rounds together
    speech: Path | None = None  # the input; noise without
    trace: Path | None = None
    nvtx: bool = False
    by_layer: bool = False  # also profile the layers, at the longest recording

    @property
    def min_repeats(self) -> int:
        """Repeats in a process, whatever the budget."""
        return math.ceil(MIN_REPEATS / self.rounds)


@dataclass(frozen=True)
class Timing:
    """Seconds of wall clock."""

    median: float
    low: float  # the true median is between these with 95 %, or 50 % to 94 % if there are fewer than six repeats
    high: float
    repeats: int
    processes: int = 1  # with several, the median is that of their medians, and so is what it lies between


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Modules of a network that differ by their place in a list alone, without the modules that they call."""

    module: str  # path, with * for places
    kind: str  # class
    calls: int  # in a pass
    seconds: float
    share: float  # share of the pass


@dataclass(frozen=True)
class Peak:
    """What the machine reaches in a large matrix product, in one process."""

    gflops: float  # GFLOP/s


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target at one length."""

    model: str
    seconds: float  # length of the audio
    parameters: int
    bytes: int  # on disk
    macs: int  # multiply-accumulates for one recording
    flops: int  # two for each MAC
    latency: Timing
    real_time_factor: float  # latency of a batch over the audio in it
    memory: int | None  # bytes
    training: Timing | None = None  # one step
    training_memory: int | None = None
    running: tuple[float, ...] = ()  # Papez: share of the tokens that still run, step by step
    quality: float | None = None  # SI-SNRi in dB
    quality_from: str = ""
    gflops: float | None = None  # GFLOP/s of the forward pass
    peak_gflops: float | None = None  # speed of a large matrix product on the machine, in the same run
    layers: tuple[Layer, ...] = ()  # the costliest first

    @property
    def peak_share(self) -> float | None:
        """How much of what the machine reaches in a product it reaches here."""
        return self.gflops / self.peak_gflops if self.gflops is not None and self.peak_gflops else None


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why."""

    model: str
    seconds: float | None  # None: at any length
    error: str


def scaling_exponent(lengths: Sequence[float], values: Sequence[float]) -> float:
    """Return the p of the ``length ** p`` that fits best: the slope of the line through the logarithms."""
    return statistics.linear_regression([*map(math.log, lengths)], [*map(math.log, values)]).slope

"""Recipes: the settings of a training run, and their bounds."""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from septool.config import JsonDict
from septool.data.enrollment import EnrollmentSampling, SpeakerSampling
from septool.data.mixing import DynamicMixing
from septool.headers import numbers_in
from septool.limits import HIGHEST_RATE, LARGEST_SIZE, LOWEST_RATE

STATIC_KEYS = ("sources", "seconds")  # settings of the mixing that apply to fixed mixtures
# Bounds of settings, to catch typing errors and values beyond the limits of torch or the memory.
MOST_STEPS, MOST_BATCH, MOST_SEED = 10**9, 10**6, 2**64 - 1
MOST_SECONDS, MOST_SOURCES, MOST_DB = 3600.0, 64, 200.0


def _check_range(least: float, most: float, section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} is {value}; it lies between {least} and {most}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Manifests, and the sample rate of training."""

    train: str = "data/train-speech.jsonl"  # manifest, from the current folder
    # "dynamic": the manifest's voices, mixed anew every epoch; "static": its mixtures as they are.
    mixing: Literal["dynamic", "static"] = "dynamic"
    validation: str = "data/dev-2mix.jsonl"  # manifest of fixed mixtures, of speakers who are not in training
    sample_rate: int = 8000  # Hz
    validation_items: int | None = None  # only the first N; all by default
    damaged_share: float = 0.01  # tolerated fraction of damaged training items, rounded up; they are skipped
    name: str = ""  # name of the training data in checkpoints

    def __post_init__(self) -> None:
        _check_range(LOWEST_RATE, HIGHEST_RATE, self, "sample_rate")
        _check_range(1, MOST_STEPS, self, "validation_items")
        _check_range(0, 1, self, "damaged_share")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimizer.

    "muon" orthogonalizes the updates of the matrices of linear and recurrent layers (Jordan et al.,
    2024; scaled to Adam's step size as in Liu et al., 2025) and leaves the rest to AdamW.
    """

    name: Literal["adam", "adamw", "muon"] = "adam"  # torch's
    lr: float = 1e-3  # learning rate, after the warm-up
    weight_decay: float = 0.0  # decoupled in adamw and muon
    betas: tuple[float, float] = (0.9, 0.999)  # Adam's
    eps: float = 1e-8  # Adam's, added to the root of the second moment
    clip: float = 5.0  # L2 norm of the whole gradient; 0 is off

    def __post_init__(self) -> None:
        _check_range(0, 100, self, "lr", "weight_decay")
        _check_range(0, 1, self, "eps")
        _check_range(0, 1_000_000, self, "clip")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {list(self.betas)}; each lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning-rate schedule; all but "plateau" are functions of the step alone."""

    name: Literal["constant", "exponential", "plateau", "cosine", "trapezoid"] = "constant"  # after the warm-up
    warmup: int = 0  # steps of linear rise
    factor: float = 0.5  # exponential, plateau: what the rate is multiplied by
    every: int = 1  # exponential: epochs between two steps of the factor
    patience: int = 3  # plateau: epochs without improvement that are tolerated
    start: int = 0  # exponential, plateau: first epoch
    turn: int = 0  # exponential: epoch from which on later_factor takes the factor's place; 0 for never
    later_factor: float = 1.0  # exponential: from the epoch `turn` on
    decay: int = 0  # trapezoid: steps of linear annealing to zero at the end

    def __post_init__(self) -> None:
        _check_range(0, MOST_STEPS, self, "warmup", "patience", "start", "turn", "decay")
        _check_range(1, MOST_STEPS, self, "every")
        _check_range(0, 100, self, "factor", "later_factor")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Duration, batch sizes and precision of the training loop."""

    steps: int = 100_000  # optimizer steps of the whole run
    epoch_steps: int = 1000  # steps between two validations
    batch: int = 4  # mixtures per step over all processes
    # Number of micro-batches per process and step; more take less memory.
    accumulation_steps: int = field(default=1, metadata={"formerly": "accumulate"})
    # Precision of the forward pass; weights and optimizer stay in fp32.
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = 0.0  # decay of the averaged weights that are validated and kept; 0 is off
    loss_floor: float | None = None  # dB; items with a lower loss are ignored (SepFormer: -30)
    patience: int = 0  # epochs without improvement that end the run; 0 for never
    average: int = 0  # number of checkpoints to keep and average at the end
    average_of: Literal["best", "last"] = "best"  # which checkpoints are kept: the best validated, or the last

    def __post_init__(self) -> None:
        _check_range(1, MOST_STEPS, self, "steps", "epoch_steps")
        _check_range(1, MOST_BATCH, self, "batch", "accumulation_steps")
        _check_range(0, MOST_STEPS, self, "patience")
        _check_range(0, 1000, self, "average")
        if self.average_of != "best" and not self.average:
            raise ValueError(f"average_of is {self.average_of}, but average, how many are averaged, is 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it lies between 0 and 1")
        if self.loss_floor is not None and not math.isfinite(self.loss_floor):
            raise ValueError(f"loss_floor is {self.loss_floor}; it is a number of dB")


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Knowledge distillation: a separator learns from another one as well; see :mod:`septool.training.distillation`."""

    teacher: str | None = None  # a checkpoint whose stride is that of the model, or a multiple
    weight: float = 30.0  # added to the loss, in dB, for an error as large as the variance of the teacher's states

    def __post_init__(self) -> None:
        _check_range(0, 1_000_000, self, "weight")
        if self.teacher is None and self.weight != Distillation.weight:
            raise ValueError(f"weight is {self.weight}, but there is no teacher")


@dataclass(frozen=True, kw_only=True)
class Pondering:
    """The ponder cost of networks whose tokens halt (Graves, 2016, section 2.1); see :mod:`septool.training.pondering`.

    It is none that Papez's paper has.
    """

    cost: float = 0.0  # added to the loss, in dB, for each step that a token takes, on average

    def __post_init__(self) -> None:
        _check_range(0, 1_000, self, "cost")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe."""

    model: str  # its name in docs/models.md
    published: JsonDict = field(default_factory=dict)  # scores that a paper reports, and the place
    variant: str | None = field(default=None, metadata={"formerly": "row"})  # a named configuration of the model
    config: JsonDict = field(default_factory=dict)  # fields of the model's Config, over those of the variant
    loss: str | None = None  # the model's own by default
    seed: int = 0  # seed of weights, mixtures and dropout
    initialize: str | None = field(default=None, metadata={"formerly": "initialise"})  # a checkpoint to start from
    # Parts of the model to initialize from other checkpoints, "PART" = "CHECKPOINT" or "CHECKPOINT#PART".
    parts: dict[str, str] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()  # modules of the model, such as "encoder", that are not trained
    data: Data = Data()
    mixing: DynamicMixing = field(default_factory=DynamicMixing)
    enrollment: EnrollmentSampling = field(  # extractors only
        default_factory=EnrollmentSampling, metadata={"formerly": "enrolling"}
    )
    speakers: SpeakerSampling = field(default_factory=SpeakerSampling)  # speaker networks only
    distillation: Distillation = Distillation()  # separators only
    pondering: Pondering = Pondering()  # separators whose tokens halt
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loop: Loop = Loop()

    def __post_init__(self) -> None:
        _check_range(0, MOST_SEED, self, "seed")
        for key, value in numbers_in(self.config, "config"):
            _check_config_value(key, value)
        for key, value, most in (
            ("mixing.seconds", self.mixing.seconds, MOST_SECONDS),
            ("mixing.sources", self.mixing.sources, MOST_SOURCES),
            ("enrollment.seconds", self.enrollment.seconds, MOST_SECONDS),
        ):
            if value > most:
                raise ValueError(f"{key} is {value}; it is at most {most:g}")
        for key in ("mixing.difference_db", "mixing.speed"):
            if max(map(abs, getattr(self.mixing, key.partition(".")[2]))) > MOST_DB:
                raise ValueError(f"{key} goes beyond {MOST_DB:g}")
        if self.speakers.imprint and not self.mixing.seconds:
            raise ValueError("speakers.imprint takes clips of one length, mixing.seconds; it is 0, whole utterances")
        if self.data.mixing == "static":
            for option in fields(DynamicMixing):
                changed = getattr(self.mixing, option.name) != getattr(DynamicMixing(), option.name)
                if changed and option.name not in STATIC_KEYS:
                    raise ValueError(
                        f"mixing.{option.name} changes nothing in mixtures that data.mixing says are static"
                    )


def _check_config_value(key: str, value: float) -> None:
    """Refuse numbers that no network can have; all other checks are in the models' own fields."""
    if "dropout" in key and not 0 <= value < 1:
        raise ValueError(f"{key} is {value}; a dropout rate lies between 0 and 1")
    if not abs(value) <= LARGEST_SIZE:
        raise ValueError(f"{key} is {value}; numbers of a network go up to {LARGEST_SIZE}")

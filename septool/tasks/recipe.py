"""A training run as data: the sections of a recipe and what they may say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from septool.config import build, override, read_toml
from septool.mixing import DynamicMixing
from septool.registry import suggest

RECIPES = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Manifests and the rate that everything is brought to."""

    train: str = "data/train-speech.jsonl"  # a pool of speech, mixed anew every epoch
    validation: str = "data/dev-2mix.jsonl"  # fixed mixtures
    sample_rate: int = 8000
    validation_items: int | None = None  # the first so many; all by default
    name: str = ""  # what the checkpoint says it was trained on


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How weights move.

    "muon" orthogonalises the updates of the matrices of linear and recurrent layers (Jordan et al.,
    2024; scaled to Adam's step size as in Liu et al., 2025) and leaves the rest to AdamW.
    """

    name: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 5.0  # L2 norm of the whole gradient


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves; all but "plateau" are functions of the step alone."""

    name: Literal["constant", "exponential", "plateau", "cosine", "trapezoid"] = "constant"
    warmup: int = 0  # steps of linear rise
    factor: float = 0.5  # exponential, plateau
    every: int = 1  # exponential: epochs between two steps of the factor
    patience: int = 3  # plateau: epochs without improvement
    start: int = 0  # exponential, plateau: first epoch
    decay: int = 0  # trapezoid: steps of linear fall to zero at the end


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How long, in what pieces, and at which precision."""

    steps: int = 100_000
    epoch_steps: int = 1000  # steps between two validations
    batch: int = 4  # mixtures a step
    precision: Literal["fp32", "bf16"] = "fp32"
    ema: float = 0.0  # decay of the averaged weights that are validated and kept; 0 is off
    loss_floor: float | None = None  # dB; items already better than this are left out (SepFormer: -30)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    model: str
    row: str | None = None  # a named configuration of the model
    config: dict[str, Any] = field(default_factory=dict)
    loss: str | None = None  # the model's own by default
    seed: int = 0
    initialise: str | None = None  # a checkpoint to start from
    data: Data = Data()
    mixing: DynamicMixing = field(default_factory=DynamicMixing)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loop: Loop = Loop()


def load(name: str, settings: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key=value`` settings."""
    path = Path(name)
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
        if not path.exists():
            raise suggest("recipe", name, (known.stem for known in RECIPES.glob("*.toml")))
    return build(Recipe, override(read_toml(path), settings))

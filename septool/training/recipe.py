"""A training run as data: the sections of a recipe and what they may say."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from septool.config import as_dict, build, override, read_toml
from septool.data.enrollment import EnrollmentSampling
from septool.data.mixing import DynamicMixing
from septool.errors import ConfigError, UsageError

RECIPES = Path(__file__).parent.parent / "recipes"
STATIC = ("sources", "seconds")  # what of the mixing counts for mixtures that are not drawn
ABOUT = ("table", "data")  # what is published of a recipe besides scores
NEAR = 3  # names to suggest


def _at_least(least: int, section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name} is {value}; it is at least {least}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Manifests and the rate that everything is brought to."""

    train: str = "data/train-speech.jsonl"
    # "dynamic": the manifest's voices, mixed anew every epoch; "static": its mixtures as they are.
    mixing: Literal["dynamic", "static"] = "dynamic"
    validation: str = "data/dev-2mix.jsonl"  # fixed mixtures
    sample_rate: int = 8000
    validation_items: int | None = None  # the first so many; all by default
    name: str = ""  # what the checkpoint says it was trained on

    def __post_init__(self) -> None:
        _at_least(1, self, "sample_rate", "validation_items")


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
    clip: float = 5.0  # L2 norm of the whole gradient; 0 is off

    def __post_init__(self) -> None:
        _at_least(0, self, "lr", "weight_decay", "clip")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {list(self.betas)}; each lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves; all but "plateau" are functions of the step alone."""

    name: Literal["constant", "exponential", "plateau", "cosine", "trapezoid"] = "constant"
    warmup: int = 0  # steps of linear rise
    factor: float = 0.5  # exponential, plateau
    every: int = 1  # exponential: epochs between two steps of the factor
    patience: int = 3  # plateau: epochs without improvement
    start: int = 0  # exponential, plateau: first epoch
    turn: int = 0  # exponential: epoch from which on later_factor takes the factor's place; 0 for never
    later_factor: float = 1.0
    decay: int = 0  # trapezoid: steps of linear fall to zero at the end

    def __post_init__(self) -> None:
        _at_least(0, self, "warmup", "factor", "patience", "start", "turn", "later_factor", "decay")
        _at_least(1, self, "every")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How long, in what pieces, and at which precision."""

    steps: int = 100_000
    epoch_steps: int = 1000  # steps between two validations
    batch: int = 4  # mixtures a step, of all processes together
    accumulate: int = 1  # pieces that a process works through its share of a batch in; more need less memory
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = 0.0  # decay of the averaged weights that are validated and kept; 0 is off
    loss_floor: float | None = None  # dB; items already better than this are left out (SepFormer: -30)
    patience: int = 0  # epochs without improvement that end the run; 0 for never
    average: int = 0  # validated weights that are kept, and averaged in the end
    average_of: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        _at_least(0, self, "patience", "average")
        _at_least(1, self, "steps", "epoch_steps", "batch", "accumulate")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    model: str
    published: dict[str, Any] = field(default_factory=dict)  # what a paper reports for it, and where
    row: str | None = None  # a named configuration of the model
    config: dict[str, Any] = field(default_factory=dict)
    loss: str | None = None  # the model's own by default
    seed: int = 0
    initialise: str | None = None  # a checkpoint to start from
    # Parts of the model that start from other checkpoints, "PART" = "CHECKPOINT" or "CHECKPOINT#PART".
    parts: dict[str, str] = field(default_factory=dict)
    data: Data = Data()
    mixing: DynamicMixing = field(default_factory=DynamicMixing)
    enrolling: EnrollmentSampling = field(default_factory=EnrollmentSampling)  # of extractors
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loop: Loop = Loop()

    def __post_init__(self) -> None:
        _at_least(0, self, "seed")
        if self.data.mixing == "static":
            for each in fields(DynamicMixing):
                if each.name not in STATIC and getattr(self.mixing, each.name) != getattr(DynamicMixing(), each.name):
                    raise ValueError(f"mixing.{each.name} changes nothing in mixtures that data.mixing says are static")


def load(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key=value`` settings."""
    return build(Recipe, override(_read(_locate(name)), settings))


def _locate(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
        if not path.exists():
            raise UsageError(f"unknown recipe {name!r}{_meant(name)}; septool train --list shows all")
    return path


def _meant(name: str) -> str:
    begun = sorted((known for known in bundled() if known.startswith(name)), key=len)
    near = (begun or get_close_matches(name, bundled()))[:NEAR]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def bundled() -> list[str]:
    """Return the names of the recipes that come with septool."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def describe() -> list[dict[str, Any]]:
    """Return what each of them trains, on what, and what is published for it."""
    chosen = {name: load(name) for name in bundled()}
    return [
        {"name": name, "model": recipe.model, "row": recipe.row, "data": recipe.data.name}
        | {"mixing": recipe.data.mixing, "steps": recipe.loop.steps, "batch": recipe.loop.batch}
        | {"published": recipe.published}
        for name, recipe in chosen.items()
    ]


def scores(published: Mapping[str, Any]) -> str:
    """Write what a recipe's ``published`` says of scores."""
    return ", ".join(f"{key.replace('_', '-')} {value:g}" for key, value in published.items() if key not in ABOUT)


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe's file over that of its ``base``, a bundled recipe or a file beside it."""
    if path in seen:
        raise ConfigError(f"{path} is its own base")
    values = read_toml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base is {base!r}; it is the name of a recipe")
    below = path.parent / base if base.endswith(".toml") else _locate(base)
    return _merge(_read(below, (*seen, path)), values)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = below | above
    for key in below.keys() & above.keys():
        # What a paper reports is of one recipe only.
        if isinstance(below[key], dict) and isinstance(above[key], dict) and key != "published":
            merged[key] = _merge(below[key], above[key])
    return merged


def in_effect(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values, without those of the mixing that its mixtures do not go by."""
    values = as_dict(recipe)
    if recipe.data.mixing == "static":
        values["mixing"] = {name: values["mixing"][name] for name in STATIC}
    return values


def run_name(name: str, settings: Sequence[str] = ()) -> str:
    """Name a run by its recipe and by what the settings change in it, whatever their order."""
    changed = changes(load(name), load(name, settings))
    full = "+".join([Path(name).stem, *(f"{key}={_word(now)}" for key, (_, now) in changed.items())])
    if len(full.encode()) <= 120:
        return full
    return f"{Path(name).stem}+{hashlib.sha256(full.encode()).hexdigest()[:12]}"


def changes(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two runs differ, as they are in the one and in the other."""
    was, now = (_flat(as_dict(recipe) | {"published": {}}) for recipe in (before, after))
    return {key: (was.get(key), now.get(key)) for key in sorted(was | now) if was.get(key) != now.get(key)}


def _flat(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{where}{key}.")
        elif value is not None:
            flat[where + key] = value
    return flat


def _word(value: Any) -> str:
    """Write a value as part of a file's name."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^\w.,=-]+", "_", text)

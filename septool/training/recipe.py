"""A training run as data: the sections of a recipe, their bounds, and where recipes come from."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_type_hints

from septool.config import JsonDict, JsonMapping, build, override, read_toml
from septool.data.enrollment import EnrollmentSampling
from septool.data.mixing import DynamicMixing
from septool.errors import ConfigError, UsageError

RECIPES = Path(__file__).parent.parent / "recipes"
STATIC_KEYS = ("sources", "seconds")  # what of the mixing counts for mixtures that are fixed
ABOUT_SCORES = ("table", "data")  # what is published of a recipe besides scores
SUGGESTIONS = 3  # names
# Bounds of settings: beyond them there are typing errors, and numbers that torch or the memory have no room for.
MOST_STEPS, MOST_BATCH, MOST_SEED = 10**9, 10**6, 2**64 - 1
RATES = 1_000, 1_000_000  # Hz
MOST_SECONDS, MOST_SOURCES, MOST_DB = 3600.0, 64, 200.0
MOST_OF_CONFIG = 10**5  # channels, layers, samples, speakers


def _check_range(least: float, most: float, section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} is {value}; it lies between {least} and {most}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Manifests and the rate that everything is brought to."""

    train: str = "data/train-speech.jsonl"
    # "dynamic": the manifest's voices, mixed anew every epoch; "static": its mixtures as they are.
    mixing: Literal["dynamic", "static"] = "dynamic"
    validation: str = "data/dev-2mix.jsonl"  # fixed mixtures
    sample_rate: int = 8000
    validation_items: int | None = None  # only the first N; all by default
    damaged_share: float = 0.01  # of the training set, rounded up, that may be damaged; it is left out and named
    name: str = ""  # what the checkpoint says it was trained on

    def __post_init__(self) -> None:
        _check_range(*RATES, self, "sample_rate")
        _check_range(1, MOST_STEPS, self, "validation_items")
        _check_range(0, 1, self, "damaged_share")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How weights move.

    "muon" orthogonalizes the updates of the matrices of linear and recurrent layers (Jordan et al.,
    2024; scaled to Adam's step size as in Liu et al., 2025) and leaves the rest to AdamW.
    """

    name: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 5.0  # L2 norm of the whole gradient; 0 is off

    def __post_init__(self) -> None:
        _check_range(0, 100, self, "lr", "weight_decay")
        _check_range(0, 1_000_000, self, "clip")
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
    decay: int = 0  # trapezoid: steps of linear annealing to zero at the end

    def __post_init__(self) -> None:
        _check_range(0, MOST_STEPS, self, "warmup", "patience", "start", "turn", "decay")
        _check_range(1, MOST_STEPS, self, "every")
        _check_range(0, 100, self, "factor", "later_factor")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How long, in what micro-batches, and at which precision."""

    steps: int = 100_000
    epoch_steps: int = 1000  # steps between two validations
    batch: int = 4  # mixtures a step, of all processes together
    # Micro-batches that a process cuts its share of a batch into; more need less memory.
    accumulation_steps: int = field(default=1, metadata={"formerly": "accumulate"})
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = 0.0  # decay of the averaged weights that are validated and kept; 0 is off
    loss_floor: float | None = None  # dB; items already better than this are left out (SepFormer: -30)
    patience: int = 0  # epochs without improvement that end the run; 0 for never
    average: int = 0  # checkpoints that are kept, and averaged in the end
    average_of: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        _check_range(1, MOST_STEPS, self, "steps", "epoch_steps")
        _check_range(1, MOST_BATCH, self, "batch", "accumulation_steps")
        _check_range(0, MOST_STEPS, self, "patience")
        _check_range(0, 1000, self, "average")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it lies between 0 and 1")
        if self.loss_floor is not None and not math.isfinite(self.loss_floor):
            raise ValueError(f"loss_floor is {self.loss_floor}; it is a number of dB")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    model: str
    published: JsonDict = field(default_factory=dict)  # what a paper reports for it, and where
    variant: str | None = field(default=None, metadata={"formerly": "row"})  # a named configuration of the model
    config: JsonDict = field(default_factory=dict)
    loss: str | None = None  # the model's own by default
    seed: int = 0
    initialize: str | None = field(default=None, metadata={"formerly": "initialise"})  # a checkpoint to start from
    # Parts of the model that start from other checkpoints, "PART" = "CHECKPOINT" or "CHECKPOINT#PART".
    parts: dict[str, str] = field(default_factory=dict)
    data: Data = Data()
    mixing: DynamicMixing = field(default_factory=DynamicMixing)
    enrollment: EnrollmentSampling = field(  # of extractors
        default_factory=EnrollmentSampling, metadata={"formerly": "enrolling"}
    )
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loop: Loop = Loop()

    def __post_init__(self) -> None:
        _check_range(0, MOST_SEED, self, "seed")
        for key, value in _flatten(self.config, "config."):
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
        if self.data.mixing == "static":
            for each in fields(DynamicMixing):
                changed = getattr(self.mixing, each.name) != getattr(DynamicMixing(), each.name)
                if changed and each.name not in STATIC_KEYS:
                    raise ValueError(f"mixing.{each.name} changes nothing in mixtures that data.mixing says are static")


def _check_config_value(key: str, value: object) -> None:
    """Refuse numbers that no network can have; what else a field asks for is checked where the field is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if "dropout" in key and not 0 <= value < 1:
        raise ValueError(f"{key} is {value}; a dropout rate lies between 0 and 1")
    if not abs(value) <= MOST_OF_CONFIG:
        raise ValueError(f"{key} is {value}; numbers of a network go up to {MOST_OF_CONFIG}")


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key=value`` settings.

    Raises:
        UsageError: no such recipe, or a setting or value that it cannot have.
    """
    return build(Recipe, override(_read_with_base(_find_recipe(name)), map_settings(settings)))


def recipe_from_dict(values: JsonMapping, settings: Sequence[str] = ()) -> Recipe:
    """Build a recipe from nested values, with old keys or new ones, and ``key=value`` settings."""
    return build(Recipe, override(_with_new_keys(values), map_settings(settings)))


def map_settings(settings: Sequence[str]) -> list[str]:
    """Return ``key=value`` settings with the keys of today."""
    renamed = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        for old, new in _old_keys(Recipe).items():
            if path == old or path.startswith(f"{old}."):
                path = new + path.removeprefix(old)
        renamed.append(path + equals + text)
    return renamed


def _old_keys(kind: type, section: str = "") -> dict[str, str]:
    """Return the keys of a recipe that had another name, old to new; a renamed section comes before its keys."""
    renamed, hints = {}, get_type_hints(kind)
    for each in fields(kind):
        if "formerly" in each.metadata:
            renamed[section + each.metadata["formerly"]] = section + each.name
        if is_dataclass(hints[each.name]):
            renamed |= _old_keys(hints[each.name], f"{section}{each.name}.")
    return renamed


def _rename_key(values: JsonDict, old: str, new: str) -> None:
    """Give an entry of nested values, if it is there, another key in its section; two entries are left alone."""
    section, _, key = old.rpartition(".")
    if section:
        if not isinstance(values.get(section), Mapping):
            return
        values[section] = dict(values[section])
        values = values[section]
    name = new.rpartition(".")[2]
    if key in values and name not in values:
        values[name] = values.pop(key)


def _with_new_keys(values: JsonMapping) -> JsonDict:
    """Return nested values with the keys of today."""
    renamed = dict(values)
    for old, new in _old_keys(Recipe).items():
        _rename_key(renamed, old, new)
    return renamed


def recipe_record(recipe: Recipe) -> JsonDict:
    """Return a recipe as plain values for what a run leaves on disk: ``recipe.json``, ``last.pt``, checkpoint headers.

    Keys that were renamed keep their old names there, so that other programs find them.
    """
    values = asdict(recipe)
    for old, new in _old_keys(Recipe).items():
        _rename_key(values, new, old)
    return values


def effective_record(recipe: Recipe) -> JsonDict:
    """Return :func:`recipe_record` without the settings of the mixing that fixed mixtures do not go by."""
    values = recipe_record(recipe)
    if recipe.data.mixing == "static":
        values["mixing"] = {name: values["mixing"][name] for name in STATIC_KEYS}
    return values


def _find_recipe(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
        if not path.exists():
            raise UsageError(f"unknown recipe {name!r}{_suggestion(name)}; septool train --list shows all")
    return path


def _suggestion(name: str) -> str:
    begun = sorted((known for known in recipe_names() if known.startswith(name)), key=len)
    near = (begun or get_close_matches(name, recipe_names()))[:SUGGESTIONS]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with septool."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def describe_recipes() -> list[JsonDict]:
    """Return what each of them trains, on what, and what is published for it."""
    chosen = {name: load_recipe(name) for name in recipe_names()}
    return [
        {"name": name, "model": recipe.model, "row": recipe.variant, "data": recipe.data.name}
        | {"mixing": recipe.data.mixing, "steps": recipe.loop.steps, "batch": recipe.loop.batch}
        | {"published": recipe.published}
        for name, recipe in chosen.items()
    ]


def format_scores(published: JsonMapping) -> str:
    """Write what a recipe's ``published`` says of scores."""
    scores = {key: value for key, value in published.items() if key not in ABOUT_SCORES}
    return ", ".join(f"{key.replace('_', '-')} {value:g}" for key, value in scores.items())


def _read_with_base(path: Path, seen: tuple[Path, ...] = ()) -> JsonDict:
    """Read a recipe's file over that of its ``base``, a bundled recipe or a file beside it."""
    if path in seen:
        raise ConfigError(f"{path} is its own base")
    values = _with_new_keys(read_toml(path))
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base is {base!r}; it is the name of a recipe")
    below = path.parent / base if base.endswith(".toml") else _find_recipe(base)
    return _merge(_read_with_base(below, (*seen, path)), values)


def _merge(below: JsonDict, above: JsonDict) -> JsonDict:
    merged = below | above
    for key in below.keys() & above.keys():
        # What a paper reports is of one recipe only.
        if isinstance(below[key], dict) and isinstance(above[key], dict) and key != "published":
            merged[key] = _merge(below[key], above[key])
    return merged


def run_name(name: str, settings: Sequence[str] = ()) -> str:
    """Name a run by its recipe and by what the settings change in it, whatever their order."""
    before, after = (recipe_record(recipe) for recipe in (load_recipe(name), load_recipe(name, settings)))
    changed = _differences(before, after)
    full = "+".join([Path(name).stem, *(f"{key}={_as_file_name(now)}" for key, (_, now) in changed.items())])
    if len(full.encode()) <= 120:
        return full
    return f"{Path(name).stem}+{hashlib.sha256(full.encode()).hexdigest()[:12]}"


def recipe_changes(before: Recipe, after: Recipe) -> dict[str, tuple[object, object]]:
    """Return the settings in which two runs differ, as they are in the one and in the other."""
    return _differences(asdict(before), asdict(after))


def _differences(before: JsonDict, after: JsonDict) -> dict[str, tuple[object, object]]:
    was, now = (dict(_flatten(values | {"published": {}})) for values in (before, after))
    return {key: (was.get(key), now.get(key)) for key in sorted(was | now) if was.get(key) != now.get(key)}


def _flatten(values: JsonMapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _as_file_name(value: object) -> str:
    """Write a value as part of a file's name."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^\w.,=-]+", "_", text)

"""Recipe files: bundled ones, inheritance, overriding settings, and renamed keys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import get_type_hints

from septool.config import JsonDict, JsonMapping, build, override, read_toml
from septool.errors import ConfigError, UsageError
from septool.training.recipe import STATIC_KEYS, Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
ABOUT_SCORES = ("table", "data")  # keys of ``published`` that are no scores
SUGGESTIONS = 3  # names
CONDITIONAL = {  # settings that change something only where another one has one of some values
    "schedule.factor": ("schedule.name", ("exponential", "plateau")),
    "schedule.every": ("schedule.name", ("exponential",)),
    "schedule.patience": ("schedule.name", ("plateau",)),
    "schedule.start": ("schedule.name", ("exponential", "plateau")),
    "schedule.turn": ("schedule.name", ("exponential",)),
    "schedule.later_factor": ("schedule.name", ("exponential",)),
    "schedule.decay": ("schedule.name", ("trapezoid",)),
    "mixing.difference_db": ("mixing.levels", ("uniform",)),
}


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key=value`` settings.

    Raises:
        UsageError: no such recipe, or a setting or value that it cannot have.
    """
    return _build(_read_with_base(_find_recipe(name)), settings)


def recipe_from_dict(values: JsonMapping, settings: Sequence[str] = ()) -> Recipe:
    """Build a recipe from nested values, with old keys or new ones, and ``key=value`` settings."""
    return _build(_with_new_keys(values), settings)


def _build(values: JsonDict, settings: Sequence[str]) -> Recipe:
    """Build a recipe, and refuse settings that change nothing in it, which a recipe may only inherit."""
    recipe = build(Recipe, _override(values, settings))
    for setting in map_settings(settings):
        key = setting.partition("=")[0]
        other, needed = CONDITIONAL.get(key, ("", ()))
        if needed and (value := attrgetter(other)(recipe)) not in needed:
            raise ConfigError(f"{key} changes nothing where {other} is {value}; it is for {' and '.join(needed)}")
    return recipe


def _override(values: JsonDict, settings: Sequence[str]) -> JsonDict:
    """Apply settings; with other training data, the checkpoint names that manifest instead of the recipe's data."""
    changed = override(values, map_settings(settings))
    before, after = values.get("data"), changed.get("data")
    if (
        isinstance(before, Mapping)
        and isinstance(after, dict)
        and after.get("train") != before.get("train")
        and after.get("name") == before.get("name")
    ):
        after["name"] = after["train"]
    return changed


def map_settings(settings: Sequence[str]) -> list[str]:
    """Return ``key=value`` settings with renamed keys updated."""
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
    """Return the renamed keys of a recipe, old to new; a renamed section comes before its keys."""
    renamed, hints = {}, get_type_hints(kind)
    for field in fields(kind):
        if "formerly" in field.metadata:
            renamed[section + field.metadata["formerly"]] = section + field.name
        if is_dataclass(hints[field.name]):
            renamed |= _old_keys(hints[field.name], f"{section}{field.name}.")
    return renamed


def _rename_key(values: JsonDict, old: str, new: str) -> None:
    """Rename a key of nested values within its section, unless it is missing or both keys exist."""
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
    """Return nested values with renamed keys updated."""
    renamed = dict(values)
    for old, new in _old_keys(Recipe).items():
        _rename_key(renamed, old, new)
    return renamed


def recipe_record(recipe: Recipe) -> JsonDict:
    """Return a recipe as plain values for the files of a run: ``recipe.json``, ``last.pt``, checkpoint headers.

    Renamed keys keep their old names there, for compatibility with other programs.
    """
    values = asdict(recipe)
    for old, new in _old_keys(Recipe).items():
        _rename_key(values, new, old)
    return values


def effective_record(recipe: Recipe) -> JsonDict:
    """Return :func:`recipe_record` without the mixing settings that do not apply to fixed mixtures."""
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
    """Return the names of the bundled recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def describe_recipes() -> list[JsonDict]:
    """Return the model, the data and the published scores of each bundled recipe."""
    chosen = {name: load_recipe(name) for name in recipe_names()}
    return [
        {"name": name, "model": recipe.model, "row": recipe.variant, "data": recipe.data.name}
        | {"mixing": recipe.data.mixing, "steps": recipe.loop.steps, "batch": recipe.loop.batch}
        | {"published": recipe.published}
        for name, recipe in chosen.items()
    ]


def format_scores(published: JsonMapping) -> str:
    """Format the scores in a recipe's ``published``."""
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
        # Published scores are not inherited.
        if isinstance(below[key], dict) and isinstance(above[key], dict) and key != "published":
            merged[key] = _merge(below[key], above[key])
    return merged

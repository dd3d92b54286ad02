"""Differences between recipes, and the names of runs that follow from them."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from septool.config import JsonDict, flatten
from septool.training.recipe import Recipe
from septool.training.recipe_files import load_recipe, recipe_record


def run_name(name: str, settings: Sequence[str] = ()) -> str:
    """Name a run by its recipe and the changed settings, independent of their order."""
    before, after = (recipe_record(recipe) for recipe in (load_recipe(name), load_recipe(name, settings)))
    changed = _differences(before, after)
    if after["data"]["name"] == after["data"]["train"]:  # a derived value, not a setting
        changed.pop("data.name", None)
    full = "+".join([Path(name).stem, *(f"{key}={_as_file_name(now)}" for key, (_, now) in changed.items())])
    if len(full.encode()) <= 120:
        return full
    return f"{Path(name).stem}+{hashlib.sha256(full.encode()).hexdigest()[:12]}"


def recipe_changes(before: Recipe, after: Recipe) -> dict[str, tuple[object, object]]:
    """Return the settings in which two runs differ, with both values."""
    return _differences(asdict(before), asdict(after))


def _differences(before: JsonDict, after: JsonDict) -> dict[str, tuple[object, object]]:
    was, now = (dict(flatten(values | {"published": {}})) for values in (before, after))
    return {key: (was.get(key), now.get(key)) for key in sorted(was | now) if was.get(key) != now.get(key)}


def _as_file_name(value: object) -> str:
    """Write a value as part of a file's name."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^\w.,=-]+", "_", text)

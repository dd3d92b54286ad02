"""What a run begins with: weights of other checkpoints, and modules that keep theirs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from septool import catalogue, checkpoints
from septool.errors import CheckpointError, UsageError
from septool.headers import read_header
from septool.models.base import Model
from septool.training.recipe import Recipe

Differences = dict[str, tuple[object, object]]  # settings, as they were and as they are


def load_initial_weights(model: Model, recipe: Recipe) -> Differences:
    """Load the weights that a recipe begins with into its model.

    Returns:
        The settings that change what the same weights do and are others in the recipe than in ``initialize``.

    Raises:
        UsageError: a checkpoint, or a part of the model, that does not exist.
        CheckpointError: weights are missing, damaged, or of another network.
    """
    differences: Differences = {}
    if recipe.initialize:
        path = catalogue.resolve_checkpoint(recipe.initialize)[1]
        checkpoints.load_into(model, path)
        differences = _compare_settings(model, recipe.data.sample_rate, path)
    for part, name in recipe.parts.items():
        checkpoints.load_part(model, part, *catalogue.resolve_part(name))
    return differences


def _compare_settings(model: Model, sample_rate: int, path: Path) -> Differences:
    """Return what a model of the same shape as a checkpoint sets differently, except dropout, which only trains."""
    try:
        header = read_header(path)
    except CheckpointError:  # a file of weights alone has no settings
        return {}
    ours = asdict(model.config)
    both: Differences = {f"config.{key}": (value, ours[key]) for key, value in header.config.items() if key in ours}
    both["data.sample_rate"] = header.sample_rate, sample_rate
    return {
        key: (was, now)
        for key, (was, now) in both.items()
        if "dropout" not in key and json.dumps(was) != json.dumps(now)  # which tells no tuple from a list
    }


def freeze_modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Keep modules of a model, by their names in it, from being trained, and return them.

    Raises:
        UsageError: the model has no such module, or nothing else to train.
    """
    frozen = []
    for name in names:
        try:
            frozen.append(model.get_submodule(name).requires_grad_(False))
        except AttributeError:
            known = ", ".join(child for child, _ in model.named_children())
            raise UsageError(f"freeze names {name!r}, which is no module of the model; it has {known}") from None
    if frozen and not any(weight.requires_grad for weight in model.parameters()):
        raise UsageError(f"freeze is {', '.join(names)}, which leaves nothing to train")
    return frozen

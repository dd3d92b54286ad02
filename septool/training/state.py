"""The resumable state of a run: weights, optimizers, averages and counters (``last.pt``)."""

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from septool.atomic import atomic_write, keep_as
from septool.config import JsonDict
from septool.errors import CheckpointError, ConfigError, SeptoolError
from septool.models.base import Model
from septool.training.optim import MovingAverage, make_optimizers, restore_optimizer
from septool.training.recipe import Recipe
from septool.training.recipe_changes import recipe_changes
from septool.training.recipe_files import recipe_from_dict, recipe_record

LOG = logging.getLogger(__name__)
STATES = LAST, PREVIOUS = "last.pt", "previous.pt"  # what a run is resumed from: the first that is whole
# Counters by the names that they had in the states of earlier versions.
OLD_COUNTERS = {
    "stale": "epochs_since_best",
    "skipped": "skipped_steps",
    "pending": "validation_pending",
    "recent": "recent_losses",
    "kept": "average_candidates",
}


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = -math.inf  # validation score
    epochs_since_best: int = 0
    bad_epochs: int = 0  # since the last improvement or plateau step
    plateau_scale: float = 1.0
    skipped_steps: int = 0  # whose gradient was not finite
    validation_pending: bool = False  # an epoch is over, its validation is not
    recent_losses: list[float] = field(default_factory=list)  # since the last line of the log
    average_candidates: list[list[float]] = field(default_factory=list)  # score and step of weights to average


@dataclass(frozen=True)
class SavedState:
    """The content of a state on disk, in main memory."""

    path: Path
    recipe: Recipe  # that it was made by
    model: dict[str, Tensor]
    average: dict[str, Tensor]  # moving average of the weights; empty, or of no meaning, without loop.ema
    optimizers: list[JsonDict]
    scaler: JsonDict  # of the loss, for fp16
    progress: Progress
    hours: float
    manifests: dict[str, str]  # sha256 by path


class TrainingState:
    """What a step changes, and what a run that was stopped needs to come to the same numbers."""

    def __init__(self, recipe: Recipe, model: Model, device: torch.device, *, worst: float = -math.inf) -> None:
        """Start from a model's weights; ``worst`` is below any validation score."""
        self.recipe, self.model, self.device = recipe, model, device
        self.average = MovingAverage(model, recipe.loop.ema) if recipe.loop.ema else None
        self.optimizers = make_optimizers(model, recipe.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.loop.precision == "fp16")
        self.progress = Progress(best=worst)
        self.hours = 0.0
        self.manifests: dict[str, str] = {}  # sha256 by path, of what the run has learned from and was validated on

    def restart_average(self) -> None:
        """Begin the average anew with the weights as they are."""
        if self.average is not None:
            self.average = MovingAverage(self.model, self.recipe.loop.ema)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is validated and kept: the averaged weights if the recipe averages."""
        return self.model.state_dict() if self.average is None else self.average.weights

    def save(self, folder: Path) -> None:
        """Write ``last.pt``, whole or not at all; the one before it stays as ``previous.pt``."""
        content = {
            "model": self.model.state_dict(),
            "average": {} if self.average is None else self.average.weights,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "progress": asdict(self.progress),
            "hours": self.hours,
            "manifests": self.manifests,
            "recipe": json.dumps(recipe_record(self.recipe)),
        }
        last = folder / LAST
        with atomic_write(last) as partial:
            try:
                torch.save(content, partial)
            except RuntimeError as error:  # what its writer says of a full disk or a quota
                raise SeptoolError(f"{last} cannot be written; is the disk full?") from error
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # before it takes the place of one that is known to be whole
            if last.exists():
                keep_as(last, folder / PREVIOUS)

    def resume(self, folder: Path) -> dict[str, tuple[object, object]]:
        """Take up the state in a run's folder, and return the settings that have changed since.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another network or optimizer.
        """
        saved = read_state(folder)
        if saved.path.name != LAST:
            LOG.warning("%s is damaged or missing; the run is resumed from %s", folder / LAST, saved.path)
        if saved.recipe.model != self.recipe.model:
            raise CheckpointError(f"{folder} is a run of {saved.recipe.model}, not {self.recipe.model}")
        changed = recipe_changes(saved.recipe, self.recipe)
        try:
            self.model.load_state_dict(saved.model)
            for optimizer, state in zip(self.optimizers, saved.optimizers, strict=True):
                restore_optimizer(optimizer, state)
            if self.average is not None:
                self.average = MovingAverage(self.model, self.recipe.loop.ema)
            if self.average is not None and saved.recipe.loop.ema:
                self.average.weights = {name: value.to(self.device) for name, value in saved.average.items()}
            if saved.scaler:
                self.scaler.load_state_dict(saved.scaler)
        except Exception as error:  # torch raises many kinds for other shapes
            shapes = [key for key in changed if key.startswith(("variant", "config.", "optimizer.name"))]
            why = ", ".join(f"{key} was {changed[key][0]}, is {changed[key][1]}" for key in shapes)
            raise CheckpointError(
                f"the state in {folder} does not fit this recipe: {why or ' '.join(str(error).split())}"
            ) from None
        self.progress, self.hours, self.manifests = saved.progress, saved.hours, saved.manifests
        return changed


def has_state(folder: Path) -> bool:
    """Say whether there is something to resume from."""
    return any((folder / name).exists() for name in STATES)


def read_state(folder: Path) -> SavedState:
    """Read ``last.pt``, or ``previous.pt`` if that is damaged or no state.

    Raises:
        CheckpointError: there is none, or none that can be used.
    """
    paths = [folder / name for name in STATES if (folder / name).exists()]
    if not paths:
        raise CheckpointError(f"{folder / LAST} does not exist; there is nothing to resume, start without --resume")
    damage = ""
    for path in paths:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch raises many kinds, in words about its archive's inside
            damage = damage or f"{path} is damaged: it is cut off, or not the state of a run"
            continue
        try:
            return _parse_state(path, content)
        except (ValueError, TypeError, RecursionError, ConfigError) as error:
            damage = damage or f"{path} is damaged: {' '.join(str(error).split())[:300]}"
    raise CheckpointError(damage)


def _parse_state(path: Path, content: object) -> SavedState:
    """Check what a file holds, and bring names of earlier versions to today's."""
    kinds = {"model": Mapping, "average": Mapping, "optimizers": list, "progress": Mapping, "hours": float}
    kinds |= {"recipe": str}
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not the state of a run")
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            there = f"{key!r} of type {type(content[key]).__name__}" if key in content else f"no {key!r}"
            raise ValueError(f"it is not the state of a run: it has {there}")
    counters: JsonDict = {OLD_COUNTERS.get(str(key), str(key)): value for key, value in content["progress"].items()}
    known = vars(Progress())
    for key, value in counters.items():
        if key not in known or not isinstance(value, type(known[key])) or (key == "step" and value < 0):
            raise ValueError(f"it is not the state of a run: its progress has {key!r} {value!r:.40}")
    for name, value in content["model"].items():  # steps that would make such weights are not taken
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise ValueError(f"its weights in {name} are no numbers")
    return SavedState(
        path=path,
        recipe=recipe_from_dict(json.loads(content["recipe"])),
        model=dict(content["model"]),
        average=dict(content["average"]),
        optimizers=content["optimizers"],
        scaler=content.get("scaler") or {},
        progress=Progress(**counters),
        hours=content["hours"],
        manifests={str(path): str(digest) for path, digest in dict(content.get("manifests") or {}).items()},
    )

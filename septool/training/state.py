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
STATES = LAST, PREVIOUS = "last.pt", "previous.pt"  # states to resume from; the first intact one is used
# Names of counters in states of earlier versions.
OLD_COUNTERS = {
    "stale": "epochs_since_best",
    "skipped": "skipped_steps",
    "pending": "validation_pending",
    "recent": "recent_losses",
    "kept": "average_candidates",
}


@dataclass
class Progress:
    """The progress of a run."""

    step: int = 0
    best: float = -math.inf  # validation score
    epochs_since_best: int = 0
    bad_epochs: int = 0  # epochs since the last improvement or plateau step
    plateau_scale: float = 1.0
    skipped_steps: int = 0  # steps skipped because of a non-finite gradient
    skipped_in_a_row: int = 0
    validation_pending: bool = False  # the last epoch has not been validated yet
    recent_steps: list[dict[str, float]] = field(default_factory=list)  # what was reported since the last log line
    average_candidates: list[list[float]] = field(default_factory=list)  # scores and steps of checkpoints to average


@dataclass(frozen=True)
class SavedState:
    """The content of a state on disk, in main memory."""

    path: Path
    recipe: Recipe  # the run's recipe
    model: dict[str, Tensor]
    average: dict[str, Tensor]  # moving average of the weights; unused without loop.ema
    optimizers: list[JsonDict]
    scaler: JsonDict  # loss scaler for fp16
    progress: Progress
    hours: float
    manifests: dict[str, str]  # sha256 by path


class TrainingState:
    """The state that a step changes, and that a resumed run needs to reproduce an uninterrupted one."""

    def __init__(self, recipe: Recipe, model: Model, device: torch.device, *, worst: float = -math.inf) -> None:
        """Start from a model's weights; ``worst`` is below any validation score."""
        self.recipe, self.model, self.device = recipe, model, device
        self.restart_average()
        self.optimizers = make_optimizers(model, recipe.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.loop.precision == "fp16")
        self.progress = Progress(best=worst)
        self.hours = 0.0
        self.manifests: dict[str, str] = {}  # sha256 of the training and validation manifests, by path

    def restart_average(self) -> None:
        """Restart the average, if the recipe averages, from the current weights."""
        decay = self.recipe.loop.ema
        self.average = MovingAverage(self.model, decay) if decay else None

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that are validated and kept: the averaged ones if the recipe averages."""
        return self.model.state_dict() if self.average is None else self.average.weights

    def save(self, folder: Path) -> None:
        """Write ``last.pt`` atomically; the previous one is kept as ``previous.pt``."""
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
            except RuntimeError as error:  # raised for a full disk or an exceeded quota
                raise SeptoolError(f"{last} cannot be written; is the disk full?") from error
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # before it replaces an intact one
            if last.exists():
                keep_as(last, folder / PREVIOUS)

    def resume(self, folder: Path) -> dict[str, tuple[object, object]]:
        """Resume from the state in a run's folder; return the settings that have changed since.

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
            self.restart_average()
            if self.average is not None and saved.recipe.loop.ema:
                self.average.weights = {name: value.to(self.device) for name, value in saved.average.items()}
            if saved.scaler:
                self.scaler.load_state_dict(saved.scaler)
        except Exception as error:  # torch raises various types for other shapes
            shapes = [key for key in changed if key.startswith(("variant", "config.", "optimizer.name"))]
            why = ", ".join(f"{key} was {changed[key][0]}, is {changed[key][1]}" for key in shapes)
            raise CheckpointError(
                f"the state in {folder} does not fit this recipe: {why or ' '.join(str(error).split())}"
            ) from None
        self.progress, self.hours, self.manifests = saved.progress, saved.hours, saved.manifests
        return changed


def has_state(folder: Path) -> bool:
    """Return whether there is a state to resume from."""
    return any((folder / name).exists() for name in STATES)


def read_state(folder: Path) -> SavedState:
    """Read ``last.pt``, or ``previous.pt`` if the former is damaged or no state.

    Raises:
        CheckpointError: there is no usable state.
    """
    paths = [folder / name for name in STATES if (folder / name).exists()]
    if not paths:
        raise CheckpointError(f"{folder / LAST} does not exist; there is nothing to resume; start a new run")
    damage = ""
    for path in paths:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch raises various types, with messages about the archive's internals
            damage = damage or f"{path} is damaged: it is cut off, or not the state of a run"
            continue
        try:
            return _parse_state(path, content)
        except (ValueError, TypeError, RecursionError, ConfigError) as error:
            damage = damage or f"{path} is damaged: {' '.join(str(error).split())[:300]}"
    raise CheckpointError(damage)


def _parse_state(path: Path, content: object) -> SavedState:
    """Check the content of a state, and update names of earlier versions."""
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
    if "recent_losses" in counters:
        counters["recent_steps"] = [{"loss": loss} for loss in counters.pop("recent_losses")]
    for key, value in counters.items():
        if key not in known or not isinstance(value, type(known[key])) or (key == "step" and value < 0):
            raise ValueError(f"it is not the state of a run: its progress has {key!r} {value!r:.40}")
    for name, value in content["model"].items():  # steps that would lead to such weights are skipped
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

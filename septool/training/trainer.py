"""A run of training: its model, a step, a validation, and the states on disk that it can go on from."""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from septool import catalogue, checkpoints
from septool.config import as_dict, build
from septool.data import manifest, pool
from septool.data.mixing import AugmentationSources, load_augmentation_sources, render_mixture, sample_parts
from septool.device import hardware
from septool.errors import CheckpointError, ConfigError, SeptoolError
from septool.files import atomic_write
from septool.inference.level import separate_at_model_level
from septool.losses import LOSSES
from septool.losses.pit import best_permutation
from septool.metrics import METRICS, Metric
from septool.metrics.si_snr import si_snr
from septool.models.build import build_model
from septool.provenance import software
from septool.signal.levels import model_gain
from septool.training.data import Drawn, Items, Static
from septool.training.distributed import Ranks
from septool.training.optim import MovingAverage, learning_rate, mean_weights, optimizers, restore
from septool.training.recipe import Recipe, changes, in_effect

LOG = logging.getLogger(__name__)
STATES = LAST, PREVIOUS = "last.pt", "previous.pt"  # what a run goes on from: the first that is whole
WORST = -30.0  # dB, what a validation counts for an estimate that has no score: silence, or what is no number


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = -math.inf  # validation score
    stale: int = 0  # epochs since the best one
    bad_epochs: int = 0  # since the last improvement or plateau step
    plateau_scale: float = 1.0
    skipped: int = 0  # steps whose gradient was not finite
    pending: bool = False  # an epoch is over, its validation is not
    recent: list[float] = field(default_factory=list)  # losses since the last line of the log
    kept: list[list[Any]] = field(default_factory=list)  # [score, step] of the weights to be averaged in the end


class Objective(nn.Module):
    """A run's loss as a forward pass: what gradients are shared around."""

    def __init__(self, model: nn.Module, losses: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: Any) -> Tensor:
        """Return the loss of each item, ``[batch]``."""
        return self.losses(batch)


class Run:
    """One training run and its folder: of a separator here, of other models in subclasses.

    What differs is an item (``drawer``), its loss (``losses``) and how well the model does (``score``).
    """

    metric: ClassVar[Metric] = METRICS["si-snri"]  # of the validation

    def __init__(
        self, recipe: Recipe, out: Path, device: torch.device, group: Ranks | None = None, *, resume: bool = False
    ) -> None:
        """Build a run, with the weights that its recipe starts from unless it will ``resume``."""
        self.recipe, self.out, self.device = recipe, out, device
        self.ranks = group or Ranks(device)
        torch.manual_seed(recipe.seed)
        self.model = build_model(recipe.model, recipe.config, recipe.row).to(device)
        if recipe.initialise and not resume:
            checkpoints.load_into(self.model, Path(recipe.initialise))
        for part, name in recipe.parts.items() if not resume else ():
            checkpoints.load_part(self.model, part, *catalogue.resolve_part(name))
        norms = (module for module in self.model.modules() if isinstance(module, BatchNorm))
        self.statistics = [value for norm in norms for value in norm.buffers()]
        self.average = MovingAverage(self.model, recipe.loop.ema)
        self.loss = LOSSES[recipe.loss or self.model.loss]
        self.optimizers = optimizers(self.model, recipe.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.loop.precision == "fp16")
        self._objective = Objective(self.model, self.losses)
        self.objective = self.ranks.wrap(self._objective)
        self.progress = Progress(best=-self.sign * math.inf)
        self.hours = 0.0
        self.manifests: dict[str, str] = {}

    @property
    def sign(self) -> int:
        """1 if more is better, else -1."""
        return 1 if self.metric.better == "higher" else -1

    @property
    def epoch(self) -> int:
        return self.progress.step // self.recipe.loop.epoch_steps

    def drawer(self, speech: pool.UtterancePool, around: AugmentationSources) -> Callable[..., Any]:
        """Return ``draw(seed=, epoch=, index=)`` of one item: its parts, ``[part, time]``."""
        return partial(sample_parts, speech, self.recipe.mixing, around)

    def mixtures(self, path: Path) -> list[manifest.Mixture]:
        """Read a manifest of mixtures of as many voices as the model separates."""
        rows = manifest.read_manifest(path)
        voices = {len(row.sources) for row in rows}
        if voices != {self.model.sources}:
            raise ConfigError(f"{path} mixes {sorted(voices)} voices, the model separates {self.model.sources}")
        return rows

    def items(self, jobs: int) -> Items:
        """Open what the run learns from."""
        recipe, loop = self.recipe, self.recipe.loop
        path, rate = Path(recipe.data.train), recipe.data.sample_rate
        if recipe.data.mixing == "static":
            rows = self.mixtures(path)
            return Static(rows, rate=rate, seconds=recipe.mixing.seconds, seed=recipe.seed, batch=loop.batch)
        if self.model.role == "separator" and recipe.mixing.sources != self.model.sources:
            raise ConfigError(f"mixing.sources is {recipe.mixing.sources}, the model separates {self.model.sources}")
        with self.ranks.one_at_first():
            speech = pool.load_pool(path, rate, max(jobs, 1))
            around = load_augmentation_sources(recipe.mixing, rate, max(jobs, 1))
        return Drawn(
            self.drawer(speech, around),
            seed=recipe.seed,
            batch=loop.batch,
            epoch_steps=loop.epoch_steps,
            vary=not recipe.mixing.seconds,
        )

    def autocast(self) -> Any:
        precision = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.recipe.loop.precision]
        return nullcontext() if precision is None else torch.autocast(self.device.type, precision)

    def losses(self, batch: Any) -> Tensor:
        """Return the loss of each item of a batch, ``[batch]``."""
        parts = batch.to(self.device, non_blocking=True)
        parts = parts * model_gain(parts.sum(1))[:, None]
        # Behind the sources stands what else is in the mixture.
        return self.loss(self.model, parts.sum(1), parts[:, : self.model.sources])

    def step(self, *pieces: Any) -> dict[str, float]:
        """Take one step on this process's share of a batch; what is not finite moves nothing and is counted."""
        progress, loop, how = self.progress, self.recipe.loop, self.recipe.optimizer
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = how.lr * self._rate()
        seed = np.random.SeedSequence([self.recipe.seed, progress.step, self.ranks.rank])
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        statistics = [value.clone() for value in self.statistics]
        share = loop.batch / self.ranks.count
        loss, kept = 0.0, 0.0
        for place, piece in enumerate(pieces, 1):
            with self.ranks.alone(self.objective) if place < len(pieces) else nullcontext():
                with self.autocast():
                    losses = self.objective(piece)  # [B]
                # What is not a number is not below the floor: it counts, and the step is skipped for it.
                counted = losses if loop.loss_floor is None else losses[~(losses <= loop.loss_floor)]
                self.scaler.scale(counted.sum() / share).backward()
            loss += losses.mean().item() / len(pieces)
            kept += len(counted)
        loss, kept = self.ranks.total(loss / self.ranks.count, kept)
        norm = self._clip(scale=loop.batch / kept if kept else 0.0)
        if kept and math.isfinite(norm):
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
            if loop.ema:
                self.average.update(progress.step)
        elif kept:
            progress.skipped += 1
            for value, before in zip(self.statistics, statistics, strict=True):
                value.copy_(before)  # the forward pass had moved them
        self.scaler.update()
        progress.step += 1
        return {"loss": loss, "gradient": norm}

    def _rate(self) -> float:
        return learning_rate(
            self.recipe.schedule,
            step=self.progress.step,
            epoch=self.epoch,
            steps=self.recipe.loop.steps,
            plateau_scale=self.progress.plateau_scale,
        )

    def _clip(self, scale: float) -> float:
        """Scale the gradient, clip it, and return its norm before that."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        if scale != 1:
            for weight in self.model.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(scale)
        clip = self.recipe.optimizer.clip or math.inf
        return nn.utils.clip_grad_norm_(self.model.parameters(), clip).item()

    def compile(self) -> None:
        """Run steps through torch.compile: the loss, and what it calls of the model. Validation stays as it is."""
        self._objective.compile()

    def validation_set(self) -> list[Any]:
        """Read this process's share of what the run is validated on: fixed mixtures."""
        data = self.recipe.data
        rows = self.mixtures(Path(data.validation))[: data.validation_items]
        return [render_mixture(row, data.sample_rate) for row in self.ranks.share(rows)]

    def validate(self, items: list[Any]) -> float:
        """Return the score of the weights that would be kept."""
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)
        self.ranks.agree(self.model.state_dict().values())  # the statistics of batch normalisation are each its own
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            value = self.score(items)
        self.model.load_state_dict(current)
        # Learning rates and the end of the run hang on it: not even a last bit may differ between processes.
        return self.ranks.total(value if self.ranks.first else 0.0)[0]

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is validated and kept: the averaged weights if the recipe averages."""
        return self.average.weights if self.recipe.loop.ema else self.model.state_dict()

    def score(self, items: list[Any]) -> float:
        """Return the model's mean SI-SNRi in dB, the same in every process."""
        gains: list[float] = []
        for item in items:
            mixture = torch.from_numpy(item.mixture).to(self.device)[None]
            reference = torch.from_numpy(item.sources).to(self.device)[None]
            before = si_snr(estimate=mixture[:, None], reference=reference).mean(-1).item()
            if not math.isfinite(before):  # of a silent voice nothing can be said
                continue
            estimate = separate_at_model_level(self.model, mixture).float()
            gains.append(best_permutation(si_snr, estimate=estimate, reference=reference).value.item() - before)
        return self.mean(gains)

    def mean(self, gains: Sequence[float]) -> float:
        """Return the mean over all processes, and say how many have none to be counted.

        Raises:
            SeptoolError: there are no gains.
        """
        lost = [gain for gain in gains if not math.isfinite(gain)]
        total, count, undefined = self.ranks.total(
            sum(gain for gain in gains if math.isfinite(gain)) + WORST * len(lost), len(gains), len(lost)
        )
        if not count:
            raise SeptoolError(
                f"none of the mixtures of {self.recipe.data.validation} has a defined {self.metric.name}: "
                "their voices are silent"
            )
        if undefined and self.ranks.first:
            LOG.warning(
                "for %d of %d mixtures the model gives silence or what is no number; each counts as %g dB",
                undefined,
                count,
                WORST,
            )
        return total / count

    def note_validation(self, value: float) -> bool:
        """Take a validation score into account; true if it is the best so far."""
        progress, schedule = self.progress, self.recipe.schedule
        if self.sign * value > self.sign * progress.best:
            progress.best, progress.stale, progress.bad_epochs = value, 0, 0
            return True
        progress.stale += 1
        if self.epoch > schedule.start:
            progress.bad_epochs += 1
        if schedule.name == "plateau" and progress.bad_epochs > schedule.patience:
            progress.plateau_scale *= schedule.factor
            progress.bad_epochs = 0
        return False

    @property
    def over(self) -> bool:
        """Whether the run has come to its end, or nowhere for as long as it was given."""
        loop, progress = self.recipe.loop, self.progress
        return progress.step >= loop.steps or 0 < loop.patience <= progress.stale

    def keep(self, value: float) -> None:
        """Note which weights will be averaged in the end."""
        loop, kept = self.recipe.loop, self.progress.kept
        kept.append([value, self.progress.step])
        if loop.average_of == "best":
            kept.sort(key=lambda entry: -self.sign * entry[0])
            del kept[loop.average :]
        else:
            del kept[: -loop.average or None]

    def save(self, value: float = math.nan, *, best: bool = False) -> None:
        """Write ``last.safetensors``, if best ``best.safetensors``, and ``last.pt`` to go on from.

        ``value`` is the validation score of these very weights, not a number if they have none.

        ``last.pt`` comes last, so that what a killed run goes on from never knows more than the other files; the
        one before it stays as ``previous.pt``.
        """
        names = ["last", *(["best"] if best else [])]
        kept = [self._kept(step) for _, step in self.progress.kept]
        names += [path.stem for path in kept if path == self._kept(self.progress.step)]
        for name in names:
            checkpoints.save(self.out / f"{name}.safetensors", self.weights, self.header(value))
        state = {
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "progress": vars(self.progress),
            "hours": self.hours,
            "recipe": json.dumps(as_dict(self.recipe)),
        }
        last = self.out / LAST
        with atomic_write(last) as partial:
            try:
                torch.save(state, partial)
            except RuntimeError as error:  # what its writer says of a full disk or a quota
                raise SeptoolError(f"{last} cannot be written; is the disk full?") from error
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # before it takes the place of one that is known to be whole
            if last.exists():
                os.replace(last, self.out / PREVIOUS)
        for path in set(self.out.glob("step-*.safetensors")) - set(kept):
            path.unlink()

    def _kept(self, step: int) -> Path:
        return self.out / f"step-{step}.safetensors"

    def average_kept(self, items: list[Any]) -> dict[str, Any]:
        """Average the kept weights into ``average.safetensors`` and return what to log of them."""
        several = []
        self.ranks.wait()  # for the files
        for _, step in self.progress.kept:
            checkpoints.load_into(self.model, self._kept(step))
            several.append({name: value.clone() for name, value in self.model.state_dict().items()})
        mean = mean_weights(several)
        self.model.load_state_dict(mean)
        self.average.weights = mean
        value = self.validate(items)
        if self.ranks.first:
            checkpoints.save(self.out / "average.safetensors", mean, self.header(value))
        return {self.metric.key: value, "of": [step for _, step in self.progress.kept]}

    def header(self, value: float) -> checkpoints.Header:
        """Return what a checkpoint says of itself; ``value`` is its validation score."""
        recipe = self.recipe
        return checkpoints.Header(
            model=recipe.model,
            config=as_dict(self.model.config),
            sample_rate=recipe.data.sample_rate,
            sources=self.model.sources,
            trained_on=recipe.data.name,
            recipe=in_effect(recipe),
            steps=self.progress.step,
            hours=round(self.hours, 3),
            hardware=hardware(self.device),
            measured={f"validation_{self.metric.key}": round(value, 3)} if math.isfinite(value) else {},
            software=software(),
            manifests=self.manifests,
        )

    def resume(self) -> dict[str, tuple[Any, Any]]:
        """Take up the state in the run's folder, and return the settings that have changed since.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another network or optimizer.
        """
        path, state = read_state(self.out)
        if path.name != LAST:
            LOG.warning("%s is torn or missing; the run goes on from %s", self.out / LAST, path)
        before = recipe_of(state)
        if before.model != self.recipe.model:
            raise CheckpointError(f"{self.out} is a run of {before.model}, not {self.recipe.model}")
        changed = changes(before, self.recipe)
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                restore(optimizer, kept)
            self.average = MovingAverage(self.model, self.recipe.loop.ema)
            if before.loop.ema:
                self.average.weights = {name: value.to(self.device) for name, value in state["average"].items()}
            if state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            self.progress = Progress(**state["progress"])
            self.hours = state["hours"]
        except Exception as error:  # torch raises many kinds for other shapes
            shapes = [key for key in changed if key.startswith(("row", "config.", "optimizer.name"))]
            why = ", ".join(f"{key} was {changed[key][0]}, is {changed[key][1]}" for key in shapes)
            raise CheckpointError(
                f"the state in {self.out} does not fit this recipe: {why or ' '.join(str(error).split())}"
            ) from None
        return changed


def read_state(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Read ``last.pt``, or ``previous.pt`` if that was torn; return which, and what is in it, in main memory.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    paths = [folder / name for name in STATES if (folder / name).exists()]
    if not paths:
        raise CheckpointError(f"{folder / LAST} does not exist; there is nothing to resume, start without --resume")
    damage = ""
    for path in paths:
        try:
            return path, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a torn file
            damage = damage or f"{path} is damaged: {' '.join(str(error).split())}"
    raise CheckpointError(damage)


def recipe_of(state: dict[str, Any]) -> Recipe:
    """Return the recipe that a state was made by."""
    return build(Recipe, json.loads(state["recipe"]))

"""The training role of separators: mixtures, sampled or fixed, and SI-SNRi."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from septool.data import manifest, pool
from septool.data.mixing import AugmentationSources, Rendered, render_mixture, sample_parts
from septool.errors import ConfigError
from septool.inference.level import separate_at_model_level
from septool.models.base import Separator
from septool.scoring.items import score_improvement
from septool.signal.levels import model_gain
from septool.training.data import Batch, Damage, FixedMixtures, TrainingSet
from septool.training.distillation import Teacher
from septool.training.distributed import Distributed
from septool.training.pondering import PonderCost
from septool.training.recipe import Recipe
from septool.training.role import Role


class SeparatorRole(Role[Separator, Rendered]):
    """The validation manifest of its recipe has mixtures of as many voices as the model separates."""

    def __init__(self, recipe: Recipe, model: Separator, distributed: Distributed) -> None:
        super().__init__(recipe, model, distributed)
        if recipe.data.mixing == "dynamic" and recipe.mixing.sources != model.sources:
            raise ConfigError(f"mixing.sources is {recipe.mixing.sources}, the model separates {model.sources}")
        self.teacher: Teacher | None = None
        if recipe.distillation.teacher:
            self.teacher = Teacher(recipe.distillation, model, recipe.data.sample_rate, self.device)
        self.ponder_cost = PonderCost(recipe.pondering, model) if recipe.pondering.cost else None

    def sampler(self, speech: pool.UtterancePool, augmentation: AugmentationSources) -> Callable[..., np.ndarray]:
        """Return ``sample(seed=, epoch=, index=)`` of one mixture: its parts, ``[part, time]``."""
        return partial(sample_parts, speech, self.recipe.mixing, augmentation)

    def training_set(self, jobs: int) -> TrainingSet:
        recipe = self.recipe
        if recipe.data.mixing == "static":
            rows = self._read_mixtures(Path(recipe.data.train))
            return FixedMixtures(
                rows,
                rate=recipe.data.sample_rate,
                seconds=recipe.mixing.seconds,
                seed=recipe.seed,
                batch=recipe.loop.batch,
                damage=Damage(Path(recipe.data.train), len(rows), recipe.data.damaged_share),
            )
        return super().training_set(jobs)

    def losses_and_auxiliary(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return them for ``[batch, part, time]``, at the level of the model."""
        mixture, sources = self._at_model_level(batch)
        auxiliary: dict[str, Tensor] = {}
        with ExitStack() as recording:
            states = recording.enter_context(self.teacher.record_student()) if self.teacher else []
            steps = recording.enter_context(self.ponder_cost.record_steps()) if self.ponder_cost else []
            losses = self.loss_function(self.model, mixture, sources)
        if self.teacher:
            auxiliary["distillation"] = self.teacher.loss(mixture, states)
        if self.ponder_cost:
            auxiliary["pondering"] = self.ponder_cost.loss(steps)
        return losses, auxiliary

    def _at_model_level(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mixtures, ``[batch, time]``, and their sources, ``[batch, source, time]``."""
        assert isinstance(batch, Tensor)
        parts = batch.to(self.device, non_blocking=True)
        parts = parts * model_gain(parts.sum(1))[:, None]
        # The part after the sources is the rest of the mixture.
        return parts.sum(1), parts[:, : self.model.sources]

    def _read_mixtures(self, path: Path) -> list[manifest.Mixture]:
        """Read a manifest of mixtures of as many voices as the model separates."""
        rows = manifest.read_manifest(path)
        voices = {len(row.sources) for row in rows}
        if voices != {self.model.sources}:
            raise ConfigError(f"{path} mixes {sorted(voices)} voices, the model separates {self.model.sources}")
        return rows

    def validation_set(self) -> list[Rendered]:
        data = self.recipe.data
        rows = self._read_mixtures(Path(data.validation))[: data.validation_items]
        return [render_mixture(row, data.sample_rate) for row in self.distributed.shard(rows)]

    def score(self, items: Sequence[Rendered]) -> float:
        """Return the mean SI-SNRi in dB."""
        scored = []
        for item in items:
            mixture = torch.from_numpy(item.mixture).to(self.device)[None]
            estimates = separate_at_model_level(self.model, mixture).float()[0]
            rate = self.recipe.data.sample_rate
            scored.append(score_improvement(estimates, torch.from_numpy(item.sources), mixture[0], rate))
        return self.mean_improvement(scored)

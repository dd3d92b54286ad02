"""Roles: the differences between training a separator, an extractor and a speaker network."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from septool.data import pool, speech_cache
from septool.data.mixing import AugmentationSources, load_augmentation_sources
from septool.errors import SeptoolError
from septool.losses import LOSSES
from septool.metrics import METRICS, Measure
from septool.models import MODELS
from septool.models.base import Model
from septool.registry import Registry
from septool.scoring.items import FAILED_ITEM_DB, Item, value_or_floor
from septool.training.data import Batch, DynamicMixtures, TrainingItem, TrainingSet
from septool.training.distributed import Distributed
from septool.training.recipe import Recipe

LOG = logging.getLogger(__name__)
ModelT = TypeVar("ModelT", bound=Model)
ItemT = TypeVar("ItemT")


class Role(ABC, Generic[ModelT, ItemT]):
    """The items, loss, validation set and score for training models of one role.

    There is one class for each ``role`` of :class:`septool.models.base.Model`; the rest of a run is in
    :class:`~septool.training.trainer.Trainer`.
    """

    metric: ClassVar[Measure] = METRICS["si-snri"]  # the metric of the validation

    def __init__(self, recipe: Recipe, model: ModelT, distributed: Distributed) -> None:
        self.recipe, self.model, self.distributed = recipe, model, distributed
        self.device = distributed.device
        self.loss_function: Callable[..., Tensor] = LOSSES[recipe.loss or model.loss]
        self.speech: pool.UtterancePool | None = None  # source of sampled items, once decoded

    @abstractmethod
    def sampler(self, speech: pool.UtterancePool, augmentation: AugmentationSources) -> Callable[..., TrainingItem]:
        """Return ``sample(seed=, epoch=, index=)`` of one item, for :class:`~septool.training.data.DynamicMixtures`."""

    @abstractmethod
    def losses_and_auxiliary(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each item, ``[batch]``, and what else is added to each: numbers, by the recipe's table."""

    @abstractmethod
    def validation_set(self) -> list[ItemT]:
        """Read this process's share of the validation set; all of it where ``score`` shares out the work."""

    @abstractmethod
    def score(self, items: Sequence[ItemT]) -> float:
        """Return the score over the items of all processes, in the unit of ``metric``, equal in every process."""

    def training_set(self, jobs: int) -> TrainingSet:
        """Open the training set: by default sampled items, from a pool decoded by ``jobs`` processes."""
        recipe, loop = self.recipe, self.recipe.loop
        with self.distributed.local_main_first():
            rate, jobs, share = recipe.data.sample_rate, max(jobs, 1), recipe.data.damaged_share
            self.speech = speech_cache.load_pool(Path(recipe.data.train), rate, jobs, damaged_share=share)
            augmentation = load_augmentation_sources(recipe.mixing, rate, jobs, share)
        return DynamicMixtures(
            self.sampler(self.speech, augmentation),
            seed=recipe.seed,
            batch=loop.batch,
            epoch_steps=loop.epoch_steps,
            variable_length=not recipe.mixing.seconds,
        )

    def begin(self) -> None:
        """Prepare the model of a new run once its training set is open; not called when a run is resumed."""

    @classmethod
    def is_better(cls, score: float, best: float) -> bool:
        """Return whether a score is better than another."""
        return score > best if cls.metric.better == "higher" else score < best

    @classmethod
    def worst_score(cls) -> float:
        """Return a value that every score is better than."""
        return -math.inf if cls.metric.better == "higher" else math.inf

    def mean_improvement(self, items: Sequence[Item]) -> float:
        """Return the mean SI-SNRi in dB over the items of all processes; a failed one counts as :data:`FAILED_ITEM_DB`.

        Raises:
            SeptoolError: none of them has a score.
        """
        values = [value for item in items if (value := value_or_floor(item)) is not None]
        total, count, lost = self.distributed.all_reduce_sum(
            sum(values), len(values), sum(bool(item.error) for item in items)
        )
        if not count:
            raise SeptoolError(
                f"none of the mixtures of {self.recipe.data.validation} has a defined {self.metric.name}: "
                "their voices are silent"
            )
        if lost and self.distributed.is_main:
            LOG.warning(
                "for %d of %d mixtures the model gives silence or NaN; each counts as %g dB",
                lost,
                count,
                FAILED_ITEM_DB,
            )
        return total / count


AnyRole = Role[Any, Any]
# By model role.
TRAINING_ROLES: Registry[type[AnyRole]] = Registry(
    "role",
    {
        "separator": "septool.training.separation:SeparatorRole",
        "extractor": "septool.training.extraction:ExtractorRole",
        "speaker": "septool.training.verification:SpeakerRole",
    },
)


def training_role(recipe: Recipe) -> type[AnyRole]:
    """Return the training role of a recipe's model."""
    return TRAINING_ROLES[MODELS[recipe.model].role]

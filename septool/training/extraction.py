"""The training role of extractors: mixtures with an enrollment, in some of which the voice is absent."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from septool import audio
from septool.data import manifest, pool
from septool.data.enrollment import EnrolledMixture, sample_enrolled_mixture
from septool.data.mixing import AugmentationSources, render_mixture
from septool.errors import ManifestError
from septool.inference.level import embed, extract_at_model_level
from septool.models.base import Extractor
from septool.scoring.items import score_improvement
from septool.signal.levels import at_model_level, model_gain
from septool.training.data import Batch
from septool.training.role import Role


class ExtractionItem(NamedTuple):
    """A fixed mixture, its target voice, and an enrollment recording of that speaker, ``[time]`` each."""

    mixture: Tensor
    target: Tensor
    enrollment: Tensor


class ExtractorRole(Role[Extractor, ExtractionItem]):
    """The validation manifest of its recipe has enrollments."""

    def sampler(self, speech: pool.UtterancePool, augmentation: AugmentationSources) -> Callable[..., EnrolledMixture]:
        """Return ``sample(seed=, epoch=, index=)`` of one item: voice and rest ``[2, time]``, and the enrollment."""
        return partial(
            sample_enrolled_mixture,
            speech.split_single_utterances(),
            self.recipe.mixing,
            self.recipe.enrollment,
            augmentation,
        )

    def losses_and_auxiliary(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return them for ``([batch, 2, time], [batch, time])``; nothing is added to the loss."""
        parts, enrollment = (part.to(self.device, non_blocking=True) for part in batch)
        parts = parts * model_gain(parts.sum(1))[:, None]
        return self.loss_function(self.model, parts.sum(1), parts[:, 0], at_model_level(enrollment)), {}

    def validation_set(self) -> list[ExtractionItem]:
        data = self.recipe.data
        rows = manifest.read_manifest(Path(data.validation))[: data.validation_items]
        return [render_extraction_item(row, data.sample_rate) for row in self.distributed.shard(rows)]

    def score(self, items: Sequence[ExtractionItem]) -> float:
        """Return the mean SI-SNRi of the target voices in dB."""
        scored = []
        for item in items:
            mixture, enrollment = (wave.to(self.device)[None] for wave in (item.mixture, item.enrollment))
            embedding = embed(self.model.speaker, enrollment)
            voice = extract_at_model_level(self.model, mixture, embedding).voice[0].float()
            scored.append(score_improvement(voice, item.target[None], item.mixture, self.recipe.data.sample_rate))
        return self.mean_improvement(scored)


def render_extraction_item(row: manifest.Mixture, rate: int) -> ExtractionItem:
    """Render a row of a manifest with its enrollment.

    Raises:
        ManifestError: it has none.
    """
    if row.enrollment is None:
        raise ManifestError(f"mixture {row.id} has no enrollment")
    rendered, enrollment = render_mixture(row, rate), row.enrollment
    voice = audio.load_audio(row.locate(enrollment.path), rate, enrollment.start, enrollment.frames)
    return ExtractionItem(*map(torch.from_numpy, (rendered.mixture, rendered.sources[enrollment.target], voice)))

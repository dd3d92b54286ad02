"""Training an extractor: mixtures with an enrolment, in some of which the voice is absent."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from septool import audio
from septool.data import manifest, pool
from septool.data.enrollment import sample_enrolled_mixture
from septool.data.mixing import AugmentationSources, render_mixture
from septool.errors import ManifestError
from septool.inference.level import extract_with_score
from septool.metrics.si_snr import si_snr
from septool.signal.levels import model_gain
from septool.training.trainer import Run


class Held(NamedTuple):
    """A fixed mixture, ``[time]`` each."""

    mixture: Tensor
    target: Tensor
    enrolment: Tensor


class ExtractorRun(Run):
    """The validation manifest of its recipe has enrolments."""

    def drawer(self, speech: pool.UtterancePool, around: AugmentationSources) -> Callable[..., Any]:
        """Return ``draw(seed=, epoch=, index=)`` of one item: voice and rest ``[2, time]``, and the enrolment."""
        return partial(
            sample_enrolled_mixture, speech.split_single_utterances(), self.recipe.mixing, self.recipe.enrolling, around
        )

    def losses(self, batch: Any) -> Tensor:
        parts, enrolment = (part.to(self.device, non_blocking=True) for part in batch)
        parts = parts * model_gain(parts.sum(1))[:, None]
        return self.loss(self.model, parts.sum(1), parts[:, 0], enrolment * model_gain(enrolment))

    def validation_set(self) -> list[Held]:
        data = self.recipe.data
        rows = manifest.read_manifest(Path(data.validation))[: data.validation_items]
        return [held(row, data.sample_rate) for row in self.ranks.share(rows)]

    def score(self, items: list[Held]) -> float:
        """Return the mean SI-SNRi of the wanted voices in dB, the same in every process."""
        gains: list[float] = []
        for item in items:
            mixture, target, enrolment = (wave.to(self.device)[None] for wave in item)
            before = si_snr(estimate=mixture, reference=target).item()
            if not math.isfinite(before):  # of a silent voice nothing can be said
                continue
            embedding = self.model.speaker(enrolment * model_gain(enrolment))
            voice = extract_with_score(self.model, mixture, embedding).voice.float()
            gains.append(si_snr(estimate=voice, reference=target).item() - before)
        return self.mean(gains)


def held(row: manifest.Mixture, rate: int) -> Held:
    """Render a row of a manifest with its enrolment."""
    if row.enrolment is None:
        raise ManifestError(f"mixture {row.id} has no enrolment")
    rendered, how = render_mixture(row, rate), row.enrolment
    enrolment = audio.load_audio(row.locate(how.path), rate, how.start, how.frames)
    return Held(*map(torch.from_numpy, (rendered.mixture, rendered.sources[how.target], enrolment)))

"""Training a speaker network to name the speakers of its pool, validated on trials of others."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from septool.data import pool, trials
from septool.data.enrolment import draw_speaker
from septool.data.mixing import Surroundings
from septool.errors import ConfigError, ManifestError
from septool.metrics import Metric
from septool.metrics.eer import EER, equal_error
from septool.scoring.verification import similarities
from septool.signal.levels import model_gain
from septool.training.trainer import Run


class SpeakerRun(Run):
    """The validation manifest of its recipe is a list of trials; voices mixed in are to be ignored."""

    metric: ClassVar[Metric] = EER

    def drawer(self, speech: pool.Pool, around: Surroundings) -> Callable[..., Any]:
        """Return ``draw(seed=, epoch=, index=)`` of one item: a recording ``[time]`` and its speaker's number."""
        if len(speech.names) != self.model.config.speakers:
            raise ConfigError(
                f"{self.recipe.data.train} has {len(speech.names)} speakers; config.speakers has to be that, "
                f"not {self.model.config.speakers}"
            )
        return partial(draw_speaker, speech, self.recipe.mixing, around)

    def losses(self, batch: Any) -> Tensor:
        recording, speaker = (part.to(self.device) for part in batch)
        return self.loss(self.model, recording * model_gain(recording), speaker)

    def validation_set(self) -> list[trials.Trial]:
        path = Path(self.recipe.data.validation)
        chosen = trials.read(path)[: self.recipe.data.validation_items]
        for recording in dict.fromkeys(recording for trial in chosen for recording in trial[1:]):
            if not recording.exists():  # said before hours of training, not after
                raise ManifestError(f"{recording} does not exist; it is in the trials of {path}")
        return chosen

    def score(self, items: list[trials.Trial]) -> float:
        """Return the equal error rate in percent."""
        scores = similarities(self.model.embedding, items, self.recipe.data.sample_rate, self.device)
        return equal_error(scores, np.array([item.same for item in items])).percent

"""The training role of speaker networks: classification of speakers, validated on trials."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from septool.data import pool, trials
from septool.data.enrollment import SpeakerItem, sample_clips, sample_speaker_item
from septool.data.mixing import AugmentationSources
from septool.errors import ConfigError, ManifestError
from septool.inference.level import embed
from septool.metrics import Measure
from septool.metrics.eer import EER, equal_error_rate
from septool.models.speaker_net import SpeakerNet
from septool.scoring.verification import embed_recording, score_trials
from septool.signal.levels import at_model_level
from septool.training.data import Batch
from septool.training.role import Role

LOG = logging.getLogger(__name__)


class SpeakerRole(Role[SpeakerNet, trials.Trial]):
    """The validation manifest of its recipe is a list of trials; voices mixed in are to be ignored."""

    metric: ClassVar[Measure] = EER

    def sampler(self, speech: pool.UtterancePool, augmentation: AugmentationSources) -> Callable[..., SpeakerItem]:
        """Return ``sample(seed=, epoch=, index=)`` of one item: a recording ``[time]`` and its speaker's number."""
        assert isinstance(self.model, SpeakerNet)  # its loss uses the classifier
        people, speeds = len(speech.speaker_names), len(self.recipe.speakers.every_speed)
        if people * speeds != self.model.config.speakers:
            at_speeds = f", {people * speeds} at {speeds} speeds" if speeds > 1 else ""
            raise ConfigError(
                f"{self.recipe.data.train} has {people} speakers{at_speeds}; config.speakers has to be that, "
                f"not {self.model.config.speakers}"
            )
        return partial(sample_speaker_item, speech, self.recipe.mixing, self.recipe.speakers, augmentation)

    @torch.no_grad()
    def begin(self) -> None:
        """Initialize the classifier with the mean of a few embeddings per speaker, if the recipe says so."""
        sampling, speech, classifier = self.recipe.speakers, self.speech, self.model.classifier
        if not sampling.imprint or speech is None:
            return
        self.model.eval()
        length = classifier.weight.norm(dim=-1).mean()  # mean norm of a row of the classifier
        for speaker in range(self.model.config.speakers):
            clips = sample_clips(speech, self.recipe.mixing, sampling, speaker=speaker, seed=self.recipe.seed)
            embeddings = embed(self.model.embedding, torch.from_numpy(clips).to(self.device))
            mean = F.normalize(embeddings, dim=-1).mean(0)
            classifier.weight[speaker] = length * F.normalize(mean, dim=0)
        classifier.bias.zero_()
        self.model.train()

    def losses_and_auxiliary(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return them for ``([batch, time], [batch])``; nothing is added to the loss."""
        recording, speaker = (part.to(self.device) for part in batch)
        return self.loss_function(self.model, at_model_level(recording), speaker), {}

    def validation_set(self) -> list[trials.Trial]:
        """Read all trials, since the rate is of all of them; their recordings are shared out by ``score``."""
        path = Path(self.recipe.data.validation)
        chosen = trials.read_trials(path)[: self.recipe.data.validation_items]
        for recording in dict.fromkeys(recording for trial in chosen for recording in trial[1:]):
            if not recording.exists():  # reported before hours of training
                raise ManifestError(f"{recording} does not exist; it is in the trials of {path}")
        if len({trial.same for trial in chosen}) < 2:
            raise ManifestError(f"{path}: its first {len(chosen)} trials are of one kind; raise data.validation_items")
        return chosen

    @torch.inference_mode()
    def score(self, items: Sequence[trials.Trial]) -> float:
        """Return the equal error rate in percent; a trial whose cosine is NaN counts as decided wrongly."""
        network, rate = self.model.embedding, self.recipe.data.sample_rate
        recordings = sorted({recording for item in items for recording in item[1:]})
        own = [embed_recording(network, path, rate, self.device).cpu() for path in self.distributed.shard(recordings)]
        scores = score_trials(items, dict(zip(recordings, self.distributed.gather(own), strict=True)))
        same, lost = np.array([item.same for item in items]), ~np.isfinite(scores)
        if lost.any() and self.distributed.is_main:
            LOG.warning("for %d of %d trials the model gives NaN; each counts as wrong", lost.sum(), len(lost))
        return equal_error_rate(np.where(lost, np.where(same, -1.0, 1.0), scores), same).percent

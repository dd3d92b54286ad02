"""Separation followed by speaker recognition: a separator and a speaker network form an extractor.

The cascade that target speech extraction is compared with (Zmolikova et al., "Neural target speech extraction: an
overview", IEEE Signal Processing Magazine, 2023): the mixture is separated blindly, and the output that sounds most
like the enrollment is the voice. Every better separator makes a better extractor, without training.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool import catalogue, checkpoints
from septool.errors import UsageError
from septool.headers import Header, read_header
from septool.inference.level import embed, give_levels
from septool.models import MODELS, SPEAKER_MODEL
from septool.models.base import Extraction, Extractor, Separator, SpeakerEncoder


class Cascade(Extractor[None]):
    """A separator and a speaker network that selects one of its outputs."""

    def __init__(self, separator: Separator, speaker: nn.Module) -> None:
        """Combine both; ``speaker`` maps ``[batch, time]`` at the separator's rate to ``[batch, embedding]``."""
        super().__init__()
        self.separator, self.speaker = separator, speaker

    def extract_each(self, mixture: Tensor, embeddings: Tensor) -> Extraction:
        """Select for each of ``embeddings [voice, embedding]`` an output of each ``mixture [batch, time]``.

        Returns:
            The nearest outputs, ``[batch, voice, time]``, and their cosines, ``[batch, voice]``.
        """
        return self._choose(mixture, embeddings[None])

    def extract_with_score(self, mixture: Tensor, embedding: Tensor) -> Extraction:
        """Return the output ``[batch, time]`` nearest to the enrollment, and its cosine similarity, ``[batch]``."""
        voices, presence = self._choose(mixture, embedding[:, None])
        return Extraction(voices[:, 0], presence[:, 0])

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Return the output ``[batch, time]`` that is nearest to the enrollment."""
        return self.extract_with_score(mixture, embedding).voice

    def _choose(self, mixture: Tensor, embeddings: Tensor) -> Extraction:
        """Select outputs for ``mixture [batch, time]`` by ``[batch, voice, embedding]``, whose batch may be 1."""
        separated = self.separator(mixture).float()
        with torch.autocast(mixture.device.type, enabled=False):  # levels and embeddings are computed in float32
            outputs = give_levels(mixture, separated, consistency=True)  # [B, C, T]
            voiceprints = embed(self.speaker, outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])
            cosines = F.cosine_similarity(voiceprints[:, None], embeddings[:, :, None], dim=-1)  # [B, V, C]
        presence, choice = cosines.max(dim=-1)
        return Extraction(outputs.take_along_dim(choice[..., None], dim=1), presence)


def load_extractor(path: Path, speaker_model: str | None = None) -> tuple[Extractor, Header]:
    """Load an extractor, or a separator with a speaker network as a cascade.

    Args:
        path: the checkpoint.
        speaker_model: speaker network that selects a separator's outputs; that of conversations by default.

    Returns:
        The extractor and its header; a cascade has the presence threshold of the speaker network.

    Raises:
        UsageError: a speaker network for an extractor, which has its own.
        CheckpointError: a missing or damaged file, or a model that does neither.
    """
    speaker = find_speaker_network(path, speaker_model)
    if speaker is None:
        return checkpoints.load(path, Extractor)
    separator, header = checkpoints.load(path)
    network, speaker_header = checkpoints.load(speaker, SpeakerEncoder)
    network.listen_at(header.sample_rate)
    return Cascade(separator, network.embedding).eval(), replace(
        header, presence_threshold=speaker_header.presence_threshold
    )


def find_speaker_network(path: Path, speaker_model: str | None = None) -> Path | None:
    """Return the file of the speaker network for the cascade with a separator; None for an extractor.

    Args:
        path: the checkpoint.
        speaker_model: the requested speaker network.

    Raises:
        UsageError: a speaker network for an extractor, which has its own.
        CheckpointError: a missing or damaged file.
    """
    model = read_header(path).model
    if model in MODELS and MODELS[model].role == "separator":
        return catalogue.resolve_checkpoint(speaker_model or SPEAKER_MODEL)[1]
    if speaker_model is not None:
        raise UsageError(f"--speaker-model is for separators; {path.name} has a speaker network of its own")
    return None

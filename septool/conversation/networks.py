"""The two networks of conversations: a separator with two outputs, and a speaker network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from septool import catalogue, checkpoints
from septool.conversation.separation import ConversationSeparator
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount, check_tracks
from septool.conversation.speaker_embedder import SpeakerEmbedder
from septool.conversation.statistics import CAMPPLUS, SPEAKER_NET, STATISTICS, EmbeddingStatistics
from septool.headers import read_header
from septool.inference.engines import TorchSeparator
from septool.inference.level import embed
from septool.inference.passes import add_passes
from septool.inference.voiceprints import Voiceprint, find_voiceprints, network_digest
from septool.load_cache import load_once
from septool.models.base import SpeakerEncoder
from septool.models.speaker_net import SpeakerNet

NOT_MEASURED = (
    "how its embeddings are spread was not measured, so that people are told apart as by a bundled speaker network of "
    "its kind; say how many speakers there are"
)


@dataclass(frozen=True)
class ConversationNetworks:
    """The networks that separate conversations, loaded once for many recordings."""

    name: str  # name of the separator's checkpoint
    path: Path  # file of the separator's checkpoint
    separator: TorchSeparator
    speaker_net: SpeakerEncoder
    rate: int  # Hz
    device: torch.device
    passes: int  # passes of the separator over overlapped speech, whose tracks are averaged
    statistics: EmbeddingStatistics
    digest: str  # hash of the speaker network's weights

    def start(self, count: SpeakerCount = ANY_COUNT, voices: Sequence[Voiceprint] = ()) -> ConversationSeparator:
        """Return the separator of one recording.

        Args:
            count: allowed number of speakers.
            voices: known voices, by whose names speakers are labeled.
        """
        # No consistency: what is in neither track goes to --rest, and the statistics were measured without.
        estimate = self.separator.estimator(self.device, consistency=False, passes=1)

        def separate(mixture: np.ndarray) -> np.ndarray:
            return estimate(mixture[None])[0]

        def refine(mixture: np.ndarray, tracks: np.ndarray) -> np.ndarray:
            return add_passes(estimate, mixture[None], tracks[None], self.passes)[0]

        # Diarization uses the first pass alone: its statistics were measured on a single pass.
        further = refine if self.passes > 1 else None
        embedder = make_embedder(self.speaker_net, self.statistics, self.device)
        return ConversationSeparator(separate, embedder, self.rate, count, voices, further)

    def find_voices(self, who: str | None) -> list[Voiceprint]:
        """Read the voices that ``--who`` names, if any; see :func:`septool.inference.voiceprints.find_voiceprints`."""
        return [] if who is None else find_voiceprints(who, self.speaker_net.embedding)


def load_conversation_networks(
    model: str,
    speaker_model: str,
    device: torch.device,
    passes: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ConversationNetworks:
    """Load a separator with two outputs and a speaker network by their names or files.

    Args:
        model: the separator.
        speaker_model: the speaker network.
        device: where both compute.
        passes: of the separator over overlapped speech, whose tracks are averaged; the checkpoint's own by default.
        report: callback for warnings, whatever the recordings.

    Raises:
        UsageError: an unknown name, or networks that do not go together.
        CheckpointError: weights that are missing or damaged.
    """
    name, path = catalogue.resolve_checkpoint(model)
    _, speaker_path = catalogue.resolve_checkpoint(speaker_model)
    check_tracks(name, read_header(path).sources)
    separator, header = load_once(path, "separator", lambda: checkpoints.load(path))

    def load_speaker_net() -> SpeakerEncoder:
        network, _ = checkpoints.load(speaker_path, SpeakerEncoder)
        if network.rate % header.sample_rate:  # at a multiple, it hears more than the separator gives
            network.listen_at(header.sample_rate)
        return network

    speaker_net = load_once(speaker_path, ("speaker", header.sample_rate), load_speaker_net)
    digest = network_digest(speaker_net.embedding)
    if digest not in STATISTICS:
        report(f"{speaker_model}: {NOT_MEASURED}")
    return ConversationNetworks(
        name,
        path,
        TorchSeparator(separator.to(device), header),
        speaker_net.to(device),
        header.sample_rate,
        device,
        header.choose_passes(passes),
        STATISTICS.get(digest, SPEAKER_NET if isinstance(speaker_net, SpeakerNet) else CAMPPLUS),
        digest,
    )


def make_embedder(
    speaker_net: SpeakerEncoder, statistics: EmbeddingStatistics, device: torch.device
) -> SpeakerEmbedder:
    """Return what conversations use of a speaker network whose embeddings have certain statistics."""

    @torch.inference_mode()
    def embed_samples(samples: np.ndarray) -> np.ndarray:
        wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None].to(device)
        return embed(speaker_net.embedding, wave).cpu().numpy()[0]

    return SpeakerEmbedder(embed_samples, speaker_net.rate, statistics)

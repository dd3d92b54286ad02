"""Which statistics go with which speaker network."""

import pytest
import torch

from septool.conversation.networks import load_conversation_networks
from septool.conversation.statistics import CAMPPLUS, SPEAKER_NET, EmbeddingStatistics


@pytest.mark.parametrize(("network", "expected"), [("campplus", CAMPPLUS), ("speaker-net", SPEAKER_NET)])
def test_each_speaker_network_has_its_own(network: str, expected: EmbeddingStatistics) -> None:
    networks = load_conversation_networks("galr", network, torch.device("cpu"))
    assert networks.start().embedder.statistics is expected

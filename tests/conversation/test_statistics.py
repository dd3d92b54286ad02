"""Which networks conversations take, and which statistics go with which speaker network."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from septool import checkpoints
from septool.conversation.networks import load_conversation_networks
from septool.conversation.statistics import CAMPPLUS, SPEAKER_NET, EmbeddingStatistics
from septool.errors import UsageError
from septool.models.build import build_model
from tests.models.tiny import TINY


@pytest.mark.parametrize(("network", "expected"), [("campplus", CAMPPLUS), ("speaker-net", SPEAKER_NET)])
def test_each_speaker_network_has_its_own(network: str, expected: EmbeddingStatistics) -> None:
    networks = load_conversation_networks("galr", network, torch.device("cpu"))
    assert networks.start().embedder.statistics is expected


def test_a_model_of_three_voices_is_refused(tmp_path: Path) -> None:
    model, path = build_model("galr", TINY["galr"] | {"sources": 3}), tmp_path / "three.safetensors"
    header = checkpoints.Header(model="galr", config=asdict(model.config), sample_rate=8000, sources=3)
    checkpoints.save(path, model.state_dict(), header)
    with pytest.raises(UsageError, match=r"^conversations take a model with 2 outputs, .*three.* has 3; name another$"):
        load_conversation_networks(str(path), "campplus", torch.device("cpu"))

"""VoiceFilter: its sizes, and its masks equal to an independent implementation's."""

import pytest
import torch

from septool.interop.authors import VOICEFILTER_NAMES
from septool.models.layers.speaker import SpeakerConfig
from septool.models.voicefilter import CONFIGS, Config, MaskNetwork
from tests.models.parity import assert_parity, fixture, load_converted


@pytest.mark.parametrize(("row", "count"), [("paper", 9_453_257), ("repo", 18_876_001)])
def test_parameters_without_the_speaker_network(row: str, count: int) -> None:
    with torch.device("meta"):
        network = MaskNetwork(CONFIGS[row].fft // 2 + 1, CONFIGS[row])
    assert sum(p.numel() for p in network.parameters()) == count


def test_masks_are_those_of_an_independent_implementation() -> None:
    tensors = fixture("voicefilter")
    network = MaskNetwork(33, Config(hidden=16, dense=24, speaker=SpeakerConfig(embedding=16))).eval()
    load_converted(network, tensors, VOICEFILTER_NAMES)
    assert_parity(lambda x: network(x, torch.full((1, 16), 0.25)), tensors)

"""SepFormer: equal to SpeechBrain, and the sizes of its Table 2."""

from dataclasses import replace

import pytest
import torch

from septool.interop.speechbrain import SEPFORMER_NAMES
from septool.models.sepformer import CONFIGS, Config, SepFormer
from tests.models.parity import assert_parity, fixture, load_converted

# A layer of Table 2's lower rows (DFF 2048) has 1,315,072 parameters, a transformer 1,024 more,
# what is around the blocks 402,945.
PARAMETERS = {
    "paper": 25_679_361,
    "3mix": 25_745_153,
    "4+4-heads16": 21_448_193,
    "4+4": 21_448_193,
    "4+4-blocks3": 31_970_817,
    "4+4-noposition": 21_448_193,
    "4+1": 13_557_761,
    "3+3": 16_187_905,
    "3+3-noposition": 16_187_905,
}
SMALL = Config(filters=32, chunk=50, intra=2, inter=2, heads=4, feedforward=64)


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = SepFormer(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize(("name", "sources"), [("sepformer", 2), ("sepformer_3spk", 3)])
def test_equal_to_speechbrain(name: str, sources: int) -> None:
    tensors = fixture(name)
    model = SepFormer(replace(SMALL, sources=sources)).eval()
    load_converted(model, tensors, SEPFORMER_NAMES)
    assert_parity(model, tensors, covered=covered)


def test_without_positions_the_order_of_chunks_does_not_matter() -> None:
    torch.manual_seed(0)
    chunks = torch.randn(1, 6, 50, 32)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for position in (False, True):
        block = SepFormer(replace(SMALL, position=position)).eval().blocks[0]
        with torch.inference_mode():
            same = torch.allclose(block(chunks)[:, order], block(chunks[:, order]), atol=1e-4)
        assert same is not position

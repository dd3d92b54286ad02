"""SepFormer: equal to SpeechBrain, and the sizes of its Table 2."""

import pytest
import torch

from septool.models.sepformer import CONFIGS, Config, SepFormer
from tests.models.parity import assert_parity, fixture, load_renamed

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
SMALL = {"filters": 32, "chunk": 50, "intra": 2, "inter": 2, "heads": 4, "feedforward": 64}
NAMES = {
    "encoder.conv1d": "encoder.basis",
    "decoder": "decoder.basis",
    "masknet.norm": "norm",
    "masknet.conv1d": "linear",
    "masknet.prelu": "activation",
    "masknet.conv2d": "split.linear",
    "masknet.output.0": "mask.tanh",
    "masknet.output_gate.0": "mask.sigmoid",
    "masknet.end_conv1x1": "mask.relu",
}
for block in range(2):
    for path in ("intra", "inter"):
        theirs, ours = f"masknet.dual_mdl.{block}.{path}_", f"blocks.{block}.{path}."
        NAMES[f"{theirs}norm"] = f"{ours}global_norm"
        NAMES[f"{theirs}mdl.mdl.norm.norm"] = f"{ours}layer_norm"
        for layer in range(2):
            stem = f"{theirs}mdl.mdl.layers.{layer}."
            NAMES |= {
                f"{stem}norm1.norm": f"{ours}layers.{layer}.norm1",
                f"{stem}norm2.norm": f"{ours}layers.{layer}.norm2",
                f"{stem}self_att.att.in_proj_": f"{ours}layers.{layer}.attention.qkv.",
                f"{stem}self_att.att.out_proj": f"{ours}layers.{layer}.attention.out",
                f"{stem}pos_ffn.ffn.0": f"{ours}layers.{layer}.expand",
                f"{stem}pos_ffn.ffn.3": f"{ours}layers.{layer}.contract",
            }


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = SepFormer(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize(("name", "sources"), [("sepformer", 2), ("sepformer_3spk", 3)])
def test_equal_to_speechbrain(name: str, sources: int) -> None:
    tensors = {key: value for key, value in fixture(name).items() if not key.endswith(".pe")}  # a constant
    model = SepFormer(Config(sources=sources, **SMALL)).eval()
    load_renamed(model, tensors, NAMES)
    assert_parity(model, tensors, covered=covered)


def test_without_positions_the_order_of_chunks_does_not_matter() -> None:
    torch.manual_seed(0)
    chunks = torch.randn(1, 6, 50, 32)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for position in (False, True):
        block = SepFormer(Config(**SMALL, position=position)).eval().blocks[0]
        with torch.inference_mode():
            same = torch.allclose(block(chunks)[:, order], block(chunks[:, order]), atol=1e-4)
        assert same is not position

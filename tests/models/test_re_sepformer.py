"""RE-SepFormer: equal to SpeechBrain's code, which was run item by item, and its size."""

import pytest
import torch

from septool.interop.tensors import Names
from septool.models.re_sepformer import CONFIGS, Config, RESepFormer
from tests.models.parity import assert_parity, fixture, load_converted

SMALL = Config(filters=16, chunk_size=20, blocks=3, layers=2, heads=4, feedforward=32)
PARTS = {"seg": "chunks", "mem": "memory"}
LAYER = {
    "norm1.norm.*": "norm1.*",
    "self_att.att.in_proj_*": "attention.qkv.*",
    "self_att.att.out_proj.*": "attention.out.*",
    "norm2.norm.*": "norm2.*",
    "pos_ffn.ffn.0.*": "expand.*",
    "pos_ffn.ffn.3.*": "contract.*",
}
NAMES: Names = {
    "encoder.conv1d.*": "encoder.basis.*",
    **{
        f"masknet.model.{theirs}_model.*.mdl.layers.*.{name}": f"{ours}.*.layers.*.{own}"
        for theirs, ours in PARTS.items()
        for name, own in LAYER.items()
    },
    **{
        f"masknet.model.{theirs}_model.*.{name}": f"{ours}.*.{own}"
        for theirs, ours in PARTS.items()
        for name, own in {"mdl.norm.norm.*": "layer_norm.*", "norm.*": "global_norm.*"}.items()
    },
    "masknet.model.output_fc.0.*": "activation.*",
    "masknet.model.output_fc.1.*": "mask.*",
    "decoder.*": "decoder.basis.*",
}


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


def test_parameters() -> None:
    with torch.device("meta"):
        model = RESepFormer(CONFIGS["paper"])
    assert sum(p.numel() for p in model.parameters()) == 7_955_201  # the paper prints 8 M


def test_equal_to_speechbrain() -> None:
    tensors = fixture("resepformer")
    model = RESepFormer(SMALL).eval()
    load_converted(model, tensors, NAMES)
    assert_parity(model, tensors, covered=covered)


@pytest.mark.parametrize(("frames", "chunks"), [(19, 1), (20, 2), (21, 2), (40, 3)])
def test_frames_that_fit_are_followed_by_a_chunk_of_zeros(frames: int, chunks: int) -> None:
    model, seen = RESepFormer(SMALL).eval(), []
    model.chunks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(torch.randn(1, 8 * frames + 8))
    assert seen[0].shape == (chunks, 20, 16)
    assert not seen[0].flatten(0, 1)[frames:].any()

"""RE-SepFormer: equal to SpeechBrain's code, which was run item by item, and its size."""

import pytest
import torch

from septool.interop.speechbrain import RESEPFORMER_NAMES
from septool.models.re_sepformer import CONFIGS, Config, RESepFormer
from tests.models.parity import assert_parity, fixture, load_converted

SMALL = Config(filters=16, chunk_size=20, blocks=3, layers=2, heads=4, feedforward=32)


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


def test_parameters() -> None:
    with torch.device("meta"):
        model = RESepFormer(CONFIGS["paper"])
    assert sum(p.numel() for p in model.parameters()) == 7_955_201  # the paper prints 8 M


def test_equal_to_speechbrain() -> None:
    tensors = fixture("resepformer")
    model = RESepFormer(SMALL).eval()
    load_converted(model, tensors, RESEPFORMER_NAMES)
    assert_parity(model, tensors, covered=covered)


@pytest.mark.parametrize(("frames", "chunks"), [(19, 1), (20, 2), (21, 2), (40, 3)])
def test_frames_that_fit_are_followed_by_a_chunk_of_zeros(frames: int, chunks: int) -> None:
    model, seen = RESepFormer(SMALL).eval(), []
    model.chunks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(torch.randn(1, 8 * frames + 8))
    assert seen[0].shape == (chunks, 20, 16)
    assert not seen[0].flatten(0, 1)[frames:].any()

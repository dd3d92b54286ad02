"""Wavesplit: equal to a public implementation, and its clustering."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from septool.models.wavesplit import CONFIGS, Config, Wavesplit, kmeans
from tests.models.parity import assert_parity, fixture, load_renamed

PARAMETERS = {"d512": 83_490_872, "d256": 20_905_016}
SMALL = Config(width=16, speaker_layers=4, blocks=3, repeats=2)


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = Wavesplit(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_a_public_implementation_without_clustering() -> None:
    tensors = fixture("wavesplit")
    names = {"spk.mask_net.0": "speaker.out", "sep.out": "out"}
    for i in range(4):
        theirs, ours = f"spk.TCN.{i}.out.", f"speaker.layers.{i}."
        names |= {
            theirs: ours,
            theirs + "2.gamma": ours + "2.weight",
            theirs + "2.beta": ours + "2.bias",
        }
    for i in range(6):
        theirs, ours = f"sep.TCN.{i}.", f"layers.{i}."
        names |= {
            theirs + "depth_conv1d": ours + "conv",
            theirs + "mul_lin": ours + "scale",
            theirs + "add_lin": ours + "shift",
            theirs + "out.0": ours + "out.0",
            theirs + "out.1.gamma": ours + "out.1.weight",
            theirs + "out.1.beta": ours + "out.1.bias",
        }
    model = Wavesplit(replace(SMALL, assign="mean")).eval()
    load_renamed(model, tensors, names)
    assert_parity(model, tensors)


def test_clustering_finds_speakers_that_change_places() -> None:
    generator = torch.Generator().manual_seed(0)
    model = Wavesplit(replace(SMALL, sources=3))
    speakers = F.normalize(torch.randn(2, 3, 16, generator=generator), dim=-1)
    places = torch.rand(2, 50, 3, generator=generator).argsort(-1)  # another order at every sample
    vectors = speakers[torch.arange(2)[:, None, None], places].transpose(1, 2)  # [B, C, T, d]
    vectors = F.normalize(vectors + 0.05 * torch.randn(vectors.shape, generator=generator), dim=-1)
    found = model.centroids(vectors)
    nearest = torch.cdist(speakers, found)
    assert nearest.min(-1).values.max() < 0.1
    assert nearest.argmin(-1).sort(-1).values.tolist() == [[0, 1, 2], [0, 1, 2]]
    torch.testing.assert_close(model.centroids(vectors), found, rtol=0, atol=0)


def test_a_cluster_without_points_stays_where_it_was() -> None:
    points = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])
    start = torch.tensor([[[2.0, 1.0], [-9.0, 0.0]]])
    assert kmeans(points, start, rounds=3).tolist() == [[[2.0, 0.0], [-9.0, 0.0]]]


def test_every_layer_has_an_estimate_and_the_last_is_the_output() -> None:
    torch.manual_seed(0)
    model = Wavesplit(SMALL).eval()
    mixture = torch.randn(2, 100)
    with torch.inference_mode():
        layers = list(model.layer_estimates(mixture))
        assert len(layers) == 6
        torch.testing.assert_close(model(mixture), layers[-1])

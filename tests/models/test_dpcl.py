"""DPCL: its sizes, its embeddings, its clusters and the enhancement network."""

from dataclasses import replace

import pytest
import torch

from septool.losses.deep_clustering import deep_clustering
from septool.models.dpcl import CONFIGS, DPCL, Config, weighted_k_means
from tests.models.parity import assert_parity, fixture, load_renamed

PARAMETERS = {"4x300": 10_629_960, "2x600": 18_355_560, "dpcl++": 14_216_289}
TINY = Config(fft=64, hop=16, hidden=16, layers=2, embedding=8)


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in DPCL(CONFIGS[row]).parameters()) == PARAMETERS[row]


def test_embeddings_are_those_of_an_independent_implementation() -> None:
    tensors = fixture("dpcl")
    model = DPCL(replace(TINY, activation="linear")).eval()
    load_renamed(model, tensors, {"rnn.": "lstm.lstm.", "fc.": "linear."})
    embedded = {key: y.transpose(1, 2) if key.startswith("y") else y for key, y in tensors.items()}
    assert_parity(lambda x: model.embed(model.spectrum(x)), embedded)


@pytest.mark.parametrize("hardness", [None, 5.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_k_means_finds_clusters_and_ignores_points_without_weight(hardness: float | None, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    member = torch.randint(count, (2, 300), generator=generator)
    points = torch.eye(4)[member] * 2 + 0.1 * torch.randn(2, 300, 4, generator=generator)
    weights = torch.rand(2, 300, generator=generator)
    points[:, ::7], weights[:, ::7] = 50.0, 0.0
    shares = weighted_k_means(points, weights, count, hardness=hardness, steps=10)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 300))
    heavy = weights > 0
    same = (shares @ shares.mT).gt(0.5) == (member[:, :, None] == member[:, None])
    assert same[heavy[:, :, None] & heavy[:, None]].all()


def test_every_bin_goes_to_one_voice_and_none_is_lost() -> None:
    torch.manual_seed(0)
    model = DPCL(replace(TINY, sources=3)).eval()
    mixture = torch.randn(2, 1013) * 0.1
    with torch.inference_mode():
        torch.testing.assert_close(model(mixture).sum(1), mixture, rtol=0, atol=1e-6)
        spectrum = model.spectrum(mixture)
        masks = model.masks(spectrum)
    assert set(masks.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("sources", [2, 3])
def test_the_enhancement_network_learns_through_the_clusters(sources: int) -> None:
    torch.manual_seed(0)
    model = DPCL(replace(TINY, hardness=5.0, enhancement=2, sources=sources))
    voices = torch.randn(2, sources, 500) * 0.1
    loss = deep_clustering(model, voices.sum(1), voices)
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    spectrum = model.spectrum(voices.sum(1))
    model.masks(spectrum)[:, 0].square().sum().backward()
    gradient = model.linear.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_silence_stays_silent() -> None:
    for config in (TINY, replace(TINY, hardness=5.0, enhancement=1)):
        model = DPCL(config).eval()
        with torch.inference_mode():
            assert model(torch.zeros(1, 300)).abs().max() == 0

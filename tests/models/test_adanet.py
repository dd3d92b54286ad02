"""ADANet: its size, and how its attractors come about."""

import pytest
import torch

from septool.models.adanet import CONFIGS, ADANet, Attractors, Config


def test_parameters_are_the_published_9_1_million() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ADANet(CONFIGS["paper"]).parameters()) == 9_079_500


def test_attractors_are_the_centers_of_what_is_heard() -> None:
    layer = Attractors(Config(embedding=2, anchors=3))
    with torch.no_grad():  # the first two are alike, so the third has to be chosen
        layer.anchors.copy_(torch.tensor([[30.0, 0.0], [29.0, 1.0], [0.0, 30.0]]))
    points = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 3.0], [-9.0, -9.0]]])
    found = layer(points, torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]))


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_masks_add_up_to_one(sources: int) -> None:
    torch.manual_seed(0)
    model = ADANet(Config(fft=32, hop=8, hidden=8, layers=2, embedding=4, anchors=4, sources=sources)).eval()
    mixture = torch.randn(2, 301)
    with torch.inference_mode():
        estimate = model(mixture)
    assert estimate.shape == (2, sources, 301)
    torch.testing.assert_close(estimate.sum(1), mixture, rtol=0, atol=1e-5)


def test_each_item_chooses_its_own_anchors() -> None:
    layer = Attractors(Config(embedding=2, anchors=3))
    with torch.no_grad():
        layer.anchors.copy_(torch.tensor([[30.0, 0.0], [0.0, 30.0], [-30.0, 0.0]]))
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]])
    other = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.1], [1.0, 0.1]])
    heard = torch.ones(2, 4)
    together = layer(torch.stack((one, other)), heard)
    torch.testing.assert_close(together[0], layer(one[None], heard[:1])[0])
    torch.testing.assert_close(together[1], layer(other[None], heard[1:])[0])
    assert together[1, :, 0].prod() < 0


def test_fewer_anchors_than_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="2 anchors cannot stand for 3 sources"):
        Config(anchors=2, sources=3)

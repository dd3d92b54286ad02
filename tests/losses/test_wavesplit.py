"""Wavesplit's loss: all layers, one order, and a ceiling."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from septool.losses import LOSSES

loss = LOSSES["wavesplit"]
SOURCES = torch.randn(2, 2, 500, generator=torch.Generator().manual_seed(0))


class Layers:
    """A network that gives these estimates."""

    def __init__(self, *estimates: Tensor) -> None:
        self.estimates = estimates

    def layer_estimates(self, mixture: Tensor) -> Iterator[Tensor]:
        yield from self.estimates


def test_perfect_estimates_reach_the_ceiling_in_any_order() -> None:
    model = Layers(SOURCES.flip(1), SOURCES.flip(1))
    assert loss(model, SOURCES.sum(1), SOURCES).tolist() == pytest.approx([-30.0, -30.0])


def test_the_mean_is_over_all_layers() -> None:
    model = Layers(0.9 * SOURCES, torch.zeros_like(SOURCES))  # 20 dB and 0 dB
    assert loss(model, SOURCES.sum(1), SOURCES).tolist() == pytest.approx([-10.0, -10.0], abs=1e-4)


def test_layers_share_one_order() -> None:
    swapped = loss(Layers(SOURCES, SOURCES.flip(1)), SOURCES.sum(1), SOURCES)
    assert (swapped > -20).all()

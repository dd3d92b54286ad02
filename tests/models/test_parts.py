"""Rows that are worked on in parts give what they give together."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from septool.models.base import Separator
from septool.models.build import build_model
from septool.models.layers import parts
from septool.models.layers.parts import in_parts
from tests.models.tiny import TINY

# Models whose layers read one row of many at a time.
IN_PARTS = ["band-gridnet", "dp-rcnet", "dprnn", "dptnet", "galr", "papez", "re-sepformer", "sandglasset", "sepformer"]


class Counted(nn.Module):
    """A layer that keeps rows apart, and how many it was given in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, rows: Tensor) -> Tensor:
        self.calls.append(len(rows))
        return rows.cumsum(1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 64)


@pytest.mark.usefixtures("small")
def test_parts_are_as_large_as_each_other_and_in_their_order() -> None:
    rows, layer = torch.randn(10, 4, 5), Counted()
    with torch.no_grad():
        assert torch.equal(in_parts(layer, rows), rows.cumsum(1))
    assert layer.calls == [3, 3, 2, 2]


@pytest.mark.usefixtures("small")
def test_one_call_where_gradients_are_wanted_and_where_a_part_holds_all() -> None:
    layer = Counted()
    in_parts(layer, torch.randn(10, 4, 5, requires_grad=True))
    with torch.no_grad():
        in_parts(layer, torch.randn(3, 4, 5))
        in_parts(layer, torch.randn(0, 4, 5))
        in_parts(layer, torch.randn(10, 4, 5, device="meta"))
    assert layer.calls == [10, 3, 0, 10]


@pytest.mark.usefixtures("small")
def test_a_graph_that_is_recorded_has_one_call() -> None:
    class Model(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return in_parts(torch.tanh, rows)

    with torch.no_grad():
        program = torch.export.export(Model(), (torch.randn(10, 4, 5),))
    assert [str(node.target) for node in program.graph.nodes if node.op == "call_function"] == ["aten.tanh.default"]


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_model_gives_the_same_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_model(name, TINY[name]).eval()
    assert isinstance(model, Separator)
    mixture = torch.randn(2, 1000) * 0.1
    callers: set[str] = set()
    join = torch.cat

    def joined(*tensors: Any, **how: Any) -> Tensor:
        callers.add(sys._getframe(1).f_globals["__name__"])
        return join(*tensors, **how)

    with torch.inference_mode():
        whole = model(mixture)
        monkeypatch.setattr(parts, "PART", 64)
        monkeypatch.setattr(torch, "cat", joined)
        torch.testing.assert_close(model(mixture), whole, rtol=1e-4, atol=1e-6)
    assert (parts.__name__ in callers) == (name in IN_PARTS)

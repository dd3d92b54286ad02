"""Muon in single precision against torch's in bfloat16, and against what orthogonal means."""

import pytest
import torch
from torch import Tensor

from septool.training.muon import Muon, orthogonalize

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(24, 24), (64, 16), (16, 64)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalize(matrix, COEFFICIENTS, 5, 1e-7)
    # Five steps of these coefficients end between 0.68 and 1.2 for singular values that are not tiny.
    values = torch.linalg.svdvals(found)
    strong = torch.linalg.svdvals(matrix) > 0.05 * torch.linalg.matrix_norm(matrix)
    assert values[: int(strong.sum())].min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diag()), atol=1e-3, rtol=0)


def test_zeros_stay_zeros() -> None:
    assert not orthogonalize(torch.zeros(3, 5), COEFFICIENTS, 5, 1e-7).any()


def run(kind: str, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": kind == "bfloat16"})
    random = torch.Generator().manual_seed(2)
    weight = torch.nn.Parameter(torch.randn(32, 16, generator=random))
    optimizer = Muon([weight], 0.01, 0.1)
    for _ in range(5):
        weight.grad = torch.randn(32, 16, generator=random)
        optimizer.step()
    assert set(optimizer.state[weight]) == {"momentum_buffer"}
    return weight.detach()


def test_steps_are_those_of_torch_but_for_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, torchs = run("float32", monkeypatch), run("bfloat16", monkeypatch)
    start = torch.randn(32, 16, generator=torch.Generator().manual_seed(2))
    moved = (torchs - start).norm()
    assert 0 < (mine - torchs).norm() < 0.02 * moved  # bfloat16 has 8 bits

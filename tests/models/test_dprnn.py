"""DPRNN: equal to two public implementations."""

from dataclasses import replace

import pytest
import torch

from septool.interop import asteroid
from septool.interop.authors import DPRNN_NAMES
from septool.models.dprnn import CONFIGS, DPRNN, Config
from tests.models.parity import assert_parity, fixture, load_converted

PARAMETERS = {
    "stride8": 2_609_793,
    "stride4": 2_608_769,
    "stride2": 2_608_257,
    "stride1": 2_608_001,
    "asteroid": 3_652_865,
}
SMALL = Config(filters=16, features=16, window=8, chunk=20, blocks=2, hidden=16)


def covered(samples: int) -> int:
    return (samples - 8) // 4 * 4 + 8


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = DPRNN(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_public_code() -> None:
    tensors = fixture("dprnn")
    model = DPRNN(SMALL).eval()
    load_converted(model, tensors, DPRNN_NAMES)
    assert_parity(model, tensors, covered=covered)


def test_equal_to_asteroid() -> None:
    tensors = fixture("dprnn_asteroid")
    model = DPRNN(replace(SMALL, rectify=False, bias=True, padding="unfold", mask="sigmoid")).eval()
    load_converted(model, tensors, asteroid.DPRNN)
    assert_parity(model, tensors, covered=covered)

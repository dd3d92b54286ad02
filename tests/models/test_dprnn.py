"""DPRNN: equal to two public implementations."""

import pytest
import torch

from septool.interop.architectures import ASTEROID_DPRNN
from septool.models.dprnn import CONFIGS, DPRNN, Config
from tests.models.parity import assert_parity, fixture, load_converted, load_renamed

PARAMETERS = {
    "stride8": 2_609_793,
    "stride4": 2_608_769,
    "stride2": 2_608_257,
    "stride1": 2_608_001,
    "asteroid": 3_652_865,
}
SMALL = {"filters": 16, "features": 16, "window": 8, "chunk": 20, "blocks": 2, "hidden": 16}
PUBLIC = {
    "encoder.conv1d": "encoder.basis",
    "decoder": "decoder.basis",
    "separation.norm": "norm",
    "separation.conv1d": "linear",
    "separation.prelu": "activation",
    "separation.conv2d": "split.linear",
    "separation.output.0": "mask.tanh",
    "separation.output_gate.0": "mask.sigmoid",
    "separation.end_conv1x1": "mask.relu",
}
for block in range(2):
    for path in ("intra", "inter"):
        ours, public = f"blocks.{block}.{path}.", f"separation.dual_rnn.{block}.{path}_"
        PUBLIC |= {
            f"{public}rnn.": f"{ours}recurrent.lstm.",
            f"{public}linear": f"{ours}recurrent.linear",
            f"{public}norm": f"{ours}norm",
        }


def covered(samples: int) -> int:
    return (samples - 8) // 4 * 4 + 8


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = DPRNN(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_public_code() -> None:
    tensors = fixture("dprnn")
    model = DPRNN(Config(**SMALL)).eval()
    load_renamed(model, tensors, PUBLIC)
    assert_parity(model, tensors, covered=covered)


def test_equal_to_asteroid() -> None:
    tensors = fixture("dprnn_asteroid")
    model = DPRNN(Config(**SMALL, rectify=False, bias=True, padding="unfold", mask="sigmoid")).eval()
    load_converted(model, tensors, ASTEROID_DPRNN)
    assert_parity(model, tensors, covered=covered)

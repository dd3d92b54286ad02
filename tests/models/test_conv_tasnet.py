"""Conv-TasNet: equal to two public implementations, one with a skip path and one without."""

from dataclasses import replace

import pytest
import torch

from septool.interop import asteroid
from septool.models.conv_tasnet import CONFIGS, Config, ConvTasNet
from tests.models.parity import assert_parity, fixture, load_converted, load_released

SMALL = {"filters": 32, "bottleneck": 16, "hidden": 32, "blocks": 3, "repeats": 2}
# The public code has 65,664 more with a skip path: the last residual convolution, which nothing reads.
PARAMETERS = {"paper": 5_050_545 - 65_664, "no-skip": 3_445_808, "torchaudio": 5_050_545 - 65_664}


def covered(samples: int) -> int:
    return samples // 8 * 8


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = ConvTasNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_an_implementation_with_a_skip_path() -> None:
    tensors = fixture("convtasnet_asteroid")
    unread = {"masker.TCN.5.res_conv.*": None}
    model = ConvTasNet(replace(Config(), **SMALL, skip=16)).eval()
    load_converted(model, tensors, {**unread, **asteroid.CONV_TASNET})
    assert_parity(model, tensors, covered=covered)


def test_equal_to_an_implementation_without_one() -> None:
    tensors = fixture("convtasnet_noskip")
    model = ConvTasNet(replace(CONFIGS["no-skip"], **SMALL)).eval()
    load_released(model, tensors, "kaituoxu-convtasnet")
    assert_parity(model, tensors, covered=covered)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel is 4"):
        Config(kernel=4)

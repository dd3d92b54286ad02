"""Conv-TasNet: equal to two public implementations, one with a skip path and one without."""

from dataclasses import replace

import pytest
import torch

from septool.interop.architectures import ASTEROID_CONV_TASNET
from septool.models.conv_tasnet import CONFIGS, Config, ConvTasNet
from tests.models.parity import assert_parity, fixture, load_converted, load_renamed

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
    model = ConvTasNet(Config(**SMALL, skip=16)).eval()
    load_converted(model, tensors, unread | ASTEROID_CONV_TASNET)
    assert_parity(model, tensors, covered=covered)


def test_equal_to_an_implementation_without_one() -> None:
    tensors = fixture("convtasnet_noskip")
    basis = "sd.m.decoder.basis_signals.weight"
    tensors[basis] = tensors[basis].T.contiguous()  # they have [window, filter]
    names = {
        "encoder.conv1d_U": "encoder.basis",
        "decoder.basis_signals": "decoder.basis",
        "separator.network.0.gamma": "norm.weight",
        "separator.network.0.beta": "norm.bias",
        "separator.network.1": "bottleneck",
        "separator.network.3": "mask.1",
    }
    for i in range(6):
        theirs, ours = f"separator.network.2.{i // 3}.{i % 3}.net.", f"blocks.{i}."
        names |= {
            theirs + "0": ours + "expand",
            theirs + "1": ours + "prelu1",
            theirs + "2.gamma": ours + "norm1.weight",
            theirs + "2.beta": ours + "norm1.bias",
            theirs + "3.net.0": ours + "depthwise",
            theirs + "3.net.1": ours + "prelu2",
            theirs + "3.net.2.gamma": ours + "norm2.weight",
            theirs + "3.net.2.beta": ours + "norm2.bias",
            theirs + "3.net.3": ours + "residual",
        }
    model = ConvTasNet(replace(CONFIGS["no-skip"], **SMALL)).eval()
    load_renamed(model, tensors, names)
    assert_parity(model, tensors, covered=covered)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel is 4"):
        Config(kernel=4)

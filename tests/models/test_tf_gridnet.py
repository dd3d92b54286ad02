"""TF-GridNet: equal to the three versions in ESPnet, and the size of every row."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from septool.errors import ConfigError
from septool.models.build import build_model
from septool.models.tf_gridnet import CONFIGS, Config, GridNetBlock, RecurrentModule, TFGridNet
from tests.interop.converting import converted
from tests.interop.espnet_files import espnet_files
from tests.models.parity import assert_parity, fixture, torch_frames

# Counted from ESPnet's modules.
PARAMETERS = {
    "paper": 14_521_042,
    "paper-v1": 14_521_042,
    "16ms": 14_435_602,
    "d48": 8_175_874,
    "d48-v1": 8_175_874,
    "d48-32ms": 8_239_810,
    "d128-i1": 7_034_194,
    "small-24": 461_875,
    "small-32": 1_040_856,
    "small-32-v3": 942_552,
    "small-32-hop64": 1_040_856,
    "small-32-16ms": 1_012_568,
    "small-32-blocks6": 1_560_370,
    "small-48": 2_238_952,
    "small-48-v3": 2_107_880,
}
TINY = Config(fft=64, hop=32, blocks=2, channels=16, hidden=16)
FIXTURES = {
    "tfgridnet": TINY,
    "tfgridnet_linear": replace(TINY, hop=16, stride=4),
    "tfgridnet_v1": replace(TINY, stride=2, padding="end"),
    "tfgridnet_v3": replace(TINY, stride=4, key=3, norm="bin"),
}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = TFGridNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize("name", FIXTURES)
def test_equal_to_espnet(tmp_path: Path, name: str) -> None:
    model, _ = converted("espnet", espnet_files(tmp_path, name))
    assert isinstance(model, TFGridNet)
    assert model.config == FIXTURES[name]
    assert_parity(torch_frames(model), fixture(name))


def test_kernel_and_stride_and_the_padding_decide_which_steps_there_are() -> None:
    seen = []
    for config in (TINY, replace(TINY, padding="end"), replace(TINY, stride=4), replace(TINY, stride=3, kernel=5)):
        block = GridNetBlock(config, bins=33).eval()
        for module in (block.intra, block.inter):
            module.lstm.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
        with torch.inference_mode():
            assert block(torch.randn(1, 10, 33, 16)).shape == (1, 10, 33, 16)
    assert seen == [
        # Three zeros in front of 10 frames and 33 bins and three behind: 16 frames of 36 steps, 39 bins of 13 steps.
        *[(16, 36, 64), (39, 13, 64)],
        *[(10, 30, 64), (33, 7, 64)],
        *[(12, 9, 64), (36, 3, 64)],  # nothing overlaps; 2 frames and 3 bins complete a window
        *[(14, 12, 80), (38, 4, 80)],
    ]


def test_a_window_that_does_not_overlap_is_the_same_either_way() -> None:
    # The first version writes I = J as a transposed convolution; both are a product for each window.
    module = RecurrentModule(replace(TINY, stride=4))
    with torch.no_grad():
        module.linear.bias.copy_(torch.randn(16).repeat(4))
        x = torch.randn(2, 3, 8, 16)
        both, _ = module.lstm(module.norm(x).reshape(6, 2, 64))
        weight = module.linear.weight.reshape(4, 16, 32).permute(2, 1, 0)
        expected = nn.functional.conv_transpose1d(both.mT, weight, module.linear.bias[:16], stride=4).mT
        torch.testing.assert_close(module(x) - x, expected.reshape(x.shape))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"channels": 18}, "channels is 18; it has to be a multiple of heads, 4"),
        ({"stride": 5}, "stride is 5; beyond the kernel, 4, it would leave bins out"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model("tf-gridnet", settings)

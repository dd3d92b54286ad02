"""TF-GridNet: equal to the three versions in ESPnet, and the size of every row."""

import pytest
import torch
from torch import Tensor, nn

from septool.errors import ConfigError
from septool.models.build import build_model
from septool.models.tf_gridnet import CONFIGS, Config, GridNetBlock, RecurrentModule, TFGridNet
from tests.models.parity import assert_parity, fixture, state, torch_frames

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
TINY = {"fft": 64, "hop": 32, "blocks": 2, "channels": 16, "hidden": 16}
FIXTURES = {
    "tfgridnet": Config(**TINY),
    "tfgridnet_linear": Config(**TINY | {"hop": 16}, stride=4),
    "tfgridnet_v1": Config(**TINY, stride=2, padding="end"),
    "tfgridnet_v3": Config(**TINY, stride=4, key=3, norm="bin"),
}


def from_espnet(theirs: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Rename ESPnet's tensors and bring them to our layout: q, k and v of all heads in one map, channels last."""
    ours = {
        f"{our}.{part}": theirs[f"{their}.{part}"]
        for our, their in {
            "encoder.convolution": "conv.0",
            "encoder.norm": "conv.1",
            "decoder.convolution": "deconv",
        }.items()
        for part in ("weight", "bias")
    }
    for number in range(config.blocks):
        block = {
            name.removeprefix(f"blocks.{number}."): value
            for name, value in theirs.items()
            if name.startswith(f"blocks.{number}.")
        }
        for path in ("intra", "inter"):
            ours |= {f"blocks.{number}.{path}.{name}": value for name, value in recurrent(block, path, config).items()}
        ours |= {f"blocks.{number}.attention.{name}": value for name, value in attention(block, config).items()}
    return ours


def recurrent(block: dict[str, Tensor], path: str, config: Config) -> dict[str, Tensor]:
    gain = "gamma" if f"{path}_norm.gamma" in block else "weight"
    ours = {name.removeprefix(f"{path}_rnn."): value for name, value in block.items() if f"{path}_rnn." in name}
    weight, bias = block[f"{path}_linear.weight"], block[f"{path}_linear.bias"]
    if weight.ndim == 3:  # a transposed convolution, and windows with the position running faster than the channel
        weight = weight.permute(2, 1, 0).flatten(0, 1)
        for name in ("weight_ih_l0", "weight_ih_l0_reverse"):
            ours[name] = ours[name].unflatten(1, (config.channels, config.kernel)).mT.flatten(1)
    return {f"lstm.{name}": value for name, value in ours.items()} | {
        "norm.weight": block[f"{path}_norm.{gain}"].flatten(),
        "norm.bias": block[f"{path}_norm.{'beta' if gain == 'gamma' else 'bias'}"].flatten(),
        "linear.weight": weight,
        ("bias" if config.kernel > config.stride else "linear.bias"): bias,
    }


def join_heads(block: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Write the first version, where every head has modules of its own, as the second does."""
    joined = {}
    for letter in "QKV":
        for theirs, second in {
            "0.weight": f"attn_conv_{letter}.weight",
            "0.bias": f"attn_conv_{letter}.bias",
            "1.weight": f"attn_norm_{letter}.act.weight",
            "2.gamma": f"attn_norm_{letter}.gamma",
            "2.beta": f"attn_norm_{letter}.beta",
        }.items():
            joined[second] = torch.cat([block[f"attn_conv_{letter}_{head}.{theirs}"] for head in range(heads)])
    return joined


def attention(block: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    if "attn_conv_Q.weight" not in block:
        block = block | join_heads(block, config.heads)
    ours = {
        "qkv.weight": torch.cat([block[f"attn_conv_{letter}.weight"] for letter in "QKV"]).flatten(1),
        "qkv.bias": torch.cat([block[f"attn_conv_{letter}.bias"] for letter in "QKV"]),
        "out.weight": block["attn_concat_proj.0.weight"].flatten(1),
        "out.bias": block["attn_concat_proj.0.bias"],
        "activation.weight": block["attn_concat_proj.1.weight"],
    }
    for our, their in (("weight", "gamma"), ("bias", "beta")):
        for number, letter in enumerate("QKV"):
            gain = block[f"attn_norm_{letter}.{their}"]  # [..., L, E, 1, F], one bin for all in the third version
            ours[f"norms.{number}.{our}"] = gain.reshape(config.heads, -1, 1, gain.shape[-1]).permute(0, 2, 3, 1)
        ours[f"norm.{our}"] = block[f"attn_concat_proj.2.{their}"][0, :, 0].mT.squeeze(0)  # [F, D]
    for number, letter in enumerate("QKV"):
        ours[f"norms.{number}.activation.weight"] = block[f"attn_norm_{letter}.act.weight"]
    return ours


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = TFGridNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize("name", FIXTURES)
def test_equal_to_espnet(name: str) -> None:
    tensors = fixture(name)
    model = TFGridNet(FIXTURES[name]).eval()
    model.load_state_dict(from_espnet(state(tensors), FIXTURES[name]))
    assert_parity(torch_frames(model), tensors)


def test_kernel_and_stride_and_the_padding_decide_which_steps_there_are() -> None:
    seen = []
    for settings in ({}, {"padding": "end"}, {"stride": 4}, {"stride": 3, "kernel": 5}):
        block = GridNetBlock(Config(**TINY | settings), bins=33).eval()
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
    module = RecurrentModule(Config(**TINY, stride=4))
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

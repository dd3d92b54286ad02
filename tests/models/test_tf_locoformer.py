"""TF-Locoformer: equal to its authors' code, and the size of every row."""

import pytest
import torch
from torch import Tensor

from septool.errors import ConfigError
from septool.models.build import build_model
from septool.models.tf_locoformer import CONFIGS, Config, TFLocoformer
from tests.models.parity import assert_parity, fixture, state, torch_frames

# Counted from the authors' modules, the paper prints 15.0, 22.5 and 5.0 M; s-whamr's is that of the released file.
PARAMETERS = {
    "m": 14_975_620,
    "l": 22_459_780,
    "s": 5_129_316,
    "m-whamr": 14_966_404,
    "s-whamr": 5_125_220,
    "s-whamr-a96": 5_026_916,
    "tiny": 249_700,
    "tiny-stride2": 249_700,
}
FIXTURES = {
    "tflocoformer": Config(fft=64, hop=32, blocks=2, channels=16, hidden=(24, 20), heads=2, attention=16),
    "tflocoformer_stride": Config(
        fft=64, hop=32, blocks=1, channels=24, hidden=(20, 12), kernel=3, stride=2, attention=32, groups=3
    ),
}


def from_authors(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors, and turn convolutions into products of windows.

    Of their feed-forward networks the second one of the list runs first.
    """
    names = {
        "conv.0.": "encoder.convolution.",
        "conv.1.": "encoder.norm.",
        "deconv.": "decoder.convolution.",
        ".freq_path.": ".frequency.",
        ".frame_path.": ".time.",
        ".ffn_norm.1.gamma": ".norm1.weight",
        ".attn_norm.gamma": ".norm2.weight",
        ".ffn_norm.0.gamma": ".norm3.weight",
        ".ffn.1.": ".before.",
        ".ffn.0.": ".behind.",
        ".attn.qkv.": ".attention.qkv.",
        ".attn.aggregate_heads.0.": ".attention.out.",
        ".deconv1d.bias": ".bias",
        ".deconv1d.": ".contract.",
        ".conv1d.": ".expand.",
    }
    ours = {}
    for key, value in theirs.items():
        if key.endswith("rope.freqs"):
            continue
        name = key
        for their, our in names.items():
            if name.startswith(their) or their.startswith("."):
                name = name.replace(their, our)
        if key.endswith(".conv1d.weight"):  # [2 C, D, K] to [2 C, K D]
            value = value.mT.flatten(1)
        elif key.endswith(".deconv1d.weight"):  # [C, D, K] to [K D, C]
            value = value.permute(2, 1, 0).flatten(0, 1)
        ours[name] = value
    return ours


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = TFLocoformer(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize("name", FIXTURES)
def test_equal_to_the_authors_code(name: str) -> None:
    tensors = fixture(name)
    model = TFLocoformer(FIXTURES[name]).eval()
    model.load_state_dict(from_authors(state(tensors)))
    assert_parity(torch_frames(model), tensors)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"channels": 130}, "channels is 130; it has to be a multiple of groups, 4"),
        ({"attention": 36}, "attention is 36; a head of 4 has to have an even share of it"),
        ({"stride": 5}, "stride is 5; beyond the kernel, 4, it would leave bins out"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model("tf-locoformer", settings)

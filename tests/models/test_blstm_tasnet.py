"""BLSTM-TasNet: equal to an independent implementation, and its masks."""

import pytest
import torch

from septool.models.blstm_tasnet import CONFIGS, BLSTMTasNet, Config
from tests.models.parity import assert_parity, fixture, load_renamed

NAMES = {
    "encoder.encoder_sig.filterbank._filters": "encoder.sigmoid.basis.weight",
    "encoder.encoder_relu.filterbank._filters": "encoder.relu.basis.weight",
    "masker.bn_layer.gamma": "norm.weight",
    "masker.bn_layer.beta": "norm.bias",
    "masker.masker.0.rnn": "lstms.0",
    "masker.masker.1": "mask",
    "decoder.filterbank._filters": "decoder.basis.weight",
}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = BLSTMTasNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == 23_094_000


def test_equal_to_an_independent_implementation() -> None:
    tensors = fixture("blstm_tasnet")
    config = Config(filters=32, window=40, hidden=16, layers=2, mask="sigmoid", norm="global")
    model = BLSTMTasNet(config).eval()
    # A second name there for the basis of the ReLU.
    load_renamed(model, tensors, NAMES, drop=("encoder.filterbank._filters",))
    assert_parity(model, tensors)


def test_the_masks_share_out_the_mixture() -> None:
    torch.manual_seed(0)
    model = BLSTMTasNet(Config(filters=16, window=8, hidden=12, sources=3)).eval()
    mixture = torch.randn(2, 101)
    with torch.inference_mode():
        whole = model.decoder(model.encoder(mixture)[:, None], 101)[:, 0]
        torch.testing.assert_close(model(mixture).sum(1), whole)


def test_an_odd_number_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="layers is 3"):
        Config(layers=3)

"""uPIT-BLSTM-ST: its sizes and its two stages."""

import pytest
import torch

from septool.models.upit_blstm import CONFIGS, UPIT, Config

PARAMETERS = {"paper": 92_775_940, "each": 93_700_612}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UPIT(CONFIGS[row]).parameters()) == PARAMETERS[row]


@pytest.mark.parametrize("second", ["sum", "each"])
@pytest.mark.parametrize("sources", [2, 3])
def test_the_second_stage_reads_the_first(second: str, sources: int) -> None:
    torch.manual_seed(0)
    model = UPIT(Config(fft=32, hop=16, hidden=8, layers=2, sources=sources, second=second)).eval()  # type: ignore[arg-type]
    spectrum = model.spectrum(torch.randn(2, 400))
    with torch.inference_mode():
        before = model.masks(spectrum) - model.first(spectrum.abs()) / 2
        model.first.linear.bias.add_(1)
        after = model.masks(spectrum) - model.first(spectrum.abs()) / 2
    assert before.shape == (2, sources, 26, 17)
    assert not torch.allclose(before, after)

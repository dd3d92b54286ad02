"""BandGridNet: equal to a version written out band by band and frame by frame, its size, what it refuses."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from septool.errors import ConfigError
from septool.models.band_gridnet import CONFIGS, BandGridNet, Config
from septool.models.build import build_model
from septool.profiling.macs import count_macs
from septool.signal.stft import istft

TINY = Config(fft=32, hop=12, bands=((2, 3), (1, 4), (2, 3)), channels=8, blocks=2, hidden=5, heads=2, key=3)


def plain(model: BandGridNet, mixture: Tensor) -> Tensor:
    """Separate one recording ``[time]`` the long way."""
    c, sizes, width = model.config, model.config.sizes, max(model.config.sizes)
    level = mixture.std(correction=0)
    spectrum = model.spectrum(mixture / level)  # [T, F]
    compressed = spectrum * (spectrum.abs() + 1e-5) ** (c.compression - 1)
    x = torch.zeros(len(spectrum), len(sizes), c.channels)
    lowest = [sum(sizes[:band]) for band in range(len(sizes))]
    for band, (low, size) in enumerate(zip(lowest, sizes, strict=True)):
        for t in range(len(x)):
            seen = torch.zeros(width, 2, c.context)
            for place in range(c.context):
                frame = t + place - c.context // 2
                if 0 <= frame < len(x):
                    seen[:size, :, place] = torch.view_as_real(compressed[frame, low : low + size])
            x[t, band] = seen.flatten() @ model.split.weight[band] + model.split.bias[band, 0]
    for block in model.blocks:
        x = torch.stack([row + recurrent(block.bands, row) for row in x])
        x = torch.stack([row + recurrent(block.frames, row) for row in x.unbind(1)], dim=1)
        x = x + attention(block.attention, x, c)
    spectra = torch.zeros(c.sources, *spectrum.shape, dtype=torch.complex64)
    for band, (low, size) in enumerate(zip(lowest, sizes, strict=True)):
        hidden = torch.tanh(model.norm(x[:, band]) @ model.head.weight[band] + model.head.bias[band])
        value, gate = (hidden @ model.mask.weight[band] + model.mask.bias[band]).chunk(2, dim=-1)
        out = torch.view_as_complex((value * gate.sigmoid()).reshape(len(x), c.sources, 2, width, 2))
        mask, residual = out[..., :size].transpose(0, 1).unbind(2)
        spectra[:, :, low : low + size] = mask * spectrum[:, low : low + size] + residual
    return istft(spectra, model.analysis, len(mixture)) * level


def recurrent(module: Any, sequence: Tensor) -> Tensor:
    return module.recurrent.linear(module.recurrent.lstm(module.norm(sequence))[0])


def attention(module: Any, x: Tensor, c: Config) -> Tensor:
    query, key, value = module.qkv(module.norm(x) + module.place).split(
        [c.heads * c.key, c.heads * c.key, c.channels], dim=-1
    )
    heads = []
    for q, k, v in zip(*(part.chunk(c.heads, dim=-1) for part in (query, key, value)), strict=True):
        scores = torch.einsum("tbe,sbe->ts", q, k) / math.sqrt(len(c.sizes) * c.key)
        heads.append(torch.einsum("ts,sbd->tbd", scores.softmax(-1), v))
    return module.out(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("context", [1, 3])
def test_equal_to_the_version_written_out(context: int) -> None:
    model = BandGridNet(replace(TINY, context=context)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        mixture = torch.randn(500)
        torch.testing.assert_close(model(mixture[None])[0], plain(model, mixture), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    c = CONFIGS[row]
    bands, width, d, h = len(c.sizes), max(c.sizes), c.channels, c.hidden
    split = 2 * width * c.context * d + d
    head = (d + 1) * 2 * d + (2 * d + 1) * 8 * width * c.sources
    lstm = 2 * 4 * h * (d + h + 2) + (2 * h + 1) * d
    attention = bands * d + (d + 1) * (2 * c.heads * c.key + d) + (d + 1) * d
    block = 2 * (lstm + 2 * d) + attention + 2 * d
    with torch.device("meta"):
        model = BandGridNet(c)
    assert sum(p.numel() for p in model.parameters()) == bands * (split + head) + c.blocks * block + 2 * d


@pytest.mark.parametrize("seconds", [1, 4])
def test_costs(seconds: int) -> None:
    c = CONFIGS["small"]
    bands, width, d, h, frames = len(c.sizes), max(c.sizes), c.channels, c.hidden, -(-8000 * seconds // c.hop) + 1
    ends = 2 * width * c.context * d + 2 * d * d + 2 * d * 8 * width * c.sources
    block = 2 * (8 * h * (d + h) + 2 * h * d) + d * (2 * c.heads * c.key + d) + d * d
    attention = frames**2 * bands * (c.heads * c.key + d)
    with torch.device("meta"):
        macs = count_macs(BandGridNet(c), torch.empty(1, 8000 * seconds))
    assert macs.total == frames * bands * (ends + c.blocks * block) + c.blocks * attention


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bands": [[16, 4], [7, 8]]}, "bands have 120 bins; 256 points have 128 below half the sample rate"),
        ({"bands": [[32, 4], [0, 8]]}, r"bands is \[\[32, 4\], \[0, 8\]\]; counts and sizes are at least 1"),
        ({"channels": 66}, "channels is 66; it has to be a multiple of heads, 4"),
        ({"context": 2}, "context is 2; it has to be odd"),
        ({"compression": 0.0}, "compression is 0.0; it lies above 0 and is at most 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model("band-gridnet", settings)

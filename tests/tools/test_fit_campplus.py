"""Published weights of CAM++ by the names that they have here."""

from collections.abc import Iterator

import torch
from torch import Tensor

from septool.models.campplus import Config, VoiceEncoder
from tools.fit_campplus import rename

STATISTICS = ("running_mean", "running_var")
LAYERS = (12, 24, 16)


def norm(name: str, channels: int, *, affine: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    for each in (*STATISTICS, *(("weight", "bias") if affine else ())):
        yield f"{name}.{each}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def head() -> Iterator[tuple[str, tuple[int, ...]]]:
    for number in (1, 2):
        yield f"head.conv{number}.weight", (32, 1 if number == 1 else 32, 3, 3)
        yield from norm(f"head.bn{number}", 32)
        for block in (0, 1):
            place = f"head.layer{number}.{block}"
            for part in (1, 2):
                yield f"{place}.conv{part}.weight", (32, 32, 3, 3)
                yield from norm(f"{place}.bn{part}", 32)
        yield f"head.layer{number}.0.shortcut.0.weight", (32, 32, 1, 1)
        yield from norm(f"head.layer{number}.0.shortcut.1", 32)


def layer(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from norm(f"{name}.nonlinear1.batchnorm", channels)
    yield f"{name}.linear1.weight", (128, channels, 1)
    yield from norm(f"{name}.nonlinear2.batchnorm", 128)
    yield f"{name}.cam_layer.linear_local.weight", (32, 128, 3)
    yield from ((f"{name}.cam_layer.linear1.weight", (64, 128, 1)), (f"{name}.cam_layer.linear1.bias", (64,)))
    yield from ((f"{name}.cam_layer.linear2.weight", (32, 64, 1)), (f"{name}.cam_layer.linear2.bias", (32,)))


def published() -> dict[str, Tensor]:
    """Nothing but names and shapes of the published file."""
    shapes = dict(head())
    shapes["xvector.tdnn.linear.weight"] = (128, 320, 5)
    shapes |= norm("xvector.tdnn.nonlinear.batchnorm", 128)
    channels = 128
    for block, count in enumerate(LAYERS, 1):
        for number in range(1, count + 1):
            shapes |= layer(f"xvector.block{block}.tdnnd{number}", channels)
            channels += 32
        shapes |= norm(f"xvector.transit{block}.nonlinear.batchnorm", channels)
        shapes[f"xvector.transit{block}.linear.weight"] = (channels // 2, channels, 1)
        channels //= 2
    shapes |= norm("xvector.out_nonlinear.batchnorm", channels)
    shapes["xvector.dense.linear.weight"] = (192, 2 * channels, 1)
    shapes |= norm("xvector.dense.nonlinear.batchnorm", 192, affine=False)
    return {name: torch.zeros(shape, device="meta") for name, shape in shapes.items()}


def test_every_weight_finds_its_place() -> None:
    with torch.device("meta"):
        expected = {name: value.shape for name, value in VoiceEncoder(Config()).state_dict().items()}
    assert expected.pop("means") == (2, 192)
    assert published()["xvector.dense.linear.weight"].shape == (192, 1024, 1)
    assert {name: value.shape for name, value in rename(published()).items()} == expected

"""Comparing a model with an independent implementation through a map of parameter names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from septool.interop.authors import read_release
from septool.interop.tensors import Names, fit_tensors, match_tensors
from septool.models.base import MappingSeparator

FOLDER = Path(__file__).parent / "fixtures"
BESIDE = Path(__file__).parents[3] / "shared" / "parity"
EXTERNAL = {"voicefilter"}  # too large for the repository; they may lie beside the checkout


def fixture(name: str) -> dict[str, Tensor]:
    """Load a fixture; one that is not in the repository skips where it is not beside the checkout either."""
    path = (BESIDE if name in EXTERNAL else FOLDER) / f"{name}.safetensors"
    if name in EXTERNAL and not path.exists():
        pytest.skip(f"parity fixture {path.name} is not beside this checkout")
    return load_file(path)


def load_renamed(
    model: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str], drop: tuple[str, ...] = ()
) -> None:
    """Load the fixture's ``sd.*`` into ``model``: the longest prefix in ``names`` is replaced, shapes are fitted.

    Every tensor of the fixture has to find a place unless its name starts with one of ``drop``, and
    every one of the model's has to be filled.
    """
    own = model.state_dict()
    renamed: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if not key.startswith("sd."):
            continue
        theirs = key.removeprefix("sd.").removeprefix("m.")
        if theirs.startswith(drop) and drop:
            continue
        prefix = max((p for p in names if theirs.startswith(p)), key=len, default=None)
        assert prefix is not None, f"no place for {theirs} {tuple(value.shape)}"
        ours = names[prefix] + theirs.removeprefix(prefix)
        assert ours in own, f"{theirs} maps to {ours}, which the model does not have"
        assert value.numel() == own[ours].numel(), f"{theirs} {tuple(value.shape)} for {ours} {tuple(own[ours].shape)}"
        renamed[ours] = value.reshape(own[ours].shape)
    model.load_state_dict(renamed)


def state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a fixture's ``sd.*`` as the state dict it was."""
    return {
        key.removeprefix("sd.").removeprefix("m."): value for key, value in tensors.items() if key.startswith("sd.")
    }


def load_converted(model: nn.Module, tensors: Mapping[str, Tensor], names: Names) -> None:
    """Load the fixture's ``sd.*`` into ``model`` by a table of septool.interop."""
    theirs = state(tensors)
    places = match_tensors(theirs, names)
    model.load_state_dict(
        fit_tensors({ours: theirs[name] for ours, name in places.items()}, model.state_dict(), places)
    )


def load_released(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load the fixture's ``sd.*`` as ``models convert`` would."""
    foreign = read_release(source, state(tensors))
    load_converted(model, {f"sd.{name}": value for name, value in foreign.tensors.items()}, foreign.architecture.names)


def assert_parity(
    run: Callable[[Tensor], Tensor], tensors: Mapping[str, Tensor], *, covered: Callable[[int], int] = lambda n: n
) -> None:
    """Check every ``x*`` against its ``y*`` to 1e-5 of the largest sample.

    Args:
        run: our model.
        tensors: the fixture.
        covered: how many of so many samples the other implementation looks at; it ignores the rest
            (a convolution without padding), so both are compared on those.
    """
    cases = sorted(key for key in tensors if key.startswith("x"))
    assert cases
    for case in cases:
        x, y = tensors[case], tensors["y" + case[1:]]
        samples = covered(x.shape[-1])
        with torch.inference_mode():
            ours = run(x[..., :samples])
        theirs = y[..., :samples]
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error < 1e-5, f"{case}: relative error {error:.2e}"


def torch_frames(model: MappingSeparator) -> Callable[[Tensor], Tensor]:
    """Run a model on the frames of ``torch.stft``, which are one fewer where the last one is not centred on a hop.

    Where they are as many, the model itself runs.
    """

    def run(mixture: Tensor) -> Tensor:
        size, hop = model.analysis.size, model.analysis.hop
        if mixture.shape[-1] % hop == 0:
            return model(mixture)
        window, level = torch.hann_window(size), model.level(mixture)
        spectrum = torch.stft(mixture / level, size, hop, window=window, return_complex=True).mT
        spectra = model.estimate(spectrum).flatten(0, 1).mT
        waves = torch.istft(spectra, size, hop, window=window, length=mixture.shape[-1])
        return waves.unflatten(0, (len(mixture), -1)) * level[:, None]

    return run

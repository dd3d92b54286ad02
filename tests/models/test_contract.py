"""What every registered separator promises, whatever is inside."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from septool import checkpoints
from septool.errors import ConfigError
from septool.losses import LOSSES
from septool.models import MODELS
from septool.models.base import NO_HALTING, AdaptiveCompute, Separator, Spectral
from septool.models.build import adaptive_models, build_model, config_of
from tests.models.edges import LENGTHS, assert_edges_matter
from tests.models.tiny import TINY

SEPARATORS = sorted(TINY)


def build(name: str) -> Separator:
    torch.manual_seed(0)
    model = build_model(name, TINY[name]).eval()
    assert isinstance(model, Separator)
    with torch.no_grad():  # gains, biases and slopes away from their defaults
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def mixture(samples: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def test_every_model_has_a_tiny_configuration() -> None:
    assert {name for name in MODELS if issubclass(MODELS[name], Separator)} == set(TINY)


@pytest.mark.parametrize("name", adaptive_models())
def test_tokens_halt_by_every_mode_but_none(name: str) -> None:
    kind = adaptive_models()[name]
    assert NO_HALTING in kind.halting_modes
    for mode in kind.halting_modes:
        model = build_model(name, TINY[name] | {"halting": mode})
        assert isinstance(model, AdaptiveCompute)
        assert model.halts == (mode != NO_HALTING)


HALF_OVERLAPPING = {
    name: each.name for name in MODELS for each in fields(config_of(name)) if each.name in ("segment", "chunk")
}


@pytest.mark.parametrize(("name", "setting"), HALF_OVERLAPPING.items())
def test_segments_that_have_no_half_are_refused(name: str, setting: str) -> None:
    for size in (0, 21):
        with pytest.raises(ConfigError, match=f"{setting} is {size} frames; half-overlapping ones need an even number"):
            config_of(name, {setting: size})


@pytest.mark.parametrize(
    ("name", "setting", "value", "least"),
    [("galr", "blocks", -1, 1), ("galr", "window", 0, 1), ("papez", "memory", -1, 0), ("voicefilter", "hidden", 0, 1)],
)
def test_counts_that_make_no_sense_are_refused(name: str, setting: str, value: int, least: int) -> None:
    with pytest.raises(ConfigError, match=rf"^config\.{setting} is {value}; it is at least {least}$"):
        config_of(name, {setting: value})


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_named_configuration_stays_within_the_bounds_of_its_fields(name: str) -> None:
    for variant, config in MODELS.module(name).CONFIGS.items():
        assert config_of(name, variant=variant) == config


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("sepformer", {"window": 1}, "window is 1"),
        ("conv-tasnet", {"window": 1}, "window is 1"),
        ("dp-rcnet", {"stochastic_depth": 1.0}, "stochastic_depth is 1.0"),
        ("sandglasset", {"contexts": [1, 0, 1]}, "multiple of every context, 0"),
        ("dpcl", {"fft": 256, "hop": 400}, "frames of 256 points with a window of 256 samples every 400"),
        ("atss-net-pit", {"fft": 256, "window": 400, "hop": 160}, "window of 400 samples"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model(name, TINY[name] | settings)


@pytest.mark.parametrize("name", SEPARATORS)
@pytest.mark.parametrize("samples", [1, 7, 800, 1013])
def test_any_length_in_is_the_same_length_out(name: str, samples: int) -> None:
    model = build(name)
    with torch.inference_mode():
        estimate = model(mixture(samples))
    assert estimate.shape == (1, model.config.sources, samples)
    assert torch.isfinite(estimate).all()


@pytest.mark.parametrize("name", SEPARATORS)
@pytest.mark.parametrize("samples", LENGTHS)
def test_the_outermost_samples_are_read_and_answered(name: str, samples: int) -> None:
    assert_edges_matter(build(name), samples)


@pytest.mark.parametrize("name", SEPARATORS)
def test_an_item_alone_is_the_same_item_in_a_batch(name: str) -> None:
    model = build(name)
    batch = mixture(1013, batch=3) * torch.tensor([[1.0], [0.1], [3.0]])
    with torch.inference_mode():
        together = model(batch)
        alone = torch.cat([model(item[None]) for item in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("name", SEPARATORS)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = build(name).train()
    sources = torch.stack([mixture(900 + i)[0, :800] for i in range(2 * model.config.sources)])
    sources = sources.unflatten(0, (2, -1))
    loss = LOSSES[model.loss](model, sources.sum(1), sources)
    assert loss.shape == (2,)
    loss.mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", SEPARATORS)
def test_other_precisions(name: str) -> None:
    model = build(name)
    with torch.inference_mode():
        single = model(mixture(1013, batch=2))
        double = model.double()(mixture(1013, batch=2).double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4 * float(single.abs().max()))
        if not isinstance(model, Spectral):  # there is no transform in sixteen bits
            half = model.bfloat16()(mixture(1013, batch=2).bfloat16())
            assert half.dtype == torch.bfloat16
            assert half.isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
@pytest.mark.parametrize("name", SEPARATORS)
def test_a_compiled_loss_is_the_same(name: str) -> None:
    model = build(name).train()
    loss = LOSSES[model.loss]
    batches = [torch.stack([mixture(length, batch=model.sources) for _ in range(2)]) for length in (1600, 2000)]

    def losses() -> list[Tensor]:
        values = []
        for sources in batches:  # the second length may be compiled for any
            torch.manual_seed(0)
            values.append(run(model, sources.sum(1), sources))
        return values

    run = loss
    expected = losses()
    torch.compiler.reset()
    run = torch.compile(loss, backend="eager")
    torch.testing.assert_close(losses(), expected)


@pytest.mark.parametrize("name", SEPARATORS)
def test_a_checkpoint_brings_back_the_same_model(name: str, tmp_path: Path) -> None:
    model = build(name)
    path = tmp_path / "model.safetensors"
    header = checkpoints.Header(model=name, config=TINY[name], sample_rate=8000, sources=model.config.sources)
    checkpoints.save(path, model.state_dict(), header)
    loaded, again = checkpoints.load(path)
    assert again == header
    with torch.inference_mode():
        torch.testing.assert_close(loaded(mixture(500)), model(mixture(500)), rtol=0, atol=0)

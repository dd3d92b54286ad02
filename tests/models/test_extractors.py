"""What every registered extractor promises: the separators' contract, with an enrollment recording."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from septool.config import build
from septool.losses import LOSSES
from septool.models import MODELS
from septool.models.base import Extractor
from tests.models.edges import LENGTHS, assert_edges_matter
from tests.models.tiny import TINY_EXTRACTORS

NAMES = sorted(TINY_EXTRACTORS)


def make(name: str, **settings: object) -> Extractor:
    torch.manual_seed(0)
    model = MODELS[name](build(MODELS.module(name).Config, TINY_EXTRACTORS[name] | settings)).eval()
    assert isinstance(model, Extractor)
    with torch.no_grad():  # gains, biases and slopes away from their defaults
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def recording(samples: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def test_every_extractor_has_a_tiny_configuration() -> None:
    assert {name for name in MODELS if issubclass(MODELS[name], Extractor)} == set(TINY_EXTRACTORS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("samples", "enrolled"), [(1, 1), (7, 3000), (800, 7), (1013, 16000)])
def test_any_length_in_is_the_same_length_out(name: str, samples: int, enrolled: int) -> None:
    with torch.inference_mode():
        estimate = make(name)(recording(samples), recording(enrolled))
    assert estimate.shape == (1, samples)
    assert torch.isfinite(estimate).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", LENGTHS)
def test_the_outermost_samples_are_read_and_answered(name: str, samples: int) -> None:
    model, enrollment = make(name), recording(4000)
    assert_edges_matter(lambda mixtures: model(mixtures, enrollment.expand(len(mixtures), -1)), samples)


@pytest.mark.parametrize("name", NAMES)
def test_an_item_alone_is_the_same_item_in_a_batch(name: str) -> None:
    model = make(name)
    mixtures = recording(1013, batch=3) * torch.tensor([[1.0], [0.1], [3.0]])
    enrollments = recording(4000, batch=3)
    enrollments[1, 1500:3000] = 0  # other items keep more frames
    with torch.inference_mode():
        together = model(mixtures, enrollments)
        alone = torch.cat([model(m[None], e[None]) for m, e in zip(mixtures, enrollments, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_other_precisions(name: str) -> None:
    model = make(name)
    with torch.inference_mode():
        single = model(recording(1013, 2), recording(4000, 2))
        double = model.double()(recording(1013, 2).double(), recording(4000, 2).double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4 * float(single.abs().max()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_loss_is_the_same(name: str) -> None:
    model = make(name)
    mixture, target, enrollment = recording(900, 2), 0.5 * recording(900, 2), recording(4000, 2)
    loss = LOSSES[model.loss]
    expected = loss(model, mixture, target, enrollment)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(compiled(model, mixture, target, enrollment), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("joint", [False, True])
def test_gradients_reach_every_parameter_that_is_trained(name: str, joint: bool) -> None:
    model = make(name, joint=joint).train()
    before = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("speaker.")}
    mixture, target, enrollment = recording(900, 2), 0.5 * recording(900, 2), recording(4000, 2)
    loss = LOSSES[model.loss](model, mixture, target, enrollment)
    assert loss.shape == (2,)
    loss.mean().backward()
    reached = {key for key, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {key for key, _ in model.named_parameters() if joint or not key.startswith("speaker.")}
    unmoved = all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    learns = any(part.training for part in model.speaker.modules() if isinstance(part, torch.nn.BatchNorm2d))
    assert unmoved is not learns, "batch statistics move where they are learned, and only there"
    assert joint or unmoved


@pytest.mark.parametrize("name", NAMES)
def test_the_enrollment_matters_and_its_level_does_not(name: str) -> None:
    model, mixture = make(name), recording(1000)
    with torch.no_grad():  # an untrained network hardly tells voices apart
        model.get_parameter("speaker.linear.weight").mul_(1000)
    one, other = recording(4000), torch.cumsum(recording(4000), dim=-1)
    with torch.inference_mode():
        by_one, by_other, louder = (model(mixture, enrollment) for enrollment in (one, other, 5 * one))
    assert (by_one - louder).abs().max() < 0.02 * (by_one - by_other).abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_and_weights_bring_back_the_same_model(name: str, tmp_path: Path) -> None:
    model = make(name, joint=True)
    again = MODELS[name](build(MODELS.module(name).Config, asdict(model.config))).eval()  # type: ignore[attr-defined]
    again.load_state_dict(model.state_dict())
    mixture, enrollment = recording(500), recording(2000)
    with torch.inference_mode():
        torch.testing.assert_close(again(mixture, enrollment), model(mixture, enrollment), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_in_digital_silence(name: str) -> None:
    with torch.inference_mode():
        model, enrollment = make(name), recording(4000)
        embedding = model.speaker(enrollment)
        silent = model.extract_with_score(torch.zeros(1, 4000), embedding).presence
        spoken = model.extract_with_score(recording(4000), embedding).presence
    assert silent < spoken

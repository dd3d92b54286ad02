"""Deep clustering and chimera losses in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.losses.chimera import chimera
from septool.losses.deep_clustering import affinity, audible, deep_clustering, dominance, whitened
from septool.losses.mask_approximation import phase_sensitive
from tests.losses.masking import Answers, spectra, voices


def bins(embedding: int = 5, sources: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(2, 40, embedding, generator=generator), dim=-1)
    member = F.one_hot(torch.randint(sources, (2, 40), generator=generator), sources).float()
    return vectors, member, torch.rand(2, 40, generator=generator)


def perfect(sources: Tensor) -> Tensor:
    """Embeddings that are the memberships themselves, ``[batch, frame, bin, source]``."""
    apart = spectra(sources)
    return dominance(apart).unflatten(1, apart.shape[2:])


def test_affinity_is_the_weighted_mean_over_all_pairs() -> None:
    v, y, w = (t.double() for t in bins())
    pairs = w[:, :, None] * w[:, None]
    error = (v @ v.mT - y @ y.mT).square()
    expected = (pairs * error).sum((1, 2)) / pairs.sum((1, 2))
    torch.testing.assert_close(affinity(v, y, w).double(), expected, rtol=1e-5, atol=1e-6)


def test_whitened_is_the_distance_of_whitened_embeddings_from_their_centres() -> None:
    v, y, w = bins()
    root = w.double().sqrt()[..., None]
    v, y = v.double() * root, y.double() * root
    values, vectors = torch.linalg.eigh(v.mT @ v)
    white = v @ (vectors @ torch.diag_embed(values.rsqrt()) @ vectors.mT)
    centres = torch.linalg.solve(y.mT @ y, y.mT @ white)
    expected = (white - y @ centres).square().sum((1, 2))
    torch.testing.assert_close(whitened(*bins()).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [2, 3])
def test_perfect_embeddings_cost_nothing(count: int) -> None:
    sources = voices(count)
    model = Answers(torch.zeros(0), perfect(sources))
    torch.testing.assert_close(deep_clustering(model, sources.sum(1), sources), torch.zeros(2), rtol=0, atol=1e-6)


def test_turning_the_embeddings_or_the_voices_changes_nothing() -> None:
    sources, (v, y, w) = voices(), bins()
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1))).Q
    for loss in (affinity, whitened):
        torch.testing.assert_close(loss(v @ turn, y.roll(1, dims=-1), w), loss(v, y, w), rtol=1e-4, atol=1e-5)
    model = Answers(torch.zeros(0), F.normalize(torch.randn(2, 51, 17, 5), dim=-1))
    value = deep_clustering(model, sources.sum(1), sources)
    assert value.shape == (2,)
    torch.testing.assert_close(deep_clustering(model, sources.sum(1), sources.flip(1)), value)


@pytest.mark.parametrize("loss", [affinity, whitened])
def test_reduced_precision_of_the_network_is_none_of_the_loss(loss: Callable[..., Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        reduced = loss(*bins())
    torch.testing.assert_close(reduced, loss(*bins()), rtol=0, atol=0)


def test_silent_bins_do_not_count() -> None:
    sources = voices()
    sources[..., 200:] *= 1e-4  # -80 dB
    embedding = perfect(sources)
    embedding[:, 40:] = F.normalize(torch.randn(2, 11, 17, 2), dim=-1)
    model = Answers(torch.zeros(0), embedding)
    heard = audible(spectra(sources.sum(1))).unflatten(1, (51, 17))
    assert heard[:, 40:].sum() == 0
    assert heard[:, :20].mean() > 0.95
    loss = deep_clustering(model, sources.sum(1), sources)
    assert loss.max() < 1e-6
    silence = torch.zeros(2, 2, 400)
    assert deep_clustering(model, silence.sum(1), silence).tolist() == [0.0, 0.0]


def test_an_enhancement_network_adds_its_error() -> None:
    sources = voices()
    masks = spectra(sources).abs() / spectra(sources.sum(1))[:, None].abs()
    for scale, expected in ((1.0, 0.0), (0.0, spectra(sources).abs().square().mean().item())):
        model = Answers(scale * masks, perfect(sources))
        model.enhancement = nn.Identity()
        loss = deep_clustering(model, sources.sum(1), sources).mean()
        torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_chimera_weighs_its_two_losses() -> None:
    sources = voices()
    mixed = spectra(sources.sum(1))
    magnitude = mixed[:, None].abs()
    target = torch.minimum(phase_sensitive(mixed, spectra(sources)).clamp_min(0), magnitude)
    ideal = Answers(target / magnitude, perfect(sources))
    # D - C = 0 at its least, and no error of the masks.
    torch.testing.assert_close(chimera(ideal, sources.sum(1), sources), torch.zeros(2), rtol=0, atol=1e-4)
    for order in ([0, 1], [1, 0]):
        deaf = Answers(torch.zeros_like(target), ideal.vectors.detach())
        share = (target.mean((1, 2, 3)) / magnitude.mean((1, 2, 3))) * 0.4
        torch.testing.assert_close(
            chimera(deaf, sources.sum(1), sources[:, order], alpha=0.6), share, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("loss", [deep_clustering, chimera])
def test_a_small_step_lowers_it(loss: Callable[..., Tensor]) -> None:
    sources = voices()
    generator = torch.Generator().manual_seed(0)
    model = Answers(
        torch.rand(2, 2, 51, 17, generator=generator),
        F.normalize(torch.randn(2, 51, 17, 5, generator=generator), dim=-1),
    )
    before = loss(model, sources.sum(1), sources).sum()
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None or loss is deep_clustering
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
        assert loss(model, sources.sum(1), sources).sum() < before


def test_the_loudest_voice_has_the_bin() -> None:
    sources = torch.tensor([[[[3.0, 1j, 0.0]], [[-2.0, 2.0, 0.1j]]]])
    assert dominance(sources).tolist() == [[[1, 0], [0, 1], [0, 1]]]

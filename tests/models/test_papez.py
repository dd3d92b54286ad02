"""Papez: equal to the released code, and its three ways of halting."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from septool.interop.authors import PAPEZ_NAMES
from septool.models.layers.attention import SinusoidalPosition
from septool.models.papez import CONFIGS, Config, InstanceNorm, Papez
from septool.signal import frames
from tests.models.parity import assert_parity, fixture, load_converted

SIZES: dict[str, Any] = {"width": 32, "feedforward": 64, "heads": 4, "chunk": 20, "depth": 6}
TINY = Config(**SIZES, memory=6)


def released(name: str, config: Config = TINY) -> tuple[Papez, dict[str, Tensor]]:
    tensors = fixture(name)
    model = Papez(config).eval()
    load_converted(model, tensors, PAPEZ_NAMES)
    return model, tensors


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


# The steps of Table 3, in millions as printed: 2.25, 2.38, 1.52, 1.52, 1.54.
STEPS = {
    "1-recurrence": 2_247_939,
    "2-pruning": 2_381_061,
    "3-no-inter": 1_524_740,
    "4-memory": 1_524_996,
    "5-time": 1_540_356,
}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    # The released code has 1,478,147; 4,352 of them belong to a table that it never reads.
    with torch.device("meta"):
        assert sum(p.numel() for p in Papez(CONFIGS[row]).parameters()) == STEPS.get(row, 1_473_795)


@pytest.mark.parametrize("row", STEPS)
def test_the_steps_to_papez_separate_and_learn_with_all_their_parameters(row: str) -> None:
    torch.manual_seed(0)
    model = Papez(replace(CONFIGS[row], **SIZES))
    mixture = torch.randn(2, 1013, generator=torch.Generator().manual_seed(1))
    estimate = model(mixture)
    assert estimate.shape == (2, 2, 1013)
    estimate[..., ::2].square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    model.eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(mixture)[:1], model(mixture[:1]), rtol=1e-4, atol=1e-5)
    steps = len(model.active_fraction_per_step(mixture[:1]))
    paths = 4 if row in ("1-recurrence", "2-pruning") else 2 if row == "3-no-inter" else 1
    assert steps == paths * TINY.depth if row == "1-recurrence" else paths <= steps <= paths * TINY.depth


@pytest.mark.parametrize(("row", "second"), [("1-recurrence", 0), ("2-pruning", TINY.depth)])
def test_states_are_told_where_and_when_they_are(row: str, second: int) -> None:
    """Of a layer that adds nothing encodings and norms are left; the second round begins at another time in row (2)."""
    torch.manual_seed(0)
    model = Papez(replace(CONFIGS[row], **SIZES, halting="none")).eval()
    assert model.inter is not None
    for layer in (model.layer, model.inter):
        for linear in (layer.attention.out, layer.contract):
            torch.nn.init.zeros_(linear.weight)
            torch.nn.init.zeros_(linear.bias)
    half = TINY.chunk // 2
    tokens = torch.randn(1, half, TINY.width)
    table = SinusoidalPosition(TINY.width)(100)

    def iterate(states: torch.Tensor, first: int) -> torch.Tensor:
        for step in range(TINY.depth):
            states = F.layer_norm(states + table[: states.shape[1]] + table[first + step], (TINY.width,))
        return states

    padding = frames.dprnn_padding(half, TINY.chunk)
    chunks = frames.segment(tokens, TINY.chunk, padding)[0]  # [S, K, H]
    for first in (0, second):
        across = iterate((chunks + iterate(chunks, first)).transpose(0, 1), first).transpose(0, 1)
        chunks = chunks + across
    expected = frames.overlap_add(chunks[None], half, padding)
    torch.testing.assert_close(model.iterate(tokens, tokens[:, :0]), expected, rtol=1e-4, atol=1e-4)


def test_a_path_across_the_chunks_carries_what_is_far_away() -> None:
    def change(row: str) -> float:
        torch.manual_seed(0)
        model = Papez(replace(CONFIGS[row], **SIZES, halting="none")).eval()
        tokens = torch.randn(1, 200, TINY.width, generator=torch.Generator().manual_seed(2))
        other = tokens.clone()
        other[:, -1] += 1
        memory = tokens[:, : CONFIGS[row].memory]
        with torch.inference_mode():
            return float((model.iterate(tokens, memory) - model.iterate(other, memory))[:, :20].abs().max())

    assert change("3-no-inter") == 0
    assert change("2-pruning") > 1e-6
    assert change("4-memory") > 1e-6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"inter": True}, "with a memory no layer reads across"),
        ({"estimator": "none"}, "without an estimator it can only be 'none'"),
        ({"halting": "freeze", "memory": 0}, "it needs a memory"),
        ({"halting": "drop", "time": "sum"}, "it needs a memory"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**settings)


def test_equal_to_the_released_code() -> None:
    model, tensors = released("papez")
    assert_parity(model, tensors, covered=covered)


def test_equal_to_the_released_code_when_no_token_halts() -> None:
    model, tensors = released("papez_nohalt", replace(TINY, threshold=10.0))
    assert_parity(model, tensors, covered=covered)


def random_model(halting: str, seed: int = 0) -> Papez:
    torch.manual_seed(seed)
    return Papez(replace(TINY, halting=halting)).eval()


def gradient(model: Papez, mixture: Tensor) -> Tensor:
    (slopes,) = torch.autograd.grad(model(mixture)[..., ::2].square().sum(), model.layer.attention.qkv.weight)
    return slopes


@pytest.mark.parametrize("gathered", [0.0, 0.9, 1.0], ids=["never", "where few run", "always"])
def test_freezing_equals_computing_everything_and_keeping_the_old_state(
    monkeypatch: pytest.MonkeyPatch, gathered: float
) -> None:
    monkeypatch.setattr("septool.models.papez.GATHERED", gathered)
    mixture = torch.randn(2, 2003, generator=torch.Generator().manual_seed(1))
    model = random_model("freeze")
    shares = model.active_fraction_per_step(mixture)
    assert min(shares) < 0.9, "the test needs tokens that halt before the end"
    with torch.inference_mode():
        skipped = model(mixture)
    slopes = gradient(model, mixture)

    full = type(model.layer).forward

    def masked(
        self: object, tokens: Tensor, memory: Tensor, step: int, running: Tensor | None = None, *_: object
    ) -> tuple[Tensor, Tensor]:
        new, memory = full(self, tokens, memory, step)  # type: ignore[arg-type]
        return (new if running is None else torch.where(running[..., None], new, tokens)), memory

    monkeypatch.setattr(type(model.layer), "forward", masked)
    with torch.inference_mode():
        computed = model(mixture)
    torch.testing.assert_close(skipped, computed, rtol=1e-4, atol=1e-5 * float(computed.abs().max()))
    expected = gradient(model, mixture)
    torch.testing.assert_close(slopes, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_ways_of_halting_agree_while_no_token_halts() -> None:
    mixture = torch.randn(1, 1501, generator=torch.Generator().manual_seed(2))
    outputs = []
    for halting in ("reference", "freeze", "drop"):
        model = random_model(halting)
        with torch.no_grad():  # the last channel of every state, which decides, far below zero
            model.embed_out.bias[-1] = -20
            model.layer.norm2.bias[:, -1] = -20
            outputs.append(model(mixture))
        assert model.active_fraction_per_step(mixture) == [1.0] * TINY.depth
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(outputs[2], outputs[0])


def test_without_halting_the_last_state_is_the_output() -> None:
    mixture = torch.randn(1, 1501, generator=torch.Generator().manual_seed(4))
    model = random_model("none")
    assert model.active_fraction_per_step(mixture) == [1.0] * TINY.depth
    with torch.no_grad():
        tokens, memory = torch.randn(1, 50, TINY.width), torch.randn(1, TINY.memory, TINY.width)
        hidden = model.iterate(tokens, memory)
        for step in range(TINY.depth):
            tokens, memory = model.layer(tokens, memory, step)
    torch.testing.assert_close(hidden, tokens)


def test_the_share_of_running_tokens_falls_and_agrees_between_modes() -> None:
    mixture = torch.randn(1, 2003, generator=torch.Generator().manual_seed(5))
    shares = {
        halting: random_model(halting).active_fraction_per_step(mixture) for halting in ("reference", "freeze", "drop")
    }
    for share in shares.values():
        assert share[0] == 1.0
        assert sorted(share, reverse=True) == share
    # The first decision depends on the embedding alone, and so is the same for all.
    assert shares["reference"][1] == pytest.approx(shares["drop"][1])
    assert shares["freeze"][1] == pytest.approx(shares["drop"][1])


@pytest.mark.parametrize("halting", ["none", "reference", "freeze", "drop"])
def test_mixed_precision_stays_close(halting: str) -> None:
    model, mixture = random_model(halting), torch.randn(2, 1200, generator=torch.Generator().manual_seed(0))
    expected = model(mixture)
    with torch.autocast("cpu", torch.bfloat16):
        estimate = model(mixture)
    estimate.float().square().sum().backward()
    assert (estimate - expected).norm() < 0.2 * expected.norm()


def test_gradients_of_quiet_channels_fit_into_half_precision() -> None:
    random = torch.Generator().manual_seed(0)
    quiet = (1e-3 * torch.randn(1, 400, 2, generator=random)).half().requires_grad_()
    normalized = InstanceNorm(2)(quiet).float()
    (8 * normalized * torch.randn(normalized.shape, generator=random)).sum().backward()
    assert quiet.grad is not None
    assert quiet.grad.isfinite().all()


def test_dropping_removes_tokens_and_stays_close() -> None:
    mixture = torch.randn(1, 2003, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        reference, dropped = random_model("reference")(mixture), random_model("drop")(mixture)
    assert not torch.equal(reference, dropped)
    assert (reference - dropped).norm() < 0.5 * reference.norm()


def test_tokens_that_move_in_place_of_being_dropped_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("drop")
    mixture = torch.randn(3, 2003, generator=torch.Generator().manual_seed(3))
    assert 0 < model.active_fraction_per_step(mixture)[-1] < 0.9
    with torch.inference_mode():
        dropped = model(mixture)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(model(mixture), dropped)

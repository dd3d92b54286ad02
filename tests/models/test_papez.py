"""Papez: equal to the released code, and its three ways of halting."""

import pytest
import torch
from torch import Tensor

from septool.models.papez import CONFIGS, Config, Papez, with_halting
from tests.models.parity import assert_parity, fixture, load_renamed

TINY = Config(width=32, feedforward=64, heads=4, chunk=20, memory=6, depth=6)
NAMES = {
    "encoder.0": "encoder.basis",
    "encoder.1": "encoder_norm",
    "encoder.3": "encoder_mix",
    "masknet.embed.0": "embed_in",
    "masknet.embed.1": "embed_norm",
    "masknet.embed.2": "embed_act",
    "masknet.embed.3": "embed_out",
    "masknet.dislodge.0": "mask_in",
    "masknet.dislodge.1": "mask_norm",
    "masknet.dislodge.2": "mask_act",
    "masknet.dislodge.3": "mask_out",
    "decoder.0": "decoder_mix",
    "decoder.1": "decoder_norm",
    "decoder.3": "decoder.basis",
    "masknet.transformer.enc.linear1": "layer.expand",
    "masknet.transformer.enc.linear2": "layer.contract",
    "masknet.transformer.enc.norm": "layer.norm",
    "masknet.transformer.enc.self_attn.in_proj_": "layer.attention.qkv.",
    "masknet.transformer.enc.self_attn.out_proj": "layer.attention.out",
}
# Constants that we compute, and a table that the released code never reads.
CONSTANTS = ("masknet.transformer.enc.position_signal", "masknet.transformer.timing_signal", "memory_slots")


def released(name: str, config: Config = TINY) -> tuple[Papez, dict[str, Tensor]]:
    tensors = fixture(name)
    model = Papez(config).eval()
    load_renamed(model, tensors, NAMES, drop=CONSTANTS)
    return model, tensors


def covered(samples: int) -> int:
    return (samples - 16) // 8 * 8 + 16


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    # The released code has 1,478,147; 4,352 of them belong to a table that it never reads.
    assert sum(p.numel() for p in Papez(CONFIGS[row]).parameters()) == 1_473_795


def test_equal_to_the_released_code() -> None:
    model, tensors = released("papez")
    assert_parity(model, tensors, covered=covered)


def test_equal_to_the_released_code_when_no_token_halts() -> None:
    model, tensors = released("papez_nohalt", Config(**vars(TINY) | {"threshold": 10.0}))
    assert_parity(model, tensors, covered=covered)


def random_model(halting: str, seed: int = 0) -> Papez:
    torch.manual_seed(seed)
    return Papez(with_halting(TINY, halting)).eval()  # type: ignore[arg-type]


def test_freezing_equals_computing_everything_and_keeping_the_old_state(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = torch.randn(2, 2003, generator=torch.Generator().manual_seed(1))
    model = random_model("freeze")
    shares = model.running_share(mixture)
    assert min(shares) < 0.9, "the test needs tokens that halt before the end"
    with torch.inference_mode():
        skipped = model(mixture)

    full = type(model.layer).forward

    def masked(
        self: object, tokens: Tensor, memory: Tensor, step: int, running: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        new, memory = full(self, tokens, memory, step)  # type: ignore[arg-type]
        return (new if running is None else torch.where(running[..., None], new, tokens)), memory

    monkeypatch.setattr(type(model.layer), "forward", masked)
    with torch.inference_mode():
        computed = model(mixture)
    torch.testing.assert_close(skipped, computed, rtol=1e-4, atol=1e-5 * float(computed.abs().max()))


def test_the_ways_of_halting_agree_while_no_token_halts() -> None:
    mixture = torch.randn(1, 1501, generator=torch.Generator().manual_seed(2))
    outputs = []
    for halting in ("reference", "freeze", "drop"):
        model = random_model(halting)
        with torch.no_grad():  # the last channel of every state, which decides, far below zero
            model.embed_out.bias[-1] = -20
            model.layer.norm2.bias[:, -1] = -20
            outputs.append(model(mixture))
        assert model.running_share(mixture) == [1.0] * TINY.depth
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(outputs[2], outputs[0])


def test_without_halting_the_last_state_is_the_output() -> None:
    mixture = torch.randn(1, 1501, generator=torch.Generator().manual_seed(4))
    model = random_model("none")
    assert model.running_share(mixture) == [1.0] * TINY.depth
    with torch.no_grad():
        tokens, memory = torch.randn(1, 50, TINY.width), torch.randn(1, TINY.memory, TINY.width)
        thought = model.think(tokens, memory)
        for step in range(TINY.depth):
            tokens, memory = model.layer(tokens, memory, step)
    torch.testing.assert_close(thought, tokens)


def test_the_share_of_running_tokens_falls_and_agrees_between_modes() -> None:
    mixture = torch.randn(1, 2003, generator=torch.Generator().manual_seed(5))
    shares = {halting: random_model(halting).running_share(mixture) for halting in ("reference", "freeze", "drop")}
    for share in shares.values():
        assert share[0] == 1.0
        assert sorted(share, reverse=True) == share
    # The first decision depends on the embedding alone, and so is the same for all.
    assert shares["reference"][1] == pytest.approx(shares["drop"][1])
    assert shares["freeze"][1] == pytest.approx(shares["drop"][1])


def test_dropping_removes_tokens_and_stays_close() -> None:
    mixture = torch.randn(1, 2003, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        reference, dropped = random_model("reference")(mixture), random_model("drop")(mixture)
    assert not torch.equal(reference, dropped)
    assert (reference - dropped).norm() < 0.5 * reference.norm()

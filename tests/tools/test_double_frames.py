"""A GALR with twice the frames: what is exactly what it was, and what its LSTMs are to do."""

from dataclasses import replace

import torch
from torch import nn

from septool.models.galr import CONFIGS, GALR
from tests.models.tiny import TINY
from tools.double_frames import double_frames

CONFIG = replace(CONFIGS["d128-m16"], **TINY["galr"])


def doubled() -> tuple[GALR, GALR]:
    torch.manual_seed(0)
    model = GALR(CONFIG).eval()
    weights, config = double_frames(model.state_dict(), model.config)
    assert (config.stride, config.segment) == (CONFIG.window // 4, 2 * CONFIG.segment)
    finer = GALR(config).eval()
    finer.load_state_dict(weights)
    return model, finer


def test_every_second_frame_is_what_it_was_and_all_together_are_as_loud() -> None:
    model, finer = doubled()
    mixture, level = torch.randn(1, 400), torch.ones(1, 1, 1, CONFIG.filters)
    with torch.inference_mode():
        torch.testing.assert_close(finer.encoder(mixture)[:, ::2], model.encoder(mixture))
        one, two = (m.decoder(level.expand(1, 1, m.encoder(mixture).shape[1], -1), 400) for m in (model, finer))
    inner = slice(CONFIG.window, 400 - CONFIG.window)
    one, two = one[..., inner], two[..., inner]
    torch.testing.assert_close(two.mean(), one.mean(), rtol=0.02, atol=0.002)


def test_global_attention_takes_each_pair_of_frames_for_one() -> None:
    model, finer = doubled()
    x = torch.randn(1, 5, CONFIG.segment, CONFIG.filters)
    with torch.inference_mode():
        for block, other in zip(model.blocks.children(), finer.blocks.children(), strict=True):
            (_, attention), (_, finer_attention) = block.children(), other.children()
            once = attention(x).repeat_interleave(2, dim=2)
            torch.testing.assert_close(finer_attention(x.repeat_interleave(2, dim=2)), once)


def test_an_lstm_whose_gates_its_biases_set_does_in_two_steps_what_it_did_in_one() -> None:
    lstms = [next(each for each in model.modules() if isinstance(each, nn.LSTM)) for model in doubled()]
    units = CONFIG.hidden
    candidate = slice(2 * units, 3 * units)
    with torch.inference_mode():
        for lstm in lstms:  # what goes in moves the candidate alone
            weights = dict(lstm.named_parameters())
            moving = weights["weight_ih_l0"][candidate].clone()
            for name, weight in weights.items():
                if "weight" in name:
                    weight.zero_()
            weights["weight_ih_l0"][candidate] = moving
        x = torch.randn(3, 40, CONFIG.filters)
        expected, twice = lstms[0](x)[0], lstms[1](x.repeat_interleave(2, dim=1))[0]
    torch.testing.assert_close(twice[:, 1::2, :units], expected[..., :units])

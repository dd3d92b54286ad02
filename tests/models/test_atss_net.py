"""Atss-Net: its size, and which way its layers look."""

import torch
from torch.nn import functional as F

from septool.models import atss_net_pit
from septool.models.atss_net import CONFIGS
from septool.models.layers.atss import FeedForward, MaskConfig, MaskNetwork, TemporalAttention


def test_parameters_without_the_speaker_network() -> None:
    # The paper prints 4.68 M.
    with torch.device("meta"):
        network = MaskNetwork(257, 128, CONFIGS["paper"])
    assert sum(p.numel() for p in network.parameters()) == 4_670_570
    without = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("blocks."))
    assert without == 515_459


def test_the_separator_of_table_3_has_as_many_but_for_the_second_mask() -> None:
    with torch.device("meta"):
        network = atss_net_pit.AtssNetPIT(atss_net_pit.CONFIGS["paper"])
    assert sum(p.numel() for p in network.parameters()) == 4_670_570 + 64 * 3 * 3 + 1


def test_attention_joins_the_frames_of_one_frequency() -> None:
    torch.manual_seed(0)
    layer = TemporalAttention(MaskConfig(channels=4, heads=2))
    x = torch.randn(2, 7, 5, 4)
    values = []
    for item in range(2):
        for bin_ in range(5):  # equations 7 and 8 as they are written
            query, key, value = layer.qkv(x[item, :, bin_]).unflatten(-1, (3, 2, 4)).unbind(1)
            heads = [torch.softmax(query[:, h] @ key[:, h].T / 4**0.5, dim=-1) @ value[:, h] for h in range(2)]
            values.append(torch.cat(heads, dim=-1))
    joined = torch.stack(values).reshape(2, 5, 7, 8).permute(0, 3, 2, 1)  # [B, h d_k, T, F]
    expected = F.conv2d(joined, layer.out.convolution.weight, layer.out.convolution.bias, padding=1)
    torch.testing.assert_close(layer(x), expected.permute(0, 2, 3, 1))


def test_the_feed_forward_layer_joins_the_frequencies_of_one_frame_and_channel() -> None:
    layer = FeedForward(5)
    x = torch.randn(2, 7, 5, 4)
    changed = x.clone()
    changed[0, 3, 2, 1] += 1
    moved = (layer(x) - layer(changed)).abs() > 0
    assert moved.nonzero()[:, [0, 1, 3]].unique(dim=0).tolist() == [[0, 3, 1]]
    assert moved.sum() == 5

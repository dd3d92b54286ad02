"""Two-step TDCN: a separator trained on learned latent targets (Tzinis et al., ICASSP 2020).

"Two-step sound source separation: training on learned latent targets" (Tzinis, Venkataramani, Wang,
Subakan and Smaragdis). First encoder and decoder learn a space in which ideal masks separate best;
then, with both fixed, a network of time-dilated convolutions learns to estimate the masked mixture in
that space. The SI-SDR between latents bounds the SI-SDR between waveforms from below.

The two steps are two trainings:

1. ``loss = "two-step-autoencoder"``. The separator takes no part in it, so a validation score says
   nothing and the last weights are the ones to keep.
2. ``loss = "two-step-latent"``, initialized with those weights. The loss sends no gradient to encoder
   and decoder.

The model's own loss trains the whole network at once, as the paper does for comparison.

Where paper and released code differ, the code is followed: it has a normalization before the mask
layer, and masks go through a ReLU and then a softmax over the sources.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import CenteredDecoder, CenteredEncoder
from septool.models.layers.masks import FilterConvolution
from septool.models.layers.norms import GlobalLayerNorm, GlobalNorm1d


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The TDCN of the experiments (8.6 M parameters)."""

    filters: int = 256  # N
    window: int = 21  # L, samples; the stride is its half, rounded down
    bottleneck: int = 256  # B, channels between the blocks
    hidden: int = 512  # H, channels in a block
    kernel: int = 3  # P, odd
    blocks: int = 8  # X, blocks in a stack
    repeats: int = 4  # R, stacks

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; only an odd one has a middle to keep the length with")


CONFIGS = {"paper": Config()}


class Block(nn.Module):
    """A depthwise separable dilated convolution between two pointwise ones, with a residual."""

    def __init__(self, config: Config, dilation: int) -> None:
        super().__init__()
        narrow, wide, kernel = config.bottleneck, config.hidden, config.kernel
        padding = dilation * (kernel - 1) // 2
        self.layers = nn.Sequential(
            nn.Conv1d(narrow, wide, 1),
            nn.PReLU(),
            GlobalNorm1d(wide),
            nn.Conv1d(wide, wide, kernel, padding=padding, dilation=dilation, groups=wide),
            nn.PReLU(),
            GlobalNorm1d(wide),
            nn.Conv1d(wide, narrow, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, frame]`` to the same shape."""
        return x + self.layers(x)


class TwoStepTDCN(Separator[Config]):
    """The whole network: encoder, R stacks of X blocks, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        filters, narrow = config.filters, config.bottleneck
        self.encoder = CenteredEncoder(filters, config.window, bias=True)
        self.norm = GlobalLayerNorm(filters)
        self.bottleneck = nn.Linear(filters, narrow)
        self.blocks = nn.Sequential(*(Block(config, 2**x) for _ in range(config.repeats) for x in range(config.blocks)))
        self.widen = nn.Linear(narrow, filters) if narrow != filters else nn.Identity()
        self.mask_norm = GlobalLayerNorm(filters)
        self.mask = FilterConvolution(filters, config.sources)
        self.decoder = CenteredDecoder(filters, config.sources, config.window, bias=True)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        return self.decoder(self.separate(self.encode(mixture)), mixture.shape[-1])

    def encode(self, waveform: Tensor) -> Tensor:
        """Map ``[..., time]`` to non-negative latents ``[..., frame, filter]``."""
        latents = torch.relu(self.encoder(waveform.reshape(-1, waveform.shape[-1])))
        return latents.unflatten(0, waveform.shape[:-1])

    def ideal_latents(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Mask the latents of ``mixture [batch, time]`` as well as the space allows, knowing the ``sources``.

        Returns:
            ``[batch, source, frame, filter]``: a softmax over the latents of ``sources [batch, source,
            time]`` times those of the mixture.
        """
        return torch.softmax(self.encode(sources), dim=1) * self.encode(mixture)[:, None]

    def separate(self, latents: Tensor) -> Tensor:
        """Estimate the latents of the sources, ``[batch, source, frame, filter]``, from ``[batch, frame, filter]``."""
        x = self.blocks(self.bottleneck(self.norm(latents)).mT).mT  # [B, I, channel]
        masks = torch.relu(self.mask(self.mask_norm(self.widen(x))))  # [B, I, source, N]
        return latents[:, None] * torch.softmax(masks, dim=-2).transpose(1, 2)

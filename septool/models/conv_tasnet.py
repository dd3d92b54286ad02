"""Conv-TasNet: fully-convolutional time-domain audio separation network (Luo and Mesgarani, TASLP 2019).

"Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation". Dilated
depthwise convolutions, repeated in stacks, estimate a mask for every filter of a learned basis.

Where the paper leaves a choice:

- The nonlinearity of the encoder (equation 2) is optional and none is used; masks are sigmoids.
- 5.1 M printed parameters are 5,050,545 with the last block's residual convolution, whose output
  nothing reads. It does not exist here: 4,984,881, 2 % less.
- A much used re-implementation has no skip path, no biases, a ReLU on encoder and masks, and
  normalizes each frame of the input by itself: the row ``no-skip``.
- Another (asteroid's) keeps the PReLU before the masks without a skip path as well: ``mask_prelu``.
- torchaudio's puts half a window of zeros around the recording and a ReLU on the masks: the row ``torchaudio``.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig, at_least
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.norms import GlobalLayerNorm, GlobalNorm1d


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The best non-causal system (15.3 dB SI-SNRi on WSJ0-2mix)."""

    filters: int = 512  # N
    window: int = 16  # L, samples; the stride is L / 2
    bottleneck: int = 128  # B, channels between the blocks
    hidden: int = 512  # H, channels in a block
    skip: int = at_least(0, 128)  # Sc, channels of the skip path; 0 for none
    kernel: int = 3  # P, odd
    blocks: int = 8  # X, blocks in a stack
    repeats: int = 3  # R, stacks
    bias: bool = True  # biases in the convolutions of the separator
    rectify: bool = False  # H in equation 2 is a ReLU instead of the identity
    mask: Literal["sigmoid", "relu"] = "sigmoid"
    input_norm: Literal["global", "frame"] = "global"  # gLN or, over the filters alone, cLN
    mask_prelu: bool = False  # a PReLU before the masks where there is no skip path; with one there always is
    edge: int = at_least(0, 0)  # zeros put before and after the recording, samples

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; only an odd one has a middle to keep the length with")


CONFIGS = {
    "paper": Config(),
    "no-skip": Config(skip=0, bias=False, rectify=True, mask="relu", input_norm="frame"),
    "torchaudio": Config(mask="relu", edge=8),
}


class Block(nn.Module):
    """Figure 1C: a depthwise separable convolution between two pointwise ones."""

    def __init__(self, config: Config, dilation: int, *, last: bool) -> None:
        super().__init__()
        narrow, wide, bias = config.bottleneck, config.hidden, config.bias
        padding = dilation * (config.kernel - 1) // 2
        self.expand = nn.Conv1d(narrow, wide, 1, bias=bias)
        self.prelu1 = nn.PReLU()
        self.norm1 = GlobalNorm1d(wide)
        self.depthwise = nn.Conv1d(
            wide, wide, config.kernel, padding=padding, dilation=dilation, groups=wide, bias=bias
        )
        self.prelu2 = nn.PReLU()
        self.norm2 = GlobalNorm1d(wide)
        self.skip = nn.Conv1d(wide, config.skip, 1, bias=bias) if config.skip else None
        unread = last and config.skip  # no block follows, and the masks come from the skip path
        self.residual = None if unread else nn.Conv1d(wide, narrow, 1, bias=bias)

    def forward(self, x: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """Take ``x [batch, channel, frame]`` and what the masks read so far; return what both are now."""
        y = self.norm1(self.prelu1(self.expand(x)))  # eqs. 8 and 9
        y = self.norm2(self.prelu2(self.depthwise(y)))  # eq. 6; the pointwise half of eq. 7 follows
        if self.residual is not None:
            x = x + self.residual(y)
        return x, x if self.skip is None else read + self.skip(y)


class ConvTasNet(Separator[Config]):
    """The whole network: encoder, R stacks of X blocks, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        filters, bias = config.filters, config.bias
        self.encoder = Encoder(filters, config.window)
        self.rectify = nn.ReLU() if config.rectify else nn.Identity()
        self.norm = GlobalLayerNorm(filters) if config.input_norm == "global" else nn.LayerNorm(filters, eps=1e-8)
        self.bottleneck = nn.Linear(filters, config.bottleneck, bias=bias)
        total = config.repeats * config.blocks
        self.blocks = nn.ModuleList(Block(config, 2 ** (i % config.blocks), last=i == total - 1) for i in range(total))
        self.mask = nn.Sequential(
            nn.PReLU() if config.skip or config.mask_prelu else nn.Identity(),
            nn.Conv1d(config.skip or config.bottleneck, config.sources * filters, 1, bias=bias),
            nn.Sigmoid() if config.mask == "sigmoid" else nn.ReLU(),
        )
        self.decoder = Decoder(filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        edge = self.config.edge
        encoded = self.rectify(self.encoder(F.pad(mixture, (edge, edge))))  # eq. 2, [B, I, N]
        x = self.bottleneck(self.norm(encoded)).mT  # [B, channel, I] through all blocks
        read = x.new_zeros(1)  # the sum of the skip path, if there is one
        for block in self.blocks:
            x, read = block(x, read)
        masks = self.mask(read).unflatten(1, (self.config.sources, -1)).mT  # [B, C, I, N]
        return self.decoder(encoded[:, None] * masks, edge + mixture.shape[-1])[..., edge:]  # eqs. 4 and 5

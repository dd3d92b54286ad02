"""Learned analysis and synthesis of waveforms: a filterbank, and overlap-add. Sequences keep their channels last."""

from torch import Tensor, nn
from torch.nn import functional as F

from septool.signal import frames


def hop_of(window: int, hop: int | None) -> int:
    """Return the samples from one window to the next, which are half a window unless they are given."""
    if hop is None:
        return window // 2
    if not 0 < hop <= window:
        raise ValueError(f"stride is {hop}; windows of {window} samples start every 1 to {window} samples")
    return hop


class Encoder(nn.Module):
    """Learned analysis of the waveform: overlapping windows times ``filters`` basis signals.

    The input is padded at its end so that the windows cover every sample (no dead tail).
    """

    def __init__(self, filters: int, window: int, hop: int | None = None, *, bias: bool = False) -> None:
        """Start a window every ``hop`` samples; None is half a window."""
        super().__init__()
        if window < 2:
            raise ValueError(f"window is {window}; overlapping windows have at least 2 samples")
        self.window, self.hop = window, hop_of(window, hop)
        self.basis = nn.Conv1d(1, filters, window, stride=self.hop, bias=bias)

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, filter]``."""
        missing = frames.missing_samples(mixture.shape[-1], self.window, self.hop)
        return self.basis(F.pad(mixture, (0, missing))[:, None]).transpose(1, 2)


class Decoder(nn.Module):
    """Learned synthesis: every frame becomes a window of samples, windows are overlapped and added."""

    def __init__(self, filters: int, window: int, hop: int | None = None, *, bias: bool = False) -> None:
        """Start a window every ``hop`` samples; None is half a window."""
        super().__init__()
        self.basis = nn.ConvTranspose1d(filters, 1, window, stride=hop_of(window, hop), bias=bias)

    def forward(self, sources: Tensor, samples: int) -> Tensor:
        """Map ``[batch, source, frame, filter]`` to ``[batch, source, samples]``."""
        batch, count, _, _ = sources.shape
        waves = self.basis(sources.flatten(0, 1).transpose(1, 2))
        return waves.reshape(batch, count, -1)[..., :samples]


class CenteredEncoder(Encoder):
    """Encoder whose first window is centered on the first sample: half a window of zeros goes in front.

    SuDoRM-RF, A-FRCNN and the two-step TDCN place their windows so.
    """

    def __init__(self, filters: int, window: int, *, bias: bool = False, multiple: int = 1) -> None:
        """Pad the end to a multiple of ``multiple`` frames, for networks that halve their rate."""
        super().__init__(filters, window, bias=bias)
        self.multiple = multiple

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, filter]``."""
        missing = -mixture.shape[-1] % (self.hop * self.multiple)
        return super().forward(F.pad(mixture, (self.hop, missing + self.window % 2)))


class CenteredDecoder(nn.Module):
    """Synthesis to :class:`CenteredEncoder`, all sources at once.

    ``apart`` gives every source a basis of its own; otherwise each is synthesized from the filters of all.
    """

    def __init__(self, filters: int, sources: int, window: int, *, bias: bool = False, apart: bool = True) -> None:
        super().__init__()
        self.hop = window // 2
        groups = sources if apart else 1
        self.basis = nn.ConvTranspose1d(sources * filters, sources, window, stride=self.hop, bias=bias, groups=groups)

    def forward(self, sources: Tensor, samples: int) -> Tensor:
        """Map ``[batch, source, frame, filter]`` to ``[batch, source, samples]``."""
        waves = self.basis(sources.mT.flatten(1, 2))
        return waves[..., self.hop : self.hop + samples]

"""Cutting a sequence into half-overlapping segments and adding them back.

Time-domain separators see a sequence twice: samples are cut into encoder windows, and the encoder's
frames are cut into segments of ``size`` frames with a hop of ``size / 2`` (dual-path processing). The
published systems differ only in how many zeros they put at the two ends, so the padding is a value of
its own (:class:`Padding`) and the cutting is one function.

Shapes: sequences are ``[batch, frame, channel]``, segments ``[batch, segment, size, channel]``; the
channel stays last so that neither direction needs a copy to feed a recurrent or linear layer.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Padding(NamedTuple):
    """Zeros put before and after a sequence, counted in frames."""

    front: int
    back: int


def missing_samples(samples: int, window: int, hop: int) -> int:
    """Zeros to append so that windows of ``window`` samples every ``hop`` cover every sample.

    Without them a convolution in "valid" mode drops up to ``hop - 1`` samples, which come back as
    zeros at the end of every estimate.
    """
    return max(window - samples, 0) or (window - samples) % hop


def dprnn_padding(frames: int, size: int) -> Padding:
    """Padding of the public DPRNN code, which SepFormer, DPTNet and Papez use as well.

    Half a segment in front, and at the end what completes an even number of segments plus half a
    segment more. A sequence that already fits gets one whole segment of zeros, as in that code.
    """
    hop = size // 2
    gap = size - (hop + frames % size) % size
    return Padding(hop, gap + hop)


def dprnn_segments(frames: Tensor, size: int) -> Tensor:
    """Return how many segments sequences of so many ``frames [...]`` have with :func:`dprnn_padding`, ``[...]``."""
    return 2 * ((frames + size // 2) // size + 1)


def galr_padding(frames: int, size: int) -> Padding:
    """Padding of GALR, section 2.1.2: ``S = ceil(2 I / K) + 1`` segments and no more."""
    hop = size // 2
    return Padding(hop, -frames % hop + hop)


def unfold_padding(frames: int, size: int) -> Padding:  # noqa: ARG001 - same signature as the others
    """Padding of asteroid's DPRNN and DPTNet: one whole segment of zeros on both sides."""
    return Padding(size, size)


# Paddings of DPRNN and DPTNet, by the names in configurations.
PADDINGS = {"even": dprnn_padding, "unfold": unfold_padding}


def segment(sequence: Tensor, size: int, padding: Padding, shared: Tensor | None = None) -> Tensor:
    """Cut a sequence into half-overlapping segments.

    Args:
        sequence: ``[batch, frame, channel]``.
        size: frames in a segment, even.
        padding: zeros at both ends. What is left over after the last whole hop is dropped; the
            paddings above leave only zeros there.
        shared: ``[batch, slot, channel]``, put in front of every segment.

    Returns:
        ``[batch, segment, size, channel]``, the size with the slots in front.
    """
    hop = size // 2
    padded = F.pad(sequence, (0, 0, *padding))
    batch, frames, channels = padded.shape
    hops = padded[:, : frames - frames % hop].reshape(batch, frames // hop, hop, channels)
    halves = (hops[:, :-1], hops[:, 1:])
    if shared is not None:
        halves = (shared[:, None].expand(-1, frames // hop - 1, -1, -1), *halves)
    return torch.cat(halves, dim=2)


def overlap_add(segments: Tensor, frames: int, padding: Padding) -> Tensor:
    """Add segments back into a sequence; every frame is the plain sum of the two that cover it.

    Args:
        segments: ``[batch, segment, size, channel]``, as :func:`segment` returns them.
        frames: length of the sequence that was cut.
        padding: the padding that it was cut with.

    Returns:
        ``[batch, frames, channel]``; twice the input of :func:`segment` if nothing was changed.
    """
    batch, _, size, channels = segments.shape
    hop = size // 2
    early = F.pad(segments[:, :, :hop], (0, 0, 0, 0, 0, 1))
    late = F.pad(segments[:, :, hop:], (0, 0, 0, 0, 1, 0))
    whole = (early + late).reshape(batch, -1, channels)
    return whole[:, padding.front : padding.front + frames]


def window_padding(length: int, size: int, hop: int, *, both: bool = True) -> Padding:
    """Padding with which windows of ``size`` positions every ``hop`` cover a sequence of ``length``.

    With ``both``, which is TF-GridNet's second version and TF-Locoformer, ``size - hop`` zeros go in front, so that
    the first position is in as many windows as any; otherwise all go to the end.
    """
    front = size - hop if both else 0
    rest = max(length + 2 * front - size, 0)
    whole = -(-rest // hop) * hop + size
    return Padding(front, whole - length - front)


def unfold(sequence: Tensor, size: int, hop: int) -> Tensor:
    """Cut ``[..., position, channel]`` into windows ``[..., window, size * channel]``, position-major: a view."""
    return sequence.unfold(-2, size, hop).mT.flatten(-2)


def fold(windows: Tensor, size: int, hop: int) -> Tensor:
    """Add windows ``[..., window, size * channel]``, position-major, back into ``[..., position, channel]``.

    The transpose of :func:`unfold`: a position is the plain sum over the windows that cover it.
    """
    apart = windows.reshape(*windows.shape[:-1], size, windows.shape[-1] // size)  # [..., window, position, channel]
    if size == hop:
        return apart.flatten(-3, -2)
    count, length = windows.shape[-2], (windows.shape[-2] - 1) * hop + size
    parts = torch.split(apart, hop, dim=-2)  # each [..., window, at most hop, channel]
    placed: list[Tensor] = []
    for number, part in enumerate(parts):
        run = F.pad(part, (0, 0, 0, hop - part.shape[-2])).flatten(-3, -2)  # [..., window * hop, channel]
        placed.append(F.pad(run, (0, 0, number * hop, length - (count + number) * hop)))
    return reduce(torch.add, placed)

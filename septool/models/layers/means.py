"""Weighted means of many points, as clusterings of bins need them."""

from contextlib import nullcontext

import torch
from torch import Tensor


def weighted_means(points: Tensor, weights: Tensor) -> Tensor:
    """Average points under weights; where nothing has weight the mean is the origin.

    In single precision at least, whatever autocast chooses: the sums run over all bins or samples of a recording, which
    half precision has no room for from some seconds on.

    Args:
        points: ``[batch, point, channel]``.
        weights: ``[batch, point, cluster]``, not negative.

    Returns:
        ``[batch, cluster, channel]``, in the type of the points.
    """
    wide = torch.promote_types(points.dtype, torch.float32)
    # The meta device, on which networks are counted, has no autocast to turn off.
    with nullcontext() if points.is_meta else torch.autocast(points.device.type, enabled=False):
        weights = weights.to(wide)
        means = weights.mT @ points.to(wide) / weights.sum(1)[..., None].clamp_min(1e-12)
    return means.to(points.dtype)

"""Running a model at its training level, and rescaling its estimates to the level of the recording."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from septool.errors import SeptoolError
from septool.inference.dtype import computing_in
from septool.signal.levels import Samples, at_model_level, model_gain, namespace, remove_dc

if TYPE_CHECKING:  # ONNX Runtime does without torch
    import torch
    from torch import Tensor

    from septool.models.base import Extraction, Extractor, Separator

# Map [batch, time] to [batch, voice, time] at the levels of the recording; of tensors, and of float32 arrays.
Estimator = Callable[["Tensor"], "Tensor"]
ArrayEstimator = Callable[[np.ndarray], np.ndarray]

RIDGE = 1e-4  # part of the estimates' mean energy that is added to the diagonal of the normal equations


def separate_at_model_level(model: "Separator", mixture: "Tensor") -> "Tensor":
    """Run a separator at the level it was trained at.

    Args:
        model: the separator.
        mixture: ``[batch, time]`` at any level, around any offset.

    Returns:
        ``[batch, source, time]``. The scale of each source is arbitrary: SI-SNR is invariant to it.
    """
    return _separate(model, remove_dc(mixture))


def _separate(model: "Separator", mixture: "Tensor") -> "Tensor":
    """Map ``[batch, time]`` without an offset to ``[batch, source, time]``."""
    gain = model_gain(mixture)
    return model(mixture * gain) / gain[:, None]


def extract_at_model_level(model: "Extractor", mixture: "Tensor", embeddings: "Tensor") -> "Extraction":
    """Run an extractor at the level it was trained at.

    Args:
        model: the extractor.
        mixture: ``[batch, time]`` at any level, around any offset.
        embeddings: enrollments of the target voices, ``[voice, embedding]``.

    Returns:
        The voices, ``[batch, voice, time]``, and their presence, ``[batch, voice]``; see :class:`Extractor`.
    """
    from septool.models.base import Extraction

    mixture = remove_dc(mixture)
    gain = model_gain(mixture)
    voices, presence = model.extract_each(mixture * gain, embeddings)
    return Extraction(voices / gain[:, None], presence)


def embed(network: "Callable[[Tensor], Tensor]", voices: "Tensor") -> "Tensor":
    """Run a speaker network at the level it was trained at.

    Args:
        network: maps ``[batch, time]`` to ``[batch, embedding]``.
        voices: ``[batch, time]`` at any level, around any offset.

    Returns:
        ``[batch, embedding]`` in float32.
    """
    return network(at_model_level(voices)).float()


def check_finite_estimate(estimate: Samples) -> None:
    """Refuse what a network returned ``[...]``, where it is NaN or infinite.

    Raises:
        SeptoolError: saying so.
    """
    if not namespace(estimate).isfinite(estimate).all():
        raise SeptoolError("the model returned non-finite samples; are its weights damaged?")


def rescale_to_mixture(mixture: Samples, estimates: Samples) -> Samples:
    """Scale estimates so that their sum fits the mixture in the least-squares sense.

    SI-SNR leaves the scale of each output free; this restores the levels of the voices in the
    recording. A small ridge keeps the scales of two nearly equal outputs bounded.

    Args:
        mixture: ``[batch, time]``.
        estimates: ``[batch, source, time]``.

    Returns:
        ``[batch, source, time]``.
    """
    xp = namespace(estimates)
    gram = estimates @ xp.swapaxes(estimates, -1, -2)  # [B, C, C]
    diagonal = xp.diagonal(gram, 0, -2, -1)
    mean = xp.mean(diagonal, -1)[:, None, None]
    eye = xp.tril(xp.triu(xp.ones_like(gram)))  # identity, on the device and of the dtype of the arguments
    gains = xp.linalg.solve(gram + (RIDGE * mean + 1e-12) * eye, estimates @ mixture[..., None])
    return estimates * gains


def share_residual(mixture: Samples, estimates: Samples) -> Samples:
    """Distribute the residual of the mixture over the estimates by their energies, so that they sum to it.

    The mixture consistency of Wisdom et al., "Differentiable consistency constraints for improved deep speech
    enhancement", ICASSP 2019, with the energies of the whole segment as weights. If all estimates are silent, nothing
    is distributed.

    Args:
        mixture: ``[batch, time]``.
        estimates: ``[batch, source, time]``.

    Returns:
        ``[batch, source, time]``.
    """
    xp = namespace(estimates)
    energy = xp.sum(xp.square(estimates), -1, keepdims=True)  # [B, C, 1]
    residual = mixture - xp.sum(estimates, 1)
    return estimates + energy / xp.clip(xp.sum(energy, 1, keepdims=True), 1e-12, None) * residual[:, None]


def give_levels(mixture: Samples, separated: Samples, *, consistency: bool) -> Samples:
    """Rescale the outputs of a model to their levels in the mixture.

    Args:
        mixture: ``[batch, time]`` without an offset.
        separated: ``[batch, source, time]``, of any scales.
        consistency: makes several sources add up to the mixture; see :func:`share_residual`.

    Returns:
        ``[batch, source, time]``.
    """
    estimates = rescale_to_mixture(mixture, separated)
    return share_residual(mixture, estimates) if consistency and estimates.shape[1] > 1 else estimates


def make_estimator(model: "Separator", *, consistency: bool = False, dtype: "torch.dtype | None" = None) -> Estimator:
    """Return the estimator of a model for one segment, ``[batch, time]`` to ``[batch, source, time]``.

    Args:
        model: the separator.
        consistency: makes several sources add up to the mixture; see :func:`share_residual`.
        dtype: of the network's computations, from :func:`septool.inference.dtype.torch_dtype`.
    """

    def estimate(mixture: "Tensor") -> "Tensor":
        mixture = remove_dc(mixture)
        with computing_in(dtype, mixture.device):
            separated = _separate(model, mixture)
        return give_levels(mixture, separated.float(), consistency=consistency)

    return estimate


def on_arrays(estimate: Estimator, device: "torch.device") -> ArrayEstimator:
    """Wrap an estimator on a device to map arrays ``[batch, time]`` to ``[batch, voice, time]``."""
    import torch

    def estimate_array(mixture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return estimate(torch.from_numpy(np.ascontiguousarray(mixture)).to(device)).cpu().numpy()

    return estimate_array

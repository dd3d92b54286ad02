"""Running a model at its training level, and rescaling its estimates to the level of the recording."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from septool.config import JsonMapping
from septool.device import has_fast_bfloat16
from septool.errors import SeptoolError, UsageError
from septool.signal.levels import Samples, model_gain, namespace, remove_dc

if TYPE_CHECKING:  # ONNX Runtime does without torch
    import torch
    from torch import Tensor

    from septool.models.base import Extraction, Extractor, Separator

# [batch, time] to [batch, voice, time], levels as in the recording; of tensors, and of arrays in float32.
Estimator = Callable[["Tensor"], "Tensor"]
ArrayEstimator = Callable[[np.ndarray], np.ndarray]

DTYPES = ("auto", "fp32", "bf16", "fp16")
TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
BF16_CHANGE = "si_snri_bf16_change"  # in a header's ``measured``: dB by which the score moves in bfloat16
MOST_CHANGE_DB = 0.05  # for which ``auto`` takes it


def separate_at_model_level(model: "Separator", mixture: "Tensor") -> "Tensor":
    """Run a separator at the level it was trained at.

    Args:
        model: the separator.
        mixture: ``[batch, time]`` at any level, around any offset.

    Returns:
        ``[batch, source, time]``. The scale of each source is the model's own: SI-SNR does not train it.
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
        embeddings: of the voices that are looked for in each, ``[voice, embedding]``.

    Returns:
        The voices, ``[batch, voice, time]``, and their presence, ``[batch, voice]``; see :class:`Extractor`.
    """
    from septool.models.base import Extraction

    mixture = remove_dc(mixture)
    gain = model_gain(mixture)
    voices, presence = model.extract_each(mixture * gain, embeddings)
    return Extraction(voices / gain[:, None], presence)


def rescale_to_mixture(mixture: Samples, estimates: Samples, ridge: float = 1e-4) -> Samples:
    """Scale estimates so that together they explain the mixture best, in least squares.

    SI-SNR leaves the scale of each output free; this gives the voices back the levels they have in
    the recording. A small ridge keeps two nearly equal outputs from blowing each other up.

    Args:
        mixture: ``[batch, time]``.
        estimates: ``[batch, source, time]``.
        ridge: part of the estimates' mean energy added to the normal equations' diagonal.

    Returns:
        ``[batch, source, time]``.
    """
    xp = namespace(estimates)
    gram = estimates @ xp.swapaxes(estimates, -1, -2)  # [B, C, C]
    diagonal = xp.diagonal(gram, 0, -2, -1)
    mean = xp.mean(diagonal, -1)[:, None, None]
    eye = xp.tril(xp.triu(xp.ones_like(gram)))  # on the device and of the type of both
    gains = xp.linalg.solve(gram + (ridge * mean + 1e-12) * eye, estimates @ mixture[..., None])
    return estimates * gains


def share_residual(mixture: Samples, estimates: Samples) -> Samples:
    """Share what estimates leave of the mixture among them by their energies, so that they add up to it.

    The mixture consistency of Wisdom et al., "Differentiable consistency constraints for improved deep speech
    enhancement", ICASSP 2019, with the energies of the whole segment as weights. Where all are silent, nothing is
    shared.

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
    """Give what a model made of a mixture the levels that it has there.

    Args:
        mixture: ``[batch, time]`` without an offset.
        separated: ``[batch, source, time]``, of any scales.
        consistency: makes several sources add up to the mixture; see :func:`share_residual`.

    Returns:
        ``[batch, source, time]``.
    """
    estimates = rescale_to_mixture(mixture, separated)
    return share_residual(mixture, estimates) if consistency and estimates.shape[1] > 1 else estimates


FP16_ON_CPU = "--dtype fp16 takes a GPU; processors have bf16"


def check_dtype(name: str, device: "torch.device | None", others: Sequence[str] = ()) -> None:
    """Refuse what a network is to compute in, as the user writes it, if it cannot.

    Args:
        name: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: that computes; None where that is known later, as on the machines of a cluster.
        others: names that are allowed as well.

    Raises:
        UsageError: no such name, or one that the device does not have.
    """
    names = (*DTYPES, *others)
    if name not in names:
        raise UsageError(f"--dtype is {name!r}; it can be {', '.join(names)}")
    if name == "fp16" and device is not None and device.type == "cpu":
        raise UsageError(FP16_ON_CPU)


def resolve_dtype(name: str, device: "torch.device | None", measured: JsonMapping) -> str:
    """Turn ``auto`` into ``bf16`` where that is faster and as good, else into ``fp32``; other names stay.

    Args:
        name: what :func:`check_dtype` lets through.
        device: that computes; None where that is known later: machines of a cluster are to give the same.
        measured: of the checkpoint's header. Networks of which :data:`BF16_CHANGE` is not known stay in float32.
    """
    if name != "auto":
        return name
    change = measured.get(BF16_CHANGE)
    bears_it = isinstance(change, int | float) and abs(change) < MOST_CHANGE_DB
    return "bf16" if bears_it and device is not None and has_fast_bfloat16(device) else "fp32"


def accepted_dtypes(asked: str) -> Sequence[str]:
    """Return the types whose voices need not be made anew: ``auto`` is either, by the machine that made them."""
    return ("fp32", "bf16") if asked == "auto" else ()


def torch_dtype(name: str) -> "torch.dtype | None":
    """Return torch's type of a name that was resolved; None is float32."""
    if name not in TORCH_DTYPES:
        return None
    import torch

    return getattr(torch, TORCH_DTYPES[name])


@contextmanager
def computing_in(dtype: "torch.dtype | None", device: "torch.device") -> Iterator[None]:
    """Let networks compute in another type where that is safe (torch.autocast).

    Raises:
        SeptoolError: the device cannot.
    """
    if dtype is None:
        yield
        return
    import torch

    if dtype == torch.float16 and device.type == "cpu":
        raise SeptoolError(FP16_ON_CPU)
    try:
        with torch.autocast(device.type, dtype=dtype):
            yield
    except RuntimeError as error:
        if "primitive" not in str(error):  # as oneDNN says it
            raise
        raise SeptoolError(f"this processor cannot compute the model in {dtype}; use --dtype fp32") from error


def make_estimator(model: "Separator", *, consistency: bool = False, dtype: "torch.dtype | None" = None) -> Estimator:
    """Return the separation of one segment by a model, ``[batch, time]`` to ``[batch, source, time]``.

    Args:
        model: the separator.
        consistency: makes several sources add up to the mixture; see :func:`share_residual`.
        dtype: of the network's computations, what :func:`torch_dtype` gives.
    """

    def estimate(mixture: "Tensor") -> "Tensor":
        mixture = remove_dc(mixture)
        with computing_in(dtype, mixture.device):
            separated = _separate(model, mixture)
        return give_levels(mixture, separated.float(), consistency=consistency)

    return estimate


def on_arrays(estimate: Estimator, device: "torch.device") -> ArrayEstimator:
    """Let an estimator whose model is on a device take arrays ``[batch, time]``, and give ``[batch, voice, time]``."""
    import torch

    def estimate_array(mixture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return estimate(torch.from_numpy(np.ascontiguousarray(mixture)).to(device)).cpu().numpy()

    return estimate_array

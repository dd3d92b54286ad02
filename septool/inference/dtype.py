"""What networks compute in: float32, bfloat16 or float16, by the device and by what a checkpoint bears."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from septool.config import JsonMapping
from septool.device import has_fast_bfloat16, has_float16
from septool.errors import SeptoolError, UsageError

if TYPE_CHECKING:  # ONNX Runtime does without torch
    import torch

DTYPES = ("auto", "fp32", "bf16", "fp16")
TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}  # torch's names
BF16_CHANGE = "si_snri_bf16_change"  # in a header's ``measured``: dB by which the mean moves in bfloat16
MOST_CHANGE_DB = 0.05  # for which ``auto`` takes it
FP16_ON_CPU = "--dtype fp16 takes a GPU; processors have bf16"


class ChosenDtype(NamedTuple):
    """What a network computes in, ``fp32``, ``bf16``, ``fp16`` or ``int8``, and what else is as good as that."""

    name: str
    accepted: Sequence[str] = ()  # by which voices of an earlier run, perhaps of another machine, were made


def check_dtype(asked: str, device: "torch.device | None", others: Sequence[str] = ()) -> None:
    """Refuse what a network is to compute in, as the user writes it, if it cannot.

    Args:
        asked: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: that computes; None where that is known later, as on the machines of a cluster.
        others: names that are allowed as well.

    Raises:
        UsageError: no such name, or one that the device does not have.
    """
    names = (*DTYPES, *others)
    if asked not in names:
        raise UsageError(f"--dtype is {asked!r}; it can be {', '.join(names)}")
    if asked == "fp16" and device is not None and not has_float16(device):
        raise UsageError(FP16_ON_CPU)


def choose_dtype(asked: str, device: "torch.device | None", measured: JsonMapping) -> ChosenDtype:
    """Turn ``auto`` into ``bf16`` where that is faster and as good, else into ``fp32``; other names stay.

    Args:
        asked: what :func:`check_dtype` lets through.
        device: on which torch computes here. None where another engine does, or machines of a cluster, which are to
            give the same.
        measured: of the checkpoint's header. Networks of which :data:`BF16_CHANGE` is not known stay in float32.
    """
    if asked != "auto":
        return ChosenDtype(asked)
    change = measured.get(BF16_CHANGE)
    if not isinstance(change, int | float) or not abs(change) < MOST_CHANGE_DB:
        return ChosenDtype("fp32")
    return ChosenDtype("bf16" if device is not None and has_fast_bfloat16(device) else "fp32", ("fp32", "bf16"))


def torch_dtype(name: str) -> "torch.dtype | None":
    """Return torch's type of a name that was chosen; None is float32."""
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

    if dtype == torch.float16 and not has_float16(device):
        raise SeptoolError(FP16_ON_CPU)
    try:
        with torch.autocast(device.type, dtype=dtype):
            yield
    except RuntimeError as error:
        if "primitive" not in str(error):  # as oneDNN says it
            raise
        raise SeptoolError(f"this processor cannot compute the model in {dtype}; use --dtype fp32") from error

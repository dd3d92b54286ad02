"""Choosing the inference engine of a separator: torch, or ONNX Runtime, which does not import torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from septool.device import has_accelerator
from septool.errors import UsageError
from septool.headers import Header, read_header
from septool.inference.level import ArrayEstimator, make_estimator, on_arrays
from septool.inference.onnx_runtime import OnnxSeparator, Precision, find_graph, has_graphs, import_runtime
from septool.inference.passes import average_passes
from septool.load_cache import load_once

if TYPE_CHECKING:
    import torch

    from septool.models.base import Separator

Engine = Literal["auto", "torch", "onnx"]


@dataclass
class TorchSeparator:
    """A separator in torch, on any device."""

    engine: ClassVar[str] = "torch"
    model: "Separator"
    header: Header

    def estimator(
        self,
        device: "torch.device",
        *,
        consistency: bool,
        dtype: "torch.dtype | None" = None,
        passes: int | None = None,
    ) -> ArrayEstimator:
        """Return the estimator of one segment on a device; see :func:`septool.inference.level.make_estimator`.

        The number of passes is the checkpoint's by default; see :func:`septool.inference.passes.average_passes`.
        """
        self.model.to(device)
        estimate = on_arrays(make_estimator(self.model, consistency=consistency, dtype=dtype), device)
        return average_passes(estimate, self.header.choose_passes(passes))


LoadedSeparator = OnnxSeparator | TorchSeparator


def engine_for(engine: Engine, dtype: str) -> Engine:
    """Return the engine for a data type: int8 takes ONNX Runtime.

    Raises:
        UsageError: the requested engine does not support it.
    """
    if dtype != "int8":
        return engine
    if engine == "torch":
        raise UsageError("--dtype int8 takes --engine onnx")
    return "onnx"


def may_use_onnx(engine: str, device: str, torch_only: Sequence[str] = (), better_with_torch: bool = False) -> bool:
    """Return whether ONNX Runtime may run a separator; otherwise torch does.

    ``auto`` uses it if the device is known to be the CPU and the cache has any graph; :func:`load_engine` then looks
    for the graph of the checkpoint.

    Args:
        engine: auto, torch or onnx.
        device: the requested device.
        torch_only: the given options that require torch.
        better_with_torch: torch is needed for something else anyway.

    Raises:
        UsageError: unknown engine, or ``onnx`` where it is not available.
    """
    if engine not in get_args(Engine):
        raise UsageError(f"--engine is {engine!r}; it can be {', '.join(get_args(Engine))}")
    if engine == "onnx":
        if torch_only:
            raise UsageError(f"{torch_only[0]} takes --engine torch")
        if device not in ("auto", "cpu"):
            raise UsageError(f"--engine onnx computes on the processor; leave out --device {device}")
        import_runtime()
        return True
    on_processor = device == "cpu" or (device == "auto" and not has_accelerator())
    return engine == "auto" and not torch_only and not better_with_torch and on_processor and has_graphs()


def load_engine(
    engine: str,
    name: str,
    checkpoint: Path,
    *,
    onnx: bool,
    precision: Precision = "fp32",
    report: Callable[[str], None] = lambda _: None,
) -> LoadedSeparator:
    """Load a separator into its engine.

    Args:
        engine: auto, torch or onnx; ``onnx`` exports the checkpoint into the cache if needed.
        name: the checkpoint's.
        checkpoint: its file.
        onnx: result of :func:`may_use_onnx`.
        precision: of linear and LSTM layers; int8 with the engine onnx alone.
        report: callback for a notice of a long export.

    Raises:
        UsageError: packages that are not installed.
        CheckpointError: the checkpoint is damaged, or does not separate.
        SeptoolError: the network cannot be exported to ONNX, or not quantized to int8.
    """
    if onnx:
        graph = find_graph(checkpoint, precision)
        info = graph.info()
        if info is None and engine == "onnx":
            from septool.inference.onnx_export import keep_graph

            report(f"{name} is exported for ONNX Runtime, once; that takes a minute or several")
            _, info = keep_graph(name, checkpoint, graph, precision)
        if info is not None and (engine == "onnx" or info.is_fast):
            return load_once(graph.path, "session", lambda: OnnxSeparator(graph.path, read_header(checkpoint)))
    from septool import checkpoints

    return TorchSeparator(*load_once(checkpoint, "separator", lambda: checkpoints.load(checkpoint)))

"""Exporting separators as ONNX graphs, verified against the checkpoint.

A graph maps ``mixture [1, time]``, of any level and any length from a network's first window on, to ``voices
[1, source, time]``, as :func:`septool.inference.level.separate_at_model_level` does.
"""

import contextlib
import io
import json
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from septool import audio, checkpoints, workers
from septool.atomic import atomic_write, atomic_write_group
from septool.checkpoints import Header
from septool.config import shipped
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder
from septool.inference import onnx_runtime
from septool.inference.level import separate_at_model_level
from septool.inference.onnx_layers import with_onnx_layers
from septool.inference.onnx_runtime import Graph, GraphInfo, Precision
from septool.models.base import Separator
from septool.signal.levels import power_to_db

EXAMPLE = shipped("examples/two-talkers.flac")
TRACED = 8000  # length of the input for tracing, in samples
SAMPLES = (onnx_runtime.SHORTEST, 4000, 7993, 16001)  # lengths of the inputs for the comparison with torch
TIMED_S = 8.0  # length of the input for the timing
TIMES = 3  # alternating runs per engine
TOLERANCE = 1e-4  # relative to the largest sample; rounding in single precision is 1e-6 to 1e-5
MOST_INT8_DB = -25.0  # maximum power of the quantization error relative to the voices
QUANTIZED = ("MatMul", "Gemm", "LSTM")  # nodes that are quantized
IN_INT8 = ("MatMulInteger", "DynamicQuantizeLSTM")  # their quantized forms


class AtAnyLevel(nn.Module):
    """A separator including the level normalization of its input."""

    def __init__(self, model: Separator) -> None:
        super().__init__()
        self.model = model

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        return separate_at_model_level(self.model, mixture)


def write_graph(name: str, checkpoint: Path, out: Path, precision: Precision = "fp32") -> tuple[Header, float]:
    """Write a graph; the checkpoint's header goes into its metadata, as JSON under ``septool``.

    Args:
        name: the checkpoint's.
        checkpoint: its file.
        out: the graph, ``.onnx``.
        precision: of its linear and LSTM layers. int8 is dynamic: weights are quantized once for each output,
            activations anew for each product.

    Returns:
        The checkpoint's header, and the largest difference of outputs over the largest sample.

    Raises:
        UsageError: what it takes is not installed.
        SeptoolError: the network has no form in ONNX, or one that gives something else.
    """
    network, header, graph = _trace(name, checkpoint)
    make_folder(out.parent)
    with atomic_write(out) as partial:
        _save(graph, partial, name, precision)
        session = onnx_runtime.open_session(partial, optimize=True)
        difference = _compare(network, header, session, name, precision)
    return header, difference


def keep_graph(name: str, checkpoint: Path, graph: Graph, precision: Precision = "fp32") -> tuple[Header, GraphInfo]:
    """Write the graph that :class:`septool.inference.onnx_runtime.OnnxSeparator` runs, optimized, with its times.

    Args:
        name: the checkpoint's.
        checkpoint: its file.
        graph: where it goes.
        precision: as of :func:`write_graph`.

    Returns:
        The checkpoint's header, and what was found.

    Raises:
        UsageError, SeptoolError: as from :func:`write_graph`.
    """
    network, header, traced = _trace(name, checkpoint)
    make_folder(graph.path.parent)
    with atomic_write_group([graph.path, graph.info_path]) as (partial, info_partial):
        plain = partial.with_name(partial.name + ".plain")
        try:
            _save(traced, plain, name, precision)
            onnx_runtime.open_session(plain, optimize=True, optimized=partial)
        finally:
            plain.unlink(missing_ok=True)
        session = onnx_runtime.open_session(partial)
        long = round(TIMED_S * header.sample_rate)
        difference = _compare(network, header, session, name, precision, (*SAMPLES, long))
        onnx_s, torch_s = (
            round(taken / TIMED_S, 5) for taken in _time(network, _recording(header.sample_rate, long), session)
        )
        info = GraphInfo(model=name, difference=difference, onnx_s=onnx_s, torch_s=torch_s)
        info_partial.write_text(json.dumps(asdict(info)), encoding="utf-8")
    return header, info


def _trace(name: str, checkpoint: Path) -> tuple[Separator, Header, Any]:
    """Load a separator, and trace it; the graph has the header in its metadata."""
    check_packages()
    network, header = checkpoints.load(checkpoint)
    graph = trace(AtAnyLevel(with_onnx_layers(network)).eval(), name)
    graph.model.metadata_props["septool"] = json.dumps(asdict(header))
    return network, header, graph


def _save(graph: Any, out: Path, name: str, precision: Precision) -> None:
    """Write a traced graph in a precision.

    Raises:
        SeptoolError: there is nothing in it that int8 is for.
    """
    if precision == "fp32":
        graph.save(str(out))
        return
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = out.with_name(out.name + ".fp32")
    try:
        graph.save(str(plain))
        with _silence():
            # Without VNNI, sums of two 8-bit products overflow, so weights are quantized to 7 bits.
            quantize_dynamic(
                plain,
                out,
                op_types_to_quantize=list(QUANTIZED),
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
        if not any(node.op_type in IN_INT8 for node in onnx.load(out).graph.node):
            raise SeptoolError(f"{name} has no linear or LSTM layers, which int8 is for; use --dtype fp32")
    finally:
        plain.unlink(missing_ok=True)


def check_packages() -> None:
    """Check for the required packages before half a minute of work."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed; install it with: pip install 'septool[onnx]'") from None


def trace(network: nn.Module, name: str) -> Any:
    """Trace a network for inputs of any length."""
    try:
        with torch.no_grad(), _silence():
            return torch.onnx.export(
                network,
                (torch.randn(1, TRACED, generator=torch.Generator().manual_seed(0)),),
                input_names=["mixture"],
                output_names=["voices"],
                dynamic_shapes={"mixture": {1: "time"}},
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        workers.check_stopping()  # the exporter takes what a signal raises within it for a failure of its own
        raise SeptoolError(f"{name} has no form in ONNX, as far as torch {torch.__version__} knows") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the output of exporter and quantizer about their own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(
    network: Separator,
    header: Header,
    session: Any,
    name: str,
    precision: Precision,
    samples: Sequence[int] = SAMPLES,
) -> float:
    """Return the largest difference between the outputs of torch and a session over several input lengths.

    Raises:
        SeptoolError: the difference exceeds what the precision explains.
    """
    recording = _recording(header.sample_rate, max(samples))
    differences: list[float] = []
    added_db = 0.0
    for length in sorted(samples):
        mixture = recording[:, :length]
        expected = _run(network, mixture)
        (given,) = session.run(None, {"mixture": mixture})
        differences.append(float(np.abs(given - expected).max() / np.abs(expected).max()))
        added_db = float(power_to_db(np.square(given - expected).mean() / np.square(expected).mean()))
    if precision == "int8":
        if not added_db <= MOST_INT8_DB:  # noise at the longest input; short ones hold little speech
            raise SeptoolError(f"{name} does not bear int8, which adds noise at {added_db:.1f} dB; use --dtype fp32")
    elif not all(difference < TOLERANCE for difference in differences):  # also false for NaN
        apart = ", ".join(f"{difference:.1e}" for difference in differences)
        raise SeptoolError(f"{name} as ONNX gives something else: {apart} of the largest sample apart")
    return max(differences)


def _recording(rate: int, samples: int) -> np.ndarray:
    """Return a number of samples of the example, repeated as needed, ``[1, time]`` in float32."""
    return np.resize(audio.load_audio(EXAMPLE, rate), (1, samples))


def _run(network: Separator, mixture: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return separate_at_model_level(network, torch.from_numpy(mixture)).numpy()


def _time(network: Separator, mixture: np.ndarray, session: Any) -> tuple[float, float]:
    """Return the median times of ONNX Runtime and torch for a mixture, in seconds, from alternating runs."""
    runs = (lambda: session.run(None, {"mixture": mixture}), lambda: _run(network, mixture))
    taken: list[list[float]] = [[], []]
    for _ in range(TIMES):
        for times, run in zip(taken, runs, strict=True):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
    return median(taken[0]), median(taken[1])

"""Separators by ONNX Runtime, without torch: finding exported graphs in the cache, and running them.

A graph maps ``mixture [1, time]`` to ``voices [1, source, time]``, as
:func:`septool.inference.level.separate_at_model_level` does. The cache holds it as optimized by ONNX Runtime, named by
a digest of the checkpoint and of everything else that affects the outputs, with its measurements in a file beside it.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from septool import workers
from septool.config import build, cache_folder
from septool.device import NO_MEMORY
from septool.errors import ConfigError, SeptoolError, UsageError
from septool.files import sha256_of
from septool.headers import Header
from septool.inference.level import ArrayEstimator, give_levels
from septool.inference.passes import average_passes
from septool.limits import MOST_JOBS, is_at_most
from septool.load_cache import load_once
from septool.signal.levels import remove_dc

Precision = Literal["fp32", "int8"]  # precision of a graph's linear and LSTM layers
EXPORT_VERSION = 4  # graphs of other versions are exported again
SHORTEST = 100  # samples; shorter inputs are zero-padded, since a graph needs a whole encoder window
SLOWER = 1.1  # time relative to torch up to which a graph pays off by avoiding the import of torch


@dataclass(frozen=True, kw_only=True)
class GraphInfo:
    """Measurements of a graph at its export."""

    model: str  # the checkpoint's name
    difference: float  # from torch's outputs, relative to the largest sample
    onnx_s: float  # for a second of audio, on the machine that exported it
    torch_s: float

    @property
    def is_fast(self) -> bool:
        """Return whether it is about as fast as torch, or faster."""
        return self.onnx_s <= SLOWER * self.torch_s


@dataclass(frozen=True)
class Graph:
    """A graph in the cache, which may not exist."""

    path: Path

    @property
    def info_path(self) -> Path:
        """The file with the measurements."""
        return self.path.with_suffix(".json")

    def info(self) -> GraphInfo | None:
        """Return its measurements; None if the graph does not exist."""
        if not self.path.exists():
            return None
        with suppress(OSError, ValueError, TypeError, ConfigError):
            return build(GraphInfo, json.loads(self.info_path.read_text(encoding="utf-8")))
        return None


def graphs_folder() -> Path:
    """Return the folder of the graphs."""
    return cache_folder() / "onnx"


def has_graphs() -> bool:
    """Return whether any graph and ONNX Runtime are available."""
    folder = graphs_folder()
    return folder.is_dir() and any(folder.glob("*.onnx")) and find_spec("onnxruntime") is not None


def find_graph(checkpoint: Path, precision: Precision = "fp32") -> Graph:
    """Return the graph of a checkpoint's file in a precision, for the ONNX Runtime that is installed.

    Raises:
        UsageError: none is installed.
    """
    digest = load_once(checkpoint, "sha256", lambda: sha256_of(checkpoint))
    parts = [digest, EXPORT_VERSION, import_runtime().__version__]
    parts += [precision] if precision != "fp32" else []
    return Graph(graphs_folder() / f"{sha256_of(json.dumps(parts).encode())[:16]}.onnx")


def import_runtime() -> Any:
    """Import ONNX Runtime.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("onnxruntime is not installed; install it with: pip install 'septool[onnx]'") from None
    return onnxruntime


def open_session(path: Path, *, optimize: bool = False, optimized: Path | None = None) -> Any:
    """Open a graph.

    Args:
        path: the graph.
        optimize: optimize the graph first; graphs in the cache already are.
        optimized: file for the optimized graph, in a form that any CPU can run.

    Raises:
        UsageError: ONNX Runtime is not installed.
        SeptoolError: the file is damaged.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.intra_op_num_threads = _threads()
    levels = runtime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED if optimize else levels.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class
        raise SeptoolError(f"{path} cannot be loaded ({_first_line(error)}); delete it to have it made anew") from error


def _threads() -> int:
    """Return the number of threads, as in torch: OMP_NUM_THREADS, or all; one in worker processes."""
    if workers.is_worker():
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    is_number = asked.isdecimal() and is_at_most(asked, MOST_JOBS)
    return (int(asked) if is_number else 0) or workers.cores()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


@dataclass
class OnnxSeparator:
    """A separator in ONNX Runtime, on the CPU."""

    engine: ClassVar[str] = "onnx"
    path: Path  # file of the graph
    header: Header  # header of the checkpoint
    _sessions: dict[int, Any] = field(default_factory=dict, repr=False)  # by process: threads do not survive a fork

    def run(self, mixture: np.ndarray) -> np.ndarray:
        """Map ``[1, time]`` of any level to ``[1, source, time]`` of arbitrary scales.

        Raises:
            MemoryError: there is not enough memory.
            SeptoolError: the graph cannot be loaded, or does not take it.
        """
        process = os.getpid()
        if process not in self._sessions:
            # That of the process which forked stays: what destroys it would wait for threads that are not here.
            self._sessions[process] = open_session(self.path)
        samples = mixture.shape[-1]
        padded = np.pad(mixture, ((0, 0), (0, max(SHORTEST - samples, 0)))).astype(np.float32, copy=False)
        try:
            (voices,) = self._sessions[process].run(["voices"], {"mixture": np.ascontiguousarray(padded)})
        except Exception as error:
            if any(words in str(error) for words in (*NO_MEMORY, "Failed to allocate memory")):
                raise MemoryError from error
            raise SeptoolError(f"ONNX Runtime fails ({_first_line(error)}); use --engine torch") from error
        return voices[..., :samples]

    def estimator(
        self,
        device: object = None,  # noqa: ARG002 - the processor
        *,
        consistency: bool,
        dtype: object = None,  # noqa: ARG002 - float32
        passes: int | None = None,
    ) -> ArrayEstimator:
        """Return the estimator of one segment; see :func:`septool.inference.level.make_estimator`."""

        def estimate(mixture: np.ndarray) -> np.ndarray:
            mixture = remove_dc(mixture)
            return give_levels(mixture, self.run(mixture), consistency=consistency)

        return average_passes(estimate, self.header.choose_passes(passes))

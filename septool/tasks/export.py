"""Checkpoints leave as ONNX files, for programs without Python or torch.

The file takes ``mixture [1, time]``, of any level and any length over a network's first window, and gives ``voices
[1, source, time]``: what :func:`septool.inference.level.separate_at_model_level` does. Resampling, long recordings and
the levels of the voices are left to whoever runs it.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from septool import audio, catalogue, checkpoints
from septool.errors import SeptoolError, UsageError
from septool.files import atomic_write, make_folder
from septool.inference.level import separate_at_model_level
from septool.models.base import Separator
from septool.tasks.profile import EXAMPLE

TRACED = 8000  # samples of what a network is traced with
SAMPLES = (100, 4000, 7993, 16001)  # of what outputs are compared for
TOLERANCE = 1e-4  # of the largest sample; single precision differs by 1e-6 to 1e-5


@dataclass(frozen=True)
class Exported:
    """An ONNX file, and how equal it is to the checkpoint."""

    file: str
    model: str
    sample_rate: int  # Hz
    sources: int
    bytes: int
    difference: float  # largest of all outputs compared, over the largest sample


class AtAnyLevel(nn.Module):
    """A separator, the level of its input included."""

    def __init__(self, model: Separator) -> None:
        super().__init__()
        self.model = model

    def forward(self, mixture: Tensor) -> Tensor:  # [B, T]
        return separate_at_model_level(self.model, mixture)  # [B, C, T]


def export(model: str, out: Path, *, force: bool = False) -> Exported:
    """Write a separator as an ONNX file, and compare what it gives with what the checkpoint gives.

    The checkpoint's header goes into the file's metadata, as JSON under ``septool``.

    Args:
        model: a checkpoint's name, a model's, or a ``.safetensors`` file.
        out: the file to write, ``.onnx``.
        force: replace a file that is there.

    Raises:
        UsageError: a name that does not end in .onnx, or packages that are not installed.
        SeptoolError: a network that ONNX has no operations for, or a file that would give something else.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"{out} would not be taken for a network; its name has to end in .onnx")
    runtime = _runtime()
    if out.exists() and not force:
        raise SeptoolError(f"{out} exists; use --force to replace it")
    name, path = catalogue.resolve_checkpoint(model)
    network, header = checkpoints.load(path)
    make_folder(out.parent)
    graph = _graph(AtAnyLevel(network).eval(), name)
    graph.model.metadata_props["septool"] = json.dumps(asdict(header))
    with atomic_write(out) as partial:
        graph.save(str(partial))
        session = runtime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        differences = list(_differences(network, header.sample_rate, session))
        if not all(each < TOLERANCE for each in differences):  # nor NaN
            apart = ", ".join(f"{each:.1e}" for each in differences)
            raise SeptoolError(f"{name} as ONNX gives something else: {apart} of the largest sample apart")
    return Exported(str(out), name, header.sample_rate, header.sources, out.stat().st_size, max(differences))


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401 - the exporter imports them after half a minute of work
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed; install it with: pip install 'septool[onnx]'") from None
    return onnxruntime


def _graph(network: nn.Module, name: str) -> Any:
    """Trace a network so that it takes any length."""
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
        raise SeptoolError(f"{name} has no form in ONNX, as far as torch {torch.__version__} knows") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep back what the exporter says on the way: of its own steps, and of packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _differences(network: Separator, rate: int, session: Any) -> Iterator[float]:
    """Compare outputs for stretches of a recording."""
    recording = torch.from_numpy(np.resize(audio.load_audio(EXAMPLE, rate), max(SAMPLES)))
    for samples in SAMPLES:
        mixture = recording[None, :samples]
        with torch.inference_mode():
            expected = separate_at_model_level(network, mixture)
        (given,) = session.run(None, {"mixture": mixture.numpy()})
        yield float((torch.from_numpy(given) - expected).abs().max() / expected.abs().max())

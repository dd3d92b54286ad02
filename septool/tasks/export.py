"""Checkpoints leave: as ONNX files, for programs without Python or torch, and as files of other toolkits.

An ONNX file takes ``mixture [1, time]``, of any level and any length over a network's first window, and gives ``voices
[1, source, time]``: what :func:`septool.inference.level.separate_at_model_level` does. Resampling, long recordings and
the levels of the voices are left to whoever runs it.
"""

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from septool import audio, catalogue, checkpoints
from septool.errors import SeptoolError, UsageError
from septool.files import atomic_write, make_folder
from septool.inference.level import separate_at_model_level
from septool.interop.foreign_files import write_asteroid, write_speechbrain
from septool.models.base import Separator
from septool.registry import suggest
from septool.tasks.profile import EXAMPLE

TRACED = 8000  # samples of what a network is traced with
SAMPLES = (100, 4000, 7993, 16001)  # of what outputs are compared for
SUFFIXES = {"onnx": (".onnx",), "asteroid": (".pth", ".bin"), "speechbrain": ("",)}
TOLERANCE = 1e-4  # of the largest sample; single precision differs by 1e-6 to 1e-5


@dataclass(frozen=True)
class Exported:
    """What was written, and how equal it is to the checkpoint."""

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


def export(model: str, out: Path, *, to: str = "onnx", force: bool = False) -> Exported:
    """Write a separator for other programs, and compare what was written with the checkpoint before it is kept.

    Args:
        model: a checkpoint's name, a model's, or a ``.safetensors`` file.
        out: what to write: a file ``.onnx``, a file ``.pth`` or ``.bin`` for asteroid, a folder for SpeechBrain.
        to: onnx, asteroid or speechbrain.
        force: replace what is there.

    Raises:
        UsageError: an unknown destination, a name of another kind, or packages that are not installed.
        SeptoolError: a network that they do not have, or a file that would give something else.
    """
    if to not in SUFFIXES:
        raise suggest("destination", to, SUFFIXES)
    if out.suffix not in SUFFIXES[to]:
        raise UsageError(
            f"output must end in {' or '.join(SUFFIXES[to])}: {out}"
            if to != "speechbrain"
            else f"{out} is named like a file; SpeechBrain's weights are a folder"
        )
    if out.exists() and not force:
        raise SeptoolError(f"{out} exists; use --force to replace it")
    return _export_onnx(model, out) if to == "onnx" else _export_to_toolkit(model, out, to)


def _export_to_toolkit(model: str, out: Path, to: str) -> Exported:
    """Write the files of another toolkit, whole or not at all."""
    name, path = catalogue.resolve_checkpoint(model)
    network, header = checkpoints.load(path)
    header = replace(header, config=asdict(network.config))
    make_folder(out.parent)
    try:
        if to == "asteroid":
            with atomic_write(out) as partial:
                write_asteroid(network.state_dict(), header, partial)
            size = out.stat().st_size
        else:
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=".septool-") as folder:
                write_speechbrain(network.state_dict(), header, Path(folder))
                make_folder(out)
                written = sorted(Path(folder).iterdir())
                size = sum(each.stat().st_size for each in written)
                for each in written:
                    os.replace(each, out / each.name)
    except SeptoolError as error:
        raise SeptoolError(f"{name} cannot be exported: {error}") from None
    return Exported(str(out), name, header.sample_rate, header.sources, size, 0.0)


def _export_onnx(model: str, out: Path) -> Exported:
    """Write an ONNX file; the checkpoint's header goes into its metadata, as JSON under ``septool``."""
    runtime = _runtime()
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

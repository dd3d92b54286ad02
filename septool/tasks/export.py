"""Exporting checkpoints: as ONNX graphs, and as files of other toolkits.

What an ONNX file takes and gives is in :mod:`septool.inference.onnx_export`. Resampling, long recordings and the levels
of the voices are left to whoever runs it; those of the cache are run by ``separate --engine``.
"""

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from septool import catalogue, checkpoints
from septool.atomic import atomic_write
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing
from septool.inference import onnx_export
from septool.inference.onnx_runtime import Precision, find_graph
from septool.interop.to_asteroid import write_asteroid
from septool.interop.to_speechbrain import write_speechbrain
from septool.registry import suggest

SUFFIXES = {"onnx": (".onnx",), "asteroid": (".pth", ".bin"), "speechbrain": ("",)}


@dataclass(frozen=True)
class Exported:
    """What was written, and how equal it is to the checkpoint."""

    file: str
    model: str
    sample_rate: int  # Hz
    sources: int
    bytes: int
    difference: float  # largest of all outputs compared, over the largest sample


def export(
    model: str,
    out: Path | None = None,
    *,
    to: str = "onnx",
    cache: bool = False,
    dtype: Precision = "fp32",
    force: bool = False,
) -> Exported:
    """Write a separator for other programs, and compare what was written with the checkpoint before it is kept.

    Args:
        model: a checkpoint's name, a model's, or a ``.safetensors`` file.
        out: what to write: a file ``.onnx``, a file ``.pth`` or ``.bin`` for asteroid, a folder for SpeechBrain.
        to: onnx, asteroid or speechbrain.
        cache: writes it where ``separate --engine`` looks for it, in place of ``out``.
        dtype: of linear and LSTM layers in ONNX: fp32, or int8, a quarter of the size and often faster.
        force: replace what is there.

    Raises:
        UsageError: an unknown destination or precision, a name of another kind, or packages that are not installed.
        SeptoolError: a network that they do not have, or a file that would give something else.
    """
    if to not in SUFFIXES:
        raise suggest("destination", to, SUFFIXES)
    if dtype not in get_args(Precision):
        raise suggest("precision", dtype, get_args(Precision))
    if dtype != "fp32" and to != "onnx":
        raise UsageError(f"--dtype {dtype} is for ONNX; leave out --to")
    if cache:
        if to != "onnx" or out is not None:
            raise UsageError("--cache is for ONNX Runtime here; leave out --to and --out")
        return _export_to_cache(model, dtype, force=force)
    if out is None:
        raise UsageError("name what to write with --out, or give --cache")
    if out.suffix not in SUFFIXES[to]:
        raise UsageError(
            f"output must end in {' or '.join(SUFFIXES[to])}: {out}"
            if to != "speechbrain"
            else f"{out} is named like a file; SpeechBrain's weights are a folder"
        )
    refuse_existing(out, force=force)
    if to != "onnx":
        return _export_to_toolkit(model, out, to)
    onnx_export.check_packages()
    name, path = catalogue.resolve_checkpoint(model)
    header, difference = onnx_export.write_graph(name, path, out, dtype)
    return Exported(str(out), name, header.sample_rate, header.sources, out.stat().st_size, difference)


def _export_to_cache(model: str, dtype: Precision, *, force: bool) -> Exported:
    """Write the graph that ``separate --engine`` runs, unless it is there."""
    onnx_export.check_packages()
    name, path = catalogue.resolve_checkpoint(model)
    graph = find_graph(path, dtype)
    header, info = checkpoints.read_header(path), graph.info()
    if info is None or force:
        header, info = onnx_export.keep_graph(name, path, graph, dtype)
    size = graph.path.stat().st_size
    return Exported(str(graph.path), name, header.sample_rate, header.sources, size, info.difference)


def _export_to_toolkit(model: str, out: Path, to: str) -> Exported:
    """Write the files of another toolkit, each whole or not at all."""
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
                size = sum(file.stat().st_size for file in written)
                for file in written:
                    os.replace(file, out / file.name)
    except SeptoolError as error:
        raise SeptoolError(f"{name} cannot be exported: {error}") from None
    return Exported(str(out), name, header.sample_rate, header.sources, size, 0.0)

"""What this installation can do, and what is missing: versions, devices, codecs, weights, and a second separated."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from septool import audio, catalogue
from septool.config import cache_folder
from septool.errors import SeptoolError
from septool.files import sha256_of
from septool.provenance import source_commit
from septool.version import __version__

LIBRARIES = ("torch", "torchaudio", "numpy", "scipy", "soundfile", "soxr", "safetensors", "huggingface_hub", "typer")
EXTRAS = {  # of the package: what it needs, and what for
    "av": (("av",), "m4a, mp4, mkv, webm, aac, wma, amr, ..."),
    "plot": (("matplotlib",), "HTML reports of separate and extract, figures of profile"),
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "models export"),
    "tensorboard": (("tensorboard",), "train --tensorboard"),
}
FREE_BYTES = 1_000_000_000  # less of it in the cache's folder is worth a word


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "missing", "failed"]  # missing: something is optional and not there
    detail: str


def examine(*, device: str = "auto", model: str = "galr") -> Iterator[Finding]:
    """Look at everything that septool stands on.

    Args:
        device: what separates the second of noise, as for ``separate``.
        model: the separator that does it.
    """
    commit = source_commit()
    yield Finding("septool", "ok", f"{__version__}{f' ({commit})' if commit else ''}, {Path(__file__).parents[1]}")
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", "ok", f"{platform.platform()}, {os.cpu_count()} processors")
    for name in LIBRARIES:
        yield _library(name)
    yield from _devices()
    yield Finding("audio", "ok", "reads " + " ".join(sorted(each[1:] for each in audio.readable_suffixes())))
    for extra, (modules, purpose) in EXTRAS.items():
        lacking = [name for name in modules if util.find_spec(name) is None]
        detail = f'{purpose}: pip install "septool[{extra}]"' if lacking else purpose
        yield Finding(f"extra {extra}", "missing" if lacking else "ok", detail)
    yield from _weights()
    yield _cache()
    yield _separation(device, model)


def _library(name: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "failed", "not installed: pip install septool")
    if name not in ("torch", "torchaudio"):
        return Finding(name, "ok", version)
    try:  # binaries that may not fit each other
        __import__(name)
    except (ImportError, OSError, RuntimeError) as error:
        purpose = "" if name == "torch" else "; extract, eval and train of speaker networks need it"
        return Finding(name, "failed", f"{version} cannot be imported: {str(error).splitlines()[0]}{purpose}")
    return Finding(name, "ok", version)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("device cpu", "ok", f"{platform.machine()}, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding(f"device cuda:{number}", "ok", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("device mps", "ok", "Apple's")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Finding("device cuda", "missing", f"no GPU is seen; {built}")


def _weights() -> Iterator[Finding]:
    for name, entry in catalogue.read_catalogue().items():
        if entry.file is None:
            continue
        path = catalogue.bundled_path(entry)
        try:
            whole = sha256_of(path) == entry.sha256
        except OSError as error:
            yield Finding(
                f"weights {name}", "failed", f"{path} cannot be read: {error.strerror}; install septool again"
            )
            continue
        detail = f"{entry.bytes / 1e6:.1f} MB, as published" if whole else f"{path} is damaged; install septool again"
        yield Finding(f"weights {name}", "ok" if whole else "failed", detail)


def _cache() -> Finding:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("cache", "failed", f"{folder} cannot be written: {error.strerror}; set SEPTOOL_CACHE")
    state = "ok" if free > FREE_BYTES else "failed"
    return Finding("cache", state, f"{folder}, {free / 1e9:.0f} GB free")


def _separation(device: str, model: str) -> Finding:
    import numpy as np

    from septool.tasks.separate import Separated, separate

    rate = 8000
    second = np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32)
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "second.wav"
            audio.write_audio(recording, second, rate)
            (result,) = separate([str(recording)], model=model, device=device, out=folder)
            if not isinstance(result, Separated):
                return Finding("separation", "failed", str(getattr(result, "error", result)))
            voices = np.concatenate([audio.read_audio(Path(path))[0] for path in result.outputs])
    except SeptoolError as error:
        return Finding("separation", "failed", str(error))
    except Exception as error:  # whatever torch or a driver raises is what is looked for here
        return Finding("separation", "failed", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if voices.shape[-1] != rate or not np.isfinite(voices).all() or not np.abs(voices).max() > 0:
        return Finding("separation", "failed", f"{model} gives silence or NaN")
    took = time.perf_counter() - began
    return Finding("separation", "ok", f"1 s by {model}, {len(voices)} voices, in {took:.1f} s with loading")

"""Checking the installation: versions, devices, codecs, weights, and a short separation."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from septool import audio, catalogue
from septool.config import cache_folder, cache_limit
from septool.errors import ConfigError, SeptoolError
from septool.provenance import source_commit
from septool.tasks import models
from septool.version import __version__

PURPOSES = {  # by extra; the package's metadata list the extras and their requirements
    "av": "m4a, mp4, mkv, webm, aac, wma, amr, ...",
    "cluster": "--cluster: many machines",
    "dnsmos": "eval --metric dnsmos-ovrl",
    "mir-eval": "eval --sdr-backend mir_eval",
    "onnx": "models export",
    "parquet": "eval --out FILE.parquet",
    "plot": "HTML reports of separate, extract and eval, figures of profile",
    "serve": "serve: the local page",
    "tensorboard": "train --tensorboard",
}
DEVELOPMENT = ("dev", "docs")  # extras for work on septool itself
BINARIES = ("torch", "torchaudio")  # may be there and not fit each other, or the system
FREE_BYTES = 1_000_000_000  # less of it in the cache's folder is worth a word


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "missing", "failed"]  # missing: something is optional and not there
    detail: str


def examine(*, device: str = "auto", model: str = "galr") -> Iterator[Check]:
    """Look at everything that septool stands on.

    Args:
        device: what separates the second of noise, as for ``separate``.
        model: the separator that does it.
    """
    commit = source_commit()
    yield Check("septool", "ok", f"{__version__}{f' ({commit})' if commit else ''}, {Path(__file__).parents[1]}")
    yield Check("Python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Check("system", "ok", f"{platform.platform()}, {os.cpu_count()} processors")
    requirements = _requirements()
    if requirements:
        for requirement in requirements[""]:
            yield _library(requirement)
    else:
        yield Check("libraries", "missing", "septool runs from a folder, so what it needs is not known; pip install .")
    yield from _devices()
    yield Check("audio", "ok", "reads " + " ".join(sorted(suffix[1:] for suffix in audio.readable_suffixes())))
    for extra in sorted(requirements.keys() - {"", *DEVELOPMENT}):
        yield _extra(extra, requirements[extra])
    yield from _weights()
    yield _cache()
    yield _separation(device, model)


def _requirements() -> dict[str, list[Requirement]]:
    """Return what the package needs, by the extra that it is for; nothing if it is not installed."""
    try:
        distribution = metadata.distribution("septool")
    except metadata.PackageNotFoundError:
        return {}
    found = [Requirement(text) for text in distribution.requires or ()]
    extras = distribution.metadata.get_all("Provides-Extra") or []
    needed: dict[str, list[Requirement]] = {extra: [] for extra in ("", *extras)}
    for requirement in found:
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            needed[""].append(requirement)
            continue
        for extra in extras:
            if marker.evaluate({"extra": extra}):
                needed[extra].append(requirement)
    return needed


def _lack(requirement: Requirement) -> str:
    """Say what is wrong with an installed library; nothing if it will do."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, needed is {requirement.specifier}"
    return ""


def _library(requirement: Requirement) -> Check:
    name = requirement.name
    if lack := _lack(requirement):
        return Check(name, "failed", f"{lack}: pip install septool")
    version = metadata.version(name)
    if name not in BINARIES:
        return Check(name, "ok", version)
    try:
        __import__(name)
    except (ImportError, OSError, RuntimeError) as error:
        purpose = "" if name == "torch" else "; extract, eval and train of speaker networks need it"
        return Check(name, "failed", f"{version} cannot be imported: {str(error).splitlines()[0]}{purpose}")
    return Check(name, "ok", version)


def _extra(extra: str, requirements: list[Requirement]) -> Check:
    lacks = [lack for lack in map(_lack, requirements) if lack]
    purpose = PURPOSES.get(extra, ", ".join(requirement.name for requirement in requirements))
    if not lacks:
        return Check(f"extra {extra}", "ok", purpose)
    return Check(f"extra {extra}", "missing", f'{purpose}: {"; ".join(lacks)}; pip install "septool[{extra}]"')


def _devices() -> Iterator[Check]:
    import torch

    threads = torch.get_num_threads()
    yield Check("device cpu", "ok", f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield Check(f"device cuda:{number}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Check("device mps", "ok", "Apple's")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Check("device cuda", "missing", f"no GPU is seen; {built}")


def _weights() -> Iterator[Check]:
    for name, entry in catalogue.read_catalogue().items():
        if entry.file is None:
            continue
        try:
            (checked,) = models.verify([name])
        except OSError as error:
            yield Check(f"weights {name}", "failed", f"{error.filename} cannot be read: {error.strerror}")
            continue
        detail = checked.error or f"{entry.bytes / 1e6:.1f} MB, as published"
        yield Check(f"weights {name}", "failed" if checked.error else "ok", detail)


def _cache() -> Check:
    folder = cache_folder()
    try:
        limit = cache_limit()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except ConfigError as error:
        return Check("cache", "failed", str(error))
    except OSError as error:
        return Check("cache", "failed", f"{folder} cannot be written: {error.strerror}; set SEPTOOL_CACHE")
    state = "ok" if free > FREE_BYTES else "failed"
    return Check("cache", state, f"{folder}, {free / 1e9:.0f} GB free, {limit / 1e9:g} GB at most")


def _separation(device: str, model: str) -> Check:
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
                return Check("separation", "failed", str(getattr(result, "error", result)))
            voices = np.concatenate([audio.read_audio(Path(path))[0] for path in result.outputs])
    except SeptoolError as error:
        return Check("separation", "failed", str(error))
    except Exception as error:  # whatever torch or a driver raises is what is looked for here
        return Check("separation", "failed", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if voices.shape[-1] != rate or not np.isfinite(voices).all() or not np.abs(voices).max() > 0:
        return Check("separation", "failed", f"{model} gives silence or NaN")
    took = time.perf_counter() - began
    return Check("separation", "ok", f"1 s by {model}, {len(voices)} voices, in {took:.1f} s with loading")

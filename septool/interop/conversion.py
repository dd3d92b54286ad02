"""Converting the files of another toolkit to a checkpoint; nothing is guessed.

What the tensors' shapes do not tell and the files do not say has to be said by whoever converts them.
"""

import _codecs
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from septool import provenance
from septool.checkpoints import Header
from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError, UsageError
from septool.files import sha256_of
from septool.interop import WEIGHTS, asteroid, authors, espnet, speechbrain, torchaudio
from septool.interop.description import Description
from septool.interop.tensors import (
    UNKNOWN,
    ForeignArchitecture,
    ForeignCheckpoint,
    Tensors,
    fit_tensors,
    match_tensors,
)
from septool.models.build import build_model
from septool.registry import suggest

ASSUMED_SEPFORMER = "a norm in front of every layer, a skip around the layers within chunks"
ASSUMED_RESEPFORMER = "a norm in front of every layer, a skip around the layers, means as memory, ReLU masks"
# What files of asteroid hold beside tensors: the version of torch that wrote them, a string, and scores, numbers
# of NumPy. None of these can do more than make a value.
_SCALAR = np.float64(0).__reduce__()[0]
PLAIN = [
    TorchVersion,
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    np.dtype,
    _codecs.encode,  # how a string of bytes is written
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
]


@dataclass(frozen=True)
class Source:
    """A kind of file that can be converted."""

    files: str  # in words
    read: Callable[[Sequence[Path]], ForeignCheckpoint]


@dataclass(frozen=True)
class Converted:
    """A checkpoint of ours that is not written yet."""

    weights: Tensors
    header: Header


def load_pickled_tensors(path: Path, content: BinaryIO | None = None) -> JsonDict:
    """Read a file of plain values and tensors as ``torch.save`` writes them; no code in it runs.

    Args:
        path: the file.
        content: what to read instead, if it lies within the file.

    Raises:
        CheckpointError: something else, or a file that needs more than plain values.
    """
    try:
        with torch.serialization.safe_globals(PLAIN):
            tensors = torch.load(path if content is None else content, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # its parser trips over a foreign file in many ways
        needs = ""
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global: GLOBAL " in str(error):
            needs = str(error).split("Unsupported global: GLOBAL ")[1].split()[0]
            needs = f"; it wants to run {needs}, which septool does not do"
        raise CheckpointError(f"{path} is not a file of plain tensors as torch saves them{needs}") from None
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path} holds no named tensors but a {type(tensors).__name__}")
    return tensors


def check_tensors(content: JsonMapping, path: Path) -> Tensors:
    """Return a state dict if it is one.

    Raises:
        CheckpointError: something else than named tensors in it.
    """
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} is not a state dict: it has a {type(value).__name__} under {name!r}")
    return dict(content)


def _single(paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        raise UsageError(f"this source is one file; {len(paths)} were given")
    return paths[0]


def _read_speechbrain(
    architecture: ForeignArchitecture, describe: Callable[[Path], JsonDict], assumed: str, paths: Sequence[Path]
) -> ForeignCheckpoint:
    checkpoints = {path.stem: path for path in paths if path.suffix != ".yaml"}
    described = [path for path in paths if path.suffix == ".yaml"]
    if sorted(checkpoints) != sorted(speechbrain.PARTS) or len(checkpoints) + len(described) != len(paths):
        given = ", ".join(path.name for path in paths)
        raise UsageError(
            f"this source is encoder.ckpt, masknet.ckpt and decoder.ckpt, best with hyperparams.yaml; {given} was given"
        )
    parts = {part: check_tensors(load_pickled_tensors(path), path) for part, path in checkpoints.items()}
    tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    tables = sum(name.endswith(".pos_enc.pe") for name in tensors)  # a transformer without positions has none
    arguments: JsonDict = {speechbrain.TABLES: tables}
    if described:
        arguments |= describe(described[0])
    return ForeignCheckpoint(architecture, tensors, arguments, assumed="" if described else assumed)


def _read_asteroid(paths: Sequence[Path]) -> ForeignCheckpoint:
    path = _single(paths)
    return asteroid.read_checkpoint(load_pickled_tensors(path), path)


def _read_torchaudio(paths: Sequence[Path]) -> ForeignCheckpoint:
    path = _single(paths)
    return ForeignCheckpoint(torchaudio.CONV_TASNET_BASE, load_pickled_tensors(path), {})


def _read_espnet(paths: Sequence[Path]) -> ForeignCheckpoint:
    if len(paths) == 1 and paths[0].suffix == ".zip":
        (path,) = paths
        text, tensors = espnet.open_zip(path)
        description, content = Description(path, text), load_pickled_tensors(path, tensors)
    else:
        described, path = espnet.split_files(paths)
        description, content = Description(described), load_pickled_tensors(path)
    architecture, settings = espnet.describe(description)
    espnet.check_rotary_rates(content)
    return ForeignCheckpoint(architecture, content, settings)


def _release_reader(source: str) -> Callable[[Sequence[Path]], ForeignCheckpoint]:
    return lambda paths: authors.read_release(source, load_pickled_tensors(_single(paths)))


SOURCES: dict[str, Source] = {
    "speechbrain-sepformer": Source(
        "hyperparams.yaml, encoder.ckpt, masknet.ckpt and decoder.ckpt",
        partial(_read_speechbrain, speechbrain.SEPFORMER, speechbrain.describe_sepformer, ASSUMED_SEPFORMER),
    ),
    "speechbrain-resepformer": Source(
        "the same files of a RE-SepFormer",
        partial(_read_speechbrain, speechbrain.RESEPFORMER, speechbrain.describe_resepformer, ASSUMED_RESEPFORMER),
    ),
    "espnet": Source(
        f"one .pth and the config.yaml beside it, or a zip of both ({', '.join(espnet.SEPARATORS)})", _read_espnet
    ),
    "asteroid": Source(
        f"the file that its networks are published as ({', '.join(asteroid.ARCHITECTURES)})", _read_asteroid
    ),
    "torchaudio-convtasnet": Source("the weights of CONVTASNET_BASE_LIBRI2MIX", _read_torchaudio),
    **{source: Source("one file with a state dict", _release_reader(source)) for source in authors.RELEASES},
}


def find_files(source: str, paths: Sequence[Path]) -> tuple[str, list[Path]]:
    """Name the source of a folder or of files in any known layout, and the files that matter.

    Args:
        source: a key of :data:`SOURCES`, or ``auto``.
        paths: files, or one folder.

    Raises:
        UsageError: a folder in no known layout.
        CheckpointError: a file of no known source.
    """
    files = list(paths)
    if len(files) == 1 and files[0].is_dir():
        files = _pick_files(files[0])
    for path in files:  # a pipe could be read once only, and only while somebody writes to it
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file of weights; save them as one")
    if source == "espnet":
        files = espnet.with_description(files)
    if source != "auto":
        return source, files
    parts = {path.stem: path for path in files}
    if parts.keys() >= set(speechbrain.PARTS):
        masknet = load_pickled_tensors(parts["masknet"])
        return f"speechbrain-{'resepformer' if speechbrain.is_resepformer(masknet) else 'sepformer'}", files
    if len(files) == 1 and files[0].suffix == ".zip":
        return "espnet", files
    weights = _single([path for path in files if path.name != espnet.YAML])
    content = load_pickled_tensors(weights)
    if espnet.is_espnet(content):
        return "espnet", espnet.with_description(files)
    if isinstance(name := content.get("model_name"), str) and name in asteroid.ARCHITECTURES:
        return "asteroid", files
    found = authors.recognize_release(content)
    if found is None and any(str(name).startswith("mask_generator.") for name in content):
        found = "torchaudio-convtasnet"
    if found is None:
        raise CheckpointError(f"{weights} is of no source that septool knows; known: {', '.join(SOURCES)}")
    return found, [weights]


def _pick_files(folder: Path) -> list[Path]:
    parts = [folder / f"{part}.ckpt" for part in speechbrain.PARTS]
    if all(path.exists() for path in parts):
        described = folder / speechbrain.YAML
        return [*([described] if described.exists() else []), *parts]
    found = [_weights_in(folder), *(_weights_in(path.parent) for path in _descriptions(folder))]
    files = next(filter(None, found), [])
    if len(files) != 1:
        raise UsageError(
            f"{folder} has {len(files)} files of weights; name the one to use, or a folder with "
            "hyperparams.yaml, encoder.ckpt, masknet.ckpt and decoder.ckpt"
        )
    return files


def _weights_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS)


def _descriptions(folder: Path) -> Iterator[Path]:
    """Find where ESPnet's model zoo keeps a model within a repository: ``exp/NAME``."""
    yield from sorted(folder.glob(f"exp*/*/{espnet.YAML}"))


def convert_files(
    source: str,
    paths: Sequence[Path],
    *,
    sample_rate: int | None = None,
    settings: JsonMapping | None = None,
    exact_tail: bool = False,
) -> Converted:
    """Bring another toolkit's weights into our shape.

    Args:
        source: where they are from, a key of :data:`SOURCES`, or ``auto``.
        paths: its files, or a folder of them.
        sample_rate: in Hz, where the files do not say it.
        settings: of our configuration, where neither shapes nor files say them.
        exact_tail: leave what is behind the last whole hop at zero, as the other toolkit does.

    Returns:
        The weights, and a header without licence and origin.

    Raises:
        CheckpointError: a file that is damaged, of another network, or of a variant that ours cannot be.
        UsageError: an unknown source, files that do not go with it, something left unsaid, or an exact tail where
            the other toolkit drops none.
    """
    if source not in SOURCES and source != "auto":
        raise suggest("source", source, SOURCES)
    source, files = find_files(source, paths)
    foreign = SOURCES[source].read(files)
    architecture, tensors = foreign.architecture, check_tensors(foreign.tensors, files[0])
    if exact_tail and not architecture.drops_tail:
        raise UsageError(
            f"an exact tail was asked for, but the {architecture.model} of {source} leaves no more at zero than "
            "septool does"
        )
    given = dict(settings or {})
    places = match_tensors(tensors, architecture.names)
    weights = {ours: tensors[theirs] for ours, theirs in places.items()}
    try:
        config = architecture.infer_config(weights, {**given, **foreign.arguments})
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        raise CheckpointError(
            f"the tensors do not have the axes of a {architecture.model}, or the file contradicts them"
        ) from None
    config = _complete(config, given, architecture.model)
    with torch.device("meta"):
        model = build_model(architecture.model, config)
    fitted = fit_tensors(weights, model.state_dict(), places)
    rate = _settle_rate(foreign.arguments.get("sample_rate"), sample_rate)
    header = Header(
        model=architecture.model,
        config=json.loads(json.dumps(asdict(model.config))),  # as it will be read again
        sample_rate=rate,
        sources=model.config.sources,
        origin=f"{source}: " + ", ".join(f"{path.name} (sha256 {sha256_of(path)})" for path in files),
        software=provenance.library_versions(),
        drops_tail=exact_tail,
        assumed=foreign.assumed,
    )
    return Converted(fitted, header)


def _complete(config: JsonDict, given: JsonMapping, model: str) -> JsonDict:
    """Fill what the files leave open with what was given."""
    for key, value in given.items():
        if key not in config:
            raise UsageError(f"{key} was given, but {model} has no such setting")
        if config[key] is not UNKNOWN and config[key] != value:
            raise UsageError(f"{key} {value} was given, but in these files it is {config[key]}")
        config[key] = value
    unknown = [key for key, value in config.items() if value is UNKNOWN]
    if unknown:
        example = " ".join(f"--set {key}=N" for key in unknown)
        raise UsageError(f"these files do not say {' and '.join(unknown)} of their {model}; give it with {example}")
    return config


def _settle_rate(stated: object, given: int | None) -> int:
    if stated is None:
        if given is None:
            raise UsageError("these files do not say at which rate the network works; give it with --sample-rate HZ")
        return given
    if isinstance(stated, bool) or not isinstance(stated, int | float) or stated % 1 != 0:
        raise CheckpointError(f"sample_rate is {stated!r} in these files; it has to be a whole number of Hz")
    if given is not None and int(stated) != given:
        raise UsageError(f"a sample rate of {given} Hz was given, but these files say {int(stated)} Hz")
    return int(stated)

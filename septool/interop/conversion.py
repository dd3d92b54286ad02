"""Checkpoint files of other toolkits: reading them, and giving every tensor its place in our network."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from septool.errors import CheckpointError, UsageError
from septool.interop import architectures
from septool.interop.architectures import Arguments, Names, Peer, Tensors


def match_tensors(tensors: Mapping[str, Tensor], names: Names) -> dict[str, str]:
    """Find the place of every tensor; returns our names and theirs.

    Raises:
        CheckpointError: a tensor without a line in the table, a line without a tensor, or two for one place.
    """
    lines = [(re.compile(re.escape(line).replace(r"\*", "([^.]+)")), line) for line in names]
    unmet = [line for line, ours in names.items() if ours is not None]
    places = {}
    for theirs, value in tensors.items():
        match, line = next(((m, line) for pattern, line in lines if (m := pattern.fullmatch(theirs))), (None, ""))
        if match is None:
            raise CheckpointError(
                f"{theirs} {tuple(value.shape)} has no place: these are files of another source, "
                "or of a variant that septool does not have"
            )
        if line in unmet:
            unmet.remove(line)
        ours = names[line]
        if ours is not None:
            for part in match.groups():
                ours = ours.replace("*", {"gamma": "weight", "beta": "bias"}.get(part, part), 1)
            if ours in places:
                raise CheckpointError(f"{theirs} and {places[ours]} are for the same place")
            places[ours] = theirs
    if unmet:
        raise CheckpointError(f"there is no tensor {unmet[0]} in these files (* is any part of a name)")
    return places


def fit_tensors(weights: Tensors, own: Mapping[str, Tensor], places: Mapping[str, str]) -> Tensors:
    """Give every tensor the shape that it has in our model; axes of length one come and go.

    Raises:
        CheckpointError: a tensor that ours lacks or that has another size, or one that is missing.
    """
    fitted = {}
    for ours, value in weights.items():
        theirs = f"{places.get(ours, ours)} {tuple(value.shape)}"
        if ours not in own:
            raise CheckpointError(f"{theirs} has no place: septool does not have this variant")
        shape = own[ours].shape
        if [n for n in value.shape if n > 1] != [n for n in shape if n > 1]:
            raise CheckpointError(f"{theirs} does not fit the other tensors; with them it would be {tuple(shape)}")
        fitted[ours] = value.reshape(shape)
    missing = next((name for name in own if name not in fitted), None)
    if missing is not None:
        raise CheckpointError(f"nothing in these files fills {missing} {tuple(own[missing].shape)}")
    return fitted


def _load(path: Path) -> dict[str, Any]:
    try:
        # Files of asteroid hold the version of torch that wrote them, a harmless kind of string.
        with torch.serialization.safe_globals([TorchVersion]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except Exception:  # its parser trips over a foreign file in many ways
        raise CheckpointError(f"{path} is not a file of plain tensors as torch saves them") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no named tensors but a {type(content).__name__}")
    return content


def _tensors(content: Mapping[str, Any], path: Path) -> Tensors:
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} is not a state dict: it has a {type(value).__name__} under {name!r}")
    return dict(content)


def _single(paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        raise UsageError(f"this source is one file; {len(paths)} were given")
    return paths[0]


def _speechbrain(paths: Sequence[Path]) -> tuple[Peer, Tensors, Arguments]:
    if sorted(path.stem for path in paths) != ["decoder", "encoder", "masknet"]:
        given = ", ".join(path.name for path in paths)
        raise UsageError(f"this source is encoder.ckpt, masknet.ckpt and decoder.ckpt; {given} was given")
    parts = {path.stem: _tensors(_load(path), path) for path in paths}
    tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    tables = sum(name.endswith(".pos_enc.pe") for name in tensors)  # a transformer without positions has none
    return architectures.SEPFORMER, tensors, {"number of position tables": tables}


def _asteroid(paths: Sequence[Path]) -> tuple[Peer, Tensors, Arguments]:
    path = _single(paths)
    content = _load(path)
    for key in ("model_name", "model_args", "state_dict"):
        if key not in content:
            raise CheckpointError(f"{path} is not a checkpoint of asteroid: it has no {key}")
    name, arguments, state = content["model_name"], content["model_args"], content["state_dict"]
    if not isinstance(arguments, dict) or not isinstance(state, dict):
        raise CheckpointError(f"{path} is not a checkpoint of asteroid: model_args or state_dict names nothing")
    if name not in architectures.ASTEROID:
        raise CheckpointError(f"{path} holds asteroid's {name}; septool converts {', '.join(architectures.ASTEROID)}")
    for key, known in architectures.ASTEROID_ONLY.items():
        architectures.choose(arguments, key, *known)
    return architectures.ASTEROID[name], _tensors(state, path), arguments


def _torchaudio(paths: Sequence[Path]) -> tuple[Peer, Tensors, Arguments]:
    path = _single(paths)
    return architectures.CONV_TASNET_BASE, _tensors(_load(path), path), {}


SOURCES: dict[str, Callable[[Sequence[Path]], tuple[Peer, Tensors, Arguments]]] = {
    "speechbrain-sepformer": _speechbrain,
    "asteroid": _asteroid,
    "torchaudio-convtasnet": _torchaudio,
}

"""Mapping of other toolkits' tensors to our networks: names and shapes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError

Tensors = dict[str, Tensor]
Arguments = JsonMapping  # what a file says of its network
Names = Mapping[str, str | None]  # theirs to ours; * is one part of a name, None a constant that has no place

UNKNOWN = object()  # a setting that neither the tensors' shapes nor the file tell


@dataclass(frozen=True)
class ForeignArchitecture:
    """A network of another toolkit that is one of ours under other names."""

    model: str  # ours
    names: Names
    infer_config: Callable[[Tensors, Arguments], JsonDict]  # returns our settings, mends the renamed tensors
    drops_tail: bool = False  # samples behind the last whole hop come back as zeros


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What the files of a source hold."""

    architecture: ForeignArchitecture
    tensors: Tensors
    arguments: Arguments
    assumed: str = ""  # what the files do not say and every published network of this kind has


def choose(arguments: Arguments, key: str, *known: object) -> Any:
    """Return what a file says of its network; if it says nothing, the first of what ours can be.

    Raises:
        CheckpointError: ours cannot be what the file says.
    """
    value = arguments.get(key, known[0])
    if value not in known:
        can = " or ".join(map(repr, known))
        raise CheckpointError(f"{key} is {value!r} in this file; septool has such a network only with {can}")
    return value


def count_children(weights: Mapping[str, Tensor], stem: str) -> int:
    """Count the modules directly under a name."""
    return len({name.removeprefix(stem).split(".")[1] for name in weights if name.startswith(f"{stem}.")})


def name_pattern(line: str) -> re.Pattern[str]:
    """Return what finds the names that a line of a table is of; each ``*`` stands for one part, which is a group."""
    return re.compile(re.escape(line).replace(r"\*", "([^.]+)"))


def match_tensors(tensors: Mapping[str, Tensor], names: Names) -> dict[str, str]:
    """Find the place of every tensor; returns our names and theirs.

    Raises:
        CheckpointError: a tensor without a line in the table, a line without a tensor, or two for one place.
    """
    lines = [(name_pattern(line), line) for line in names]
    unmet = [line for line, ours in names.items() if ours is not None]
    places: dict[str, str] = {}
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


def fit_tensors(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], places: Mapping[str, str]) -> Tensors:
    """Give every tensor the shape that it has in our model; axes of length one come and go.

    Raises:
        CheckpointError: a tensor that ours lacks or that has another size, or one that is missing.
    """
    fitted: Tensors = {}
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


def half(arguments: Arguments, key: str, whole: int) -> None:
    """Refuse a hop that is not half of its window.

    Raises:
        CheckpointError: the file says another hop.
    """
    hop = arguments.get(key) or whole // 2
    if hop != whole // 2:
        raise CheckpointError(f"{key} is {hop} in this file; septool has such a network only with half of {whole}")

"""Names of our weights in other toolkits, for networks that both have.

:mod:`~septool.interop.to_asteroid` and :mod:`~septool.interop.to_speechbrain` write the files; what was written is
converted back and compared before it is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from septool.config import JsonMapping
from septool.errors import SeptoolError
from septool.headers import Header
from septool.interop.conversion import convert_files
from septool.interop.tensors import Names, Tensors, name_pattern


@dataclass(frozen=True)
class Layout:
    """How another toolkit keeps one of our networks."""

    names: Names
    axes: Mapping[str, int]  # extra axes of their tensors: theirs are convolutions of width one
    gains: tuple[str, ...]  # ends of their names whose weight and bias are called gamma and beta
    required: JsonMapping  # settings of ours that theirs cannot have otherwise


def rename(weights: Mapping[str, Tensor], layout: Layout) -> Tensors:
    """Give every tensor of ours the name and the axes that it has there."""
    lines = [(name_pattern(ours), theirs) for theirs, ours in layout.names.items() if ours is not None]
    renamed: Tensors = {}
    for name, value in weights.items():
        match, theirs = next((m, theirs) for pattern, theirs in lines if (m := pattern.fullmatch(name)))
        for part in match.groups():
            theirs = theirs.replace("*", part, 1)
        stem, _, last = theirs.rpartition(".")
        if stem.endswith(layout.gains) and layout.gains:
            theirs = f"{stem}.{ {'weight': 'gamma', 'bias': 'beta'}[last] }"
        axes = layout.axes.get(theirs, value.dim())
        renamed[theirs] = value.reshape(*value.shape, *[1] * (axes - value.dim())).contiguous()
    return renamed


def check_settings(header: Header, layout: Layout, toolkit: str) -> None:
    """Refuse a network that the other toolkit has only with other settings."""
    for key, wanted in layout.required.items():
        if header.config[key] != wanted:
            raise SeptoolError(f"{key} is {header.config[key]!r}; {toolkit} has a {header.model} only with {wanted!r}")


def compare_written(source: str, files: list[Path], weights: Mapping[str, Tensor], header: Header) -> None:
    """Convert what was written back, and compare."""
    again = convert_files(source, files)
    if (again.header.config, again.header.sample_rate) != (header.config, header.sample_rate):
        changed = {key for key, value in again.header.config.items() if header.config.get(key) != value}
        raise SeptoolError(f"the file would be of another network: {', '.join(sorted(changed)) or 'its rate'} differ")
    if any(not torch.equal(again.weights[key], value) for key, value in weights.items()):
        raise SeptoolError("the file would hold other weights")

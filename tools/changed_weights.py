"""What tools share that make weights from those of a trained network, to be trained on from there."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from septool import checkpoints
from septool.files import make_folder
from septool.headers import Header

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def weights_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the weights that a tool begins with, and of the file that it writes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a checkpoint's name or file")
    parser.add_argument("output", type=Path, metavar="OUT.safetensors")
    return parser


def in_half_precision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with 16 bits each; what counts, such as a norm's batches, keeps its integers."""
    return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}


def save_changed(
    path: Path, weights: Mapping[str, Tensor], header: Header, config: "DataclassInstance", origin: str
) -> None:
    """Write changed weights and their configuration, with the header of those that they were made from.

    Of the history only the data still holds: no recipe makes these weights, and nothing was measured of them.
    """
    history: dict[str, Any] = {"recipe": {}, "steps": 0, "hours": 0.0, "hardware": "", "measured": {}}
    make_folder(path.parent)
    checkpoints.save(path, dict(weights), replace(header, config=asdict(config), origin=origin, **history))

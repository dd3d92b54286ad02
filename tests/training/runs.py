"""What the tests of training share: a tiny recipe, and a log without its clocks."""

import json
from pathlib import Path
from typing import Any

import torch

from septool.training.distributed import Distributed
from septool.training.recipe import Recipe
from septool.training.recipe_files import recipe_from_dict
from tests.models.tiny import TINY

ALONE = Distributed(torch.device("cpu"))
CLOCKS = ("samples_per_s", "hours", "waiting")


def recipe(folder: Path, /, **changes: Any) -> Recipe:
    """A recipe of six steps and two epochs on the manifests of a folder, some of its sections changed."""
    model = changes.get("model", "galr")
    values: dict[str, Any] = {
        "model": model,
        "config": TINY[model] | ({"dropout": 0.1} if model == "galr" else {}),
        "data": {"train": str(folder / "train-speech.jsonl"), "validation": str(folder / "dev-2mix.jsonl")},
        "mixing": {"seconds": 0.25},
        "loop": {"steps": 6, "epoch_steps": 4, "batch": 2, "ema": 0.9},
        "optimizer": {"lr": 1e-3},
    }
    for section, change in changes.items():
        values[section] = values.get(section, {}) | change if isinstance(change, dict) else change
    return recipe_from_dict(values)


def lines(out: Path, event: str | None = None) -> list[dict[str, Any]]:
    """Read a log without starts and clocks."""
    read = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in CLOCKS}
        for line in read
        if line["event"] != "start" and event in (None, line["event"])
    ]


def state(out: Path, name: str = "last.pt") -> dict[str, Any]:
    return torch.load(out / name, weights_only=True)


def recent_losses(out: Path) -> list[float]:
    """Return the losses of a run since the last line of its log."""
    return [step["loss"] for step in state(out)["progress"]["recent_steps"]]


def largest_difference(first: Path, second: Path) -> float:
    """Return by how much the weights of two runs differ at most."""
    ours, theirs = state(first)["model"], state(second)["model"]
    return max(float((value - theirs[name]).abs().max()) for name, value in ours.items())

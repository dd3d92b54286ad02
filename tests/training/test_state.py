"""States on disk: those of earlier versions are resumed, and what is no state is told apart from one."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.errors import CheckpointError
from septool.tasks.train import plan_run, train
from septool.training.state import read_state
from tests.training.runs import largest_difference, lines, recent_losses, recipe, state

# As the first versions wrote them.
FIRST_COUNTERS = {
    "epochs_since_best": "stale",
    "skipped_steps": "skipped",
    "validation_pending": "pending",
    "recent_steps": "recent",
    "average_candidates": "kept",
}


def as_first_written(folder: Path) -> dict[str, Any]:
    """Give a run's state the keys of the first versions, and return it."""
    content = state(folder)
    progress = {FIRST_COUNTERS.get(key, key): value for key, value in content["progress"].items()}
    progress["recent"] = [step["loss"] for step in progress["recent"]]
    del progress["skipped_in_a_row"]
    content["progress"] = progress
    torch.save(content, folder / "last.pt")
    return content


def test_a_state_of_the_first_versions_is_resumed_to_the_same_numbers(manifests: Path, tmp_path: Path) -> None:
    loop = {"average": 1, "accumulation_steps": 2}
    train(recipe(manifests, loop=loop), tmp_path / "whole")
    train(recipe(manifests, loop=loop | {"steps": 4}), tmp_path / "old")
    old = as_first_written(tmp_path / "old")
    assert old["progress"].keys() == {
        *("step", "best", "stale", "bad_epochs", "plateau_scale", "skipped", "pending", "recent", "kept")
    }
    written = json.loads(old["recipe"])
    assert {"row", "initialise", "enrolling"} < written.keys()
    assert written["loop"]["accumulate"] == 2
    longer, folder, resume = plan_run(None, ["loop.steps=6"], tmp_path / "old", resume=True)
    assert resume
    train(longer, folder, resume=True)
    first, second = (state(tmp_path / name) for name in ("whole", "old"))
    for part in ("model", "average"):
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())
    assert recent_losses(tmp_path / "whole") == recent_losses(tmp_path / "old")
    assert first["progress"] | {"recent_steps": []} == second["progress"] | {"recent_steps": []}
    assert lines(tmp_path / "whole", "validation") == lines(tmp_path / "old", "validation")


def test_a_run_without_a_moving_average_keeps_none_and_resumes_states_with_one(manifests: Path, tmp_path: Path) -> None:
    loop = {"ema": 0.0, "average": 2, "epoch_steps": 1}
    train(recipe(manifests, loop=loop | {"steps": 2}), tmp_path / "whole")
    train(recipe(manifests, loop=loop | {"steps": 1}), tmp_path / "old")
    content = state(tmp_path / "old")
    assert content["average"] == {}
    torch.save(content | {"average": content["model"]}, tmp_path / "old" / "last.pt")  # as earlier versions did
    train(recipe(manifests, loop=loop | {"steps": 2}), tmp_path / "old", resume=True)
    assert largest_difference(tmp_path / "whole", tmp_path / "old") == 0
    assert lines(tmp_path / "whole", "average") == lines(tmp_path / "old", "average")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], r"it holds a list, not the state of a run"),
        ({"weights": {}}, r"it is not the state of a run: it has no 'model'"),
        ({"model": 3}, r"it is not the state of a run: it has 'model' of type int"),
        ({"progress": {"step": "x"}}, r"its progress has 'step' 'x'"),
        ({"progress": {"stride": 1}}, r"its progress has 'stride' 1"),
        ({"progress": {"step": -5}}, r"its progress has 'step' -5"),
        (
            {"model": {"encoder.weight": torch.tensor([1.0, math.nan])}},
            r"its weights in encoder\.weight are no numbers",
        ),
        ({"recipe": "[" * 100_000}, r"maximum recursion depth"),
        ({"recipe": "3"}, r"last\.pt is damaged: "),
        ({"recipe": '{"model": "galr", "loop": {"steps": 0}}'}, r"steps is 0; it lies between 1 and"),
    ],
    ids=["list", "weights", "type", "text", "unknown-key", "negative", "nan", "nested", "number", "recipe"],
)
def test_what_is_no_state_is_said_in_one_line(manifests: Path, tmp_path: Path, content: Any, said: str) -> None:
    train(recipe(manifests, loop={"steps": 1}), tmp_path)
    whole = state(tmp_path)
    changed = whole | content if isinstance(content, dict) and "weights" not in content else content
    torch.save(changed, tmp_path / "last.pt")
    (tmp_path / "previous.pt").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=said) as error:
        read_state(tmp_path)
    assert "\n" not in str(error.value)
    torch.save(whole, tmp_path / "previous.pt")
    assert read_state(tmp_path).path == tmp_path / "previous.pt"


def test_a_state_is_there_at_every_moment_of_saving(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe(manifests, loop={"steps": 1}), tmp_path)
    replace, seen = os.replace, []

    def look(*names: Any) -> None:
        seen.append((tmp_path / "last.pt").exists())
        replace(*names)
        seen.append((tmp_path / "last.pt").exists())

    monkeypatch.setattr(os, "replace", look)
    train(recipe(manifests, loop={"steps": 2}), tmp_path, resume=True)
    assert all(seen)
    assert not (tmp_path / "last.pt").samefile(tmp_path / "previous.pt")
    assert state(tmp_path, "previous.pt")["progress"]["step"] > 0
    assert not list(tmp_path.glob(".*.partial"))


def test_where_a_file_has_one_name_only_the_state_before_is_kept_all_the_same(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for steps in (1, 2):
        train(recipe(manifests, loop={"steps": steps}), tmp_path, resume=steps > 1)
    assert not (tmp_path / "last.pt").samefile(tmp_path / "previous.pt")
    assert state(tmp_path, "previous.pt")["progress"]["step"] > 0

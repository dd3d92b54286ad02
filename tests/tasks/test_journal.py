"""The log of a run: whole lines, none from beyond the state that a run goes on from."""

import sys
from pathlib import Path

import pytest

from septool.errors import UsageError
from septool.tasks.journal import Journal, commit
from septool.tasks.train import train
from tests.tasks.training import recipe


def test_what_a_killed_run_wrote_beyond_its_state_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "step": 2}\n{"event": "step", "step": 3}\n{"ev')
    with Journal(tmp_path, step=2) as journal:
        journal.write({"event": "step", "step": 3, "loss": 1.0})
    assert path.read_text().splitlines() == [
        '{"event": "step", "step": 1}',
        '{"event": "step", "step": 2}',
        '{"event": "step", "step": 3, "loss": 1.0}',
    ]


def test_a_missing_tensorboard_is_worded(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"TensorBoard is not installed; get it with: pip install 'septool\["):
        train(recipe(manifests), tmp_path, tensorboard=True)


def test_tensorboard_gets_the_curves(manifests: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe(manifests), tmp_path, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("validation/si_snri")] == [4, 6]


def test_a_commit_is_a_hash_or_nothing() -> None:
    assert commit() == "" or len(commit().rstrip("+")) == 40

"""What a run says of itself: ``log.jsonl`` in its folder and, if asked for, TensorBoard's files."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from septool import audio, checkpoints
from septool.errors import UsageError

COUNTERS = ("step", "steps", "epoch")  # no curves
ENDING = ("early stop", "average")  # said at the end of a run, and again if it goes on from there


class Journal:
    """The log of a run; a run that goes on drops the lines after the state that it goes on from."""

    def __init__(self, folder: Path, *, step: int, pending: bool = False, tensorboard: bool = False) -> None:
        """Open the log at ``step``, whose validation is ``pending``."""
        self._writer = _tensorboard(folder / "tensorboard", step) if tensorboard else None
        path = folder / "log.jsonl"
        if path.exists():
            with audio.replacing(path) as partial:
                partial.write_text("".join(line + "\n" for line in _until(path, step, pending)), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()
        if self._writer:
            for key, value in event.items():
                if isinstance(value, int | float) and key not in COUNTERS:
                    self._writer.add_scalar(f"{event['event']}/{key}", value, event["step"])

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._writer:
            self._writer.close()


def _until(path: Path, step: int, pending: bool) -> list[str]:
    """Return the whole lines of a log up to a step; a run that was killed may have left half a line."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            undone = pending and event["step"] == step and event["event"] == "validation"
            if event["step"] <= step and not undone and event["event"] not in ENDING:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    return kept


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("TensorBoard is not installed; get it with: pip install 'septool[tensorboard]'") from None
    return SummaryWriter(str(folder), purge_step=step + 1)


@cache
def commit() -> str:
    """Return the commit of this code, with a + if files were changed since; empty if git does not track it."""
    package = Path(__file__).parents[1]

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", package, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # an installed package may lie in a repository of something else
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def software() -> dict[str, str]:
    """Return the versions, and the commit if there is one, that a run depends on."""
    return checkpoints.software() | ({"commit": commit()} if commit() else {})

"""What a run says of itself: ``log.jsonl`` in its folder and, if asked for, TensorBoard's files."""

import json
from pathlib import Path
from typing import Any

from septool.errors import UsageError
from septool.files import atomic_write

COUNTERS = ("step", "steps", "epoch")  # no curves
ENDING = ("early stop", "average")  # said at the end of a run, and again if it goes on from there


class Journal:
    """The log of a run; a run that goes on drops the lines after the state that it goes on from."""

    def __init__(self, folder: Path, *, step: int, pending: bool = False, tensorboard: bool = False) -> None:
        """Open the log at ``step``, whose validation is ``pending``."""
        self._writer = _tensorboard(folder / "tensorboard", step) if tensorboard else None
        path = folder / "log.jsonl"
        if path.exists():
            with atomic_write(path) as partial:
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

"""The log of a run: ``log.jsonl`` in its folder and, if asked for, TensorBoard files."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from septool.atomic import atomic_write
from septool.config import JsonDict, finite_or_null
from septool.errors import SeptoolError, UsageError
from septool.files import parse_json_lines
from septool.metrics import Measure
from septool.printable import count

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Event = JsonDict  # "event" (its kind), "step", and reported values
COUNTERS = ("step", "steps", "epoch")  # not plotted
FINAL_EVENTS = ("early stop", "average")  # logged at the end of a run, and again if it is resumed from there


def describe_event(event: Event, metric: Measure, folder: Path) -> str:
    """Return the line that tells a person about an event other than a step of the run in ``folder``."""
    match event["event"]:
        case "validation":
            score = describe_score(event, metric)
            skipped = f", {count(event['skipped'], 'step')} skipped" if event["skipped"] else ""
            best = f"best {event['best']:.2f}"
            return f"step {event['step']}: {score} in validation ({best}), {event['hours']:.2f} h{skipped}"
        case "average":
            steps = ", ".join(map(str, event["of"]))
            return f"average of steps {steps}: {describe_score(event, metric)} (average.safetensors)"
        case "early stop":
            return f"step {event['step']}: stopped early, {event['epochs']} epochs without improvement"
        case "interrupted":
            return f"step {event['step']}: interrupted; the state is saved, and --resume continues from it"
        case "changed":
            return f"{event['setting']} was {event['was']}, is {event['is']} from step {event['step']} on"
        case "initial weights":
            return f"{event['setting']} of the initial weights is {event['was']}, here it is {event['is']}"
        case "start":
            data = (
                f"; its weights will call their data {event['data_name']!r} (data.name)" if event["data_name"] else ""
            )
            return (
                f"{event['model']}, {event['parameters'] / 1e6:.2f} M parameters, batches of {event['batch']} "
                f"on {event['processes']} x {event['hardware']}, in {folder}{data}"
            )
        case other:
            raise ValueError(f"no words for the event {other!r}")


def describe_step(event: Event, sample_rate: int, score: str) -> str:
    """Return the progress that a step reports, with the ``score`` of the last validation if there was one."""
    rate = event["samples_per_s"] / sample_rate
    return ", ".join((f"loss {event['loss']:.2f}", *([score] if score else []), f"{rate:.1f} s of audio/s"))


def describe_score(event: Event, metric: Measure) -> str:
    """Return the score of a validation or of averaged weights, in words."""
    return f"{metric.name} {event[metric.key]:.2f} {metric.unit}"


def summarize_steps(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of what steps report, and the largest norm of a gradient, both of what is finite.

    >>> summarize_steps([{"loss": 1.0, "gradient": 4.0}, {"loss": 2.0, "gradient": 3.0}])
    {'loss': 1.5, 'gradient': 4.0}
    """
    summary = {}
    for key in steps[-1]:
        finite = [step[key] for step in steps if math.isfinite(step.get(key, math.nan))]
        summarize = max if key == "gradient" else fmean
        summary[key] = summarize(finite) if finite else math.nan
    return summary


class TrainingLog:
    """The log of a run; resuming drops the lines after the state that is resumed from."""

    def __init__(self, folder: Path, *, step: int, validation_pending: bool = False, tensorboard: bool = False) -> None:
        """Open the log at ``step``, whose validation may be pending."""
        self._writer = _tensorboard_writer(folder / "tensorboard", step) if tensorboard else None
        self._path = folder / "log.jsonl"
        if self._path.exists():
            with atomic_write(self._path) as partial:
                kept = _events_until(self._path, step, validation_pending)
                partial.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Append a line.

        Raises:
            SeptoolError: the disk is full, say.
        """
        try:
            self._file.write(json.dumps(finite_or_null(event)) + "\n")
            self._file.flush()
        except OSError as error:
            raise SeptoolError(f"{self._path} cannot be written: {error.strerror}") from None
        if self._writer:
            for key, value in event.items():
                if isinstance(value, int | float) and key not in COUNTERS:
                    self._writer.add_scalar(f"{event['event']}/{key}", value, event["step"])

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._writer:
            self._writer.close()


def _events_until(path: Path, step: int, validation_pending: bool) -> list[Event]:
    """Return the events of a log up to a step."""
    kept = []
    for event in parse_json_lines(path.read_bytes()):
        with suppress(KeyError, TypeError):
            undone = validation_pending and event["step"] == step and event["event"] == "validation"
            if event["step"] <= step and not undone and event["event"] not in FINAL_EVENTS:
                kept.append(event)
    return kept


def check_tensorboard() -> None:
    """Refuse a log that cannot be written.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 - fails without the package
    except ImportError:
        raise UsageError("TensorBoard is not installed; get it with: pip install 'septool[tensorboard]'") from None


def _tensorboard_writer(folder: Path, step: int) -> "SummaryWriter":
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)

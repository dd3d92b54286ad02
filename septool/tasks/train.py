"""Training: mixtures in, the best and the last checkpoint out.

What a step does is a function of the state before it, the recipe and the step's number: mixtures and
dropout are seeded by them. So the run's ``last.pt`` (weights, optimisers, averaged weights, counters) is
all that a stopped run needs to go on to the same numbers as one that was not. See ``data.py`` for what
a step learns from, ``optimising.py`` for how weights move, ``distributed.py`` for several processes and what
their number changes.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch

from septool.config import as_dict, build, override
from septool.data.enrollment import EnrollmentSampling
from septool.device import enough_memory, hardware
from septool.errors import UsageError
from septool.files import atomic_write, make_folder, sha256_of
from septool.models import MODELS
from septool.provenance import software
from septool.registry import Registry
from septool.training import data, distributed
from septool.training.distributed import Ranks
from septool.training.interrupt import Stop
from septool.training.log import Journal
from septool.training.recipe import Recipe, changes, in_effect, load, run_name
from septool.training.trainer import STATES, Run, read_state, recipe_of

LOG_EVERY = 50  # steps a line of the log stands for
RUNS = Registry(
    "run",
    {
        "separator": "septool.training.trainer:Run",
        "extractor": "septool.training.extraction:ExtractorRun",
        "speaker": "septool.training.verification:SpeakerRun",
    },
)
Report = Callable[[dict[str, Any]], None]


def kind(recipe: Recipe) -> type[Run]:
    """Return the kind of run that a recipe's model is trained by."""
    return RUNS[MODELS[recipe.model].role]


def plan(
    name: str | None, settings: Sequence[str] = (), out: Path | None = None, *, resume: bool = False
) -> tuple[Recipe, Path, bool]:
    """Return the recipe and the folder of a run, and whether it goes on.

    Args:
        name: a recipe, by name or path; a run that goes on in ``out`` needs none.
        settings: ``key=value``, what to change in it.
        out: the folder; named by recipe and settings by default.
        resume: the run goes on: by the recipe that it has, in which nothing but the settings is changed. With a
            recipe it starts where there is none yet, so that one command line can be begun again and again.

    Raises:
        UsageError: no recipe, or one that is not the run's.
    """
    if name is None and not (resume and out):
        raise UsageError("train takes a recipe, or --resume and --out; septool train --list shows the recipes")
    folder = out or Path("runs") / run_name(str(name), settings)
    if name is not None and not (resume and has_state(folder)):
        return load(name, settings), folder, False
    before = recipe_of(read_state(folder)[1])
    own = build(Recipe, override(as_dict(before), settings))
    asked = own if name is None else load(name, settings)
    if asked.model != before.model:
        raise UsageError(f"{folder} is a run of {before.model}, not {asked.model}")
    differing = changes(own, asked)
    if differing:
        key, (was, now) = next(iter(differing.items()))
        more = f" (and {len(differing) - 1} settings more)" if len(differing) > 1 else ""
        raise UsageError(
            f"{folder} has {key} {was}, {name} {now}{more}; "
            f"--resume -o {folder} goes on as it is, and --set changes that"
        )
    return own, folder, True


def check(recipe: Recipe, group: Ranks) -> None:
    """Refuse what cannot be trained here.

    Raises:
        UsageError: a precision that the device lacks, a batch that cannot be shared out, fixed mixtures for a model
            that learns who speaks, or enrolments for one that takes none.
    """
    loop, device = recipe.loop, group.device
    if recipe.enrolling != EnrollmentSampling() and MODELS[recipe.model].role != "extractor":
        raise UsageError(f"enrolling changes nothing for {recipe.model}, which is no extractor")
    if recipe.data.mixing == "static" and MODELS[recipe.model].role != "separator":
        raise UsageError(f"data.mixing is static; {recipe.model} learns from mixtures that are drawn (dynamic)")
    if loop.precision == "fp16" and device.type != "cuda":
        raise UsageError(f"loop.precision is fp16, which needs a CUDA GPU; on {device.type} it can be bf16 or fp32")
    parts = group.count * loop.accumulate
    if loop.batch % parts:
        raise UsageError(
            f"loop.batch is {loop.batch}; {group.count} process(es) with {loop.accumulate} piece(s) each share "
            f"multiples of {parts}"
        )


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    jobs: int = 0,
    threads: int | None = None,
    compile: bool = False,
    tensorboard: bool = False,
    save_minutes: float = 10.0,
    report: Report = lambda _: None,
) -> float:
    """Train a model; under torchrun, together with its other processes.

    Args:
        recipe: the run.
        out: its folder; gets ``recipe.json``, ``log.jsonl``, ``last.pt``, ``last.safetensors`` and
            ``best.safetensors``.
        device: where to train.
        resume: go on from ``last.pt`` in ``out``.
        jobs: processes that draw mixtures; 0 draws in this one.
        threads: processor threads of a step; torch's own choice by default.
        compile: run steps through torch.compile.
        tensorboard: write TensorBoard's files as well.
        save_minutes: longest time between two states on disk.
        report: called with each line of the log as it is written.

    Returns:
        The best validation score, SI-SNRi in dB for a separator.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false.
        CheckpointError: ``resume`` without a usable state.
        SeptoolError: another process of the run has ended.

    SIGINT and SIGTERM end it after the step, or the validation, that is running; the state is saved before that, and
    before every validation.
    """
    with distributed.joined(torch.device(device)) as group:
        check(recipe, group)
        if group.first and not resume and holds_a_run(out):
            raise UsageError(f"{out} holds a run already; go on with --resume or choose another --out")
        if threads:
            torch.set_num_threads(threads)
        run = kind(recipe)(recipe, out, group.device, group, resume=resume)
        changed = run.resume() if resume else {}
        if compile:
            run.compile()
        with enough_memory("to train with; a smaller loop.batch or a larger loop.accumulate needs less"):
            return _loop(run, changed, jobs, tensorboard=tensorboard, save_minutes=save_minutes, report=report)


def has_state(folder: Path) -> bool:
    """Say whether there is something to go on from."""
    return any((folder / name).exists() for name in STATES)


def holds_a_run(folder: Path) -> bool:
    """Say whether a new run in a folder would replace another.

    A run that was killed at its first save has weights and a validation, but no state to go on from: it is lost.
    """
    if has_state(folder):
        return True
    log = folder / "log.jsonl"
    return log.exists() and log.read_text(encoding="utf-8").count('"event": "validation"') > 1


def _loop(
    run: Run,
    changed: dict[str, tuple[Any, Any]],
    jobs: int,
    *,
    tensorboard: bool,
    save_minutes: float,
    report: Report,
) -> float:
    recipe, loop, progress, group = run.recipe, run.recipe.loop, run.progress, run.ranks
    items, held_out = run.items(jobs), run.validation_set()
    used = (recipe.data.train, recipe.data.validation, *recipe.mixing.manifests)
    run.manifests = {path: sha256_of(Path(path)) for path in used}
    make_folder(run.out)  # now that the run can start
    if group.first:
        with atomic_write(run.out / "recipe.json") as partial:
            partial.write_text(json.dumps(in_effect(recipe), indent=1) + "\n", encoding="utf-8")
    journal = None
    if group.first:
        journal = Journal(run.out, step=progress.step, pending=progress.pending, tensorboard=tensorboard)
    with journal or nullcontext(), Stop() as stop:

        def tell(name: str, event: dict[str, Any], *, write: bool = True) -> None:
            if journal:
                event = {"event": name, "step": progress.step} | event
                report(event)
                if write:
                    journal.write(event)

        tell("start", about(run))
        for key, (was, now) in changed.items():
            tell("changed", {"setting": key, "was": was, "is": now})
        started = saved = time.monotonic()
        hours = run.hours
        while (progress.pending or not run.over) and not group.any(stop.asked > 0):
            epoch = (progress.step - progress.pending) // loop.epoch_steps
            end = min((epoch + 1) * loop.epoch_steps, loop.steps)
            shares = data.load(
                items,
                range(progress.step, end),
                rank=group.rank,
                ranks=group.count,
                pieces=loop.accumulate,
                jobs=jobs,
                pin=group.device.type == "cuda",
            )
            before = time.monotonic()
            with closing(shares):
                for pieces in shares:
                    ready = time.monotonic()
                    event = run.step(*pieces)
                    now = time.monotonic()
                    run.hours = hours + (now - started) / 3600
                    progress.recent.append(event["loss"])
                    samples = group.count * sum(map(data.samples, pieces))
                    event |= {"steps": loop.steps, "epoch": epoch, "samples_per_s": samples / (now - before)}
                    event |= {"waiting": (ready - before) / (now - before)}  # part of the time that the data took
                    before = now
                    line = progress.step % LOG_EVERY == 0
                    if line:
                        event["loss"] = sum(progress.recent) / len(progress.recent)
                        progress.recent.clear()
                    tell("step", event, write=line)
                    if group.any(stop.asked > 0):
                        break
                    if group.first and now - saved > 60 * save_minutes and progress.step < end:
                        run.save()
                        saved = now
            if progress.step < end:
                if group.first:
                    run.save()
                break
            if not progress.pending:  # a validation may take longer than what is asked to end is given
                progress.pending = True
                if group.first:
                    run.save()
            value = run.validate(held_out)
            progress.pending = False
            best = run.note_validation(value)
            if loop.average:
                run.keep(value)
            event = {"epoch": epoch, run.metric.key: value, "best": progress.best, "skipped": progress.skipped}
            event |= {"hours": round(run.hours, 4), "lr": run.optimizers[0].param_groups[0]["lr"]}
            tell("validation", event)
            if group.first:
                run.save(value, best=best)
            saved = time.monotonic()
        if group.any(stop.asked > 0):
            tell("interrupted", {}, write=False)
            group.wait()  # for the state
            stop.answer()
        if loop.patience and progress.stale >= loop.patience:
            tell("early stop", {"epochs": progress.stale})
        if progress.kept:
            tell("average", run.average_kept(held_out))
        return progress.best


def about(run: Run) -> dict[str, Any]:
    """Return what a run's numbers depend on besides its recipe."""
    loop = run.recipe.loop
    return {
        "model": run.recipe.model,
        "parameters": sum(weight.numel() for weight in run.model.parameters()),
        "batch": loop.batch,
        "processes": run.ranks.count,
        "pieces": loop.accumulate,
        "hardware": hardware(run.device),
        "threads": torch.get_num_threads(),
        "software": software(),
        "manifests": run.manifests,
    }

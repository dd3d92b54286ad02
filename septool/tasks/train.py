"""Training: from mixtures to the best and the last checkpoint.

What a step does is a function of the state before it, the recipe and the step's number: mixtures and
dropout are seeded by them. So the run's ``last.pt`` (weights, optimizers, averaged weights, counters) is
all that a stopped run needs to come to the same numbers as one that was not. See :mod:`septool.training`: ``trainer``
for a step and an epoch, ``role`` for what differs between kinds of models, ``data`` for what a step learns from,
``distributed`` for several processes and what their number changes.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import torch

from septool.atomic import recover
from septool.data import manifest
from septool.data.enrollment import EnrollmentSampling, SpeakerSampling
from septool.device import enough_memory, has_float16
from septool.errors import SeptoolError, UsageError
from septool.losses import LOSSES, UNDEFINED_FOR_SILENCE, can_learn_by
from septool.models import MODELS
from septool.printable import first_few
from septool.training.distributed import Distributed, init_distributed
from septool.training.initialization import freeze_modules
from septool.training.lock import lock_run
from septool.training.recipe import Distillation, Pondering, Recipe
from septool.training.recipe_changes import recipe_changes, run_name
from septool.training.recipe_files import load_recipe, recipe_from_dict, recipe_record
from septool.training.state import LAST, has_state, read_state
from septool.training.trainer import Report, Trainer, check_network_size

LOG = logging.getLogger(__name__)
# Sections of a recipe that are for one role of models: section, what changes nothing, role, its name in words.
ROLE_SECTIONS = (
    ("enrollment", EnrollmentSampling(), "extractor", "extractor"),
    ("speakers", SpeakerSampling(), "speaker", "speaker network"),
    ("distillation", Distillation(), "separator", "separator"),
    ("pondering", Pondering(), "separator", "separator"),
)

SET_AT_THE_START = ("data.sample_rate", "initialize", "parts")  # what a resumed run cannot have otherwise


def plan_run(
    name: str | None, settings: Sequence[str] = (), out: Path | None = None, *, resume: bool = False
) -> tuple[Recipe, Path, bool]:
    """Return the recipe and the folder of a run, and whether it is resumed.

    Args:
        name: a recipe, by name or path; a run that is resumed in ``out`` needs none.
        settings: ``key=value``, what to change in it.
        out: the folder; named by recipe and settings by default.
        resume: resume the run by the recipe that it has, in which nothing but the settings is changed. With a
            recipe it starts where there is none yet, so that one command line can be begun again and again.

    Raises:
        UsageError: no recipe, or one that is not the run's, or settings that a run cannot change any more.
    """
    if name is None and not (resume and out):
        raise UsageError("train takes a recipe, or --resume and --out; septool train --list shows the recipes")
    folder = out or Path("runs") / run_name(str(name), settings)
    if name is not None and not (resume and has_state(folder)):
        return load_recipe(name, settings), folder, False
    state = read_state(folder)
    before = state.recipe
    own = recipe_from_dict(recipe_record(before), settings)
    asked = own if name is None else load_recipe(name, settings)
    for key, (was, _) in recipe_changes(before, own).items():
        if key.startswith(SET_AT_THE_START):
            raise UsageError(f"{key} is {was} in {folder}, from its beginning; start another run to change it")
    if own.loop.steps < state.progress.step:
        raise UsageError(f"{folder} has taken {state.progress.step} steps already; loop.steps is {own.loop.steps}")
    if asked.model != before.model:
        raise UsageError(f"{folder} is a run of {before.model}, not {asked.model}")
    differing = recipe_changes(own, asked)
    if differing:
        key, (was, now) = next(iter(differing.items()))
        more = f" (and {len(differing) - 1} settings more)" if len(differing) > 1 else ""
        raise UsageError(
            f"{folder} has {key} {was}, {name} {now}{more}; "
            f"--resume -o {folder} resumes it as it is, and --set changes that"
        )
    return own, folder, True


def check_run(recipe: Recipe, distributed: Distributed) -> None:
    """Refuse what cannot be trained here.

    Raises:
        UsageError: a precision that the device lacks, a batch that cannot be shared out, fixed mixtures for a model
            that learns who speaks, enrollments for one that takes none, silent sources for a loss that is undefined
            for them, a network that is too large, a loss that asks for another one, or a part that is not trained
            and has no weights.
    """
    loop, device, role = recipe.loop, distributed.device, MODELS[recipe.model].role
    for section, default, role_of_section, kind in ROLE_SECTIONS:
        if getattr(recipe, section) != default and role != role_of_section:
            raise UsageError(f"{section} changes nothing for {recipe.model}, which is no {kind}")
    if recipe.data.mixing == "static" and role != "separator":
        raise UsageError(f"data.mixing is static; {recipe.model} learns from mixtures that are sampled (dynamic)")
    if loop.precision == "fp16" and not has_float16(device, training=True):
        raise UsageError(f"loop.precision is fp16, which needs a CUDA GPU; on {device.type} it can be bf16 or fp32")
    loss = recipe.loss or MODELS[recipe.model].loss
    if recipe.mixing.single_probability and role == "separator" and loss in UNDEFINED_FOR_SILENCE:
        raise UsageError(
            f'mixing.single_probability makes sources silent, for which {loss} is undefined; set loss="snr"'
        )
    parts = distributed.world_size * loop.accumulation_steps
    if loop.batch % parts:
        raise UsageError(
            f"loop.batch is {loop.batch}; {distributed.world_size} process(es) with {loop.accumulation_steps} "
            f"micro-batch(es) each share multiples of {parts}"
        )
    network = check_network_size(recipe)
    freeze_modules(network, recipe.freeze)
    frozen = {name.partition(".")[0] for name, weight in network.named_parameters() if not weight.requires_grad}
    random = sorted(frozen - recipe.parts.keys())
    if random and not recipe.initialize:
        raise UsageError(
            f"{random[0]} of {recipe.model} is not trained with it, and nothing says where its weights are from; set "
            f"parts.{random[0]} to a part of a checkpoint, such as speaker-net-8k#embedding"
        )
    if not can_learn_by(network, loss):
        fitting = ", ".join(name for name in LOSSES if can_learn_by(network, name))
        remedy = f"it can by {fitting}" if fitting else "there is none by which it can"
        raise UsageError(f"loss is {loss}, by which {recipe.model} cannot learn; {remedy}")


def describe_doubts(recipe: Recipe) -> Iterator[str]:
    """Yield a line for each thing about a new run that is allowed, but hardly meant."""
    loop, schedule, data = recipe.loop, recipe.schedule, recipe.data
    changing = schedule.warmup + (schedule.decay if schedule.name == "trapezoid" else 0)
    if changing > loop.steps:
        yield (
            f"loop.steps is {loop.steps}, fewer than the {changing} of schedule.warmup and schedule.decay, so that the "
            "learning rate never reaches optimizer.lr"
        )
    if data.validation.endswith(".jsonl"):  # trials of speaker networks are of other recordings anyway
        shared = sorted(_speakers(data.train) & _speakers(data.validation))
        if shared:
            yield f"{data.validation} has speakers of {data.train}, so that its score says little: {first_few(shared)}"


def _speakers(path: str) -> set[str]:
    """Return the speakers that a manifest names; none of one that cannot be read, which is told where it is used."""
    with suppress(SeptoolError):
        return {source.speaker for _, source in manifest.iter_sources(manifest.read_manifest(Path(path)))} - {""}
    return set()


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
        resume: resume from ``last.pt`` in ``out``.
        jobs: processes that sample mixtures; 0 samples in this one.
        threads: processor threads of a step; torch's own choice by default.
        compile: run steps through torch.compile.
        tensorboard: write TensorBoard's files as well.
        save_minutes: save the state at least this often.
        report: called with each event of the log as it is written.

    Returns:
        The best validation score, SI-SNRi in dB for a separator.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false, or another process trains there.
        CheckpointError: ``resume`` without a usable state.
        SeptoolError: another process of the run has ended.

    SIGINT and SIGTERM end it after the step, or the validation, that is running; the state is saved before that, and
    before every validation.
    """
    with init_distributed(torch.device(device)) as distributed:
        check_run(recipe, distributed)
        with lock_run(out) if distributed.is_main else nullcontext():
            if distributed.is_main:
                recover(out)  # what a killed run left
            if distributed.is_main and not resume:
                if has_state(out):
                    raise UsageError(f"{out} holds a run already; resume it with --resume or choose another --out")
                if (out / "best.safetensors").exists():
                    raise UsageError(f"{out} has weights, but no {LAST} to resume from; choose another --out")
            if threads:
                torch.set_num_threads(threads)
            what = "to train with; a smaller loop.batch or a larger loop.accumulation_steps needs less"
            with enough_memory(what):
                trainer = Trainer(recipe, out, distributed, resume=resume)
                if distributed.is_main and not resume:
                    for doubt in describe_doubts(recipe):
                        LOG.warning("%s", doubt)
                if compile:
                    trainer.compile()
                return trainer.fit(jobs=jobs, tensorboard=tensorboard, save_minutes=save_minutes, report=report)

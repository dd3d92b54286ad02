"""``septool train``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from septool.commands import completion, options
from septool.config import JsonDict
from septool.limits import MOST_JOBS


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.recipes,
            help="Name of a bundled recipe, or a .toml file; a resumed run uses its own.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the run; runs/RECIPE+SETTINGS by default.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="Change a setting, such as loop.batch=8; repeatable.")
    ] = [],  # noqa: B006 - typer's way of an empty list
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Random seed of weights, mixtures and dropout; the recipe's by default."),
    ] = None,
    device: options.Device = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run in --out, by its own recipe; start RECIPE if there is none."),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "-j",
            "--jobs",
            min=0,
            max=MOST_JOBS,
            help="Number of processes that sample mixtures.",
            rich_help_panel="Machine",
        ),
    ] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads.", rich_help_panel="Machine")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel="Machine")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard logs.")] = False,
    save_minutes: Annotated[float, typer.Option(min=0.1, help="Save the state at least every N minutes.")] = 10.0,
    show: Annotated[bool, typer.Option("--list", help="List the recipes: model, data, and published scores.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Train a model by a recipe.

    The run's folder gets recipe.json, log.jsonl, best.safetensors and last.safetensors (checkpoints
    that separate and eval take by their path), and last.pt, from which --resume continues by the run's own recipe; on
    a CPU with the same number of threads, the results are identical to those of an uninterrupted run. --set changes
    settings; every change is reported and logged. Ctrl-C and SIGTERM end a run after the current step or
    validation and save its state; a second Ctrl-C ends it at once.

    Recordings are decoded once, into ~/.cache/septool/speech ($SEPTOOL_CACHE). It holds at most 100 GB
    ($SEPTOOL_CACHE_GB); the least recently used is removed first.

    Several processes train together if torchrun starts them: torchrun --nproc-per-node N -m septool
    train RECIPE. They share every batch, so their number changes the time and, without dropout and
    batch normalization, otherwise only the rounding of sums.
    """
    # torch would warn in every process that weights might be left out in a step; some networks do leave some.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from septool.commands import printing
    from septool.training.recipe_files import describe_recipes, format_scores

    if show:
        rows = describe_recipes()
        if json:
            for row in rows:
                printing.json_line(row)
        else:
            printing.table(
                ["recipe", "model", "variant", "trained on", "published"],
                [[row["name"], row["model"], row["row"], row["data"], format_scores(row["published"])] for row in rows],
            )
        return
    from septool.device import choose_device
    from septool.tasks.train import plan_run
    from septool.tasks.train import train as work
    from septool.training.log import describe_event, describe_score, describe_step
    from septool.training.role import training_role
    from septool.workers import is_main_process

    settings = settings if seed is None else [*settings, f"seed={seed}"]
    run, folder, resumed = plan_run(recipe, settings, out, resume=resume)
    if resume and not resumed and is_main_process() and not (quiet or json):
        printing.note(f"{folder} holds no run to resume; a new one starts")
    metric, score = training_role(run).metric, ""
    with printing.Bar("train", quiet=quiet or json or not is_main_process()) as bar:

        def tell(event: JsonDict) -> None:
            nonlocal score
            if event["event"] == "validation":
                score = describe_score(event, metric)
            if json:
                printing.json_line(event)
            elif event["event"] == "step":
                bar.update(event["step"], event["steps"], describe_step(event, run.data.sample_rate, score))
            else:
                bar.say(describe_event(event, metric, folder))

        best = work(
            run,
            folder,
            device=choose_device(device),
            resume=resumed,
            jobs=jobs,
            threads=threads,
            compile=compile,
            tensorboard=tensorboard,
            save_minutes=save_minutes,
            report=tell,
        )
    if not json and is_main_process():
        printing.line(f"{folder / 'best.safetensors'}  {metric.name} {best:.2f} {metric.unit}")

"""``septool train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from septool.commands import options


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a bundled recipe, or a .toml file.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The run's folder; runs/RECIPE by default.")] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="Change a setting, such as loop.batch=8; as often as needed.")
    ] = [],  # noqa: B006 - typer's way of an empty list
    device: options.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=0, help="Processes that draw mixtures.", rich_help_panel="Machine")
    ] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads of a step.", rich_help_panel="Machine")
    ] = None,
    save_minutes: Annotated[float, typer.Option(min=0.1, help="Longest time between two saved states.")] = 10.0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a model by a recipe.

    The run's folder gets recipe.json, log.jsonl, best.safetensors and last.safetensors (checkpoints
    that separate and eval take by their path) and last.pt, from which --resume goes on to the same
    numbers as a run that was never stopped.
    """
    from septool.commands import printing
    from septool.inference import choose_device
    from septool.tasks.recipe import load
    from septool.tasks.train import train as work

    run = load(recipe, settings)
    folder = out or Path("runs") / Path(recipe).stem
    with printing.Bar("train", quiet=quiet or json) as bar:

        def show(event: dict[str, Any]) -> None:
            if json:
                printing.json_line(event)
            elif event["event"] == "validation":
                bar.say(
                    f"step {event['step']}: SI-SNRi {event['si_snri']:.2f} dB on the validation mixtures "
                    f"(best {event['best']:.2f}), {event['hours']:.2f} h"
                )
            else:
                rate = event["samples_per_s"] / run.data.sample_rate
                bar.update(event["step"], event["steps"], f"loss {event['loss']:.2f} dB, {rate:.1f} s of audio/s")

        best = work(
            run,
            folder,
            device=choose_device(device),
            resume=resume,
            jobs=jobs,
            threads=threads,
            save_minutes=save_minutes,
            report=show,
        )
    if not json:
        typer.echo(f"{folder / 'best.safetensors'}  SI-SNRi {best:.2f} dB")

"""``septool models``: what there is, and getting it."""

from typing import Annotated

import typer

from septool.commands import options

app = typer.Typer(help="List, show, fetch and verify checkpoints.", no_args_is_help=True)


@app.command("list")
def list_checkpoints(json: options.Json = False, debug: options.Debug = False) -> None:
    """List every known checkpoint, and the models that can be trained."""
    from septool.commands import printing
    from septool.tasks.models import known

    rows = known()
    if json:
        for row in rows:
            printing.json_line(row)
        return
    printing.table(
        ["checkpoint", "model", "Hz", "voices", "params", "MB", "SI-SNRi", "licence", "here"],
        [
            [
                row["name"],
                row["model"] + (" (default)" if row["default"] else ""),
                row["sample_rate"],
                row["sources"],
                row["parameters"],
                round(row["bytes"] / 1e6, 1),
                row["measured"].get("si_snri"),
                row["licence"],
                "yes" if row["here"] else "no",
            ]
            for row in rows
        ],
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Checkpoint, model, or .safetensors file.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show everything a checkpoint says of itself."""
    from septool.commands import printing
    from septool.tasks.models import describe

    about = describe(name)
    if json:
        printing.json_line(about)
        return
    printing.table(["", name], [[key, _words(value)] for key, value in about.items()])


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return str(value)


@app.command("fetch")
def fetch(names: Annotated[list[str], typer.Argument(help="Checkpoints.")], debug: options.Debug = False) -> None:
    """Download checkpoints into the cache and check their sha256."""
    from septool import checkpoints

    for name in names:
        typer.echo(checkpoints.fetch(name))


@app.command("verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Checkpoints; all that are here by default.")] = None,
    debug: options.Debug = False,
) -> None:
    """Compare weights on disk with the sha256 in checkpoints.toml."""
    from septool.commands import printing
    from septool.tasks.models import verify as work

    bad = 0
    for name, error in work(names or []):
        if error:
            bad += 1
            printing.note(error)
        else:
            typer.echo(f"{name}: OK")
    if bad:
        raise typer.Exit(1)

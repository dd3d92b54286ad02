"""``septool doctor``."""

from typing import Annotated

import typer

from septool.commands import completion, options


def doctor(
    model: Annotated[
        str, typer.Option("-m", "--model", autocompletion=completion.checkpoints, help="Separator to try.")
    ] = "galr",
    device: options.Device = "auto",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what this installation can do and what is missing.

    Versions, devices, formats of audio, optional extras, bundled weights, the cache, and whether one second can be
    separated. Opens no connection. Ends with status 1 if something failed; what is optional and missing is no failure.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.doctor import examine

    findings = []
    for finding in examine(device=device, model=model):
        findings.append(finding)
        if json:
            printing.json_line(asdict(finding))
    if not json:
        printing.table(["what", "state", "detail"], [[each.name, each.state, each.detail] for each in findings])
    failed = [each.name for each in findings if each.state == "failed"]
    if failed:
        printing.note(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)

"""``septool doctor``."""

from itertools import chain
from typing import Annotated

import typer

from septool.commands import completion, defaults, options


def doctor(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Option("-m", "--model", autocompletion=completion.checkpoints, help="Separator to test.")
    ] = "galr",
    device: options.Device = "auto",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what this installation can do and what is missing.

    Shows defaults that files and variables set, versions, devices, audio formats, optional extras, bundled weights
    and the cache, and separates one second as a test. Works even if septool.toml is broken, and says so. Opens no
    connection. Exits with status 1 if something failed; a missing optional part is no failure.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.errors import ConfigError
    from septool.tasks.doctor import Check, examine

    def check_defaults() -> Check:
        root = ctx.find_root().command
        try:
            for names, command in defaults.every_verb(root):
                defaults.read_settings(command, names)
            read = ", ".join(map(str, defaults.files()))
        except ConfigError as error:
            return Check("defaults", "failed", str(error))
        return Check("defaults", "ok", read or f"none; {defaults.FILE} here or {defaults.user_file()} would be read")

    findings = []
    for finding in chain([check_defaults()], examine(device=device, model=model)):
        findings.append(finding)
        if json:
            printing.json_line(asdict(finding))
    if not json:
        printing.table(
            ["what", "state", "detail"], [[finding.name, finding.state, finding.detail] for finding in findings]
        )
    failed = [finding.name for finding in findings if finding.state == "failed"]
    if failed:
        printing.note(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)

"""``septool mix``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from septool.commands import options


class Mode(StrEnum):
    """How voices of different length meet."""

    min = "min"
    max = "max"


def mix(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings to mix, or one manifest (.jsonl).")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The mixture's file, - for standard output; for a manifest a folder.")
    ],
    snr: Annotated[
        list[float],
        typer.Option("--snr", help="Level of the first voice over a further one, dB; once for each."),
    ] = [0.0],  # noqa: B006 - typer's way of a default list
    mode: Annotated[Mode, typer.Option(help="Cut to the shortest or pad to the longest.")] = Mode.min,
    sample_rate: Annotated[int | None, typer.Option(min=1000, help="Hz; the first file's by default.")] = None,
    sources: Annotated[Path | None, typer.Option(help="Folder for the voices as they are in the mixture.")] = None,
    subtype: Annotated[str, typer.Option(help="PCM_16 or FLOAT.")] = "PCM_16",
    jobs: options.Jobs = 1,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Mix recordings, or render a manifest to files.

    septool mix a.wav b.wav --snr 2 -o mix.wav --sources voices/ mixes two recordings, the second 2 dB
    below the first as they are before one is cut. septool mix dev-2mix.jsonl -o DIR writes {id}.wav,
    {id}_s1.wav, ... for every row; rows that are there already are left, so it can be stopped and taken
    up again.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.errors import UsageError
    from septool.inference.paths import PIPE
    from septool.tasks.mix import mix_files, mix_manifest

    options.check_json(out, json)
    if len(inputs) == 1 and inputs[0].suffix == ".jsonl":
        asked = {"--snr": snr != [0.0], "--mode": mode != Mode.min, "--sources": sources is not None}
        if any(asked.values()):
            surplus = ", ".join(option for option, given in asked.items() if given)
            raise UsageError(f"{inputs[0]} says itself how its rows are mixed; leave out {surplus}")
        with printing.Bar("mix", quiet=quiet) as bar:
            rendered = mix_manifest(
                inputs[0],
                out=out,
                sample_rate=sample_rate,
                subtype=subtype,
                force=force,
                jobs=jobs,
                report=lambda done, total: bar.update(done, total),
            )
        if json:
            printing.json_line(asdict(rendered))
        else:
            typer.echo(rendered.manifest)
        for line in rendered.failed:
            printing.note(line)
        if rendered.failed:
            raise typer.Exit(1)
        return
    mixed = mix_files(
        inputs,
        out=out,
        snr=snr,
        mode=mode.value,
        sample_rate=sample_rate,
        sources=sources,
        subtype=subtype,
        force=force,
        report=(lambda _: None) if quiet else printing.note,
    )
    if json:
        printing.json_line(asdict(mixed))
        return
    if mixed.mixture != PIPE:
        for path in (mixed.mixture, *mixed.sources):
            typer.echo(path)
    if mixed.scaled_db and not quiet:
        printing.note(f"everything was scaled by {mixed.scaled_db} dB to stay below full scale")

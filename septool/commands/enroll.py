"""``septool enroll``."""

from pathlib import Path
from typing import Annotated

import typer

from septool.commands import options
from septool.models import SPEAKER_MODEL
from septool.printable import count


def enroll(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Recordings of one voice, excerpts FILE@START-END of them, or folders with one voice each."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="File for the voices, .safetensors.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the voice; by default that of --out.")] = None,
    activity: Annotated[
        Path | None, typer.Option("--activity", help="RTTM file of the recording: enrolls each speaker in it.")
    ] = None,
    speaker_model: options.SpeakerModel = SPEAKER_MODEL,
    device: options.Device = "auto",
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Enroll voices, for --who of septool extract, septool activity and septool separate --speakers.

    The file holds speaker embeddings, no audio. In a folder, each sub-folder with recordings is one voice, named after
    it. A voice needs 1 s of speech; 3 s or more are better, 10 s are recommended, at any rate and level. Only the first
    minute of each recording is used; with --activity, up to a minute of what each says alone.
    """
    from septool.commands import printing
    from septool.tasks.enroll import enroll as run_enrollment

    with printing.Bar("enroll", quiet=quiet, lines=False) as bar:
        voices = run_enrollment(
            inputs,
            out=out,
            name=name,
            activity=activity,
            speaker_model=speaker_model,
            device=device,
            force=force,
            report=bar.say,
        )
    for voice in voices:
        if json:
            printing.json_line(voice.row())
        else:
            printing.line(f"{voice.name}  {voice.seconds:.1f} s of {count(len(voice.recordings), 'recording')}")

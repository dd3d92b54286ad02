"""``septool activity``."""

from functools import partial
from typing import Annotated

import typer

from septool.commands import completion, defaults, downloading, options
from septool.data.turns import FORMATS
from septool.models import SPEAKER_MODEL


def activity(
    ctx: typer.Context,
    inputs: Annotated[list[str], typer.Argument(help="Recordings, folders of them, or - for standard input.")] = [],  # noqa: B006 - typer's way of an empty list
    from_file: options.FromFile = None,
    speakers: Annotated[str, typer.Option("--speakers", help="Number of speakers: auto, N or N-M.")] = "auto",
    format: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = "rttm",
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            autocompletion=completion.checkpoints,
            help="Separator with two outputs (see: septool models list).",
        ),
    ] = "galr",
    speaker_model: options.SpeakerModel = SPEAKER_MODEL,
    who: Annotated[
        str | None,
        typer.Option(
            "--who", help="Files written by septool enroll, separated by commas; known speakers get their names."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", help="Folder for the files; - is standard output.", rich_help_panel="Output")
    ] = ".",
    device: options.Device = "auto",
    jobs: options.AutoJobs = None,
    channel: options.Channel = None,
    track: options.Track = 1,
    raw: options.Raw = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    shard: options.Shard = None,
    yes: downloading.Yes = False,
    offline: downloading.Offline = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Say who speaks when (diarization) in a conversation of any number of people.

    Writes {stem}.rttm (or .json, .txt with Audacity's labels, .vtt) for each recording. People are called speaker1,
    speaker2, ... in the order in which they first speak; septool separate --speakers writes their voices under the
    same numbers. Exits with status 1 if a recording failed; the others are processed.
    """
    from septool.batch.inputs import display_name
    from septool.batch.outcomes import Failed
    from septool.batch.stdio import PIPE
    from septool.commands import printing
    from septool.tasks.activity import FoundActivity, find_activity

    options.check_json(out, json)
    jobs, skip_existing = defaults.piped(ctx, inputs, out, jobs=jobs, skip_existing=skip_existing)
    tally = printing.Tally(quiet=quiet)
    with printing.Bar("activity", quiet=quiet, lines=False) as bar:
        for result in find_activity(
            inputs,
            from_file=from_file,
            model=model,
            speaker_model=speaker_model,
            who=who,
            speakers=speakers,
            format=format,
            out=out,
            device=device,
            jobs=jobs,
            channel=channel,
            track=track,
            raw=raw,
            force=force,
            skip_existing=skip_existing,
            fail_fast=fail_fast,
            shard=shard,
            report=bar.say,
            progress=lambda recording, done, total: bar.update(round(done), round(total), recording),
            obtain=partial(downloading.obtain_weights, yes=yes, quiet=quiet),
        ):
            tally.add(result)
            if json:
                printing.json_line(result.row())
            elif isinstance(result, FoundActivity):
                if out == PIPE and result.text:
                    printing.line(result.text.rstrip("\n"))
                elif out != PIPE:
                    printing.line(result.output)
                people = "1 person" if len(result.speakers) == 1 else f"{len(result.speakers)} people"
                bar.say(f"{display_name(result.input)}: {people} in {result.seconds:.1f} s")
            elif not isinstance(result, Failed):
                printing.line(result.outputs[0])
                bar.say(f"{display_name(result.input)}: there already")
    tally.end()

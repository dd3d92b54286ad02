"""``septool separate``."""

from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

import typer

from septool.commands import completion, defaults, downloading, options
from septool.data.turns import FORMATS
from septool.inference import OVERLAP_S, SEGMENT_S
from septool.models import SPEAKER_MODEL

CONVERSATIONS = "Conversations"  # group of options in the help


def separate(
    ctx: typer.Context,
    inputs: Annotated[list[str], typer.Argument(help="Recordings, folders of them, or - for standard input.")] = [],  # noqa: B006 - typer's way of an empty list
    from_file: options.FromFile = None,
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            autocompletion=completion.checkpoints,
            help="Checkpoint, model, hf:OWNER/NAME, .safetensors file, or folder of another toolkit's "
            "(see: septool models list --remote).",
        ),
    ] = "galr",
    out: Annotated[str, typer.Option("-o", "--out", help="Folder for the voices; - is standard output.")] = ".",
    device: options.Device = "auto",
    dtype: options.SeparatorDtype = "auto",
    engine: Annotated[
        Literal["auto", "torch", "onnx"],
        typer.Option(
            "--engine",
            help="Inference engine; onnx starts without torch, auto uses it if the model was exported to "
            "the cache (septool models export --cache).",
            rich_help_panel=options.MACHINE,
        ),
    ] = "auto",
    jobs: options.AutoJobs = None,
    cluster: options.Cluster = None,
    channel: options.Channels = None,
    track: options.Track = 1,
    raw: options.Raw = None,
    suffix: Annotated[
        str, typer.Option("--format", help="File format: wav, flac, ogg, ..., or headerless, such as s16le.")
    ] = "wav",
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="File name pattern of {stem}, {suffix}, {voice}, {model} and, with --channel each, {channel}; "
            "{stem}_s{voice}, or {stem}_clean of one voice.",
        ),
    ] = None,
    segment: options.Segment = SEGMENT_S,
    overlap: options.Overlap = OVERLAP_S,
    voice: Annotated[
        int | None,
        typer.Option(
            "--voice",
            min=1,
            help="Voice to write to standard output, from 1; all by default.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    passes: options.Passes = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency/--no-consistency",
            help="Make the voices add up to the recording (mixture consistency).",
            rich_help_panel=options.OUTPUT,
        ),
    ] = True,
    clip: options.Clip = "clamp",
    stream: options.Stream = False,
    speakers: Annotated[
        str | None,
        typer.Option(
            "--speakers",
            help="Separate a conversation of this many speakers (auto, N or N-M; fewer if no more are found), with one "
            "track each.",
            rich_help_panel=CONVERSATIONS,
        ),
    ] = None,
    activity: Annotated[
        str | None,
        typer.Option(
            "--activity",
            help=f"Write who speaks when (speaker diarization): {', '.join(FORMATS)}.",
            rich_help_panel=CONVERSATIONS,
        ),
    ] = None,
    rest: Annotated[
        Path | None,
        typer.Option(
            "--rest", help="File for the residual, which is in no speaker's track.", rich_help_panel=CONVERSATIONS
        ),
    ] = None,
    speaker_model: Annotated[
        str,
        typer.Option(
            "--speaker-model",
            autocompletion=completion.checkpoints,
            help="Speaker network that tells voices apart.",
            rich_help_panel=CONVERSATIONS,
        ),
    ] = SPEAKER_MODEL,
    who: Annotated[
        str | None,
        typer.Option(
            "--who",
            help="Files written by septool enroll, separated by commas; known speakers get their names.",
            rich_help_panel=CONVERSATIONS,
        ),
    ] = None,
    references: Annotated[
        list[Path],
        typer.Option(
            "--reference",
            help="Clean recording of one of the voices, to score against; repeat it for each. Prints each voice's "
            "SI-SNRi. To choose a voice, use septool extract.",
        ),
    ] = [],  # noqa: B006 - typer's way of an empty list
    html: options.HtmlReport = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    shard: options.Shard = None,
    manifest: options.Manifest = None,
    yes: downloading.Yes = False,
    offline: downloading.Offline = False,
    json: options.Json = False,
    progress: options.ProgressStyle = "bar",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Separate recordings into one file per voice.

    Takes any length, sample rate and channel count; the voices have the recording's rate and level and are written as
    {stem}_s1.wav, {stem}_s2.wav, ..., or {stem}_clean.wav by a model that removes noise. With -o -, a single recording
    goes to standard output as one WAV file with a channel per voice, and with --stream while it arrives. Missing
    weights are downloaded with --yes or SEPTOOL_AUTO_FETCH=1. Without, on a terminal, septool asks before downloading
    more than 50 MB; elsewhere missing weights are an error. Exits with status 1 if a recording failed; the others are
    processed.
    """
    from septool.batch.inputs import display_name
    from septool.batch.outcomes import Failed
    from septool.batch.stdio import PIPE
    from septool.commands import printing
    from septool.tasks.separate import Separated, SeparatedConversation
    from septool.tasks.separate import separate as run_separation

    options.check_json(out, json)
    jobs, skip_existing = defaults.piped(ctx, inputs, out, jobs=jobs, skip_existing=skip_existing)
    if speakers is None:
        activity, rest, speaker_model, who = defaults.typed(
            ctx, activity=activity, rest=rest, speaker_model=speaker_model, who=who
        )
    else:
        engine, stream, channel, dtype, cluster, clip, voice, consistency, segment, overlap = defaults.typed(
            ctx,
            engine=engine,
            stream=stream,
            channel=channel,
            dtype=dtype,
            cluster=cluster,
            clip=clip,
            voice=voice,
            consistency=consistency,
            segment=segment,
            overlap=overlap,
        )
    tally = printing.Tally(quiet=quiet)
    with printing.open_progress("separate", progress, quiet=quiet) as bar:
        for result in run_separation(
            inputs,
            from_file=from_file,
            model=model,
            out=out,
            device=device,
            dtype=dtype,
            engine=engine,
            jobs=jobs,
            cluster=cluster,
            channel=channel,
            track=track,
            raw=raw,
            suffix=suffix,
            name=name,
            segment=segment,
            overlap=overlap,
            voice=voice,
            passes=passes,
            consistency=consistency,
            clip=clip,
            stream=stream,
            speakers=speakers,
            activity=activity,
            rest=rest,
            speaker_model=speaker_model,
            who=who,
            references=references,
            html=html,
            force=force,
            skip_existing=skip_existing,
            fail_fast=fail_fast,
            shard=shard,
            manifest=manifest,
            report=bar.say,
            progress=bar.follow,
            obtain=partial(downloading.obtain_weights, yes=yes, quiet=quiet),
        ):
            bar.count_file(getattr(result, "seconds", 0.0))  # none of one that failed
            tally.add(result)
            if out == PIPE:
                for number, gain in enumerate(result.gains if isinstance(result, Separated) else (), 1):
                    printing.note(f"voice {number}: {gain}")
                continue
            if json:
                printing.json_line(result.row())
            elif not isinstance(result, Failed):
                gains = result.gains if isinstance(result, Separated) else ()
                if isinstance(result, SeparatedConversation):
                    gains = [f"{seconds:.1f} s of speech" for seconds in result.spoken]
                for path, gain in zip_longest(result.outputs, gains, fillvalue=""):
                    printing.line(f"{path}  {gain}".rstrip())
                if isinstance(result, Separated | SeparatedConversation):
                    bar.say(f"{display_name(result.input)}: {result.summary}")
                else:
                    bar.say(f"{display_name(result.input)}: there already")
    tally.end()

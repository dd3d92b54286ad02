"""``septool extract``."""

from functools import partial
from typing import Annotated

import typer

from septool.commands import completion, defaults, downloading, options
from septool.inference import EXTRACTION_OVERLAP_S, EXTRACTION_SEGMENT_S


def extract(
    ctx: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(help="Recordings, folders of them, - for standard input, or one manifest (.jsonl).")
    ] = [],  # noqa: B006 - typer's way of an empty list
    from_file: options.FromFile = None,
    references: Annotated[
        list[str],
        typer.Option(
            "--reference",
            help="Recording of the target voice alone (its first minute is used), or an excerpt FILE@START-END, "
            "in seconds; several are averaged.",
        ),
    ] = [],  # noqa: B006 - typer's way of an empty list
    who: Annotated[
        str | None,
        typer.Option(
            "--who",
            help="Instead of references: files written by septool enroll, separated by commas; FILE#NAME is one voice.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            autocompletion=completion.checkpoints,
            help="Separator or extractor: checkpoint, model or .safetensors file (see: septool models list).",
        ),
    ] = "galr",
    speaker_model: Annotated[
        str | None,
        typer.Option(
            "--speaker-model",
            autocompletion=completion.checkpoints,
            help="Speaker network that chooses from the outputs of a separator; by default that of septool enroll.",
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", help="File for the voice, or a folder; - is standard output.")
    ] = ".",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    passes: options.Passes = None,
    jobs: options.AutoJobs = None,
    cluster: options.Cluster = None,
    channel: options.Channels = None,
    track: options.Track = 1,
    raw: options.Raw = None,
    suffix: Annotated[
        str, typer.Option("--format", help="File format in a folder or a pipe: wav, flac, ogg, s16le, ...")
    ] = "wav",
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="File name pattern in a folder, of {stem}, {suffix}, {model} and, with --channel each, {channel}; "
            "{stem}_voice, or {stem}_{voice} of --who.",
        ),
    ] = None,
    segment: options.Segment = EXTRACTION_SEGMENT_S,
    overlap: options.Overlap = EXTRACTION_OVERLAP_S,
    clip: options.Clip = "clamp",
    stream: options.Stream = False,
    presence: Annotated[
        bool,
        typer.Option(
            "--presence", help="Print a presence score of the voice, and silence the segments in which it is absent."
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="With --presence or --who: score from which the voice counts as present; the checkpoint's own by "
            "default."
        ),
    ] = None,
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
    """Extract one known voice from recordings.

    Target speaker extraction: the recording is separated, and a speaker network chooses the voice that matches the
    reference; models trained for extraction do both at once. Takes any length, sample rate and channel count; the
    voice has the recording's rate. A reference needs 1 s of speech; 3 s or more are better, 10 s are recommended,
    at any rate and level. Without --presence there is always an answer: if the voice is absent, the one most like
    it. The rows of a manifest bring their own references. Exits with status 1 if a recording failed; the others are
    processed.
    """
    from septool.batch.inputs import display_name
    from septool.batch.outcomes import Failed
    from septool.batch.stdio import PIPE
    from septool.commands import printing
    from septool.tasks.extract import Extracted, ExtractedVoices
    from septool.tasks.extract import extract as run_extraction

    options.check_json(out, json)
    jobs, skip_existing = defaults.piped(ctx, inputs, out, jobs=jobs, skip_existing=skip_existing)
    if not presence and who is None:
        (threshold,) = defaults.typed(ctx, threshold=threshold)
    tally = printing.Tally(quiet=quiet)
    with printing.open_progress("extract", progress, quiet=quiet) as bar:
        for result in run_extraction(
            inputs,
            from_file=from_file,
            references=references,
            who=who,
            model=model,
            speaker_model=speaker_model,
            out=out,
            device=device,
            dtype=dtype,
            passes=passes,
            jobs=jobs,
            cluster=cluster,
            channel=channel,
            track=track,
            raw=raw,
            suffix=suffix,
            name=name,
            segment=segment,
            overlap=overlap,
            clip=clip,
            stream=stream,
            presence=presence,
            threshold=threshold,
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
                if isinstance(result, Extracted) and result.judgment:
                    printing.note(result.judgment)
                continue
            if json:
                printing.json_line(result.row())
            elif isinstance(result, Extracted):
                for output, judgment in zip(result.outputs, result.judgments, strict=True):
                    printing.line(f"{output}  {judgment}".rstrip())
                bar.say(f"{display_name(result.input)}: {result.summary}")
            elif isinstance(result, ExtractedVoices):
                for path, judgment in zip(result.outputs, result.judgments, strict=True):
                    printing.line(f"{path}  {judgment}")
                bar.say(f"{display_name(result.input)}: {result.summary}")
            elif not isinstance(result, Failed):
                for path in result.outputs:
                    printing.line(path)
                bar.say(f"{display_name(result.input)}: there already")
    tally.end()

"""``septool mix``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from septool.commands import defaults, options
from septool.limits import HIGHEST_RATE, LOWEST_RATE

if TYPE_CHECKING:
    from septool.tasks.mix import RenderedManifest
    from septool.tasks.mix_conversations import RenderedConversations

OF_DRAWN = ("--count", "--speakers", "--seconds", "--seed")  # options for conversations that are drawn
OF_FILES = ("--snr", "--mode", "--sources")  # and for recordings that are mixed
CONVERSATIONS = "Conversations"  # group of options in the help


def mix(
    ctx: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(help="Recordings to mix, or one manifest (.jsonl).")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The mixture's file, - for standard output; for a manifest a folder.")
    ],
    snr: Annotated[
        list[float],
        typer.Option("--snr", help="Level of the first voice relative to a further one in dB; repeat for each."),
    ] = [0.0],  # noqa: B006 - typer's way of a default list
    mode: Annotated[Literal["min", "max"], typer.Option(help="Cut to the shortest or pad to the longest.")] = "min",
    sample_rate: Annotated[
        int | None,
        typer.Option(min=LOWEST_RATE, max=HIGHEST_RATE, help="Sample rate in Hz; that of the first file by default."),
    ] = None,
    sources: Annotated[Path | None, typer.Option(help="Folder for the sources as scaled in the mixture.")] = None,
    subtype: Annotated[str, typer.Option(help="PCM_16 or FLOAT.")] = "PCM_16",
    conversation: Annotated[
        str | None,
        typer.Option(
            "--conversation",
            help="Draw conversations of a manifest's utterances: 0S and 0L (no overlap, short or long pauses), OV10, "
            "OV20, OV30 or OV40 (percent of overlap).",
            rich_help_panel=CONVERSATIONS,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of conversations.", rich_help_panel=CONVERSATIONS)] = 10,
    speakers: Annotated[
        str, typer.Option("--speakers", help="Speakers in each: N or N-M.", rich_help_panel=CONVERSATIONS)
    ] = "2-4",
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Minimum length of each, in seconds.", rich_help_panel=CONVERSATIONS)
    ] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.", rich_help_panel=CONVERSATIONS)] = 0,
    jobs: options.Jobs = 1,
    cluster: options.Cluster = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Mix recordings, or render a manifest to files.

    septool mix a.wav b.wav --snr 2 -o mix.wav --sources voices/ mixes two recordings, the second 2 dB below the first
    (levels are measured before one is cut). septool mix dev-2mix.jsonl -o DIR writes {id}.wav, {id}_s1.wav, ... for
    every row; existing rows are kept, so a stopped run can be resumed. Conversations, of a manifest or drawn by
    --conversation, also get an {id}.rttm, which says who speaks when, and a track for each person.
    """
    from functools import partial

    from septool.batch.stdio import PIPE
    from septool.commands import printing
    from septool.data.conversations import holds_conversations
    from septool.errors import UsageError
    from septool.tasks.mix import mix_files, mix_manifest
    from septool.tasks.mix_conversations import render_conversations, sample_conversations

    options.check_json(out, json)
    is_manifest = len(inputs) == 1 and inputs[0].suffix == ".jsonl"
    of_conversations = conversation is not None or (is_manifest and holds_conversations(inputs[0]))
    typed = defaults.typed_options(ctx)
    of_drawn, of_files = ([option for option in typed if option in those] for those in (OF_DRAWN, OF_FILES))
    if conversation is None and of_drawn:
        raise UsageError(
            f"{', '.join(of_drawn)} is for conversations that are drawn; give --conversation OV20, say, or leave it out"
        )
    if of_conversations and (len(inputs) != 1 or of_files):
        raise UsageError("conversations take one manifest, without --snr, --mode and --sources")
    if is_manifest and of_files:
        raise UsageError(f"{inputs[0]} says itself how its rows are mixed; leave out {', '.join(of_files)}")
    if is_manifest or of_conversations:
        render = render_conversations if of_conversations else mix_manifest
        if conversation is not None:
            settings = {"count": count, "speakers": speakers, "seconds": seconds, "seed": seed}
            render = partial(sample_conversations, style=conversation, **settings)
        with printing.Bar("mix", quiet=quiet) as bar:
            rendered = render(
                inputs[0],
                out=out,
                sample_rate=sample_rate,
                subtype=subtype,
                force=force,
                jobs=jobs,
                cluster=cluster,
                report=bar.update,
            )
        _tell(rendered, json=json, quiet=quiet)
        return
    if of_rows := [option for option in ("--jobs", "--cluster") if option in typed]:
        raise UsageError(f"{', '.join(of_rows)} is for the rows of a manifest; leave it out")
    mixed = mix_files(
        inputs,
        out=out,
        snr=snr,
        mode=mode,
        sample_rate=sample_rate,
        sources=sources,
        subtype=subtype,
        force=force,
        report=(lambda _: None) if quiet else printing.note,
    )
    if json:
        printing.json_line(mixed.row())
    elif mixed.mixture != PIPE:
        for path in (mixed.mixture, *mixed.sources):
            printing.line(path)
    if mixed.scaled_db and not quiet and not json:
        printing.note(f"everything was scaled by {mixed.scaled_db} dB to stay below full scale")
    damaged = [finding.text for finding in mixed.findings if finding.is_failure]
    for text in damaged if quiet else ():
        printing.note(text)
    if damaged:
        raise typer.Exit(1)


def _tell(rendered: "RenderedManifest | RenderedConversations", *, json: bool, quiet: bool) -> None:
    """Print where the manifest of what was rendered is, and what could not be."""
    from dataclasses import asdict

    from septool.commands import printing

    if json:
        printing.json_line(asdict(rendered))
    else:
        printing.line(rendered.manifest)
    for line in rendered.failed:
        printing.note(line)
    if rendered.scaled_db and not quiet:
        name, gain_db = min(rendered.scaled_db.items(), key=lambda item: item[1])
        printing.note(
            f"{len(rendered.scaled_db)} rows were scaled to stay below full scale, {name} the most, by {gain_db} dB; "
            "--subtype FLOAT keeps levels"
        )
    if rendered.failed:
        raise typer.Exit(1)

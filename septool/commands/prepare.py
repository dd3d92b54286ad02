"""``septool prepare``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from septool.commands import options
from septool.commands.mix import Mode


class Kind(StrEnum):
    """What is in a mixture."""

    clean = "clean"
    both = "both"
    single = "single"


class Protocol(StrEnum):
    """The paper whose mixtures are made."""

    atss_net = "atss-net"
    galr = "galr"


FIXED = "Published sets"
FOLDER = "Sets of your own"


def prepare(
    corpus: Annotated[str | None, typer.Argument(help="Which one; --list shows them.")] = None,
    source: Annotated[Path | None, typer.Argument(help="Where it is.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the manifests.")] = Path("data"),
    protocol: Annotated[
        Protocol | None,
        typer.Option(help="Whose mixtures of LibriSpeech (atss-net).", rich_help_panel=FIXED),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which splits (all); folder: in what ratio speakers are dealt (train=0.9,dev=0.05,test=0.05)."
        ),
    ] = None,
    sample_rate: Annotated[int | None, typer.Option(min=1000, help="Hz of the mixtures (8000).")] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="Cut to the shortest or pad to the longest (min).", rich_help_panel=FIXED),
    ] = None,
    mix: Annotated[
        Kind | None,
        typer.Option(help="Voices, voices and noise, or the first voice and noise.", rich_help_panel=FIXED),
    ] = None,
    noise: Annotated[Path | None, typer.Option(help="Folder of the noise or the music.", rich_help_panel=FIXED)] = None,
    snr: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Range of the speech's level over noise or music, dB.", rich_help_panel=FIXED),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="Folder of lists that do not come with septool.", rich_help_panel=FIXED),
    ] = None,
    mixtures: Annotated[
        int | None,
        typer.Option(min=0, help="Fixed mixtures per split (200; none for train).", rich_help_panel=FOLDER),
    ] = None,
    sources: Annotated[int | None, typer.Option(min=1, help="Voices in a mixture (2).", rich_help_panel=FOLDER)] = None,
    difference_db: Annotated[
        float | None,
        typer.Option(min=0, help="Largest level difference of two voices, dB (5).", rich_help_panel=FOLDER),
    ] = None,
    minimum_seconds: Annotated[
        float | None, typer.Option(min=0, help="Leave out shorter utterances (1).", rich_help_panel=FOLDER)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of what is drawn; same seed, same result (0).")] = None,
    jobs: options.Jobs = 1,
    force: options.Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, but write nothing.")] = False,
    show: Annotated[
        bool, typer.Option("--list", help="Show what each corpus is, its licence, size, folder and options.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Turn a corpus on disk into manifests; no audio is copied and nothing is downloaded.

    For a published set, writes its mixtures by the published lists, as {split}-{set}-{rate}-{mode}.jsonl;
    rendered, they equal the set to the sample. For a folder, writes {split}-speech.jsonl, the
    utterances that training mixes anew every epoch, and {split}-2mix.jsonl, fixed mixtures to validate
    and test on; speakers are dealt to the splits by name, so the same tree gives the same files everywhere.

    What is missing is listed and makes status 1; the rest is done. Options that a corpus does not have are
    refused; numbers in brackets are the usual defaults.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.errors import UsageError
    from septool.tasks.prepare import describe
    from septool.tasks.prepare import prepare as work

    if show:
        rows = describe()
        if json:
            for row in rows:
                printing.json_line(row)
        else:
            for row in rows:
                typer.echo(f"{row['corpus']}: {row['about']}")
                for key in ("licence", "size", "expects", "options"):
                    typer.echo(f"  {key:8} {row[key]}")
        return
    if corpus is None or source is None:
        raise UsageError("prepare takes a corpus and where it is; septool prepare --list shows all")
    prepared, left_out = work(
        corpus,
        source,
        out=out,
        protocol=protocol.value if protocol else None,
        split=split,
        sample_rate=sample_rate,
        mode=mode.value if mode else None,
        mix=mix.value if mix else None,
        noise=noise,
        snr=snr,
        metadata=metadata,
        mixtures=mixtures,
        sources=sources,
        difference_db=difference_db,
        minimum_seconds=minimum_seconds,
        seed=seed,
        jobs=jobs,
        force=force,
        dry_run=dry_run,
    )
    if json:
        for one in prepared:
            printing.json_line(asdict(one))
    else:
        columns = ["manifest", "split", "rows", "missing", "speakers", "hours", "MB", "rendered MB", "sha256"]
        printing.table(columns, map(_cells, prepared))
    incomplete = sum(one.missing for one in prepared)
    if incomplete:
        for line in left_out:
            printing.note(line)
        printing.note(f"{incomplete} mixtures lack a recording")
        raise typer.Exit(1)
    if left_out and not quiet:
        printing.note(f"{len(left_out)} files were left out; the first: {left_out[0]}")


def _cells(one: Any) -> list[Any]:
    rendered = None if one.rendered_bytes is None else one.rendered_bytes / 1e6
    hashed = one.sha256[:12] or None
    return [one.path, one.split, one.rows, one.missing, one.speakers, one.hours, one.bytes / 1e6, rendered, hashed]

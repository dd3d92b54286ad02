"""``septool prepare``."""

from pathlib import Path
from typing import Annotated

import typer

from septool.commands import options


def prepare(
    corpus: Annotated[str, typer.Argument(help="folder: any tree speaker/.../utterance.flac|wav|opus|mp3")],
    source: Annotated[Path, typer.Argument(help="Where the corpus is.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the manifests.")] = Path("data"),
    split: Annotated[str, typer.Option(help="Splits and their shares of the speakers.")] = (
        "train=0.9,dev=0.05,test=0.05"
    ),
    mixtures: Annotated[int, typer.Option(min=0, help="Fixed mixtures per split (none for train).")] = 200,
    sources: Annotated[int, typer.Option(min=1, help="Voices in a mixture.")] = 2,
    sample_rate: Annotated[int, typer.Option(min=1000, help="Hz of the mixtures.")] = 8000,
    difference_db: Annotated[float, typer.Option(min=0, help="Largest level difference of two voices, dB.")] = 5.0,
    minimum_seconds: Annotated[float, typer.Option(min=0, help="Leave out shorter utterances.")] = 1.0,
    seed: options.Seed = 0,
    jobs: options.Jobs = 1,
    force: options.Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, but write nothing.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Turn a corpus on disk into manifests; no audio is copied and nothing is downloaded.

    Writes {split}-speech.jsonl, the utterances that training mixes anew every epoch, and
    {split}-2mix.jsonl, fixed mixtures to validate and test on. Speakers are dealt to the splits by
    name, so the same tree gives the same files everywhere.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.prepare import prepare as work

    prepared, left_out = work(
        corpus,
        source,
        out=out,
        split=split,
        mixtures=mixtures,
        sources=sources,
        sample_rate=sample_rate,
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
        printing.table(
            ["manifest", "split", "rows", "speakers", "hours", "sha256"],
            [[p.path, p.split, p.rows, p.speakers, p.hours or None, p.sha256[:12]] for p in prepared],
        )
    if left_out and not quiet:
        printing.note(f"{len(left_out)} files were left out; the first: {left_out[0]}")

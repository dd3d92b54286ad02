"""``septool eval``."""

from pathlib import Path
from typing import Annotated

import typer

from septool.commands import options
from septool.metrics import METRICS


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="Manifest (.jsonl), trials (.txt), or folder of references {id}_s1.wav, ...")
    ],
    estimates: Annotated[Path | None, typer.Argument(help="Folder of estimates {id}_s1.wav, ...")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="Run this model on the manifest.")] = None,
    metric: Annotated[
        str, typer.Option("--metric", help=f"{', '.join(METRICS)}; separated by commas.")
    ] = "si-snri,sdri",
    sample_rate: Annotated[
        int | None, typer.Option(min=1000, help="Hz that files are brought to before scoring; their own by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File for every item: .jsonl or .csv.")] = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many mixtures.")] = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Score a model on a manifest, or estimates against references.

    Estimates are put in their best order by SI-SNR first. The mixture that an improvement (si-snri, sdri) starts
    from is the manifest's or, for a folder of references, {id}.wav in it or else their sum. Files are scored at
    their own rate or --sample-rate, a model at its own; scores at different rates do not compare.

    An extractor is scored on the voice that a row's enrolment is of: also by how often it is the right voice,
    nearest to its own reference, and by the equal error rate of its presence score, asked once for that voice and
    once for a stranger's. A speaker network is scored by its equal error rate on a list of trials, 1 FILE FILE or 0.

    A score that is undefined (a silent reference, say) is counted apart and never becomes a number. With
    --json every item is a line and the summary of every metric is one more. Ends with status 1 if an item
    could not be scored. A file of JSON lines grows with every item: a run of a model that was stopped goes on
    with --skip-existing.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.evaluate import evaluate as work

    with printing.Bar("eval", quiet=quiet) as bar:
        items, summaries = work(
            source,
            estimates,
            model=model,
            metric=metric,
            sample_rate=sample_rate,
            out=out,
            device=device,
            jobs=jobs,
            limit=limit,
            force=force,
            skip_existing=skip_existing,
            report=lambda done, total, _: bar.update(done, total),
        )
    if json:
        for item in items:
            printing.json_line(item.row())
        for summary in summaries:
            printing.json_line(asdict(summary))
    else:
        printing.table(
            ["metric", "unit", "Hz", "mean", "95% from", "to", "median", "5th pct", "count", "undefined", "failed"],
            [
                [
                    s.metric,
                    s.unit,
                    s.sample_rate,
                    s.mean,
                    s.low,
                    s.high,
                    s.median,
                    s.fifth,
                    s.count,
                    s.undefined,
                    s.failed,
                ]
                for s in summaries
            ],
        )
        for summary in summaries:
            if summary.threshold is not None and not quiet:
                printing.note(
                    f"{summary.metric}: as many are missed as let through at a score of {summary.threshold:.3f}"
                )
    failed = [item for item in items if item.error]
    for item in failed:
        printing.note(f"{item.id}: {item.error}")
    if failed:
        raise typer.Exit(1)

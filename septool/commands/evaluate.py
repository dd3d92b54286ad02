"""``septool eval``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from septool.commands import completion, defaults, options
from septool.limits import HIGHEST_RATE, LOWEST_RATE, MOST_JOBS
from septool.metrics import METRICS

if TYPE_CHECKING:
    from septool.scoring.summary import Summary


def evaluate(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="Manifest of mixtures or conversations (.jsonl), trials (.txt), folder of references {id}_s1.wav, "
            "..., or a reference."
        ),
    ],
    estimates: Annotated[
        Path | None, typer.Argument(help="Folder of estimates {id}_s1.wav, ..., or one estimate.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=completion.checkpoints, help="Model to run on the manifest."),
    ] = None,
    speaker_model: Annotated[
        str | None,
        typer.Option(
            "--speaker-model",
            autocompletion=completion.checkpoints,
            help="Speaker network of conversations and of --extract; by default that of septool enroll.",
        ),
    ] = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Score only the enrolled voice, as septool extract gives it.")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            autocompletion=completion.metrics,
            help=f"{', '.join(METRICS)}; commas between. By default si-snri,sdri; for two files si-snr,sdr.",
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=LOWEST_RATE,
            max=HIGHEST_RATE,
            help="Sample rate in Hz to resample files to before scoring; their own by default.",
        ),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            "--pair",
            help="Naming pattern of the estimates, such as {id}_est{voice}.wav; common ones are tried by default. "
            "Or a CSV with the columns id, reference, estimate.",
        ),
    ] = None,
    mixture: Annotated[
        str | None,
        typer.Option(
            "--mixture",
            help="Folder of the mixtures among the references, such as mix_both; by default what is found, or the sum "
            "of the references.",
        ),
    ] = None,
    trim: Annotated[bool, typer.Option("--trim", help="Cut signals of different lengths to the shortest.")] = False,
    sdr_backend: Annotated[
        str,
        typer.Option(
            "--sdr-backend", help="Implementation of SDR: septool, fast-bss-eval or mir_eval; they agree to 1e-6 dB."
        ),
    ] = "septool",
    asr: Annotated[
        str | None,
        typer.Option(
            "--asr",
            help="Speech recognizer for word error rates: a command that prints the transcript of a file, {file} or "
            "its last argument.",
        ),
    ] = None,
    passes: options.Passes = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency/--no-consistency", help="Make the voices add up to the mixture, as separate does by default."
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Break scores down by groups of rows: sex, level-difference, length, overlap, noise, room, sources.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="File for every item: .jsonl, .csv or .parquet.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="HTML report with distributions and the worst items (needs matplotlib).",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        Literal["fp32", "bf16", "fp16"],
        typer.Option("--dtype", help="Data type of the network's computations.", rich_help_panel=options.MACHINE),
    ] = "fp32",
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            max=MOST_JOBS,
            help="Number of processes; all cores by default.",
            rich_help_panel=options.MACHINE,
        ),
    ] = None,
    cluster: options.Cluster = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first N items.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 1 also for undefined scores and unmatched estimates.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare two results, A.jsonl B.jsonl, by paired differences B minus A.")
    ] = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Score a model on a manifest, or estimates against references.

    Estimates are assigned to references by SI-SNR first. The mixture that an improvement (si-snri, sdri) starts
    from is the manifest's or, for a folder of references, {id}.wav or mix/{id}.wav (also mixture/, mix_clean/,
    mix_both/, mix_single/) in it or else their sum; where it has several, --mixture says which. Files are scored at
    their own rate or --sample-rate, a model at its own; scores at different rates do not compare.

    An extractor, and with --extract a separator, is scored on the enrolled voice, by how often the extracted voice
    is the right one (nearest to its own reference), and by the equal error rate of its presence score, computed once
    for that voice and once for another speaker's. A speaker network is scored by its equal error rate on a list of
    trials: each line is 1 FILE FILE (same speaker) or 0 FILE FILE (different speakers).

    On a manifest of conversations, a separator is scored as separate --speakers uses it: diarization error rate
    without a collar and with one of 0.25 s, how often the number of speakers is right, the share of each voice that is
    on another's track, and si-snri of each speaker over their own turns.

    An undefined score (of a silent reference, say) is counted apart and never becomes a number. An item fails if a
    voice is lost: its estimate is missing, or silent while its reference is not. Exits with status 1 if an item failed;
    with --strict, also for undefined scores and for estimates without a reference. With --json there is a line for
    every item, then one for the summary of every metric. A .jsonl file of --out begins with the metrics' definitions
    and grows with every item; --skip-existing continues a stopped run of a model.

    --html writes a report in a single file: how scores are distributed, output against input, and the ten worst items
    by the first metric, with players and spectrograms. --by also summarizes groups of the manifest's rows, as far as
    it describes them: sexes of the voices, difference of their levels, length, overlap (the share of the mixture in
    which two voices or more have begun and not ended), noise, room, number of sources.

    --asr COMMAND scores wer: the command gets every estimate as a file (16 kHz, 16 bits) and prints its words, which
    are compared with the text of the manifest's source; if it fails, the score is undefined. wer-total is over all
    words. dnsmos-sig, dnsmos-bak and dnsmos-ovrl predict opinions without a reference, by a network for 16 kHz.

    --compare A.jsonl B.jsonl prints the paired difference of two results of one manifest, its 95 % interval and the
    p-value of a permutation test.
    """
    from septool.commands import printing
    from septool.tasks.evaluate import evaluate as work
    from septool.tasks.evaluation_sources import source_kind

    if compare:
        _compare(source, estimates, defaults.typed_options(ctx, besides=OF_COMPARE), json=json)
        return
    settings: dict[str, Any] = {
        "model": model,
        "speaker_model": speaker_model,
        "extract": extract,
        "metric": metric,
        "sample_rate": sample_rate,
        "pair": pair,
        "mixture": mixture,
        "asr": asr,
        "passes": passes,
        "consistency": consistency,
        "dtype": dtype,
        "by": by,
    }
    inapplicable = source_kind(source).inapplicable(extract=extract, files=estimates is not None)
    chosen = {name: settings[name] for name in settings if name in inapplicable}
    settings |= zip(chosen, defaults.typed(ctx, **chosen), strict=True)
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        printing.note(text)

    with printing.Bar("eval", quiet=quiet) as bar:
        items, summaries = work(
            source,
            estimates,
            **settings,
            trim=trim,
            sdr_backend=sdr_backend,
            out=out,
            html=html,
            device=device,
            jobs=jobs,
            cluster=cluster,
            limit=limit,
            force=force,
            skip_existing=skip_existing,
            report=lambda done, total, _: bar.update(done, total),
            warn=warn,
        )
    if json:
        for item in items:
            printing.json_line(item.to_row())
        for summary in summaries:
            printing.json_line(summary.row())
    else:
        grouped = {"group": "group"} if by is not None else {}
        columns = {"metric": "metric"} | grouped | COLUMNS
        printing.table(list(columns), [[getattr(summary, name) for name in columns.values()] for summary in summaries])
        for summary in summaries:
            _explain(summary, quiet=quiet)
    failed = [item for item in items if item.error]
    for item in failed:
        printing.note(f"{item.id}: {item.error}")
    undefined = sum(summary.undefined for summary in summaries)
    if failed or (strict and (warnings or undefined)):
        raise typer.Exit(1)


OF_COMPARE = ("compare", "json", "quiet", "verbose", "debug")
COLUMNS = {  # to fields of a summary
    "metric": "metric",
    "unit": "unit",
    "Hz": "sample_rate",
    "mean": "mean",
    "95% from": "low",
    "to": "high",
    "5th pct": "fifth",
    "median": "median",
    "95th pct": "ninety_fifth",
    "count": "count",
    "undefined": "undefined",
    "failed": "failed",
}


def _explain(summary: "Summary", *, quiet: bool) -> None:
    """Say on stderr why scores are undefined, and the threshold of an error rate."""
    from septool.commands import printing
    from septool.metrics import SAME_BY_NAME

    if quiet:
        return
    if summary.metric in SAME_BY_NAME:
        printing.note(f"{summary.metric} is {SAME_BY_NAME[summary.metric]} by another name")
    for reason, count in summary.reasons.items():
        printing.note(f"{summary.metric}: {count} undefined, {reason}")
    if summary.threshold is not None:
        printing.note(f"{summary.metric}: threshold of equal error rate {summary.threshold:.3f}")


def _four_digits(probability: float) -> str:
    return "-" if math.isnan(probability) else f"{probability:.4f}"


def _compare(first: Path, second: Path | None, surplus: list[str], *, json: bool) -> None:
    from dataclasses import asdict

    from septool.commands import printing
    from septool.errors import UsageError
    from septool.tasks.evaluate import compare

    if second is None or any(path.suffix != ".jsonl" for path in (first, second)):
        raise UsageError("--compare takes two results, A.jsonl B.jsonl, as eval --out writes them")
    if surplus:
        raise UsageError(f"--compare reads results that are there; leave out {', '.join(surplus)}")
    comparisons = compare(first, second)
    if json:
        for comparison in comparisons:
            printing.json_line(asdict(comparison))
        return
    columns = ["metric", "unit", "first", "second", "difference", "95% from", "to", "p", "items", "unpaired"]
    rows = [
        [c.metric, c.unit, c.first, c.second, c.difference, c.low, c.high, _four_digits(c.p_value), c.count, c.unpaired]
        for c in comparisons
    ]
    printing.table(columns, rows)
    if any(math.isnan(comparison.p_value) for comparison in comparisons):
        printing.note("intervals and p take at least two items that are in both results")

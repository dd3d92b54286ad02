"""Evaluation: a model on mixtures, conversations or trials, or files of estimates against references."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from septool import workers
from septool.cluster import check_address, spread
from septool.config import JsonMapping
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing
from septool.metrics import METRICS, check_installed, metric_versions
from septool.metrics.sdr import check_sdr_backend
from septool.reports.pages import check_html_report
from septool.scoring.conversations import MEASURES
from septool.scoring.item_files import item_writer, load_items, read_facts, read_items
from septool.scoring.items import Item, score_item
from septool.scoring.jobs import ScoringJob
from septool.scoring.report import write_evaluation_report
from septool.scoring.summary import Comparison, Summary, compare_items
from septool.tasks.evaluation_sources import Estimates, find_source

FEW = 16  # items that are not worth starting processes for


def evaluate(
    source: Path,
    estimates: Path | None = None,
    *,
    model: str | None = None,
    speaker_model: str | None = None,
    extract: bool = False,
    metric: str | None = None,
    sample_rate: int | None = None,
    pair: str | None = None,
    mixture: str | None = None,
    trim: bool = False,
    sdr_backend: str = "septool",
    asr: str | None = None,
    passes: int | None = None,
    consistency: bool = False,
    by: str | None = None,
    out: Path | None = None,
    html: Path | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    jobs: int | None = None,
    cluster: str | None = None,
    limit: int | None = None,
    force: bool = False,
    skip_existing: bool = False,
    report: Callable[[int, int, Item], None] = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[list[Item], list[Summary]]:
    """Score a model or estimates.

    Args:
        source: a manifest of mixtures or of conversations, a list of trials (``.txt``), a folder of references
            ``{id}_s1``, ``{id}_s2``, ..., or a reference.
        estimates: folder of estimates under the same names, or one estimate; None to run ``model``.
        model: the checkpoint to run: a separator on a manifest, an extractor on one with enrollments, or a
            speaker network on trials.
        speaker_model: the speaker network that the people of conversations are told apart by, or the outputs of a
            separator that extracts; by default the one of ``septool enroll``.
        extract: score the enrolled voice alone, as ``septool extract`` gives it, of a separator too.
        metric: names, separated by commas; si-snri,sdri by default, si-snr,sdr of two files.
        sample_rate: Hz that references and ``estimates`` are brought to before they are scored; their own by
            default. A model is scored at its own rate.
        pair: template of the estimates' names, such as ``{id}_est{voice}.wav``; the usual ones are tried by default.
            Of two folders also a CSV file with the columns id, reference, estimate and perhaps mixture, a row a voice.
        mixture: folder of the mixtures below that of the references, such as ``mix_both``, or template of their names;
            the usual ones are tried by default, and the sum of the references is taken where there is none.
        trim: cut signals of different lengths to the shortest.
        sdr_backend: whose code computes SDR: septool, fast-bss-eval or mir_eval; the numbers agree to 1e-6 dB.
        asr: command of a recognizer that writes words to its standard output, of the estimate's file, ``{file}`` in it
            or its last argument; by it the metric wer is scored, against the ``text`` of a manifest's sources.
        passes: of the model over each mixture, whose voices are averaged; as its checkpoint says by default.
        consistency: makes the voices of a separator add up to the mixture, as ``septool separate`` does; papers' scores
            are without.
        by: groups of a manifest's rows that scores are also summarized by; see
            :data:`septool.scoring.breakdown.GROUPS`.
        out: file for the items: ``.jsonl``, which grows with every item, ``.csv`` or ``.parquet``.
        html: report with distributions and the worst items, to hear and see; it also scores si-snr and si-snri.
        device: where the model runs.
        dtype: what the model computes in: ``fp32``, ``bf16`` or, on a GPU, ``fp16``.
        jobs: processes that score; all cores by default. Any number gives the same scores.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers run the model and score.
        limit: score only the first so many items.
        force: replace ``out`` if it is there.
        skip_existing: take over the items that are in ``out`` already, of the same manifest and model.
        report: called with the number done, of how many, and the item.
        warn: called with a line for estimates that no reference belongs to.

    Returns:
        The items in the order of their ids, and one summary per metric.

    Raises:
        UsageError: neither or both of ``estimates`` and ``model``, or an unknown metric.
    """
    chosen = find_source(
        source,
        Estimates(
            files=estimates,
            model=model,
            speaker_model=speaker_model,
            extract=extract,
            sample_rate=sample_rate,
            pair=pair,
            mixture=mixture,
            passes=passes,
            consistency=consistency,
            dtype=dtype,
            device=device,
            limit=limit,
            on_workers=cluster is not None,
        ),
        by=by,
        asr=asr,
    )
    metrics = chosen.choose_metrics(metric)
    check_sdr_backend(sdr_backend)
    check_installed(metrics)
    _check_out(out, model, skip_existing=skip_existing, force=force)
    if html is not None:
        if not chosen.has_voices:
            raise UsageError("--html is for voices; a list of trials has none")
        check_html_report(html, force=force or skip_existing)
        metrics = chosen.in_report(metrics)
    if cluster is not None:
        check_address(cluster)
        if jobs is not None or not chosen.made_apart:
            other = f"{source} is not" if jobs is None else "takes the place of --jobs"
            raise UsageError(f"--cluster {cluster} is for mixtures and folders, and {other}")
    job = chosen.open()
    for line in job.warnings:
        warn(line)

    provenance = chosen.identify()
    existing = read_items(out, metrics, provenance) if out and out.exists() and skip_existing and not force else {}
    items, total = {id: existing[id] for id in job.ids if id in existing}, len(set(job.ids))
    if jobs is None:
        jobs = workers.cores() if chosen.made_apart and total - len(items) > FEW else 1
    settings = {"sdr": {"backend": sdr_backend}, "wer": {"command": asr}}
    facts = {"sample_rate": job.rate, **provenance}
    if any(METRICS[name].base == "sdr" for name in metrics):
        facts["sdr_backend"] = sdr_backend
    with item_writer(out, existing.values(), metrics, facts) as write:
        for item in spread(_Score(metrics, job, trim, settings), job.tasks(items.keys()), jobs, cluster):
            items[item.id] = replace(item, provenance=provenance)
            write(items[item.id])
            report(len(items), total, items[item.id])
    ordered = [items[id] for id in job.ids]
    summaries = [
        replace(summary, sample_rate=job.rate, definition=_definition(summary.metric), provenance=provenance)
        for summary in chosen.summarize(ordered, metrics)
    ]
    if html is not None:
        shown = {summary.metric: summary.definition for summary in summaries if summary.definition} | provenance
        shown |= {"versions": ", ".join(f"{name} {number}" for name, number in metric_versions(metrics).items())}
        title = f"{source.name}: {model or estimates}"
        load = partial(chosen.load_again, job)
        write_evaluation_report(html, title, ordered, summaries, facts=shown, load=load)
    return ordered, summaries


def _check_out(out: Path | None, model: str | None, *, skip_existing: bool, force: bool) -> None:
    """Refuse a file that items cannot be written to now, not after hours of scoring."""
    resumable = out is not None and out.suffix == ".jsonl" and model is not None
    if skip_existing and not resumable:
        raise UsageError("--skip-existing resumes the items of a --model in --out FILE.jsonl")
    if out is None:
        return
    if out.suffix not in (".jsonl", ".csv", ".parquet"):
        raise UsageError(f"--out {out} has to end in .jsonl, .csv or .parquet")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("a .parquet file needs pyarrow; install it with: pip install 'septool[parquet]'")
    refuse_existing(out, force=force or skip_existing, otherwise="--skip-existing to go on" if resumable else "")
    make_folder(out.parent)


def _definition(metric: str) -> str:
    known = METRICS.get(metric) or MEASURES.get(metric)
    return known.definition if known else ""


class _Score:
    """Loads and scores a task."""

    def __init__(self, metrics: list[str], job: ScoringJob, trim: bool, settings: Mapping[str, JsonMapping]) -> None:
        self.metrics, self.load, self.rate, self.trim, self.settings = metrics, job.load, job.rate, trim, settings

    def __call__(self, task: object) -> Item:
        if isinstance(task, Item):  # scored by whoever made it
            return task
        return score_item(self.metrics, self.rate, self.load(task), trim=self.trim, settings=self.settings)


def compare(first: Path, second: Path) -> list[Comparison]:
    """Compare two files of items, as ``evaluate`` writes them with ``out``: paired differences, metric by metric.

    Raises:
        SeptoolError: they are of different manifests or at different rates, or have nothing in common.
    """
    items = load_items(first), load_items(second)
    first_rate, second_rate = (read_facts(path).get("sample_rate") for path in (first, second))
    if first_rate != second_rate and None not in (first_rate, second_rate):
        raise SeptoolError(
            f"the two results are at {first_rate} and {second_rate} Hz; score both with the same --sample-rate"
        )
    return compare_items(*items, MEASURES.values())

"""Evaluation: a model on mixtures, conversations or trials, or files of estimates against references."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from septool import catalogue, workers
from septool.audio import SUFFIXES
from septool.cluster import check_address, spread
from septool.config import JsonMapping
from septool.conversation.people import SPEAKER_MODEL
from septool.data.conversations import holds_conversations
from septool.data.manifest import read_manifest
from septool.errors import UsageError
from septool.files import make_folder, refuse_existing, sha256_of
from septool.inference.html_report import check_html_report
from septool.metrics import METRICS, check_installed, metric_versions
from septool.metrics.eer import EER
from septool.metrics.sdr import check_sdr_backend
from septool.metrics.wer import check_recognizer
from septool.scoring.breakdown import parse_groups, summarize_groups
from septool.scoring.conversations import MEASURES
from septool.scoring.estimates import (
    ScoringJob,
    estimate_file,
    estimates_from_model,
    estimates_in_folders,
    estimates_of_manifest,
    trial_scores,
)
from septool.scoring.item_files import item_writer, load_items, read_items
from septool.scoring.items import Item, ScoringInput, parse_metric_names, score_item
from septool.scoring.layouts import is_table, parse_template
from septool.scoring.report import Load, write_evaluation_report
from septool.scoring.summary import (
    Comparison,
    Summary,
    compare_items,
    summarize_detections,
    summarize_items,
    summarize_measures,
    summarize_words,
)

DEFAULT_METRICS, PAIR_METRICS = "si-snri,sdri", "si-snr,sdr"  # two files have no mixture to improve on
REPORTED = ("si-snr", "si-snri")  # whose difference is how bad the mixture was
FEW = 16  # items that are not worth starting processes for


def evaluate(
    source: Path,
    estimates: Path | None = None,
    *,
    model: str | None = None,
    speaker_model: str = SPEAKER_MODEL,
    metric: str | None = None,
    sample_rate: int | None = None,
    pair: str | None = None,
    trim: bool = False,
    sdr_backend: str = "septool",
    asr: str | None = None,
    passes: int | None = None,
    by: str | None = None,
    out: Path | None = None,
    html: Path | None = None,
    device: str = "auto",
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
        speaker_model: the speaker network that the people of conversations are told apart by.
        metric: names, separated by commas; si-snri,sdri by default, si-snr,sdr of two files.
        sample_rate: Hz that references and ``estimates`` are brought to before they are scored; their own by
            default. A model is scored at its own rate.
        pair: template of the estimates' names, such as ``{id}_est{voice}.wav``; the usual ones are tried by default.
            Of two folders also a CSV file with the columns id, reference, estimate and perhaps mixture, a row a voice.
        trim: cut signals of different lengths to the shortest.
        sdr_backend: whose code computes SDR: septool, fast-bss-eval or mir_eval; the numbers agree to 1e-6 dB.
        asr: command of a recognizer that writes words to its standard output, of the estimate's file, ``{file}`` in it
            or its last argument; by it the metric wer is scored, against the ``text`` of a manifest's sources.
        passes: of the model over each mixture, whose voices are averaged; as its checkpoint says by default.
        by: groups of a manifest's rows that scores are also summarized by; see
            :data:`septool.scoring.breakdown.GROUPS`.
        out: file for the items: ``.jsonl``, which grows with every item, ``.csv`` or ``.parquet``.
        html: report with distributions and the worst items, to hear and see; it also scores si-snr and si-snri.
        device: where the model runs.
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
    kind = _source_kind(source)
    if kind == _Kind.CONVERSATIONS:
        _check_conversations(source, model, metric)
        metric = "si-snri"
    metrics = parse_metric_names(metric or (PAIR_METRICS if kind == _Kind.FILE else DEFAULT_METRICS))
    if kind == _Kind.TRIALS and metric is not None:
        raise UsageError(f"{source} is a list of trials, scored by its equal error rate; leave out --metric")
    check_sdr_backend(sdr_backend)
    metrics = _with_words(metrics, asr, source, kind)
    check_installed(metrics)
    groups = parse_groups(by) if by is not None else []
    if groups and kind != _Kind.MIXTURES:
        raise UsageError(f"--by is for a manifest of mixtures, which {source} is not")
    _check_usage(estimates, model, sample_rate, pair, out, skip_existing, passes)
    if html is not None:
        if kind == _Kind.TRIALS:
            raise UsageError("--html is for voices; a list of trials has none")
        check_html_report(html, force=force or skip_existing)
        if kind != _Kind.CONVERSATIONS:
            metrics = list(dict.fromkeys([*metrics, *REPORTED]))
    if out is not None:
        resumable = out.suffix == ".jsonl" and model is not None
        refuse_existing(out, force=force or skip_existing, otherwise="--skip-existing to go on" if resumable else "")
        make_folder(out.parent)  # now, not after hours of scoring
    if cluster is not None:
        check_address(cluster)
        if jobs is not None or kind in (_Kind.TRIALS, _Kind.CONVERSATIONS):
            other = f"{source} is not" if jobs is None else "takes the place of --jobs"
            raise UsageError(f"--cluster {cluster} is for mixtures and folders, and {other}")
    if kind == _Kind.TRIALS:
        metrics = []
    if kind == _Kind.CONVERSATIONS and model is not None:
        from septool.tasks.conversation_scores import conversations_by_model  # SciPy's clustering takes a while

        job = conversations_by_model(source, model, speaker_model, device, limit, passes)
    else:
        job = _find_job(
            source, kind, estimates, model, sample_rate, pair, device, limit, passes, on_workers=cluster is not None
        )
    for line in job.warnings:
        warn(line)

    hashes = _identify(source, kind, model, speaker_model, asr, passes)
    existing = read_items(out, metrics, hashes) if out and out.exists() and skip_existing and not force else {}
    items, total = {id: existing[id] for id in job.ids if id in existing}, len(set(job.ids))
    if jobs is None:
        many = total - len(items) > FEW and metrics and kind != _Kind.CONVERSATIONS
        jobs = workers.cores() if many else 1
    settings = {"sdr": {"backend": sdr_backend}, "wer": {"command": asr}}
    facts = {"sample_rate": job.rate, **hashes}
    if any(METRICS[name].base == "sdr" for name in metrics):
        facts["sdr_backend"] = sdr_backend
    with item_writer(out, existing.values(), metrics, facts) as write:
        for item in spread(_Score(metrics, job, trim, settings), job.tasks(items.keys()), jobs, cluster):
            items[item.id] = replace(item, hashes=hashes)
            write(items[item.id])
            report(len(items), total, items[item.id])
    ordered = [items[id] for id in job.ids]
    summaries = _summarize(ordered, kind, metrics)
    if groups:
        summaries += summarize_groups(ordered, read_manifest(source), metrics, groups)
    summaries = [
        replace(summary, sample_rate=job.rate, definition=_definition(summary.metric), **hashes)
        for summary in summaries
    ]
    if html is not None:
        shown = {summary.metric: summary.definition for summary in summaries if summary.definition} | hashes
        shown |= {"versions": ", ".join(f"{name} {number}" for name, number in metric_versions(metrics).items())}
        title = f"{source.name}: {model or estimates}"
        load: Load = partial(_load_again, job)
        if kind == _Kind.CONVERSATIONS:  # which are scored by whoever makes them, and would only be made again
            load = _load_nothing
        write_evaluation_report(html, title, ordered, summaries, facts=shown, load=load)
    return ordered, summaries


class _Kind(Enum):
    """What estimates are compared with."""

    MIXTURES = auto()  # of a manifest
    CONVERSATIONS = auto()  # of a manifest
    TRIALS = auto()  # of a list
    FOLDER = auto()  # of references
    FILE = auto()  # one reference


def _source_kind(source: Path) -> _Kind:
    if source.is_dir():
        return _Kind.FOLDER
    if source.suffix.lower() in SUFFIXES:
        return _Kind.FILE
    if source.suffix == ".txt":
        return _Kind.TRIALS
    return _Kind.CONVERSATIONS if holds_conversations(source) else _Kind.MIXTURES


def _with_words(metrics: list[str], asr: str | None, source: Path, kind: _Kind) -> list[str]:
    """Return the metrics with the word error rate if there is a recognizer."""
    if asr is None:
        if "wer" in metrics:
            raise UsageError("wer needs a recognizer; give its command with --asr")
        return metrics
    check_recognizer(asr)
    if kind != _Kind.MIXTURES:
        raise UsageError(f"--asr is for a manifest of mixtures whose sources have a text, which {source} is not")
    return list(dict.fromkeys([*metrics, "wer"]))


def _identify(
    source: Path, kind: _Kind, model: str | None, speaker_model: str, asr: str | None, passes: int | None
) -> dict[str, str]:
    """Return what scores were measured on and with, by which they are known again."""
    about = {} if kind in (_Kind.FOLDER, _Kind.FILE) else {"manifest_sha256": sha256_of(source)}
    if model is not None:
        about["model_sha256"] = sha256_of(catalogue.resolve_checkpoint(model)[1])
    if kind == _Kind.CONVERSATIONS:
        about["speaker_model_sha256"] = sha256_of(catalogue.resolve_checkpoint(speaker_model)[1])
    if asr is not None:
        about["asr"] = asr
    if passes is not None:
        about["passes"] = str(passes)
    return about


def _summarize(items: Sequence[Item], kind: _Kind, metrics: Sequence[str]) -> list[Summary]:
    """Summarize everything that was measured of the items."""
    measured = summarize_measures(items, MEASURES.values()) if kind == _Kind.CONVERSATIONS else []
    if kind == _Kind.TRIALS:
        found = summarize_detections(items, EER.name, positive="same", negative="different")
    else:
        found = summarize_detections(items, "presence-eer", positive="presence", negative="absence")
    return [*measured, *summarize_items(items, metrics), *summarize_words(items), *found]


def _definition(metric: str) -> str:
    known = METRICS.get(metric) or MEASURES.get(metric)
    return known.definition if known else ""


def _load_nothing(_: Sequence[str]) -> Iterator[ScoringInput]:
    return iter(())


def _load_again(job: ScoringJob, ids: Sequence[str]) -> Iterator[ScoringInput]:
    """Make the signals of a few items once more."""
    for task in job.tasks({id for id in job.ids if id not in ids}):
        if not isinstance(task, Item):
            yield job.load(task)


class _Score:
    """Loads and scores a task."""

    def __init__(self, metrics: list[str], job: ScoringJob, trim: bool, settings: Mapping[str, JsonMapping]) -> None:
        self.metrics, self.load, self.rate, self.trim, self.settings = metrics, job.load, job.rate, trim, settings

    def __call__(self, task: object) -> Item:
        if isinstance(task, Item):  # scored by whoever made it
            return task
        return score_item(self.metrics, self.rate, self.load(task), trim=self.trim, settings=self.settings)


def _check_usage(
    estimates: Path | None,
    model: str | None,
    sample_rate: int | None,
    pair: str | None,
    out: Path | None,
    skip_existing: bool,
    passes: int | None,
) -> None:
    if out is not None and out.suffix not in (".jsonl", ".csv", ".parquet"):
        raise UsageError(f"--out {out} has to end in .jsonl, .csv or .parquet")
    if out is not None and out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("a .parquet file needs pyarrow; install it with: pip install 'septool[parquet]'")
    if (estimates is None) == (model is None):
        raise UsageError("give a folder of estimates or --model, one of the two")
    if passes is not None and model is None:
        raise UsageError("--passes is for --model; estimates are there already")
    if estimates is None:
        for option, value in (("--sample-rate", sample_rate), ("--pair", pair)):
            if value is not None:
                raise UsageError(f"{option} is for a folder of estimates; a model is scored at its own rate")
    if pair is not None and not is_table(pair):
        parse_template(pair)
    if skip_existing and (out is None or out.suffix != ".jsonl" or model is None):
        raise UsageError("--skip-existing goes on with the items of a --model in --out FILE.jsonl")


def _check_conversations(source: Path, model: str | None, metric: str | None) -> None:
    if model is None:
        raise UsageError(f"{source} holds conversations; give the separator with --model")
    if metric is not None:
        raise UsageError(f"{source} holds conversations, which have measures of their own; leave out --metric")


def _find_job(
    source: Path,
    kind: _Kind,
    estimates: Path | None,
    model: str | None,
    sample_rate: int | None,
    pair: str | None,
    device: str,
    limit: int | None,
    passes: int | None,
    *,
    on_workers: bool,
) -> ScoringJob:
    if kind == _Kind.TRIALS:
        if model is None:
            raise UsageError(f"{source} is a list of trials; give the speaker network with --model")
        return trial_scores(source, model, device, limit)
    if kind == _Kind.FOLDER:
        if estimates is None:
            raise UsageError(f"{source} is a folder of references; give the folder of estimates, or a manifest")
        return estimates_in_folders(source, estimates, limit, sample_rate, pair)
    if kind == _Kind.FILE:
        if estimates is None or estimates.is_dir():
            raise UsageError(f"{source} is one reference; give its estimate, a file, beside it")
        return estimate_file(source, estimates, sample_rate)
    rows = sorted(read_manifest(source), key=lambda row: row.id)
    if model is not None:
        return estimates_from_model(rows, model, device, limit, on_workers=on_workers, passes=passes)
    assert estimates is not None
    if pair is not None and is_table(pair):
        raise UsageError(f"--pair {pair} pairs the files of two folders; for a manifest give a template")
    return estimates_of_manifest(rows, estimates, limit, sample_rate, pair)


def compare(first: Path, second: Path) -> list[Comparison]:
    """Compare two files of items, as ``evaluate`` writes them with ``out``: paired differences, metric by metric.

    Raises:
        SeptoolError: they are of different manifests, or have nothing in common.
    """
    return compare_items(load_items(first), load_items(second))

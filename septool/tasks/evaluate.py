"""Scoring: a model on a manifest or a list of trials, or estimates that are on disk against their references."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from septool import catalogue, workers
from septool.data import manifest
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, sha256_of
from septool.metrics.eer import EER
from septool.scoring.estimates import estimates_from_model, estimates_in_folders, estimates_on_disk, trial_scores
from septool.scoring.items import (
    Item,
    Summary,
    parse_metric_names,
    read_items,
    score_item,
    summarize_detections,
    summarize_items,
    writing,
)


def evaluate(
    source: Path,
    estimates: Path | None = None,
    *,
    model: str | None = None,
    metric: str = "si-snri,sdri",
    sample_rate: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    limit: int | None = None,
    force: bool = False,
    skip_existing: bool = False,
    report: Callable[[int, int, Item], None] = lambda *_: None,
) -> tuple[list[Item], list[Summary]]:
    """Score a model or estimates.

    Args:
        source: a manifest, a list of trials (``.txt``), or a folder of references ``{id}_s1``, ``{id}_s2``, ...
        estimates: folder of estimates under the same names; None to run ``model``.
        model: the checkpoint to run: a separator on a manifest, an extractor on one with enrolments, or a
            speaker network on trials.
        metric: names, separated by commas.
        sample_rate: Hz that references and ``estimates`` are brought to before they are scored; their own by
            default. A model is scored at its own rate.
        out: file for the items: ``.jsonl``, which grows with every item, or ``.csv``.
        device: where the model runs.
        jobs: processes that score.
        limit: only the first so many mixtures.
        force: replace ``out`` if it is there.
        skip_existing: take over the items that are in ``out`` already, of the same manifest and model.
        report: called with the number done, of how many, and the item.

    Returns:
        The items in the order of their ids, and one summary per metric.

    Raises:
        UsageError: neither or both of ``estimates`` and ``model``, or an unknown metric.
    """
    metrics = parse_metric_names(metric)
    if out is not None and out.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--out {out} has to end in .jsonl or .csv")
    if (estimates is None) == (model is None):
        raise UsageError("give a folder of estimates or --model, one of the two")
    if sample_rate is not None and estimates is None:
        raise UsageError("--sample-rate is for a folder of estimates; a model is scored at its own rate")
    if skip_existing and (out is None or out.suffix != ".jsonl" or model is None):
        raise UsageError("--skip-existing goes on with the items of a --model in --out FILE.jsonl")
    if out is not None and out.exists() and not (force or skip_existing):
        again = " or --skip-existing to go on" if out.suffix == ".jsonl" and model is not None else ""
        raise SeptoolError(f"{out} exists; use --force to replace it{again}")
    if out is not None:
        make_folder(out.parent)  # now, not after hours of scoring
    on_trials = source.suffix == ".txt"
    if on_trials:
        if model is None:
            raise UsageError(f"{source} is a list of trials; give the speaker network with --model")
        metrics = []
        work = trial_scores(source, model, device, limit)
    elif source.is_dir():
        if estimates is None:
            raise UsageError(f"{source} is a folder of references; give the folder of estimates, or a manifest")
        work = estimates_in_folders(source, estimates, limit, sample_rate)
    else:
        rows = sorted(manifest.read_manifest(source), key=lambda row: row.id)[:limit]
        if model is not None:
            work = estimates_from_model(rows, model, device)
        else:
            assert estimates is not None
            work = estimates_on_disk(rows, estimates, sample_rate)

    of = {} if source.is_dir() else {"manifest_sha256": sha256_of(source)}
    if model is not None:
        of["model_sha256"] = sha256_of(catalogue.resolve_checkpoint(model)[1])
    there = read_items(out, metrics, of) if out and out.exists() and skip_existing and not force else {}
    items, total = {id: there[id] for id in work.ids if id in there}, len(set(work.ids))
    with writing(out, there.values(), metrics) as write:
        for item in workers.each(partial(score_item, metrics, work.rate), work.pairs(items.keys()), jobs):
            items[item.id] = replace(item, of=of)
            write(items[item.id])
            report(len(items), total, items[item.id])
    ordered = [items[id] for id in work.ids]
    found = ("same", "different") if on_trials else ("presence", "absence")
    name = EER.name if on_trials else "presence-eer"
    summaries = summarize_items(ordered, metrics) + summarize_detections(ordered, name, yes=found[0], no=found[1])
    return ordered, [replace(summary, sample_rate=work.rate, **of) for summary in summaries]

"""Quality of every bundled separator on the validation sets: measured into small files, and a page of tables from them.

``python -m benchmarks.quality FOLDER`` evaluates what is missing of ``benchmarks/scores``, or is of other weights than
are shipped now, on the manifests in FOLDER (hours on two cores; one thread), and ``python -m benchmarks.quality`` alone
writes ``benchmarks/quality.md`` from what is there, as ``make generate`` does. A file holds a line on what was measured
with what, and a line for every item.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from septool import catalogue
from septool.atomic import atomic_write
from septool.errors import SeptoolError
from septool.metrics import METRICS, metric_versions
from septool.models import MODELS
from septool.provenance import source_commit
from septool.scoring.conversations import MEASURES
from septool.scoring.items import Item
from septool.scoring.summary import (
    PRESENCE,
    Summary,
    compare_items,
    summarize_detections,
    summarize_items,
    summarize_measures,
)
from septool.tasks.evaluate import evaluate

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "scores"
PAGE = Path(__file__).parent / "quality.md"
SETS = {  # to the metrics that they are scored by
    "dev-2mix": "si-snri,sdri,pesq",
    "dev-2mix-far": "si-snri,sdri,pesq",
    "dev-3mix": "si-snri,sdri,pesq",
    "dev-1voice": "si-snr,sdr,pesq",  # one voice alone is no mixture that could be improved
    "dev-meetings": "",
    "dev-2mix-enrol": "si-snri,sdri,pesq",
}
EXTRACTED = ("dev-2mix-enrol",)  # of which the enrolled voice is scored alone
DIGITS = 4
ABOUT = """\
Written by `python -m benchmarks.quality` from the files in `scores`, and from the tables beside the cards in
`docs/models` where a checkpoint was shipped with its scores on a set. Means over all voices with their 95 % intervals
(bootstrap over items). Below each table the paired difference of neighbours by the first score, with the p-value of a
permutation test. A set that is missing has not been measured yet, or the networks give fewer voices than it has. Where
fewer items than the set has are named, they are its first. Differences are of items, which count alike however many
voices they have. Checkpoints make as many passes as they say themselves."""


def bundled_separators() -> list[str]:
    """Return the names of the separators that come with the package."""
    return sorted(
        name
        for name, entry in catalogue.read_catalogue().items()
        if entry.file is not None and MODELS[entry.model].role == "separator"
    )


def measure(folder: Path, model: str, name: str, limit: int | None) -> None:
    """Evaluate a checkpoint on a set and write its file."""
    items, summaries = evaluate(
        folder / f"{name}.jsonl",
        model=model,
        extract=name in EXTRACTED,
        metric=SETS[name] or None,
        device="cpu",
        jobs=1,
        limit=limit,
    )
    write_results(RESULTS / f"{name}.{model}.jsonl", model, name, items, summaries[0])


def write_results(path: Path, model: str, name: str, items: Sequence[Item], summary: Summary) -> None:
    """Write a result: a line about it, and the items without what all of them share."""
    header = {
        "model": model,
        "set": name,
        "items": len(items),
        "sample_rate": summary.sample_rate,
        "manifest_sha256": summary.provenance["manifest_sha256"],
        "model_sha256": summary.provenance["model_sha256"],
        "versions": metric_versions(),
        "commit": source_commit(),
    }
    lines = [json.dumps(header)]
    for item in items:
        row = {key: value for key, value in item.to_row().items() if not key.endswith("_sha256")}
        lines.append(json.dumps(_rounded(row)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def read_results(path: Path) -> tuple[dict[str, Any], list[Item]]:
    """Read a result: what it is of, and its items with the manifest's sum, so that only equals are compared."""
    header, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return header, [Item.from_row(row | {"manifest_sha256": header["manifest_sha256"]}) for row in rows]


def is_measured(path: Path, sha256: str) -> bool:
    """Return whether a result is there and of these weights."""
    return path.exists() and read_results(path)[0]["model_sha256"] == sha256


def read_cards() -> list[tuple[dict[str, Any], list[Item]]]:
    """Read the scores that bundled separators were shipped with, from the tables beside their cards."""
    results = []
    for model in bundled_separators():
        entry = catalogue.read_catalogue()[model]
        table = ROOT / entry.card.replace(".md", ".csv")
        if entry.measured.get("on") not in SETS or not table.exists():
            continue
        scores: dict[str, dict[str, list[float | None]]] = {}
        metrics = SETS[entry.measured["on"]].split(",")
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                item = scores.setdefault(row["id"], {metric: [] for metric in metrics})
                for metric in metrics:
                    item[metric].append(float(row[metric]) if row[metric] else None)
        header = {
            "model": model,
            "set": entry.measured["on"],
            "sample_rate": entry.sample_rate,
            "manifest_sha256": entry.measured["manifest_sha256"],
        }
        provenance = {"manifest_sha256": header["manifest_sha256"]}
        results.append((header, [Item(id, of_item, provenance=provenance) for id, of_item in scores.items()]))
    return results


def page(folder: Path, shipped: Sequence[tuple[dict[str, Any], list[Item]]] = ()) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Quality"
    yield ""
    yield ABOUT
    for name in SETS:
        results = [read_results(path) for path in sorted(folder.glob(f"{name}.*.jsonl"))]
        measured = {header["model"] for header, _ in results}
        results += [result for result in shipped if result[0]["set"] == name and result[0]["model"] not in measured]
        if results:
            yield ""
            yield from _section(name, results)


def page_text() -> str:
    """Return the page of what has been measured."""
    return "\n".join(page(RESULTS, read_cards())) + "\n"


def _section(name: str, results: list[tuple[dict[str, Any], list[Item]]]) -> Iterator[str]:
    metrics = SETS[name].split(",") if SETS[name] else []
    summaries = [_summaries(metrics, items) for _, items in results]
    # The best first, by the first score.
    better = -1 if (metrics and METRICS[metrics[0]].better == "higher") else 1
    order = sorted(range(len(results)), key=lambda n: better * summaries[n][0].mean)
    yield f"## {name}"
    yield ""
    yield "| checkpoint | items | failed | " + " | ".join(_title(summary) for summary in summaries[0]) + " |"
    yield "|---|---|---|" + "---|" * len(summaries[0])
    for n in order:
        header, items = results[n]
        cells = [f"{summary.mean:.2f} ({summary.low:.2f} to {summary.high:.2f})" for summary in summaries[n]]
        yield f"| {header['model']} | {len(items)} | {sum(bool(i.error) for i in items)} | " + " | ".join(cells) + " |"
    for first, second in pairwise(order):
        try:
            found = compare_items(results[second][1], results[first][1])[0]
        except SeptoolError as error:
            yield ""
            yield f"{results[first][0]['model']} and {results[second][0]['model']} do not compare: {error}."
            continue
        yield ""
        yield (
            f"{results[first][0]['model']} over {results[second][0]['model']}, {found.metric}: {found.difference:.2f} "
            f"{found.unit} ({found.low:.2f} to {found.high:.2f}), p = {found.p_value:.4f}, {found.count} items."
        )
    for header, _ in results:
        if "versions" in header:
            versions = ", ".join(f"{package} {number}" for package, number in header["versions"].items())
            made = f"{versions}, commit {header['commit'] or 'unknown'}"
        else:
            made = "as shipped"
        yield ""
        yield f"{header['model']}: at {header['sample_rate']} Hz, {made}."


def _summaries(metrics: list[str], items: list[Item]) -> list[Summary]:
    if metrics:
        return [*summarize_items(items, metrics), *summarize_detections(items, PRESENCE)]
    return [*summarize_measures(items, MEASURES.values()), *summarize_items(items, ["si-snri"])]


def _title(summary: Summary) -> str:
    return f"{summary.metric}, {summary.unit}" if summary.unit else summary.metric


def main() -> int:
    """Measure what is missing, if a folder is given, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the validation sets' manifests")
    parser.add_argument("--limit", type=int, help="only the first so many items of each set")
    args = parser.parse_args()
    for name in SETS if args.folder else ():
        for model in bundled_separators():
            entry = catalogue.read_catalogue()[model]
            shipped = entry.measured.get("on") == name
            measured = is_measured(RESULTS / f"{name}.{model}.jsonl", entry.sha256)
            if shipped or measured or (name == "dev-3mix" and entry.sources < 3):
                continue
            print(f"{model} on {name}", file=sys.stderr, flush=True)
            measure(args.folder, model, name, args.limit)
    PAGE.write_text(page_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes a bundled checkpoint of a training run: scores it, writes weights, entry and item scores.

``python -m tools.ship NAME RUN/best.safetensors --manifest dev-2mix.jsonl`` evaluates the weights with
the same code as ``septool eval``, stores the scores in the header, copies the file to septool/weights/,
renews the entry in checkpoints.toml and leaves every item's scores in docs/models/NAME.csv. An extractor's
manifest has enrollments, and its threshold of presence is where as many voices are missed as let through; a
speaker network is scored on a list of trials, and its threshold, for the voices of separators, is that of scores
which ``benchmarks/quality.py`` has measured with it. Of several files it is the mean of their weights that is shipped.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import load_file

from benchmarks.low_precision import bf16_change
from benchmarks.quality import read_results
from septool import catalogue, checkpoints
from septool.data import manifest
from septool.device import has_fast_bfloat16
from septool.files import sha256_of
from septool.inference.dtype import BF16_CHANGE
from septool.models import MODELS
from septool.scoring.item_files import write_items_csv
from septool.scoring.items import Item
from septool.scoring.summary import PRESENCE, summarize_detections
from septool.tasks.evaluate import evaluate
from septool.training.optim import mean_weights
from tools.catalogue_file import write_catalogue
from tools.changed_weights import in_half_precision

ROOT = Path(__file__).parent.parent
METRICS = "si-snri,sdri,pesq"
LICENCE = "CC BY 4.0"  # of weights that come with none
USES = {
    "separator": "{people} people talking at once, close microphone, little noise and echo; research and play",
    "extractor": "one of two people talking at once, close microphone, little noise and echo; research and play",
    "speaker": "telling voices apart; not for deciding who somebody is",
}


def by_sex(items: list[Item], rows: list[manifest.Mixture]) -> dict[str, float]:
    """Return the mean SI-SNRi of mixtures of one sex and of both: voices alike are the harder half."""
    sexes = {row.id: {source.gender for source in row.sources} for row in rows}
    gains: dict[str, list[float]] = {"same": [], "different": []}
    for item in items:
        if None not in sexes[item.id]:
            alike = "same" if len(sexes[item.id]) == 1 else "different"
            gains[alike].extend(gain for gain in item.scores["si-snri"] if gain is not None)
    return {f"si_snri_{alike}_sex": round(fmean(values), 2) for alike, values in gains.items() if values}


def main() -> int:
    """Ship one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="one, or several whose weights are averaged")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--default", action="store_true", help="what the model's bare name means")
    parser.add_argument("--passes", type=int, default=1, help="that are averaged unless told otherwise")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--half", action="store_true", help="keep the weights in 16 bits; they are scored as kept")
    parser.add_argument("--presence", type=Path, help="of a speaker network: a file of benchmarks/scores")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.checkpoint = prepare(args.checkpoints, Path(folder), half=args.half)
        return ship(args)


def prepare(files: list[Path], folder: Path, *, half: bool) -> Path:
    """Write the mean of the weights of files, in 16 bits if that is asked for, into a folder; return where.

    What it says of itself is what the last file does. A single one is left where it is.
    """
    if len(files) == 1 and not half:
        return files[0]
    weights = mean_weights([load_file(file) for file in files])
    if half:
        weights = in_half_precision(weights)
    checkpoints.save(folder / files[-1].name, weights, checkpoints.read_header(files[-1]))
    return folder / files[-1].name


def public_name(path: str) -> str:
    """Return a path without the folders of the machine it was on; a relative one, which names no machine, as it is."""
    return Path(path).name if Path(path).is_absolute() else path


def ship(args: argparse.Namespace) -> int:
    """Score a checkpoint, and put it and what it scored where they belong."""
    header = checkpoints.read_header(args.checkpoint)
    kind = MODELS[header.model]
    score = partial(evaluate, args.manifest, model=str(args.checkpoint), device="cpu", jobs=args.jobs)
    if kind.role == "speaker":
        items, summaries = score()
    else:
        items, summaries = score(metric=METRICS, passes=args.passes)
    for item in items:
        if item.error:
            sys.exit(f"nothing was shipped: {item.id}: {item.error}")
    if kind.role != "speaker":  # trials go by the paths of their recordings here
        table = ROOT / "docs" / "models" / f"{args.name}.csv"
        # Without provenance: the weights get another hash below, when their scores are written into them.
        write_items_csv(table, [replace(item, provenance={}) for item in items], METRICS.split(","))
    scores = {summary.metric.replace("-", "_"): round(summary.mean, 2) for summary in summaries}
    if args.passes > 1:
        scores["si_snri_one_pass"] = round(score(metric="si-snri", passes=1)[1][0].mean, 2)
    if kind.role == "separator" and has_fast_bfloat16(torch.device("cpu")):  # elsewhere LSTMs stay in float32
        scores[BF16_CHANGE] = round(bf16_change(args.checkpoint, manifest.read_manifest(args.manifest)), 3)
    thresholds = {summary.metric: summary.threshold for summary in summaries}
    measured = {
        **scores,
        **({} if kind.role == "speaker" else by_sex(items, manifest.read_manifest(args.manifest))),
        "on": args.manifest.stem,
        "trials" if kind.role == "speaker" else "mixtures": len(args.manifest.read_text(encoding="utf-8").splitlines()),
        "manifest_sha256": sha256_of(args.manifest),
    }
    recipe = dict(header.recipe)
    if data := recipe.get("data"):  # which converted weights have not
        recipe |= {"data": data | {key: public_name(data[key]) for key in ("train", "validation")}}
    if recipe.get("initialise"):  # the key as it is written to files
        recipe |= {"initialise": public_name(recipe["initialise"])}
    if recipe.get("parts"):
        recipe |= {"parts": {part: public_name(name) for part, name in recipe["parts"].items()}}
    if args.presence is not None:
        thresholds |= {
            summary.metric: summary.threshold
            for summary in summarize_detections(read_results(args.presence)[1], PRESENCE)
        }
    threshold = thresholds.get(PRESENCE.metric)
    manifests = {public_name(name): digest for name, digest in header.manifests.items()}
    header = replace(
        header,
        manifests=manifests,
        measured=measured,
        presence_threshold=threshold,
        recipe=recipe,
        licence=header.licence or LICENCE,
        passes=args.passes,
    )
    path = ROOT / "septool" / "weights" / f"{args.name}.safetensors"
    weights = load_file(args.checkpoint)
    checkpoints.save(path, weights, header)
    model, _ = checkpoints.load(path, kind)
    entry = {
        "model": header.model,
        "file": path.name,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sample_rate": header.sample_rate,
        "sources": header.sources,
        "default": args.default,
        "licence": header.licence,
        "trained_on": header.trained_on,
        "intended_use": USES[kind.role].format(people={2: "two", 3: "three"}.get(header.sources, header.sources)),
        "card": f"docs/models/{args.name}.md",
        "measured": measured,
    }
    known = {name: asdict(old) for name, old in catalogue.read_catalogue().items()}
    entry["published"] = known.get(args.name, {}).get("published")
    if args.default:
        for old in known.values():
            old["default"] &= old["model"] != header.model
    known[args.name] = entry
    write_catalogue(known, ROOT / "checkpoints.toml")
    print(json.dumps(entry, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

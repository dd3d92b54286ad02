"""How fast training goes: our loop beside a plain one around the implementations that others use.

``python -m benchmarks.train`` makes the environment of ``benchmarks.peers``, unless ``--python`` names one that
has SpeechBrain and asteroid, and measures in it. Both sides have the same weights, sizes and batches, Adam, the
same clipping, and take their steps in turns. Ours is what `septool train` runs, drawing its mixtures
included; theirs is the shortest loop that trains, with its own toolkit's loss, dropout off, on batches that
are there already. What no other toolkit has is measured alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from septool import audio, checkpoints
from septool.config import build
from septool.inference import choose_device
from septool.tasks import batches
from septool.tasks.prepare import prepare
from septool.tasks.profile import this_machine
from septool.tasks.recipe import Recipe
from septool.tasks.run import Run
from septool.tasks.train import kind

RATE, CLIP, LEARNING_RATE = 8000, 5.0, 1e-4
WARM = 2  # steps before the first that counts
ALONE = ("papez", "galr", "dp-rcnet", "atss-net")
ABOUT = (
    "Samples of mixtures a second, median of the steps taken in turns; ours draws its mixtures, theirs get them for "
    "nothing; a ratio above one is in our favour. Waiting for data is a part of our step."
)
EXAMPLES = peers.ROOT / "examples"


def corpus(folder: Path) -> Path:
    """Cut the example's two voices into utterances, and return the manifest of a pool of them."""
    for speaker in (1, 2):
        voice = audio.load(EXAMPLES / f"two-talkers_s{speaker}.flac", RATE)
        for place, start in enumerate(range(0, len(voice), len(voice) // 3 + 1)):
            path = folder / "tree" / f"speaker{speaker}" / f"{place}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, voice[start : start + len(voice) // 3 + 1], RATE)
    prepare("folder", folder / "tree", out=folder / "data", split="train")
    return folder / "data" / "train-speech.jsonl"


def plain_loss(model: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a toolkit, for estimates as its network gives them and sources ``[batch, source, time]``."""
    if peers.toolkit(model) == "asteroid":
        from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr  # pyright: ignore[reportMissingImports]

        return PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")
    from speechbrain.nnet.losses import get_si_snr_with_pitwrapper  # pyright: ignore[reportMissingImports]

    return lambda estimate, sources: get_si_snr_with_pitwrapper(sources.mT, estimate).mean()


class Plain:
    """A plain loop around another toolkit's network."""

    def __init__(self, model: str, device: torch.device, precision: str) -> None:
        self.network = peers.theirs(model).to(device).train()
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        self.loss = plain_loss(model)
        self.optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)
        self.device, self.bf16 = device, precision == "bf16"

    def step(self, sources: Tensor) -> None:
        """Take one step on ``[batch, source, time]``."""
        sources = sources.to(self.device)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            estimate = self.network(sources.sum(1))
        loss = self.loss(estimate.float(), sources)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        loss.item()


def ours(model: str, folder: Path, options: argparse.Namespace, device: torch.device) -> Run:
    """Build our side, with the other's weights if there is another."""
    values: dict[str, Any] = {"model": model}
    if model in peers.MODELS:
        path = peers.converted(model, peers.theirs(model), folder)
        values |= {"config": checkpoints.read_header(path).config, "initialise": str(path)}
    values |= {
        "data": {"train": str(corpus(folder)), "sample_rate": 16_000 if model == "atss-net" else RATE},
        "mixing": {"seconds": options.seconds},
        "enrolling": {"absent": 0.0},
        "optimizer": {"lr": LEARNING_RATE, "clip": CLIP},
        "loop": {"batch": options.batch, "precision": options.precision},
    }
    recipe = build(Recipe, values)
    return kind(recipe)(recipe, folder, device)


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train both sides of a model in turns."""
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        run = ours(model, Path(folder), options, device)
        steps = options.steps + WARM
        shares = batches.load(run.items(0), range(steps), jobs=options.jobs)
        plain = Plain(model, device, options.precision) if model in peers.MODELS else None
        waits, times, their_times, samples = [], [], [], 0
        ready = iter(shares)
        for _ in range(steps):
            started = time.perf_counter()
            (piece,) = next(ready)
            waited = time.perf_counter()
            run.step(piece)
            samples = batches.samples(piece)
            times.append(time.perf_counter() - started)
            waits.append(waited - started)
            if plain:
                started = time.perf_counter()
                plain.step(piece)
                their_times.append(time.perf_counter() - started)
    row: dict[str, Any] = {"kind": "train", "model": model, "audio s": options.seconds, "batch": options.batch}
    row |= {"precision": options.precision, "ours samples/s": samples / _median(times)}
    row["waiting for data"] = statistics.mean(waits[WARM:]) / statistics.mean(times[WARM:])
    if plain:
        row |= {"against": peers.toolkit(model), "theirs samples/s": samples / _median(their_times)}
        row["ours / theirs"] = row["ours samples/s"] / row["theirs samples/s"]
    return row


def _median(times: list[float]) -> float:
    return statistics.median(islice(times, WARM, None))


def main() -> None:
    """Measure, print JSON lines, write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="Python of an environment with speechbrain and asteroid")
    parser.add_argument("--model", default=",".join((*peers.MODELS, *ALONE)), help="some of %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--jobs", type=int, default=0, help="processes that draw mixtures")
    parser.add_argument("--out", type=Path, help="file for the results, .jsonl")
    options = parser.parse_args()
    if find_spec("asteroid") is None or find_spec("speechbrain") is None:
        command = [options.python or peers.environment(), "-m", "benchmarks.train", *sys.argv[1:]]
        raise SystemExit(subprocess.call(command, cwd=peers.ROOT))
    torch.set_num_threads(options.threads)
    machine = asdict(this_machine(choose_device(options.device), options.threads))
    versions = ", ".join(f"{name} {version(name)}" for name in ("speechbrain", "asteroid"))
    rows = [{"kind": "machine", **machine, "title": "Training", "about": f"{ABOUT} Against {versions}."}]
    for model in options.model.split(","):
        rows.append(measure(model, options))
        print(json.dumps(rows[-1]), flush=True)
    if options.out:
        with audio.replacing(options.out) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()

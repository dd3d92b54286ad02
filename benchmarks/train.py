"""How fast training goes: our loop beside a plain one around the implementations that others use.

``python -m benchmarks.train`` makes the environment of ``benchmarks.peers``, unless ``--python`` names one that
has SpeechBrain and asteroid, and measures in it. Both sides have the same weights, sizes and batches, Adam, the
same clipping, and take their steps in turns. Ours is what `septool train` runs, drawing its mixtures
included; theirs is the shortest loop that trains, with its own toolkit's loss, dropout off, on batches that
are there already. What no other toolkit has is measured alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks import peers, section
from septool import audio, checkpoints
from septool.device import choose_device
from septool.profiling.timing import MAX_REPEATS, time_interleaved
from septool.tasks.prepare import prepare
from septool.training.data import Batch, count_samples, load_micro_batches
from septool.training.distributed import Distributed
from septool.training.recipe_files import recipe_from_dict
from septool.training.trainer import Trainer

RATE, CLIP, LEARNING_RATE = 8000, 5.0, 1e-4
ALONE = ("papez", "galr", "dp-rcnet", "atss-net")
ABOUT = (
    "Samples of mixtures a second by the median step, of steps taken in turns; ours draws its mixtures, theirs gets "
    "them for nothing; a ratio above one is in our favour. Waiting for data is a share of our step."
)
EXAMPLES = peers.ROOT / "examples"


def corpus(folder: Path) -> Path:
    """Cut the example's two voices into utterances, and return the manifest of a pool of them."""
    for speaker in (1, 2):
        voice = audio.load_audio(EXAMPLES / f"two-talkers_s{speaker}.flac", RATE)
        for index, start in enumerate(range(0, len(voice), len(voice) // 3 + 1)):
            path = folder / "tree" / f"speaker{speaker}" / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write_audio(path, voice[start : start + len(voice) // 3 + 1], RATE)
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


def ours(model: str, folder: Path, options: argparse.Namespace, device: torch.device) -> Trainer:
    """Build our side, with the other's weights if there is another."""
    values: dict[str, Any] = {"model": model}
    if model in peers.IN_TOOLKITS:
        path = peers.converted(model, peers.theirs(model), folder)
        values |= {"config": checkpoints.read_header(path).config, "initialize": str(path)}
    values |= {
        "data": {"train": str(corpus(folder)), "sample_rate": 16_000 if model == "atss-net" else RATE},
        "mixing": {"seconds": options.seconds},
        "enrollment": {"absent": 0.0},
        "optimizer": {"lr": LEARNING_RATE, "clip": CLIP},
        "loop": {"batch": options.batch, "precision": options.precision},
    }
    return Trainer(recipe_from_dict(values), folder, Distributed(device))


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train both sides of a model in turns."""
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        run = ours(model, Path(folder), options, device)
        shares = load_micro_batches(run.role.training_set(0), range(MAX_REPEATS + 1), jobs=options.jobs)
        waits: list[float] = []
        batch: Batch = torch.empty(0)

        def step() -> None:
            nonlocal batch
            started = time.perf_counter()
            (batch,) = next(shares)
            waits.append(time.perf_counter() - started)
            run.step(batch)

        calls: list[Callable[[], None]] = [step]
        if model in peers.IN_TOOLKITS:
            plain = Plain(model, device, options.precision)
            calls.append(lambda: plain.step(cast(Tensor, batch)))  # a separator's
        own, *others = time_interleaved(calls, device, options.budget)
    samples = count_samples(batch)
    row: dict[str, Any] = {"kind": "train", "model": model, "audio s": options.seconds, "batch": options.batch}
    row |= {"precision": options.precision, "waiting for data": statistics.median(waits[1:]) / own.median}
    row |= {"ours": samples / own.median, "from": samples / own.high, "to": samples / own.low}
    for other in others:
        row |= {"against": peers.toolkit(model), "theirs": samples / other.median}
        row |= {"theirs from": samples / other.high, "theirs to": samples / other.low}
        row["ours / theirs"] = other.median / own.median
    return row


def main() -> None:
    """Measure, print JSON lines, write them to a file."""
    parser = section.parser(__doc__, budget=15.0, per="model")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a mixture")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=0, help="processes that draw mixtures")
    options = peers.parse(parser, (*peers.IN_TOOLKITS, *ALONE), "benchmarks.train")
    device, threads = choose_device(options.device), options.threads
    rows = (measure(model, options) for model in options.model.split(","))
    section.measure("Training", peers.against(ABOUT), rows, device=device, threads=threads, out=options.out)


if __name__ == "__main__":
    main()

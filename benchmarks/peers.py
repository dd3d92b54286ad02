"""Ours beside the implementations that others use, with the same weights: latency, memory, and how equal outputs are.

``python -m benchmarks.peers`` makes an environment of its own in ``.cache/peers``, installs SpeechBrain and
asteroid there beside septool, and measures in it; ``--python`` names an environment that has them.

Every network has the sizes that are its class's defaults and random weights, which `models convert`
brings to ours. Papez is its authors' code, which is fetched, at the paper's sizes. Latencies are taken in turns in
one process; memory, weights included, in one process each.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import released, section
from septool import checkpoints
from septool.models.base import Separator
from septool.profiling.measure import load_batch, warm_up
from septool.profiling.memory import PeakMemory
from septool.profiling.report import milliseconds
from septool.profiling.timing import time_interleaved
from septool.tasks.convert import convert
from septool.tasks.profile import EXAMPLE, parse_lengths

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
TOOLKITS = ("speechbrain", "asteroid")
ASTEROID = {"conv-tasnet": "ConvTasNet", "dprnn": "DPRNNTasNet", "dptnet": "DPTNet", "sudormrf": "SuDORMRFNet"}
IN_TOOLKITS = ("sepformer", *ASTEROID)
MODELS = (*IN_TOOLKITS, "papez")
PARTS = ("encoder", "masknet", "decoder")  # files that speechbrain keeps a network in
EQUAL = 1e-5  # of the largest sample
ABOUT = (
    "The same weights on both sides, sizes as each class has them by default, real speech at 8 kHz, batch 1; a ratio "
    "below one is in our favour. Papez has the paper's sizes, and no token halts. Latencies are taken in turns; memory "
    "includes the weights; the difference of the outputs is the largest, over the largest sample."
)


def toolkit(model: str) -> str:
    """Return whose implementation a model is compared with."""
    if model == "papez":
        return "its authors"
    return "asteroid" if model in ASTEROID else "speechbrain"


def theirs(model: str) -> nn.Module:
    """Build another toolkit's network; the weights are the same every time."""
    if model == "papez":
        return released.papez()
    torch.manual_seed(0)
    if model in ASTEROID:
        return released.perturb(getattr(import_module("asteroid.models"), ASTEROID[model])(n_src=2))
    return released.perturb(import_module("speechbrain.lobes.models.dual_path").SepformerWrapper())


def converted(model: str, network: nn.Module, folder: Path) -> Path:
    """Bring a network's weights into a checkpoint of ours."""
    out = folder / f"{model}.safetensors"
    if isinstance(network, released.Released):
        return released.converted(network, out)
    if model in ASTEROID:
        arguments: dict[str, Any] = network.get_model_args()  # pyright: ignore[reportCallIssue]
        content = {"model_name": ASTEROID[model], "state_dict": network.state_dict(), "model_args": arguments}
        torch.save(content, folder / "model.pth")
        convert("asteroid", [folder / "model.pth"], out)
    else:
        files = [folder / f"{part}.ckpt" for part in PARTS]
        for part, file in zip(PARTS, files, strict=True):
            torch.save(getattr(network, part).state_dict(), file)
        convert("speechbrain-sepformer", files, out, sample_rate=Separator.paper_rate, chunk=250, heads=8)
    return out


def memory(model: str, ours: Path | None, lengths: Sequence[float], threads: int) -> list[int | None]:
    """Return the peak of the memory that one side needs at every length."""
    torch.set_num_threads(threads)
    warm_up(CPU)
    if ours is None:
        released.code() if model == "papez" else import_module(toolkit(model))
    memory, peaks = PeakMemory(CPU), []
    network = checkpoints.load(ours)[0] if ours else theirs(model)
    for seconds in lengths:
        mixture = load_batch(EXAMPLE, Separator.paper_rate, seconds, 1)
        memory.reset()
        with torch.inference_mode():
            network(mixture)
        peaks.append(memory.peak())
    return peaks


def compare(model: str, lengths: Sequence[float], threads: int, budget: float) -> list[dict[str, Any]]:
    """Measure one network at every length."""
    network = theirs(model)
    with tempfile.TemporaryDirectory() as folder:
        path = converted(model, network, Path(folder))
        ours, _ = checkpoints.load(path)
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            their_peaks, our_peaks = (pool.apply(memory, (model, side, lengths, threads)) for side in (None, path))
    rows = []
    for seconds, their_peak, our_peak in zip(lengths, their_peaks, our_peaks, strict=True):
        mixture = load_batch(EXAMPLE, Separator.paper_rate, seconds, 1)
        with torch.inference_mode():
            difference = _difference(ours(mixture), network(mixture))
            if not difference <= EQUAL:  # nor NaN
                raise SystemExit(f"{model} at {seconds:g} s: outputs differ by {difference:.1e} of the largest sample")
            calls: list[Callable[[], Any]] = [lambda x=mixture: network(x), lambda x=mixture: ours(x)]
            their_time, our_time = time_interleaved(calls, CPU, budget)
        row: dict[str, Any] = {"kind": "peer", "model": model, "against": toolkit(model), "audio s": seconds}
        for side, timing, peak in (("theirs", their_time, their_peak), ("ours", our_time, our_peak)):
            row[f"{side} ms"], row[f"{side} from"], row[f"{side} to"] = milliseconds(timing)
            row[f"{side} MB"] = None if peak is None else peak / 1e6
        row["latency, ours / theirs"] = our_time.median / their_time.median
        row["memory, ours / theirs"] = our_peak / their_peak if our_peak and their_peak else None
        rows.append(row | {"difference": difference})
    return rows


def _difference(ours: Tensor, theirs: Tensor) -> float:
    theirs = theirs if theirs.shape == ours.shape else theirs.mT  # speechbrain's voices come last
    return float((ours - theirs).abs().max() / theirs.abs().max())


def environment() -> Path:
    """Make an environment with the other toolkits, unless it is there; return its Python."""
    folder = ROOT / ".cache" / "peers"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        of_tests = ("pytest", "pytest-xdist", "torchmetrics", "mir_eval<0.9", "rotary-embedding-torch")
        of_espnet = ("librosa", "ci-sdr", "torch-complex", "typeguard", "humanfriendly", "configargparse")
        without_all_they_ask_for = ("--no-deps", "asteroid", "asteroid-filterbanks", "espnet")
        for packages in ((ROOT, "speechbrain", "requests", *of_espnet, *of_tests), without_all_they_ask_for):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return python


def parse(parser: argparse.ArgumentParser, models: Iterable[str], module: str) -> argparse.Namespace:
    """Parse the command line of a comparison, and run it in the environment of the toolkits, unless this is it."""
    parser.add_argument("--python", type=Path, help="Python of an environment with speechbrain and asteroid")
    parser.add_argument("--model", default=",".join(models), help="some of %(default)s")
    options = parser.parse_args()
    if not all(map(find_spec, TOOLKITS)):
        command = [options.python or environment(), "-m", module, *sys.argv[1:]]
        raise SystemExit(subprocess.call(command, cwd=ROOT))
    return options


def against(subject: str) -> str:
    """Add the versions of the toolkits."""
    return f"{subject} Against {', '.join(f'{name} {version(name)}' for name in TOOLKITS)}."


def main() -> None:
    """Measure, print JSON lines, write them to a file."""
    parser = section.parser(__doc__, budget=3.0, per="model and length")
    parser.add_argument("--lengths", default="1-5s", help="seconds of audio")
    parser.add_argument("--tests", action="store_true", help="run the tests that need the toolkits instead")
    options = parse(parser, MODELS, "benchmarks.peers")
    if options.tests:
        names = ("interop/test_convert", "interop/test_published", "tasks/test_export", "metrics/test_golden")
        command = [sys.executable, "-m", "pytest", "-n0", "-rsP", *(f"tests/{name}.py" for name in names)]
        raise SystemExit(subprocess.call(command, cwd=ROOT))
    lengths = parse_lengths(options.lengths)
    rows = (
        row for model in options.model.split(",") for row in compare(model, lengths, options.threads, options.budget)
    )
    title = "Ours and others' implementations"
    section.measure(title, against(ABOUT), rows, device=CPU, threads=options.threads, out=options.out)


if __name__ == "__main__":
    main()

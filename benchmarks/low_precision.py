"""What fewer bits cost and gain: bfloat16 by torch, and int8 of linear and LSTM layers by ONNX Runtime.

``python -m benchmarks.low_precision dev-2mix.jsonl --models galr papez --items 0:40`` separates mixtures by every way
and prints, for each model, the mean SI-SNRi and the processor's time for a second of sound, in turns, on one thread.
int8 is dynamic: weights are quantized once for each output, activations anew for each product.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from septool import catalogue, checkpoints
from septool.data.manifest import Mixture, read_manifest
from septool.data.mixing import render_mixture
from septool.inference.dtype import computing_in
from septool.inference.level import separate_at_model_level
from septool.inference.onnx_export import write_graph
from septool.inference.onnx_runtime import open_session
from septool.models.base import Separator
from septool.scoring.items import score_improvement, value_or_floor
from septool.tasks.profile import describe_machine

CPU = torch.device("cpu")
TIMED_S = 8.0
REFERENCE = {"torch, bf16": "torch, fp32", "onnx, int8": "onnx, fp32"}

Separate = Callable[[np.ndarray], np.ndarray]  # [1, time] to [1, voice, time]


def by_torch(network: Separator, dtype: torch.dtype | None) -> Separate:
    """Return the separation by torch."""

    @torch.inference_mode()
    def separate(mixture: np.ndarray) -> np.ndarray:
        with computing_in(dtype, CPU):
            return separate_at_model_level(network, torch.from_numpy(mixture)).float().numpy()

    return separate


def by_onnx(graph: Path) -> Separate:
    """Return the separation by ONNX Runtime."""
    session = open_session(graph, optimize=True)
    return lambda mixture: session.run(["voices"], {"mixture": mixture})[0]


def ways(name: str, checkpoint: Path, folder: Path, engines: Sequence[str]) -> Iterator[tuple[str, Separate]]:
    """Yield every way of computing a checkpoint by its name."""
    if "torch" in engines:
        network, _ = checkpoints.load(checkpoint)
        yield "torch, fp32", by_torch(network, None)
        yield "torch, bf16", by_torch(network, torch.bfloat16)
    if "onnx" not in engines:
        return
    plain, fewer = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    write_graph(name, checkpoint, plain)
    yield "onnx, fp32", by_onnx(plain)
    write_graph(name, checkpoint, fewer, "int8")
    yield "onnx, int8", by_onnx(fewer)


def time_ways(found: dict[str, Separate], rate: int, rounds: int) -> dict[str, float]:
    """Return the processor's seconds that each takes for a second of noise, the median of turns."""
    mixture = np.random.default_rng(0).uniform(-0.3, 0.3, (1, round(TIMED_S * rate))).astype(np.float32)
    taken: dict[str, list[float]] = {way: [] for way in found}
    for _ in range(rounds):
        for way, separate in found.items():
            started = time.process_time()
            separate(mixture)
            taken[way].append(time.process_time() - started)
    return {way: statistics.median(times) / TIMED_S for way, times in taken.items()}


def score(separate: Separate, rows: list[Mixture], rate: int) -> float:
    """Return the mean SI-SNRi over mixtures, in dB."""
    values = []
    for row in rows:
        rendered = render_mixture(row, rate)
        voices = separate(rendered.mixture[None].astype(np.float32))[0]
        found, true, mixed = (torch.from_numpy(signal) for signal in (voices, rendered.sources, rendered.mixture))
        values.append(value_or_floor(score_improvement(found, true, mixed, rate)))
    return statistics.fmean(value for value in values if value is not None)


def bf16_change(checkpoint: Path, rows: list[Mixture]) -> float:
    """Return by how many dB the mean SI-SNRi of a separator moves in bfloat16, by one pass."""
    network, header = checkpoints.load(checkpoint)
    as_it_is, changed = (score(by_torch(network, dtype), rows, header.sample_rate) for dtype in (None, torch.bfloat16))
    return changed - as_it_is


def parse_range(text: str) -> slice:
    """Read ``0:40``."""
    first, _, last = text.partition(":")
    return slice(int(first or 0), int(last) if last else None)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--models", nargs="+", default=["galr", "papez"])
    parser.add_argument("--items", type=parse_range, default=slice(0, 40), help="which of them, FIRST:LAST")
    parser.add_argument("--engines", nargs="+", choices=("torch", "onnx"), default=["torch", "onnx"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_manifest(options.manifest)[options.items]
    print(f"{describe_machine(CPU, 1)}, ONNX Runtime {onnxruntime.__version__}; {len(rows)} mixtures\n")
    print("| model | way | SI-SNRi, dB | difference, dB | processor s for 1 s | times as fast |")
    print("|---|---|---|---|---|---|", flush=True)
    for model in options.models:
        name, checkpoint = catalogue.resolve_checkpoint(model)
        rate = checkpoints.read_header(checkpoint).sample_rate
        with tempfile.TemporaryDirectory() as folder:
            found = dict(ways(name, checkpoint, Path(folder), options.engines))
            taken = time_ways(found, rate, options.rounds)
            scores: dict[str, float] = {}
            for way, separate in found.items():
                scores[way] = score(separate, rows, rate)
                known = REFERENCE.get(way, way)
                print(
                    f"| {name} | {way} | {scores[way]:.2f} | {scores[way] - scores[known]:+.3f} | {taken[way]:.3f} | "
                    f"{taken[known] / taken[way]:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

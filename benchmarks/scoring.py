"""How fast estimates in files are scored: septool on several processes, beside mir_eval's own SDR in a loop.

``python -m benchmarks.scoring --items 40 --oracle-items 3`` makes two-voice utterances of LibriMix's test lengths at
8 kHz, scores SI-SNRi and SDRi from files, and prints seconds an item, of the clock and of the processors, and what
3,000 items take at that pace: that number is extrapolated from the items that were measured, and so named. On a machine
that does other things only the processors' seconds compare.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from septool import audio
from septool.tasks.evaluate import evaluate
from septool.tasks.profile import describe_machine

RATE = 8000
WHOLE_SET = 3000
SECONDS = (3.0, 4.5, 6.0, 8.5, 14.0)  # about the 10th to the 90th percentile of Libri2Mix's test set in min mode


def make_utterances(folder: Path, items: int) -> None:
    """Write references and estimates of noise with the spectrum and the comings and goings of speech."""
    random = np.random.default_rng(0)
    taps = 0.9 ** np.arange(60)
    for item in range(items):
        frames = round(SECONDS[item % len(SECONDS)] * RATE)
        envelope = 1 + np.sin(2 * np.pi * np.arange(frames) / 3000 + np.array([[0.0], [2.0]]))
        voices = np.stack([np.convolve(row, taps)[:frames] for row in random.standard_normal((2, frames))]) * envelope
        voices *= 0.02
        found = voices + 0.2 * voices[::-1] + 0.002 * random.standard_normal((2, frames))
        for kind, signals in (("true", voices), ("found", found)):
            for number, samples in enumerate(signals, 1):
                path = folder / kind / f"u{item:04d}_s{number}.wav"
                path.parent.mkdir(exist_ok=True)
                audio.write_audio(path, samples.astype(np.float32), RATE)


def score_by_mir_eval(folder: Path, items: int) -> None:
    """Score SDRi of the first items as published loops do: once the estimates, once the mixture."""
    from mir_eval.separation import bss_eval_sources

    for item in range(items):
        true, found = (
            np.stack([audio.read_audio(folder / kind / f"u{item:04d}_s{n}.wav")[0][0] for n in (1, 2)])
            for kind in ("true", "found")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for estimates in (found, np.stack([true.sum(0)] * 2)):
                bss_eval_sources(true, estimates)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return how many seconds something takes, of the clock and of the processors, its processes included."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - start, sum(os.times()[:4]) - before


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--oracle-items", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({"kind": "machine", **asdict(describe_machine(torch.device("cpu"), 1))}))
    with tempfile.TemporaryDirectory(prefix="septool-") as name:
        folder = Path(name)
        make_utterances(folder, args.items)
        ways = [
            (
                f"septool si-snri,sdri, {args.jobs} processes",
                args.items,
                lambda: run(folder, "si-snri,sdri", args.jobs),
            ),
            ("septool si-snri,sdri, 1 process", args.items, lambda: run(folder, "si-snri,sdri", 1)),
            ("mir_eval sdri, 1 process", args.oracle_items, lambda: score_by_mir_eval(folder, args.oracle_items)),
        ]
        for way, items, work in ways:
            seconds, processor_seconds = (each / items for each in timed(work))
            row = {"way": way, "items": items, "seconds_per_item": round(seconds, 4)}
            row |= {"processor_seconds_per_item": round(processor_seconds, 4)}
            row |= {"extrapolated_processor_seconds_of_3000": round(processor_seconds * WHOLE_SET)}
            print(json.dumps(row), flush=True)
    return 0


def run(folder: Path, metric: str, jobs: int) -> None:
    """Score everything with septool."""
    evaluate(folder / "true", folder / "found", metric=metric, jobs=jobs)


if __name__ == "__main__":
    sys.exit(main())

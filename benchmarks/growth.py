"""What `septool separate` takes for a second of a recording, from a second to an hour: it should stay the same.

``python -m benchmarks.growth`` repeats the example to each length and separates it by commands of their own.
``python -m benchmarks.growth --figure growth.svg --out growth.jsonl`` draws what such a run has left.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import section
from benchmarks.long_recordings import run
from septool import audio
from septool.profiling.figures import figure_class
from septool.tasks.profile import EXAMPLE, parse_lengths

ABOUT = (
    "`septool separate` with the default model, a command of its own each time, on the example repeated to each "
    "length. The time is that of the whole command, starting included; memory is its largest resident set. First "
    "output is when a voice's file held more than its header."
)
RUNS = 5
RUNS_OF_LONG, LONG_S = 1, 60  # starting, which differs most from run to run, is little of what longer ones take


def rows(lengths: Sequence[float], model: str, threads: int) -> Iterator[dict[str, Any]]:
    """Measure every length, the shortest first."""
    example, rate = audio.read_audio(EXAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "long.wav")
        for seconds in sorted(lengths):
            audio.write_audio(recording, np.resize(example[0], round(seconds * rate)), rate)
            count = RUNS if seconds <= LONG_S else RUNS_OF_LONG
            runs = [run("plain", model, recording, Path(folder, f"{seconds}-{n}"), threads) for n in range(count)]
            times = sorted(1000 * run.seconds / seconds for run in runs)
            yield {
                "kind": "growth",
                "audio s": seconds,
                "runs": count,
                "s": statistics.median(run.seconds for run in runs),
                "ms for a second": statistics.median(times),
                "from": times[0],
                "to": times[-1],
                "processor ms for a second": statistics.median(1000 * run.cpu_s / seconds for run in runs),
                "memory MB": statistics.median(run.peak_mb for run in runs),
                "first output s": statistics.median(run.first_output_s for run in runs),
            }


def draw(results: Path, path: Path) -> None:
    """Draw time and memory against length."""
    _, *measured = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    figure = figure_class()(figsize=(11, 4), layout="constrained")
    lengths = [row["audio s"] for row in measured]
    for panel, column, label in zip(
        figure.subplots(1, 2),
        ("ms for a second", "memory MB"),
        ("time per second of audio, ms", "peak memory, MB"),
        strict=True,
    ):
        panel.plot(lengths, [row[column] for row in measured], marker="o")
        panel.set(xscale="log", xlabel="length of the recording, s", ylabel=label)
        panel.set_xticks(lengths, [f"{length:g}" for length in lengths], minor=False)
        panel.grid(alpha=0.3)
    figure.axes[0].set_yscale("log")
    figure.axes[1].set_ylim(bottom=0)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print JSON lines, write them to a file; or draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="file for the results, .jsonl")
    parser.add_argument("--lengths", default="1,10,60,600,3600s", help="seconds of audio")
    parser.add_argument("--model", default="galr", help="of separate")
    parser.add_argument("--figure", type=Path, help="draw what --out has into this file")
    options = parser.parse_args()
    if options.figure:
        if not options.out:
            parser.error("--figure needs --out, which has what was measured")
        draw(options.out, options.figure)
        return
    found = rows(parse_lengths(options.lengths), options.model, options.threads)
    section.measure(
        "Growth of separate", ABOUT, found, device=torch.device("cpu"), threads=options.threads, out=options.out
    )


if __name__ == "__main__":
    main()

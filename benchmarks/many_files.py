"""Many short recordings: files a second of ``septool separate``, and what share of the time is not the network.

``python -m benchmarks.many_files --files 10000`` cuts as many seconds of the example, has one command separate the
folder, then two at once into another, and says whether any voice is missing or cut; ``--way`` takes one of both. Two at
once share the work: each leaves out what the other has done. What the network alone takes is measured in this process,
on one thread as each of the command's processes has it; both are processor time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.taken import Taken, timed
from septool import audio, catalogue, checkpoints
from septool.config import shipped
from septool.inference.dtype import choose_dtype, torch_dtype
from septool.inference.level import make_estimator, on_arrays
from septool.inference.passes import average_passes
from septool.tasks.profile import describe_machine

SECONDS = 1.0
TIMED = 50  # runs of the network
WAYS = {"one": "one command", "two": "two at once into one folder"}
VOICES = 2


def write_recordings(folder: Path, files: int) -> None:
    """Write so many different seconds of the example."""
    samples, rate = audio.read_audio(shipped("examples/two-talkers.flac"))
    frames = round(SECONDS * rate)
    for number, start in enumerate(np.linspace(0, samples.shape[1] - frames, files).astype(int)):
        audio.write_audio(folder / f"{number:06}.wav", samples[:, start : start + frames], rate, "PCM_16")


def separate(recordings: Path, outs: Sequence[Path], model: str, options: Sequence[str]) -> Taken:
    """Run a command for each output folder, all at once."""
    command = [sys.executable, "-m", "septool", "separate", str(recordings), "-m", model, "-d", "cpu", "-q", *options]
    statuses: list[int] = []

    def run() -> None:
        running = [subprocess.Popen([*command, "-o", str(out)], stdout=subprocess.DEVNULL) for out in outs]
        statuses.extend(process.wait() for process in running)

    taken = timed(run)
    if any(statuses):
        raise SystemExit(f"{' '.join(command)} ended with {statuses}")
    return taken


def network_seconds(model: str, recordings: Path) -> float:
    """Return the median processor time of the network for one recording, by all its passes, on one thread."""
    torch.set_num_threads(1)
    network, header = checkpoints.load(catalogue.resolve_checkpoint(model)[1])
    cpu = torch.device("cpu")
    dtype = torch_dtype(choose_dtype("auto", cpu, header.measured).name)  # as the command computes
    estimate = average_passes(on_arrays(make_estimator(network, dtype=dtype), cpu), header.passes)
    taken = []
    for path in sorted(recordings.iterdir())[:TIMED]:
        mixture = audio.load_audio(path, header.sample_rate)[None]
        started = time.process_time()
        estimate(mixture)
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def count_lost(recordings: Path, out: Path) -> int:
    """Count the voices that are not there, or not as long as their recording."""
    lost = 0
    for path in recordings.iterdir():
        frames = audio.audio_info(path).frames
        for number in range(1, VOICES + 1):
            voice = out / f"{path.stem}_s{number}.wav"
            lost += not voice.exists() or audio.audio_info(voice).frames != frames
    return lost


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--model", default="galr")
    parser.add_argument("--way", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--scratch", type=Path, help="folder for recordings and voices")
    options, given = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        recordings = Path(scratch, "recordings")
        outs = {way: Path(scratch, way) for way in options.way}
        for folder in (recordings, *outs.values()):
            folder.mkdir()
        write_recordings(recordings, options.files)
        network = options.files * network_seconds(options.model, recordings)
        rows = {}
        for way, out in outs.items():
            commands = [out] if way == "one" else [out, out]
            shared = [] if way == "one" else ["--skip-existing"]
            rows[way] = separate(recordings, commands, options.model, [*given, *shared])
        print(f"{describe_machine(torch.device('cpu'), 1)}; load {os.getloadavg()[1]:.1f} over five minutes\n")
        print("| files | run | files a second | of processor time | not the network | voices lost |")
        print("|---|---|---|---|---|---|")
        for way, taken in rows.items():
            lost = count_lost(recordings, outs[way])
            print(
                f"| {options.files} | {WAYS[way]} | {options.files / taken.wall:.1f} | "
                f"{options.files / taken.cpu:.1f} | {1 - network / taken.cpu:.0%} | {lost} |"
            )


if __name__ == "__main__":
    main()

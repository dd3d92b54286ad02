"""Long recordings of two people: memory, time, first output, and whether a voice stays on its track.

``python -m benchmarks.long_recordings utterances.jsonl --plan 10x600,2x3600,1x10800`` draws conversations of the
utterances that ``septool prepare folder`` lists, has ``septool separate`` take each apart as a command of its own, and
compares the tracks with the true voices in windows of 10 s. ``--way`` chooses how: ``plain`` (two tracks, stitched),
``pipe`` (``plain``, from standard input with ``--stream``), ``speakers`` (``--speakers 2``), ``auto`` (``--speakers
auto``) or ``auto-pipe`` (the same, from standard input). ``--stand-in`` puts the true voices and their spectra in the
place of the networks where people are counted: memory and time of all else, in a tenth of the time.

``python -m benchmarks.long_recordings --page results.jsonl ...`` prints what such runs have left as a page.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import section
from septool import audio
from septool.data.conversations import read_conversations
from septool.profiling.report import Machine
from septool.tasks.mix_conversations import sample_conversations

WINDOW_S = 10.0
SURE_DB = 3.0  # by which one order of the tracks has to fit better than the other for a window to say anything
WAYS = {
    "plain": (),
    "pipe": ("--stream",),
    "speakers": ("--speakers", "2"),
    "auto": ("--speakers", "auto"),
    "auto-pipe": ("--speakers", "auto"),
}
ABOUT = (
    "Conversations of two people in the style OV20. Wrong are windows of 10 s in which the other order of the tracks "
    "fits better by 3 dB, of those in which either does; changes are from one order to the other between them, and "
    "lasting ones those that are left when each window is taken for what most of the five around it are."
)
PAGE_ABOUT = """# Long recordings

Written by `python -m benchmarks.long_recordings --page` from what the same has measured. Conversations of two people in
the style OV20, a command `septool separate` for each. Memory is the largest resident set of the process. Processor is
the time of all its threads over the length of the recording, clock what passed meanwhile: the real-time factor. First
output is when a file held more than its header. Exchanged are windows of 10 s in which the other order of the tracks
fits better by 3 dB, of those in which either does. Older measurements, lower down, are of the versions that they name,
also in how many people these found."""


class Run(NamedTuple):
    """One command: what it took."""

    seconds: float
    cpu_s: float
    peak_mb: float
    first_output_s: float


def run(way: str, model: str, recording: Path, out: Path, threads: int, voices: Sequence[Path] = ()) -> Run:
    """Take a recording apart by a command of its own; with voices, by those and no separator."""
    command = [sys.executable, "-m", *(["benchmarks.stand_in", *map(str, voices), "--"] if voices else ["septool"])]
    command += ["separate", "-m", model, "-d", "cpu", "-q", *WAYS[way], "-o", str(out)]
    piped = way.endswith("pipe")
    command += ["-"] if piped else [str(recording)]
    begin, first = time.perf_counter(), float("inf")
    with ExitStack() as stack:
        pipe = stack.enter_context(recording.open("rb")) if piped else subprocess.DEVNULL
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        child = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *command], stdin=pipe, stderr=subprocess.PIPE, env=environment
        )
        ended = threading.Event()

        def watch() -> None:
            nonlocal first
            while not ended.wait(0.05):
                if any(path.stat().st_size > 4096 for path in list(out.rglob("*")) if path.is_file()):
                    first = time.perf_counter() - begin
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, output = child.communicate()
        seconds = time.perf_counter() - begin
        ended.set()
        watcher.join()
    status, cpu_s, peak = json.loads(output.splitlines()[-1])
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}: {output.decode()}")
    return Run(seconds, cpu_s, peak * PEAK_UNIT / 1e6, min(first, seconds))


# A process counts as its own the memory of the one that has started it, which here may have rendered hours.
LAUNCHER = """
import json, os, subprocess, sys
_, status, used = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
sys.stderr.write(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]) + "\\n")
"""
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def windows(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yield windows ``[file, time]`` of recordings at one rate, as far as all of them go."""
    with ExitStack() as stack:
        files = [stack.enter_context(audio.open_audio(path)) for path in paths]
        length = round(WINDOW_S * files[0].rate)
        while True:
            parts = [file.read(length)[0] for file in files]
            shortest = min(map(len, parts))
            if not shortest:
                return
            yield np.stack([part[:shortest] for part in parts]).astype(np.float64)


def preference_db(tracks: np.ndarray, voices: np.ndarray) -> float:
    """Return by how many dB more of the voices is on the tracks in order than crossed, ``[2, time]`` each."""
    energies = np.square(voices).sum(1)
    shares = np.square(tracks @ voices.T) / (np.square(tracks).sum(1)[:, None] + 1e-12)  # [track, voice]
    straight, crossed = shares[0, 0] + shares[1, 1], shares[0, 1] + shares[1, 0]
    if energies.max() < 1e-6 * voices.shape[1]:
        return 0.0
    return float(10 * np.log10((straight + 1e-9) / (crossed + 1e-9)))


def count_changes(straight: Sequence[bool]) -> int:
    """Count changes from one order of the tracks to the other, from window to window."""
    return sum(first != second for first, second in pairwise(straight))


def majorities(straight: Sequence[bool]) -> list[bool]:
    """Return the order that most of the five windows about each have: what a separator mixes up for seconds is gone."""
    padded = [*straight[:1], *straight[:1], *straight, *straight[-1:], *straight[-1:]]
    return [sum(padded[index : index + 5]) > 2 for index in range(len(straight))]


def follow(tracks: list[Path], voices: list[Path]) -> dict[str, int]:
    """Count windows that say something, those in the order of fewer of them, and changes between the orders."""
    sure: list[bool] = []
    for parts in windows([*tracks, *voices]):
        db = preference_db(parts[:2], parts[2:])
        if abs(db) > SURE_DB:
            sure.append(db > 0)
    straight = sum(sure)
    return {
        "windows": len(sure),
        "wrong": min(straight, len(sure) - straight),
        "changes": count_changes(sure),
        "lasting": count_changes(majorities(sure)),
    }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure every recording of the plan."""
    if arguments.scratch:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        for number, (count, seconds) in enumerate(arguments.plan):
            folder = Path(scratch, str(number))
            made = sample_conversations(
                arguments.utterances,
                "OV20",
                out=folder / "talks",
                count=count,
                speakers="2",
                seconds=seconds,
                sample_rate=8000,
                seed=number,
                force=True,
            )
            for row in read_conversations(Path(made.manifest)):
                recording = folder / "talks" / f"{row.id}.wav"
                voices = [folder / "talks" / f"{row.id}_s{n + 1}.wav" for n in range(len(row.speakers))]
                for way in arguments.way:
                    out = folder / "out"
                    counted = "--speakers" in WAYS[way]
                    true = voices if arguments.stand_in and counted else ()
                    took = run(way, arguments.model, recording, out, arguments.threads, true)
                    tracks = sorted(path for path in out.iterdir() if path.suffix == ".wav")
                    yield {
                        "kind": "long-recording",
                        "id": row.id,
                        "way": way,
                        "model": "none (true voices)" if true else arguments.model,
                        "people": len(tracks),
                        "minutes": row.seconds / 60,
                        **{name: round(value, 2) for name, value in took._asdict().items()},
                        **factors(took, row.seconds),
                        **(follow(tracks[:2], voices) if len(tracks) > 1 else {}),
                    }
                    shutil.rmtree(out)
            shutil.rmtree(folder)


def factors(took: Run, seconds: float) -> dict[str, float]:
    """Return the time on the clock and the time of the processor over the length of a recording."""
    return {
        "real_time_factor": round(took.seconds / seconds, 4),
        "processor_factor": round(took.cpu_s / seconds, 4),
    }


def page(results: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of a page of what was measured, a table for each file."""
    yield PAGE_ABOUT
    for path in results:
        machine, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        yield ""
        yield f"{Machine(**{field.name: machine[field.name] for field in fields(Machine)})}."
        yield machine["about"].removeprefix(ABOUT).strip()
        yield ""
        yield "| minutes | way | separator | people | exchanged | memory, MB | processor | clock | first output, s |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for row in sorted(rows, key=lambda row: (row["way"], row["minutes"])):
            exchanged = f"{row['wrong']} of {row['windows']}" if "windows" in row else "-"
            yield (
                f"| {row['minutes']:.0f} | {row['way']} | {row['model']} | {row['people']} | {exchanged} | "
                f"{row['peak_mb']:.0f} | "
                f"{row['cpu_s'] / row['minutes'] / 60:.3f} | {row['seconds'] / row['minutes'] / 60:.3f} | "
                f"{row['first_output_s']:.1f} |"
            )


def parse_plan(text: str) -> list[tuple[int, float]]:
    """Read ``10x600,1x3600``: ten recordings of 600 s and one of an hour."""
    return [(int(count), float(seconds)) for count, _, seconds in (part.partition("x") for part in text.split(","))]


def main() -> int:
    """Measure and print."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("utterances", type=Path, nargs="?", help="manifest of utterances")
    own.add_argument("--page", type=Path, nargs="+", metavar="RESULTS", help="print a page of these, measure nothing")
    own.add_argument("--note", default="", help="what else the machine was doing, for the page")
    own.add_argument("--plan", type=parse_plan, default=parse_plan("10x600,2x3600,1x10800"))
    own.add_argument("--way", choices=WAYS, nargs="+", default=list(WAYS))
    own.add_argument("--model", default="galr")
    own.add_argument("--stand-in", action="store_true", help="true voices instead of the networks")
    own.add_argument("--threads", type=int, default=torch.get_num_threads())
    own.add_argument("--scratch", type=Path, help="folder for recordings and voices, a few GB")
    own.add_argument("--out", type=Path, help="file for the results, .jsonl")
    arguments = own.parse_args()
    if arguments.page:
        print("\n".join(page(arguments.page)))
        return 0
    if arguments.utterances is None:
        own.error("a manifest of utterances is missing")
    device = torch.device("cpu")
    title = "Long recordings"
    introduction = f"{ABOUT} {arguments.note}"
    section.measure(title, introduction, rows(arguments), device=device, threads=arguments.threads, out=arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

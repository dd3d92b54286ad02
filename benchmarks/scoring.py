"""How fast estimates in files are scored: septool beside mir_eval, torchmetrics and SpeechBrain's evaluation loop.

``python -m benchmarks.scoring > benchmarks/scoring.md`` writes the tables. Every way scores SI-SNRi and SDRi of the
same utterances from the same files, one process and one thread each, in turns, so that a busy machine slows all alike,
and in processor time, so that waiting does not count. Then septool scores a whole set, and PESQ and STOI by one process
and by more. A way whose package is not installed is left out and named.
"""

import argparse
import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from scipy.signal import lfilter

from benchmarks.taken import Taken, timed
from septool import audio
from septool.profiling.report import Machine
from septool.tasks.evaluate import evaluate
from septool.tasks.profile import describe_machine

RATE = 8000
WHOLE_SET = 3000
# Lengths of the 3,000 mixtures of Libri2Mix's test set in min mode: every 5th percentile, from the published lists.
SECONDS = (3.00, 3.10, 3.24, 3.34, 3.48, 3.63, 3.78, 3.97, 4.15, 4.36, 4.59)
SECONDS += (4.77, 5.00, 5.21, 5.48, 5.87, 6.32, 6.81, 7.58, 8.64, 13.99)
AT_ONCE = 12  # utterances that every way scores in a turn
PERCEPTUAL = ("pesq", "stoi")

Folders = tuple[Path, Path]  # of references and of estimates


def lengths(items: int) -> np.ndarray:
    """Return seconds that are spread over the distribution evenly, in a random order."""
    positions = (np.arange(items) + 0.5) / items
    return np.random.default_rng(0).permutation(np.interp(positions, np.linspace(0, 1, len(SECONDS)), SECONDS))


def make_utterances(folder: Path, items: int) -> Folders:
    """Write references and estimates of noise with the spectrum and the comings and goings of speech."""
    folders = folder / "true", folder / "found"
    for created in folders:
        created.mkdir(parents=True)
    random = np.random.default_rng(0)
    for item, seconds in enumerate(lengths(items)):
        frames = round(seconds * RATE)
        envelope = 1 + np.sin(2 * np.pi * np.arange(frames) / 3000 + np.array([[0.0], [2.0]]))
        voices = 0.02 * envelope * lfilter([1.0], [1.0, -0.9], random.standard_normal((2, frames)))
        found = voices + 0.2 * voices[::-1] + 0.002 * random.standard_normal((2, frames))
        for kind, signals in zip(folders, (voices, found), strict=True):
            for number, samples in enumerate(signals, 1):
                audio.write_audio(kind / f"u{item:04d}_s{number}.wav", samples.astype(np.float32), RATE)
    return folders


def read_item(folders: Folders, item: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return references, estimates and twice the mixture, ``[2, time]`` in float64 each, as published loops do."""
    import soundfile

    true, found = (
        np.stack([soundfile.read(folder / f"{item}_s{n}.wav", dtype="float64")[0] for n in (1, 2)])
        for folder in folders
    )
    return true, found, np.stack([true.sum(0)] * 2)


def names_in(folders: Folders) -> list[str]:
    """Return the utterances of folders."""
    return sorted({path.stem.rpartition("_")[0] for path in folders[0].iterdir()})


def by_septool(folders: Folders) -> None:
    """Score as ``septool eval REF EST --metric si-snri,sdri --jobs 1``."""
    evaluate(*folders, metric="si-snri,sdri", jobs=1)


def by_fast_bss_eval(folders: Folders) -> None:
    """The same with fast_bss_eval's solver."""
    evaluate(*folders, metric="si-snri,sdri", jobs=1, sdr_backend="fast-bss-eval")


def by_mir_eval(folders: Folders) -> None:
    """SDRi alone: bss_eval_sources of the estimates and of the mixture."""
    from mir_eval.separation import bss_eval_sources

    for item in names_in(folders):
        true, found, mixture = read_item(folders, item)
        for estimates in (found, mixture):
            bss_eval_sources(true, estimates)


def by_torchmetrics(folders: Folders) -> None:
    """Its SI-SNR in the best order, then its SDR, of the estimates and of the mixture."""
    from torchmetrics.functional.audio import (  # pyright: ignore
        permutation_invariant_training,
        pit_permutate,
        scale_invariant_signal_noise_ratio,
        signal_distortion_ratio,
    )

    for item in names_in(folders):
        true, found, mixture = (torch.from_numpy(signals)[None] for signals in read_item(folders, item))
        _, order = permutation_invariant_training(found, true, scale_invariant_signal_noise_ratio)  # pyright: ignore
        scale_invariant_signal_noise_ratio(mixture, true)
        for estimates in (pit_permutate(found, order), mixture):
            signal_distortion_ratio(estimates, true)


def by_speechbrain(folders: Folders) -> None:
    """The loop of its separation recipes' ``save_results``: its SI-SNR in the best order, and mir_eval's SDR."""
    from mir_eval.separation import bss_eval_sources
    from speechbrain.nnet.losses import get_si_snr_with_pitwrapper  # pyright: ignore

    for item in names_in(folders):
        true, found, mixture = read_item(folders, item)
        targets = torch.from_numpy(true.T)[None]
        for estimates in (found, mixture):
            get_si_snr_with_pitwrapper(targets, torch.from_numpy(estimates.T)[None])
            bss_eval_sources(true, estimates)


WAYS: dict[str, tuple[Callable[[Folders], None], str | None]] = {
    "septool": (by_septool, None),
    "septool, --sdr-backend fast-bss-eval": (by_fast_bss_eval, None),
    "mir_eval, SDRi alone": (by_mir_eval, "mir_eval"),
    "torchmetrics": (by_torchmetrics, "torchmetrics"),
    "SpeechBrain's loop": (by_speechbrain, "speechbrain"),
}


def in_turns(folders: Sequence[Folders], ways: Sequence[str]) -> dict[str, list[float]]:
    """Return the processor seconds an utterance of every way, for every turn."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn, folder in enumerate(folders):
        for way in np.roll(list(ways), turn):
            seconds[way].append(timed(partial(WAYS[way][0], folder)).cpu / AT_ONCE)
    return seconds


def by_processes(folders: Folders, jobs: Sequence[int], turns: int) -> dict[str, dict[int, list[Taken]]]:
    """Return what every turn takes, for every perceptual metric and number of processes."""
    took: dict[str, dict[int, list[Taken]]] = {metric: {count: [] for count in jobs} for metric in PERCEPTUAL}
    for _, metric, count in itertools.product(range(turns), PERCEPTUAL, jobs):
        took[metric][count].append(timed(partial(evaluate, *folders, metric=metric, jobs=count)))
    return took


def doubled(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, and the most itself."""
    return sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})


def installed(way: str) -> bool:
    """Return whether a way's package is there."""
    try:
        package = WAYS[way][1]
        return package is None or bool(version(package))
    except PackageNotFoundError:
        return False


def main() -> int:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--items", type=int, default=WHOLE_SET, help="of the whole set")
    parser.add_argument("--perceptual-items", type=int, default=120, help="of the set that PESQ and STOI score")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes for the whole set")
    parser.add_argument("--perceptual", action="store_true", help="measure PESQ and STOI alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    machine = describe_machine(torch.device("cpu"), 1)
    with tempfile.TemporaryDirectory(prefix="septool-") as name:
        if not args.perceptual:
            print(measure_speed(Path(name), machine, turns=args.turns, items=args.items, jobs=args.jobs))
        some = make_utterances(Path(name) / "some", args.perceptual_items)
        took = by_processes(some, doubled(args.jobs), args.turns)
    print(perceptual_section(took, machine, items=args.perceptual_items, load=os.getloadavg()[0]))
    return 0


def measure_speed(folder: Path, machine: Machine, *, turns: int, items: int, jobs: int) -> str:
    """Measure every way in turns, and septool on a whole set; return the page."""
    ways = [way for way in WAYS if installed(way)]
    missing = [way for way in WAYS if way not in ways]
    warm = make_utterances(folder / "warm", 1)
    for way in ways:
        WAYS[way][0](warm)
    seconds = in_turns([make_utterances(folder / f"{turn}", AT_ONCE) for turn in range(turns)], ways)
    whole = make_utterances(folder / "whole", items)
    took = timed(partial(evaluate, *whole, metric="si-snri,sdri", jobs=jobs))
    counts = {"turns": turns, "items": items, "jobs": jobs}
    return page(seconds, missing, machine, **counts, took=took, load=os.getloadavg()[0])


def page(
    seconds: dict[str, list[float]],
    missing: Sequence[str],
    machine: Machine,
    *,
    turns: int,
    items: int,
    jobs: int,
    took: Taken,
    load: float,
) -> str:
    """Return what was measured as Markdown."""
    packages = ", ".join(f"{way} {version(way)}" for way in ("numpy", "scipy", *sorted(_packages(seconds))))
    introduction = (
        f"{machine.hardware}, {machine.cores} processor threads, {machine.system}; septool {machine.septool} "
        f"({machine.commit}), torch {machine.torch}, Python {machine.python}, {packages}; {machine.date}."
    )
    ours = np.array(seconds["septool"])
    rows = [
        f"| {way} | {1000 * np.median(times):.0f} ({1000 * min(times):.0f} to {1000 * max(times):.0f}) "
        f"| {np.median(np.array(times) / ours):.1f} |"
        for way, times in seconds.items()
    ]
    left_out = [f"Not installed, so not measured: {', '.join(missing)}.", ""] if missing else []
    return "\n".join(
        [
            "# How fast estimates are scored",
            "",
            "SI-SNRi and SDRi of two voices at 8 kHz from files, lengths spread as those of Libri2Mix's test set in "
            "min mode (3 to 14 s, 5.0 s in",
            "the mean). Written by `python -m benchmarks.scoring`.",
            "",
            introduction,
            "",
            f"One process, one thread, the ways in turns on the same {AT_ONCE} utterances: the median of {turns} "
            "turns, and the lowest and highest;",
            "processor time, which other work on the machine does not count in. The last column is the median of the "
            "turns' ratios to septool's.",
            "",
            "| | processor ms an utterance | times septool's |",
            "|---|---|---|",
            *rows,
            "",
            *left_out,
            f"septool on {items:,} utterances with {jobs} processes: {took.wall:.0f} s by the clock, "
            f"{took.cpu:.0f} s of processor time, {1000 * took.cpu / items:.0f} ms an utterance,",
            f"where the machine's load was {load:.1f} at the end.",
        ]
    )


def perceptual_section(took: dict[str, dict[int, list[Taken]]], machine: Machine, *, items: int, load: float) -> str:
    """Return what more processes bring as Markdown: the ratios are those of the same turn."""
    turns, rows = len(took[PERCEPTUAL[0]][1]), []
    for metric, of_counts in took.items():
        alone = np.array(of_counts[1])
        for count, of_count in of_counts.items():
            clock, processor = np.array(of_count).T
            by_clock, by_processor = alone[:, 0] / clock, count * alone[:, 1] / processor
            rows.append(
                f"| {metric} | {count} | {1000 * np.median(processor) / items:.0f} | {np.median(by_processor):.2f} "
                f"| {np.median(clock):.1f} ({min(clock):.1f} to {max(clock):.1f}) "
                f"| {np.median(by_clock):.2f} ({min(by_clock):.2f} to {max(by_clock):.2f}) |"
            )
    return "\n".join(
        [
            "",
            "## PESQ and STOI",
            "",
            f"{items} of such utterances from files: the median of {turns} turns, the lowest and the highest; starting "
            "and ending processes",
            "counts in. By processor time, more processes are as many times as fast where each has a processor to "
            "itself. The clock",
            f"has what else the machine did, whose load, these processes among it, was {load:.1f} at the end: Linux "
            "gives the processes of",
            "a session one share of a busy machine, however many they are. "
            f"septool {machine.septool} ({machine.commit}) on {machine.cores}",
            f"processor threads of {machine.hardware}; {machine.date}.",
            "",
            "| metric | processes | processor ms an utterance | times as fast by it | seconds by the clock "
            "| times as fast by it |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _packages(ways: Sequence[str] | dict[str, list[float]]) -> set[str]:
    return {package for way in ways if (package := WAYS[way][1]) is not None}


if __name__ == "__main__":
    sys.exit(main())

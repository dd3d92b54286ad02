"""Makes the list of trials that speaker networks are scored on: ``python -m benchmarks.trials INDEX -o LIST``.

INDEX is a table of recordings with the columns split, speaker and path (relative to it). Every speaker of
the split with at least two recordings takes part: with up to 40 pairs of its own recordings, and with as
many pairs of one of them with a recording of any other such speaker. The same index gives the same list;
the committed ``trials.txt`` names files as the index does, ``--relative`` names them from the list's folder.
"""

import argparse
import csv
import os
from itertools import combinations
from pathlib import Path

import numpy as np

PAIRS = 40  # of one speaker


def trials(rows: list[dict[str, str]], split: str, seed: int = 0) -> list[tuple[int, str, str]]:
    """Draw the pairs."""
    files: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row["path"]):
        if row["split"] == split:
            files.setdefault(row["speaker"], []).append(row["path"])
    files = {speaker: paths for speaker, paths in sorted(files.items()) if len(paths) > 1}
    random = np.random.default_rng(seed)
    drawn = []
    for speaker, paths in files.items():
        pairs = list(combinations(paths, 2))
        chosen = random.choice(len(pairs), min(PAIRS, len(pairs)), replace=False)
        drawn += [(1, *pairs[pair]) for pair in sorted(chosen)]
        others = [other for other in files if other != speaker]
        for _ in chosen:
            other = files[others[random.integers(len(others))]]
            drawn.append((0, paths[random.integers(len(paths))], other[random.integers(len(other))]))
    return drawn


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_name("trials.txt"))
    parser.add_argument("--split", default="dev")
    parser.add_argument("--relative", action="store_true", help="name files from the list's folder")
    args = parser.parse_args()
    with args.index.open(encoding="utf-8", newline="") as file:
        drawn = trials(list(csv.DictReader(file, delimiter="\t")), args.split)
    root = Path(os.path.relpath(args.index.parent, args.out.parent)) if args.relative else Path()
    lines = [f"{same} {(root / first).as_posix()} {(root / second).as_posix()}\n" for same, first, second in drawn]
    args.out.write_text("".join(lines), encoding="utf-8")
    print(f"{len(drawn)} trials in {args.out}")


if __name__ == "__main__":
    main()

"""What a measurement leaves for a section of RESULTS.md: a line on the machine and itself, then its rows."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from septool.files import atomic_write
from septool.tasks.profile import describe_machine


def parser(about: str | None, *, budget: float, per: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every measurement has, budget in seconds."""
    own = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("--threads", type=int, default=torch.get_num_threads())
    own.add_argument("--budget", type=float, default=budget, help=f"seconds of repeating, for each {per}")
    own.add_argument("--out", type=Path, help="file for the results, .jsonl")
    return own


def measure(
    title: str, about: str, rows: Iterable[dict[str, Any]], *, device: torch.device, threads: int, out: Path | None
) -> None:
    """Print rows as they come, and write all of them to a file once they are there."""
    torch.set_num_threads(threads)
    machine = asdict(describe_machine(device, threads))
    lines = [json.dumps({"kind": "machine", **machine, "title": title, "about": about})]
    for row in rows:
        lines.append(json.dumps(row))
        print(lines[-1], flush=True)
    if out:
        with atomic_write(out) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

"""What a measurement leaves for a section of RESULTS.md: a line on the machine and itself, then its rows."""

import argparse
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from septool.tasks.profile import describe_machine


def parser(introduction: str | None, *, budget: float, per: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every measurement has, budget in seconds."""
    own = argparse.ArgumentParser(description=introduction, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("--threads", type=int, default=torch.get_num_threads())
    own.add_argument("--budget", type=float, default=budget, help=f"seconds of repeating, for each {per}")
    own.add_argument("--out", type=Path, help="file for the results, .jsonl")
    return own


def measure(
    title: str,
    introduction: str,
    rows: Iterable[dict[str, Any]],
    *,
    device: torch.device,
    threads: int,
    out: Path | None,
) -> None:
    """Print rows as they come, and write all of them to a file once they are there.

    Until then they are in a file of that name with ``.part`` after it, where a run that is stopped leaves them.
    """
    torch.set_num_threads(threads)
    machine = asdict(describe_machine(device, threads))
    part = out.with_name(f"{out.name}.part") if out else None
    with ExitStack() as stack:
        file = stack.enter_context(part.open("w", encoding="utf-8", buffering=1)) if part else None
        for number, row in enumerate(
            chain([{"kind": "machine", **machine, "title": title, "about": introduction}], rows)
        ):
            line = json.dumps(row)
            if number:
                print(line, flush=True)
            if file:
                file.write(f"{line}\n")
    if part and out:
        part.replace(out)

"""Whether two runs of `septool profile` agree within what they state.

``python -m benchmarks.repeats`` measures the same networks twice, one run after the other.
"""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks import section
from septool.profiling.records import Row
from septool.profiling.report import milliseconds
from septool.tasks.profile import profile

MODELS = "galr-small-8k,papez-small-8k,conv-tasnet,dprnn:stride8,sudormrf,sepformer"
ABOUT = (
    "`septool profile` twice in a row, on real speech at 8 kHz, batch 1, five processes for each model in both. Runs "
    "agree where what their medians lie between overlaps."
)


def rows(models: str, lengths: str, threads: int, budget: float) -> Iterator[dict[str, Any]]:
    """Measure twice, and set the runs side by side."""
    runs = [profile(model=models, lengths=lengths, device="cpu", threads=threads, budget=budget).rows for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        yield compared(first, second)


def compared(first: Row, second: Row) -> dict[str, Any]:
    """Set two measurements of the same network side by side."""
    a, b = first.latency, second.latency
    row: dict[str, Any] = {"kind": "repeat", "model": first.model, "audio s": first.seconds}
    row["first ms"], row["first from"], row["first to"] = milliseconds(a)
    row["second ms"], row["second from"], row["second to"] = milliseconds(b)
    row["apart, %"] = 100 * (max(a.median, b.median) / min(a.median, b.median) - 1)
    return row | {"agree": "yes" if a.low <= b.high and b.low <= a.high else "no"}


def main() -> None:
    """Measure, print JSON lines, write them to a file."""
    parser = section.parser(__doc__, budget=5.0, per="model, length and run")
    parser.add_argument("--model", default=MODELS, help="as of septool profile")
    parser.add_argument("--lengths", default="1,3s", help="seconds of audio")
    options = parser.parse_args()
    found = rows(options.model, options.lengths, options.threads, options.budget)
    section.measure(
        "Two runs of profile", ABOUT, found, device=torch.device("cpu"), threads=options.threads, out=options.out
    )


if __name__ == "__main__":
    main()

"""What Papez saves when its tokens halt: predicted by the multiply-accumulates that are left, and measured.

``python -m benchmarks.halting``. Trained weights decide when tokens halt; here a schedule does, so that the
saving is known for any weights: the tokens that halt are drawn at random, and as many as the schedule says
run at every step. Every way of halting is timed in turns with the network that halts nothing.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks import section
from septool.models.base import Separator
from septool.models.papez import Config, Halting, Papez
from septool.profiling.macs import count_macs
from septool.profiling.measure import load_batch
from septool.profiling.timing import time_interleaved
from septool.tasks.profile import EXAMPLE, parse_lengths

CPU = torch.device("cpu")
ABOUT = (
    "Papez, the paper's sizes, random weights, real speech at 8 kHz, batch 1, against all tokens for all steps. "
    "Predicted is the ratio of multiply-accumulates, gain that of latencies."
)
STEPS = Config().depth
SCHEDULES = {  # share of the tokens that run, step by step
    "a tenth less each step": [max(1 - 0.1 * step, 0.05) for step in range(STEPS)],
    "half from the third step, a fifth from the seventh": [1.0] * 2 + [0.5] * 4 + [0.2] * (STEPS - 6),
    "a fifth from the third step, none from the ninth": [1.0] * 2 + [0.2] * 6,
}
WAYS: tuple[Halting, ...] = ("freeze", "drop")


class Scheduled(Papez):
    """Papez whose tokens halt by a schedule."""

    def __init__(self, config: Config, schedule: list[float]) -> None:
        super().__init__(config)
        self.schedule = torch.tensor(schedule)

    def iterate(self, tokens: Tensor, memory: Tensor, active_fractions: list[float] | None = None) -> Tensor:
        rank = torch.rand(tokens.shape[1], generator=torch.Generator().manual_seed(0))
        self._last = (rank[:, None] < self.schedule).sum(1) - 1  # step of each token that is left
        self._step = 0
        return super().iterate(tokens, memory, active_fractions)

    def _halt(self, layer: Any, tokens: Any, halting_probability: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        if self.config.halting == "drop":
            self._last = self._last[self._last >= self._step]
        weight, halted = (self._last == self._step).float()[None], (self._last <= self._step).float()[None]
        self._step += 1
        return weight, halted


def compare(schedule: str, seconds: float, budget: float) -> list[dict[str, Any]]:
    """Measure the ways of halting under one schedule."""
    mixture = load_batch(EXAMPLE, Separator.paper_rate, seconds, 1)
    networks: list[Papez] = [Papez(Config(halting="none")).eval()]
    networks += [Scheduled(Config(halting=way), SCHEDULES[schedule]).eval() for way in WAYS]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    with torch.inference_mode():
        macs = [count_macs(network, mixture).total for network in networks]
        timings = time_interleaved([lambda n=network: n(mixture) for network in networks], CPU, budget)
        shares = [network.active_fraction_per_step(mixture) for network in networks]
    return [
        {
            "kind": "halting",
            "schedule": schedule,
            "halting": way,
            "audio s": seconds,
            "mean share running": sum(share) / STEPS,
            "GMACs": own_macs / 1e9,
            "ms": 1000 * timing.median,
            "from": 1000 * timing.low,
            "to": 1000 * timing.high,
            "predicted": macs[0] / own_macs,
            "gain": timings[0].median / timing.median,
        }
        for way, own_macs, timing, share in zip(("none", *WAYS), macs, timings, shares, strict=True)
    ]


def main() -> None:
    """Measure, print JSON lines, write them to a file."""
    parser = section.parser(__doc__, budget=5.0, per="schedule and length")
    parser.add_argument("--lengths", default="1,4s", help="seconds of audio")
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = (
        row
        for schedule, seconds in product(SCHEDULES, parse_lengths(options.lengths))
        for row in compare(schedule, seconds, options.budget)
    )
    section.measure("Papez: what halting saves", ABOUT, rows, device=CPU, threads=options.threads, out=options.out)


if __name__ == "__main__":
    main()

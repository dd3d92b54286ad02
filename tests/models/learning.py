"""Does every model learn by its losses? 200 steps on eight fixed mixtures of real speech.

``python -m tests.models.learning > tests/models/learning.md`` writes the table, of the lines named behind it
or of all. The networks are the tiny ones of the tests: what is shown is that loss, gradients and
optimizer fit together, not how good a model becomes.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from septool import audio
from septool.losses import LOSSES
from septool.models.build import build_model
from septool.signal.levels import model_gain
from septool.tasks.profile import describe_machine
from tests.models.tiny import SPEAKER, TINY, TINY_EXTRACTORS


class Case(NamedTuple):
    """A line of the table."""

    model: str
    settings: dict[str, Any]
    loss: str | None = None  # the model's own by default


WITHOUT_TRAINING = {"campplus"}  # used with published weights
TINY_SPEAKER = SPEAKER | {"speakers": 2}
CASES = {name: Case(name, settings) for name, settings in (TINY | TINY_EXTRACTORS).items()} | {
    "conv-tasnet-snr": Case("conv-tasnet", TINY["conv-tasnet"], "snr"),
    "dpcl++": Case("dpcl", TINY["dpcl"] | {"hardness": 5.0, "enhancement": 1}),
    "speaker-net": Case("speaker-net", TINY_SPEAKER),
    "speaker-net-margin": Case("speaker-net", TINY_SPEAKER, "additive-margin"),
    "two-step-tdcn-step1": Case("two-step-tdcn", TINY["two-step-tdcn"], "two-step-autoencoder"),
    "two-step-tdcn-step2": Case("two-step-tdcn", TINY["two-step-tdcn"], "two-step-latent"),
}
EXAMPLE = Path(__file__).parents[2] / "examples"
RATE, SECONDS, MIXTURES, STEPS = 8000, 0.5, 8, 200


def mixtures() -> Tensor:
    """Return the sources of eight mixtures, ``[mixture, source, time]``: excerpts of the example's voices."""
    voices = [audio.load_audio(EXAMPLE / f"two-talkers_s{n}.flac", RATE) for n in (1, 2)]
    frames = round(SECONDS * RATE)
    starts = np.linspace(0.5, 7.0, MIXTURES) * RATE
    excerpts = [[voice[int(start) : int(start) + frames] for voice in voices] for start in starts]
    sources = torch.from_numpy(np.stack(excerpts))
    return sources * model_gain(sources.sum(1))[:, None]


def given(role: str, sources: Tensor) -> tuple[Tensor, ...]:
    """Return what a loss is given besides the model, eight of each."""
    if role == "speaker":  # one voice, then the other
        item = torch.arange(len(sources))
        return sources[item, item % 2], item % 2
    if role == "extractor":  # looks for the first voice, enrolled with another excerpt of it
        return sources.sum(1), sources[:, 0], sources[:, 0].roll(1, 0)
    return sources.sum(1), sources


def learn(name: str, steps: int = STEPS) -> tuple[str, float, float]:
    """Train a tiny model; return the name of its loss, and its mean over the eight mixtures before and after."""
    torch.manual_seed(0)
    case = CASES[name]
    model = build_model(case.model, case.settings)
    kind = case.loss or model.loss
    loss, items = LOSSES[kind], given(model.role, mixtures())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def now() -> float:
        with torch.no_grad():
            return loss(model.eval(), *items).mean().item()

    before = now()
    for step in range(steps):
        batch = slice(4 * (step % 2), 4 * (step % 2) + 4)
        optimizer.zero_grad()
        loss(model.train(), *(part[batch] for part in items)).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    return kind, before, now()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("# Every model learns\n")
    print(
        f"{STEPS} steps of Adam (3e-3) on {MIXTURES} fixed mixtures of {SECONDS} s, tiny networks, one thread, seed 0."
    )
    print(f"Written by `python -m tests.models.learning`. {describe_machine(torch.device('cpu'), None)}.\n")
    print("| model | loss | before | after | lower by |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or sorted(CASES):
        kind, before, after = learn(name)
        print(f"| {name} | {kind} | {before:.3f} | {after:.3f} | {before - after:.3f} |", flush=True)


if __name__ == "__main__":
    main()

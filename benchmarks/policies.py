"""How much inference here differs from that of other toolkits, with the same weights: each difference by itself, in dB.

``python -m benchmarks.policies`` separates the example recording with bundled, trained weights as septool does, and
again with one thing done as other toolkits do it; sizes are SI-SNR of the voices against each other, the higher the
more equal. ``--model`` names other checkpoints, fetched ones too. Where the level of the input is concerned, networks
of every kind that is published are asked as well, at their papers' sizes (two blocks of those on spectra) with random
weights: some normalize what they encode, and some do not.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from septool import audio
from septool.api import SeparationPipeline, load_separator
from septool.inference.level import make_estimator, separate_at_model_level
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator
from septool.models.build import build_model
from septool.signal.levels import MODEL_LEVEL_DB, from_db, rms, to_db
from septool.tasks.profile import EXAMPLE

TRAINED = ("galr", "papez")
PUBLISHED: dict[str, dict[str, Any]] = {
    "sepformer": {},
    "re-sepformer": {},
    "conv-tasnet": {"rectify": False},
    "dprnn": {},
    "dptnet": {},
    "tf-locoformer": {"blocks": 2},
    "tf-gridnet": {"blocks": 2, "channels": 32, "hidden": 64},
}
SECONDS = 2.0
OFFSET = 0.05
LEVELS_DB = (-30.0, -40.0, -60.0)
Policy = Callable[[Separator, Tensor], tuple[Tensor, Tensor]]  # ours and theirs, [voice, time], of [1, time]


def tail(model: Separator, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """Samples behind the last whole hop: computed, or left at zero."""
    hop = model.config.window // 2
    samples = mixture.shape[-1] // hop * hop - hop // 2
    whole = samples // hop * hop
    mixture = mixture[..., :samples]
    return model(mixture)[0], F.pad(model(mixture[..., :whole]), (0, samples - whole))[0]


def offset(model: Separator, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """A constant offset: taken off, or given to the network."""
    return separate_at_model_level(model, mixture + OFFSET)[0], model(mixture + OFFSET)[0]


def level(level_db: float) -> Policy:
    """A level: brought to that of training, or given to the network as it is."""

    def run(model: Separator, mixture: Tensor) -> tuple[Tensor, Tensor]:
        mixture = mixture / rms(mixture) * from_db(level_db)
        return separate_at_model_level(model, mixture)[0], model(mixture)[0]

    return run


def consistency(model: Separator, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """What the voices leave of the mixture: shared among them, or left out."""
    return make_estimator(model, consistency=True)(mixture)[0], model(mixture)[0]


POLICIES: dict[str, Policy] = {
    "tail of half a hop": tail,
    f"offset of {OFFSET}": offset,
    **{f"level of {level_db:g} dB": level(level_db) for level_db in LEVELS_DB},
    "consistency": consistency,
}


def excerpts(rate: int) -> list[Tensor]:
    """Cut the example into excerpts ``[1, time]`` at the level of training, without an offset."""
    samples = audio.load_audio(EXAMPLE, rate)
    length = round(SECONDS * rate)
    cut = [torch.from_numpy(samples[i : i + length]) for i in range(0, len(samples) - length + 1, length)]
    cut = [part - part.mean() for part in cut]
    return [(part / rms(part) * from_db(MODEL_LEVEL_DB))[None] for part in cut]


def equality(ours: Tensor, theirs: Tensor) -> list[float]:
    """Return the SI-SNR of every voice against the same of the other side, dB."""
    return si_snr(estimate=ours.double(), reference=theirs.double()).tolist()


def summarize(name: str, weights: str, policy: str, values: list[float]) -> dict[str, Any]:
    """Return a row."""
    return {"model": name, "weights": weights, "policy": policy, "median dB": median(values), "lowest dB": min(values)}


def resampling(pipeline: SeparationPipeline) -> list[float]:
    """Compare the resampler of septool with torchaudio's, which SpeechBrain uses, before the network."""
    from torchaudio.transforms import Resample

    assert isinstance(pipeline.model, Separator)
    rate = pipeline.header.sample_rate
    samples = torch.from_numpy(audio.load_audio(EXAMPLE, 2 * rate))
    theirs = Resample(2 * rate, rate)(samples)
    ours = torch.from_numpy(audio.load_audio(EXAMPLE, rate))
    length = min(len(ours), len(theirs))
    voices = [separate_at_model_level(pipeline.model, part[None, :length])[0] for part in (ours, theirs)]
    return equality(*voices)


def segments(pipeline: SeparationPipeline, seconds: float) -> list[float]:
    """Compare segments that are stitched with the whole recording at once."""
    rate = pipeline.header.sample_rate
    recording = np.resize(audio.load_audio(EXAMPLE, rate), round(seconds * rate))
    parts, whole = (
        pipeline.separate(recording, rate, segment=segment, consistency=False) for segment in (30.0, seconds)
    )
    return equality(torch.from_numpy(parts), torch.from_numpy(whole))


def relative_levels(pipeline: SeparationPipeline, mixture: Tensor) -> float:
    """Return by how many dB the levels of two voices, one against the other, change if each is divided by its peak."""
    voices = torch.from_numpy(pipeline.separate(mixture[0], pipeline.header.sample_rate))
    peaks = voices.abs().amax(-1)
    return abs(to_db(float(peaks[0] / peaks[1])))


def measure_trained(name: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure everything with the weights of a checkpoint."""
    pipeline = load_separator(name)
    assert isinstance(pipeline.model, Separator)
    cut = excerpts(pipeline.header.sample_rate)
    for policy, run in POLICIES.items():
        values = [value for mixture in cut for value in equality(*run(pipeline.model, mixture))]
        yield summarize(pipeline.name, "trained", policy, values)
    yield summarize(pipeline.name, "trained", "resampling by torchaudio", resampling(pipeline))
    yield summarize(pipeline.name, "trained", f"{seconds:g} s at once", segments(pipeline, seconds))
    changes = [relative_levels(pipeline, mixture) for mixture in cut]
    row = {"model": pipeline.name, "weights": "trained", "policy": "each voice divided by its peak"}
    yield row | {"levels change by, dB": median(changes), "at most, dB": max(changes)}


def measure_level(name: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Measure what the level of the input does to a network with random weights."""
    torch.manual_seed(0)
    model: Any = build_model(name, settings).eval()
    mixture = excerpts(8000)[0][:, :8000]
    for level_db in LEVELS_DB:
        yield summarize(name, "random", f"level of {level_db:g} dB", equality(*level(level_db)(model, mixture)))


def main() -> None:
    """Measure, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=",".join(TRAINED), help="checkpoints; by default %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the long recording")
    options = parser.parse_args()
    with torch.inference_mode():
        for name in options.model.split(","):
            for row in measure_trained(name, options.seconds):
                print(json.dumps(row), flush=True)
        for name, settings in PUBLISHED.items():
            for row in measure_level(name, settings):
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

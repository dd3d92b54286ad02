"""Fits what tells two people from one with a ghost: ``WEIGHTS`` of septool/conversation/activity.py.

``python -m tools.fit_overlap dev-meetings.jsonl`` takes every conversation of a manifest apart by a separator and fits
a logistic regression on the first, third, ... of them; the error on the others is printed beside. Frames count that
have speech and are clearly of one person, or of two who are at most 15 dB apart.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from septool.conversation.activity import SPEECH_RANGE_DB, frame_levels, magnitudes, overlap_features
from septool.conversation.networks import load_conversation_networks
from septool.data.conversations import read_conversations, render_conversation
from septool.models import SPEAKER_MODEL
from septool.signal.levels import remove_dc

ONE_DB, TWO_DB = -40.0, -15.0  # of the second loudest against the loudest: below, one talks; above, two do
RIDGE = 1e-3
STEPS = 40  # of Newton's method, which needs ten


def examples(manifest: Path, model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features ``[frame, 8]``, whether two people talk and the number of the conversation, ``[frame]`` each."""
    networks = load_conversation_networks(model, SPEAKER_MODEL, torch.device("cpu"))
    features, two, numbers = [], [], []
    for number, row in enumerate(read_conversations(manifest)):
        rendered, conversation = render_conversation(row, networks.rate), networks.start()
        step, size = conversation.store.step, conversation.store.size
        for start in range(0, max(len(rendered.mixture) - size + step, 1), step):
            part = slice(start, start + size)
            mixture = remove_dc(rendered.mixture[part])  # as a conversation is listened to
            spectrum, tracks = (
                magnitudes(signal, networks.rate) for signal in (mixture, conversation.separate(mixture))
            )
            sources = magnitudes(rendered.sources[:, part], networks.rate)
            levels = np.sort([frame_levels(source) for source in sources], axis=0)[::-1]
            below = levels[1] - levels[0]
            loud = np.percentile(frame_levels(spectrum), 95)
            clear = (levels[0] > loud - SPEECH_RANGE_DB) & ((below < ONE_DB) | (below > TWO_DB))
            features.append(overlap_features(spectrum, tracks)[clear])
            two.append((below > TWO_DB)[clear])
            numbers.append(np.full(int(clear.sum()), number))
        print(row.id, file=sys.stderr, flush=True)
    return np.concatenate(features), np.concatenate(two), np.concatenate(numbers)


def fit(features: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the weights of a logistic regression, the constant last."""
    inputs = np.column_stack((features, np.ones(len(features))))
    weights = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-inputs @ weights))
        curvature = (inputs * (likely * (1 - likely))[:, None]).T @ inputs + RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, inputs.T @ (likely - two) + RIDGE * weights)
    return weights


def main() -> int:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="galr")
    args = parser.parse_args()
    features, two, numbers = examples(args.manifest, args.model)
    chosen = numbers % 2 == 0
    weights = fit(features[chosen], two[chosen])
    wrong = (features @ weights[:-1] + weights[-1] > 0) != two
    print(f"wrong frames: {wrong[chosen].mean():.1%} of those fitted on, {wrong[~chosen].mean():.1%} of the others")
    print(", ".join(f"{weight:.3f}" for weight in weights))
    return 0


if __name__ == "__main__":
    sys.exit(main())

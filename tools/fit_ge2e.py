"""Makes the bundled voice encoder: published weights, and the mean and whitening that are ours.

``python -m tools.fit_ge2e PRETRAINED train-speech.jsonl -o ge2e-8k.safetensors`` reads ``resemblyzer/pretrained.pt``
(https://github.com/resemble-ai/Resemblyzer, Apache 2.0) and measures what embeddings of training speakers, with a
second voice far below, have in common and how those of one speaker vary.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from septool import checkpoints
from septool.data.enrollment import SpeakerSampling, sample_speaker_item
from septool.data.mixing import AugmentationSources, DynamicMixing
from septool.data.speech_cache import load_pool
from septool.headers import Header
from septool.models.ge2e import GE2E, Config
from septool.signal.levels import at_model_level

MIXING = DynamicMixing(sources=2, seconds=3.0, difference_db=(-30.0, -6.0), speed=(1.0, 1.0))
REGULARIZATION = 0.5  # of the mean variance within speakers, added to that of every direction


def main() -> None:
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pretrained", type=Path)
    parser.add_argument("speech", type=Path, help="manifest of training speakers")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=8000)
    args = parser.parse_args()
    config = Config(rate=8000)
    model = GE2E(config).eval()
    published = torch.load(args.pretrained, map_location="cpu", weights_only=True)["model_state"]
    encoder = {name: value for name, value in published.items() if name.startswith(("lstm.", "linear."))}
    missing, unexpected = model.embedding.load_state_dict(encoder, strict=False)
    assert set(missing) == {"mean", "whitening"}, missing
    assert not unexpected, unexpected
    pool = load_pool(args.speech, config.rate)
    rows, speakers = [], []
    with torch.inference_mode():
        for index in range(args.items):
            item = sample_speaker_item(
                pool, MIXING, SpeakerSampling(), AugmentationSources(), seed=0, epoch=0, index=index
            )
            rows.append(model.embedding(at_model_level(torch.from_numpy(item.recording)[None]))[0])
            speakers.append(item.speaker)
    embeddings, labels = torch.stack(rows).double().numpy(), np.array(speakers)
    mean, whitening = normalization(embeddings, labels)
    measured = {"mean": torch.from_numpy(mean), "whitening": torch.from_numpy(whitening)}
    model.embedding.load_state_dict(measured, strict=False)
    header = Header(
        model="ge2e",
        config={"rate": config.rate},
        sample_rate=config.rate,
        sources=0,
        origin="Resemblyzer 0.1.4, resemblyzer/pretrained.pt, by Resemble AI",
        trained_on="LibriSpeech (train-other-500), VoxCeleb1 and VoxCeleb2, by Resemble AI; mean and whitening on "
        "LibriSpeech, speechocean762, Speech Commands and Arabic Speech Commands, 14.7 hours",
        licence="Apache-2.0",
    )
    checkpoints.save(args.out, model.state_dict(), header)


def normalization(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``[embedding]``, and what whitens the variation within speakers, ``[embedding, embedding]``."""
    mean = embeddings.mean(0)
    speakers, of = np.unique(labels, return_inverse=True)
    centers = np.stack([embeddings[labels == speaker].mean(0) for speaker in speakers])
    within = embeddings - centers[of]
    covariance = within.T @ within / (len(labels) - len(speakers))  # degrees of freedom
    covariance += REGULARIZATION * covariance.trace() / len(covariance) * np.eye(len(covariance))
    return mean, np.linalg.cholesky(np.linalg.inv(covariance))


if __name__ == "__main__":
    main()

"""Makes the voice encoder that conversations use: published weights, and two means that are ours.

``python -m tools.fit_campplus PRETRAINED train-speech.jsonl -o campplus-16k.safetensors`` reads
``campplus_cn_en_common.pt`` (3D-Speaker, speech_campplus_sv_zh_en_16k-common_advanced, Apache 2.0) and measures what
embeddings of training speakers have in common, in wideband and in narrowband recordings.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from septool import audio, checkpoints
from septool.data.enrollment import SpeakerSampling, sample_speaker_item
from septool.data.mixing import AugmentationSources, DynamicMixing
from septool.data.speech_cache import load_pool
from septool.headers import Header
from septool.models.campplus import CAMPlusPlus, Config, VoiceEncoder
from septool.signal.levels import at_model_level
from tools.changed_weights import in_half_precision

NARROW_RATE = 8000  # Hz
MIXING = DynamicMixing(sources=2, seconds=3.0, difference_db=(-30.0, -6.0), speed=(1.0, 1.0))
# What parts of the published network are called here, in the order in which they are replaced.
NAMES = (
    (r"^head\.layer(\d)\.(\d)\.", lambda found: f"front.blocks.{2 * int(found[1]) - 2 + int(found[2])}."),
    (r"^head\.(?=conv1|bn1)", "front.first."),
    (r"^head\.(?=conv2|bn2)", "front.last."),
    (r"^(front\.(?:first|last))\.conv\d\.", r"\1.0."),
    (r"^(front\.(?:first|last))\.bn\d\.", r"\1.1."),
    (r"^(front\.blocks\.\d)\.conv1\.", r"\1.first.0."),
    (r"^(front\.blocks\.\d)\.bn1\.", r"\1.first.1."),
    (r"^(front\.blocks\.\d)\.conv2\.", r"\1.second.0."),
    (r"^(front\.blocks\.\d)\.bn2\.", r"\1.second.1."),
    (r"^xvector\.tdnn\.linear\.", "first.0."),
    (r"^xvector\.tdnn\.nonlinear\.batchnorm\.", "first.1."),
    (r"^xvector\.block(\d)\.tdnnd(\d+)\.", lambda found: f"blocks.{int(found[1]) - 1}.{int(found[2]) - 1}."),
    (r"\.nonlinear1\.batchnorm\.", ".norm."),
    (r"(?<!layer)\.linear1\.", ".narrow."),
    (r"\.nonlinear2\.batchnorm\.", ".narrow_norm."),
    (r"\.cam_layer\.linear_local\.", ".delay."),
    (r"\.cam_layer\.linear1\.", ".mask_in."),
    (r"\.cam_layer\.linear2\.", ".mask_out."),
    (r"^xvector\.transit(\d)\.nonlinear\.batchnorm\.", lambda found: f"blocks.{int(found[1]) - 1}.{_end(found)}."),
    (r"^xvector\.transit(\d)\.linear\.", lambda found: f"blocks.{int(found[1]) - 1}.{_end(found) + 2}."),
    (r"^xvector\.out_nonlinear\.batchnorm\.", "last_norm."),
    (r"^xvector\.dense\.linear\.", "linear."),
    (r"^xvector\.dense\.nonlinear\.batchnorm\.", "norm."),
)


def _end(found: re.Match[str]) -> int:
    """Return how many layers the block has that a transition follows."""
    return Config().layers[int(found[1]) - 1]


def rename(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights by the names that they have in :class:`septool.models.campplus.VoiceEncoder`."""
    renamed = {}
    for name, value in published.items():
        for pattern, own in NAMES:
            name = re.sub(pattern, own, name)
        renamed[name] = value[..., 0] if name == "linear.weight" else value
    return renamed


def sample_bands(speech: Path, items: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield voices of training speakers, wideband and narrowband, ``[1, time]`` at the rate of the network."""
    rate = Config().rate
    pool = load_pool(speech, rate)
    for index in range(items):
        item = sample_speaker_item(pool, MIXING, SpeakerSampling(), AugmentationSources(), seed=0, epoch=0, index=index)
        narrow = audio.resample(audio.resample(item.recording, rate, NARROW_RATE), NARROW_RATE, rate)
        wide, narrow = (torch.from_numpy(signal)[None] for signal in (item.recording, narrow))
        yield at_model_level(wide), at_model_level(narrow)


def main() -> None:
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pretrained", type=Path)
    parser.add_argument("speech", type=Path, help="manifest of training speakers")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1200)
    args = parser.parse_args()
    model = CAMPlusPlus().eval()
    encoder = model.embedding
    assert isinstance(encoder, VoiceEncoder)
    published = torch.load(args.pretrained, map_location="cpu", weights_only=True)
    missing, unexpected = encoder.load_state_dict(rename(published), strict=False)
    assert missing == ["means"], missing
    assert not unexpected, unexpected
    sums = torch.zeros_like(encoder.means)
    with torch.inference_mode():
        for bands in sample_bands(args.speech, args.items):
            sums += F.normalize(torch.cat([encoder(voice) for voice in bands]), dim=-1)
    encoder.means.copy_(sums / args.items)
    header = Header(
        model="campplus",
        config={},
        sample_rate=model.rate,
        sources=0,
        origin="3D-Speaker, speech_campplus_sv_zh_en_16k-common_advanced, campplus_cn_en_common.pt, by Alibaba",
        trained_on="speech of about 200,000 Chinese speakers, and English, by Alibaba; means on 936 speakers of "
        "LibriSpeech, speechocean762, Speech Commands and Arabic Speech Commands",
        licence="Apache-2.0",
    )
    checkpoints.save(args.out, in_half_precision(model.state_dict()), header)


if __name__ == "__main__":
    main()

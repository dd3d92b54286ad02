"""Weights for a separator of one voice more, from those of a trained one, to be trained on from there.

``python -m tools.add_voice galr-small-8k OUT.safetensors`` takes any model of the dual-path family that splits voices
by one layer. All of the network stays as it was; the new voice begins as the mean of the others. Their order means
nothing, as the loss finds it anew in every mixture, and so none of them has to give up what it learned.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from septool import catalogue, checkpoints
from septool.models.layers.masks import SourceSplit
from tools.changed_weights import save_changed, weights_parser


def add_voice(weights: Mapping[str, Tensor], sources: int) -> dict[str, Tensor]:
    """Return weights that split one voice more, of those that split ``sources``."""
    wider = {name: value.clone() for name, value in weights.items()}
    for name in ("split.linear.weight", "split.linear.bias"):
        voices = weights[name].unflatten(0, (sources, -1))
        wider[name] = torch.cat((voices, voices.mean(0, keepdim=True))).flatten(0, 1)
    return wider


def main() -> int:
    """Read, add and write."""
    parser = weights_parser(__doc__)
    options = parser.parse_args()
    name, path = catalogue.resolve_checkpoint(options.weights)
    model, header = checkpoints.load(path)
    if not isinstance(getattr(model, "split", None), SourceSplit):
        parser.error(f"{name} has no layer that splits voices")
    config = replace(model.config, sources=model.sources + 1)
    weights = add_voice(model.state_dict(), model.sources)
    save_changed(options.output, weights, header, config, f"{name} with a voice more, not trained since")
    return 0


if __name__ == "__main__":
    sys.exit(main())

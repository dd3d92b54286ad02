"""Weights for a GALR with more blocks, from those of a trained one, to be trained on from there.

``python -m tools.add_blocks galr-small-8k OUT.safetensors --blocks 9`` spreads the new blocks evenly over the old ones.
A new block is a copy of the one before it that adds nothing yet: the gain and bias behind its LSTM and the map behind
its attention (equation 13) are zero, so that the network gives exactly what it gave (Net2DeeperNet: Chen, Goodfellow
and Shlens, ICLR 2016).
"""

import sys
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from septool import catalogue, checkpoints
from septool.models.galr import GALR, Config
from tools.changed_weights import save_changed, weights_parser

ADDS = ("0.norm.weight", "0.norm.bias", "1.inverse.weight", "1.inverse.bias")  # what a block's two halves end with


def add_blocks(weights: Mapping[str, Tensor], config: Config, blocks: int) -> tuple[dict[str, Tensor], Config]:
    """Return weights and configuration of a GALR with so many blocks, each as it was or new."""
    deeper = {name: value.clone() for name, value in weights.items() if not name.startswith("blocks.")}
    origins = [index * config.blocks // blocks for index in range(blocks)]
    for index, origin in enumerate(origins):
        new = index > 0 and origins[index - 1] == origin
        for name, value in weights.items():
            if name.startswith(prefix := f"blocks.{origin}."):
                part = name.removeprefix(prefix)
                deeper[f"blocks.{index}.{part}"] = value.mul(0) if new and part in ADDS else value.clone()
    return deeper, replace(config, blocks=blocks)


def main() -> int:
    """Read, add and write."""
    parser = weights_parser(__doc__)
    parser.add_argument("--blocks", type=int, required=True, metavar="N", help="how many it is to have")
    options = parser.parse_args()
    name, path = catalogue.resolve_checkpoint(options.weights)
    model, header = checkpoints.load(path, GALR)
    if (model.config.within, model.config.across) != ("lstm", "attention"):
        parser.error(f"{name} has no LSTM within segments and attention across them")
    if options.blocks <= model.config.blocks:
        parser.error(f"{name} has {model.config.blocks} blocks already")
    weights, config = add_blocks(model.state_dict(), model.config, options.blocks)
    save_changed(options.output, weights, header, config, f"{name} with {options.blocks} blocks, not trained since")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Weights for a Papez whose tokens halt, from those of one that was trained without, to be trained on from there.

``python -m tools.start_halting WEIGHTS.safetensors OUT.safetensors`` makes the last channel of the states, which the
halting probability is read from (section 3.3), tell the last step from the others: no token halts before it, so that
the network begins with nearly what it knew. What the channel held until then is lost, and nothing but the halting reads
it any more. Of a Papez that halts already only the way of halting is changed, for which it need not be trained.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace

from torch import Tensor

from septool import catalogue, checkpoints
from septool.models.base import NO_HALTING
from septool.models.papez import Config, Halting, Papez
from tools.changed_weights import save_changed, weights_parser

GO_ON, HALT = -3.0, 5.0  # logits of the probability to halt: 0.05 at each step, 0.99 at the last


def start_halting(weights: Mapping[str, Tensor], config: Config, halting: Halting) -> tuple[dict[str, Tensor], Config]:
    """Return weights and configuration of a Papez whose tokens halt at the last step."""
    begun = {name: value.clone() for name, value in weights.items()}
    begun["embed_out.weight"][-1] = 0
    begun["embed_out.bias"][-1] = GO_ON
    begun["layer.norm2.bias"][:, -1] = GO_ON
    begun["layer.norm2.bias"][config.depth - 2, -1] = HALT  # of the state that enters the last step
    begun["layer.norm2.weight"][:, -1] *= 0.1
    for name in ("layer.attention.qkv.weight", "layer.expand.weight", "mask_in.weight"):
        begun[name][:, -1] = 0
    return begun, replace(config, halting=halting)


def main() -> int:
    """Read, change and write."""
    parser = weights_parser(__doc__)
    modes = [mode for mode in Papez.halting_modes if mode != NO_HALTING]
    parser.add_argument("--halting", choices=modes, default="freeze", help="how (default: %(default)s)")
    options = parser.parse_args()
    name, path = catalogue.resolve_checkpoint(options.weights)
    model, header = checkpoints.load(path, Papez)
    if model.config.halting == NO_HALTING:
        weights, config = start_halting(model.state_dict(), model.config, options.halting)
        save_changed(options.output, weights, header, config, f"{name} made to halt")
    else:
        config = replace(model.config, halting=options.halting)
        checkpoints.save(options.output, model.state_dict(), replace(header, config=asdict(config), measured={}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

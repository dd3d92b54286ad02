"""torchaudio's ``conv_tasnet_base``: stacks of eight blocks, a ReLU on the masks, zeros around the recording."""

from septool.config import JsonDict
from septool.interop import conv_tasnet
from septool.interop.tensors import Arguments, ForeignArchitecture, Names, Tensors

STACK = 8  # blocks, in the one network that is published

NAMES: Names = {
    "encoder.*": "encoder.basis.*",
    "mask_generator.input_norm.*": "norm.*",
    "mask_generator.input_conv.*": "bottleneck.*",
    **{
        f"mask_generator.conv_layers.*.conv_layers.{i}.*": f"blocks.*.{name}.*"
        for i, name in enumerate(conv_tasnet.CONV_BLOCK)
    },
    "mask_generator.conv_layers.*.res_out.*": "blocks.*.residual.*",
    "mask_generator.conv_layers.*.skip_out.*": "blocks.*.skip.*",
    "mask_generator.output_prelu.*": "mask.0.*",
    "mask_generator.output_conv.*": "mask.1.*",
    "decoder.*": "decoder.basis.*",
}


def _infer_config(weights: Tensors, _: Arguments) -> JsonDict:
    settings = conv_tasnet.infer_sizes(weights, STACK)
    return settings | {"mask": "relu", "edge": settings["window"] // 2}


CONV_TASNET_BASE = ForeignArchitecture("conv-tasnet", NAMES, _infer_config)

"""SpeechBrain's SepFormer and RE-SepFormer: ``encoder.ckpt``, ``masknet.ckpt``, ``decoder.ckpt`` and their yaml.

The tensors' shapes are silent about the rate, the frames in a chunk, the heads, and about what is left out: norms in
front of the layers, the skip around them. Only ``hyperparams.yaml`` says these. Whatever it says that our network
cannot be is refused.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError
from septool.interop.description import Description
from septool.interop.tagged_yaml import Node, Tagged
from septool.interop.tensors import UNKNOWN, Arguments, ForeignArchitecture, Names, Tensors, choose, count_children

YAML = "hyperparams.yaml"
PARTS = ("encoder", "masknet", "decoder")


def _transformer_names(theirs: str, ours: str) -> Names:
    return {
        f"{theirs}.pos_enc.pe": None,  # sines and cosines
        f"{theirs}.mdl.layers.*.norm1.norm.*": f"{ours}.layers.*.norm1.*",
        f"{theirs}.mdl.layers.*.self_att.att.in_proj_*": f"{ours}.layers.*.attention.qkv.*",
        f"{theirs}.mdl.layers.*.self_att.att.out_proj.*": f"{ours}.layers.*.attention.out.*",
        f"{theirs}.mdl.layers.*.norm2.norm.*": f"{ours}.layers.*.norm2.*",
        f"{theirs}.mdl.layers.*.pos_ffn.ffn.0.*": f"{ours}.layers.*.expand.*",
        f"{theirs}.mdl.layers.*.pos_ffn.ffn.3.*": f"{ours}.layers.*.contract.*",
        f"{theirs}.mdl.norm.norm.*": f"{ours}.layer_norm.*",
    }


SEPFORMER_NAMES: Names = {
    "encoder.conv1d.*": "encoder.basis.*",
    "masknet.norm.*": "norm.*",
    "masknet.conv1d.*": "linear.*",
    **_transformer_names("masknet.dual_mdl.*.*_mdl", "blocks.*.*"),
    "masknet.dual_mdl.*.*_norm.*": "blocks.*.*.global_norm.*",
    "masknet.prelu.*": "activation.*",
    "masknet.conv2d.*": "split.linear.*",
    "masknet.output.0.*": "mask.tanh.*",
    "masknet.output_gate.0.*": "mask.sigmoid.*",
    "masknet.end_conv1x1.*": "mask.relu.*",
    "decoder.*": "decoder.basis.*",
}
RESEPFORMER_NAMES: Names = {
    "encoder.conv1d.*": "encoder.basis.*",
    **_transformer_names("masknet.model.seg_model.*", "chunks.*"),
    **_transformer_names("masknet.model.mem_model.*", "memory.*"),
    "masknet.model.seg_model.*.norm.*": "chunks.*.global_norm.*",
    "masknet.model.mem_model.*.norm.*": "memory.*.global_norm.*",
    "masknet.model.output_fc.0.*": "activation.*",
    "masknet.model.output_fc.1.*": "mask.*",
    "decoder.*": "decoder.basis.*",
}
TABLES = "number of position tables"  # one for each transformer, unless it knows no positions


def _infer_sepformer(weights: Tensors, arguments: Arguments) -> JsonDict:
    filters, _, window = weights["encoder.basis.weight"].shape
    blocks = count_children(weights, "blocks")
    settings = {
        "sources": len(weights["split.linear.bias"]) // filters,
        "filters": filters,
        "window": window,
        "chunk": arguments.get("chunk", UNKNOWN),
        "blocks": blocks,
        "intra": count_children(weights, "blocks.0.intra.layers"),
        "inter": count_children(weights, "blocks.0.inter.layers"),
        "heads": arguments.get("heads", UNKNOWN),
        "feedforward": len(weights["blocks.0.intra.layers.0.expand.bias"]),
        "position": choose(arguments, TABLES, 0, 2 * blocks) > 0,
    }
    check_described(settings, arguments)
    return settings


def check_described(settings: JsonMapping, arguments: Arguments) -> None:
    """Refuse a description of another network than the tensors are of.

    Raises:
        CheckpointError: a setting that the yaml says otherwise.
    """
    for key, value in settings.items():
        if key in arguments and arguments[key] != value:
            raise CheckpointError(f"{YAML} says {key} is {arguments[key]}, the tensors say {value}")


def _infer_resepformer(weights: Tensors, arguments: Arguments) -> JsonDict:
    filters, _, window = weights["encoder.basis.weight"].shape
    blocks = count_children(weights, "chunks")
    choose(arguments, TABLES, 2 * blocks - 1)
    settings = {
        "sources": len(weights["mask.bias"]) // filters,
        "filters": filters,
        "window": window,
        "chunk_size": arguments.get("chunk_size", UNKNOWN),
        "blocks": blocks,
        "layers": count_children(weights, "chunks.0.layers"),
        "heads": arguments.get("heads", UNKNOWN),
        "feedforward": len(weights["chunks.0.layers.0.expand.bias"]),
    }
    check_described(settings, arguments)
    return settings


SEPFORMER = ForeignArchitecture("sepformer", SEPFORMER_NAMES, _infer_sepformer, drops_tail=True)
RESEPFORMER = ForeignArchitecture("re-sepformer", RESEPFORMER_NAMES, _infer_resepformer, drops_tail=True)


def is_resepformer(names: Iterable[object]) -> bool:
    """Tell by the names of a ``masknet.ckpt`` which of the two it is of."""
    return any(str(name).startswith("model.seg_model.") for name in names)


# What SpeechBrain's classes have where a yaml is silent.
ENCODER = {"kernel_size": 2, "out_channels": 64, "in_channels": 1}
DECODER = {"stride": 1, "bias": True, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}
DUAL_PATH = {
    "num_layers": 1,
    "norm": "ln",
    "K": 200,
    "num_spks": 2,
    "skip_around_intra": True,
    "linear_layer_after_inter_intra": True,
    "use_global_pos_enc": False,
    "max_length": 20000,
}
TRANSFORMER = {
    "d_ffn": 2048,
    "input_shape": None,
    "kdim": None,
    "vdim": None,
    "dropout": 0.1,
    "activation": "relu",
    "use_positional_encoding": False,
    "norm_before": False,
    "attention_type": "regularMHA",
}
TRANSFORMER_IN_CHUNKS = {**TRANSFORMER, "causal": False, "use_norm": True, "use_skip": True, "norm_type": "gln"}
RESOURCE_EFFICIENT = {
    "causal": True,
    "num_spk": 2,
    "nonlinear": "relu",
    "layer": 3,
    "unit": 512,  # units of recurrent networks, which this one does not have
    "segment_size": 20,
    "dropout": 0.0,
    "mem_type": "hc",
}


def describe_codec(description: Description) -> tuple[JsonDict, Node]:
    """Read what a yaml says of encoder and decoder; returns our settings, and the node of the mask network."""
    modules = description.top("modules")
    if not isinstance(modules, Mapping) or not all(part in modules for part in PARTS):
        raise CheckpointError(f"{description.path} describes no {', '.join(PARTS)} under modules")
    kind, given = description.part(modules["encoder"], "Encoder")
    encoder = description.sized(kind, given, ENCODER)
    kind, given = description.part(modules["decoder"], "Decoder")
    decoder = description.sized(kind, given, DECODER, "in_channels", "out_channels", "kernel_size")
    filters, window = encoder["out_channels"], encoder["kernel_size"]
    description.only("Encoder", encoder, in_channels=1)
    plain = {key: DECODER[key] for key in ("padding", "dilation", "groups", "output_padding")}
    sizes = {"in_channels": filters, "out_channels": 1, "kernel_size": window, "stride": window // 2}
    description.only("Decoder", decoder, **sizes, **plain, bias=False)
    return {"filters": filters, "window": window}, modules["masknet"]


def describe_transformer(description: Description, node: Node, kind: str, defaults: JsonMapping) -> JsonDict:
    """Read what a yaml says of a stack of transformer layers.

    Raises:
        CheckpointError: layers that ours cannot be.
    """
    _, given = description.part(node, kind)
    values = description.sized(kind, given, defaults, "num_layers", "d_model", "nhead")
    activation = values["activation"]
    if isinstance(activation, Tagged) and activation.kind == "ReLU":
        values["activation"] = "relu"
    plain = dict.fromkeys(("kdim", "vdim")) | {"activation": "relu", "attention_type": "regularMHA"}
    description.only(kind, values, norm_before=True, **plain)
    return values


def describe_sepformer(path: Path) -> JsonDict:
    """Read what a ``hyperparams.yaml`` says of a SepFormer, in our words.

    Raises:
        CheckpointError: another network, or a variant that ours cannot be.
    """
    description = Description(path)
    codec, node = describe_codec(description)
    filters = codec["filters"]
    kind, given = description.part(node, "Dual_Path_Model")
    masknet = description.sized(kind, given, DUAL_PATH, "in_channels", "out_channels", "intra_model", "inter_model")
    plain = {"norm": "ln", "skip_around_intra": True, "linear_layer_after_inter_intra": False}
    description.only(kind, masknet, in_channels=filters, out_channels=filters, use_global_pos_enc=False, **plain)
    intra, inter = (
        describe_transformer(description, masknet[key], "SBTransformerBlock", TRANSFORMER)
        for key in ("intra_model", "inter_model")
    )
    for key in ("nhead", "d_ffn", "use_positional_encoding"):
        if intra[key] != inter[key]:
            raise CheckpointError(f"{path}: {key} is {intra[key]} within the chunks and {inter[key]} across them")
    description.only("SBTransformerBlock", intra, d_model=filters)
    description.only("SBTransformerBlock", inter, d_model=filters)
    _check_voices(description, masknet["num_spks"])
    return (
        codec
        | description.rate()
        | {
            "sources": masknet["num_spks"],
            "chunk": masknet["K"],
            "blocks": masknet["num_layers"],
            "intra": intra["num_layers"],
            "inter": inter["num_layers"],
            "heads": intra["nhead"],
            "feedforward": intra["d_ffn"],
            "position": intra["use_positional_encoding"],
        }
    )


def describe_resepformer(path: Path) -> JsonDict:
    """Read what a ``hyperparams.yaml`` says of a RE-SepFormer, in our words.

    Raises:
        CheckpointError: another network, or a variant that ours cannot be.
    """
    description = Description(path)
    codec, node = describe_codec(description)
    kind, given = description.part(node, "ResourceEfficientSeparator")
    masknet = description.sized(kind, given, RESOURCE_EFFICIENT, "input_dim", "seg_model", "mem_model")
    description.only(kind, masknet, input_dim=codec["filters"], causal=False, nonlinear="relu", mem_type="av")
    name = "SBTransformerBlock_wnormandskip"
    chunks, memory = (
        describe_transformer(description, masknet[key], name, TRANSFORMER_IN_CHUNKS)
        for key in ("seg_model", "mem_model")
    )
    whole = {key: TRANSFORMER_IN_CHUNKS[key] for key in ("causal", "use_norm", "use_skip", "norm_type")}
    for values in (chunks, memory):
        description.only(name, values, d_model=codec["filters"], use_positional_encoding=True, **whole)
    for key in ("num_layers", "nhead", "d_ffn"):
        if chunks[key] != memory[key]:
            raise CheckpointError(f"{path}: {key} is {chunks[key]} within the chunks and {memory[key]} in the memory")
    _check_voices(description, masknet["num_spk"])
    return (
        codec
        | description.rate()
        | {
            "sources": masknet["num_spk"],
            "chunk_size": masknet["segment_size"],
            "blocks": masknet["layer"],
            "layers": chunks["num_layers"],
            "heads": chunks["nhead"],
            "feedforward": chunks["d_ffn"],
        }
    )


def _check_voices(description: Description, voices: object) -> None:
    speakers = description.top("num_spks")
    if speakers is not None and speakers != voices:
        raise CheckpointError(f"{description.path} contradicts itself: num_spks is {speakers} and {voices}")

"""SpeechBrain's SepFormer: ``encoder.ckpt``, ``masknet.ckpt`` and ``decoder.ckpt``, and the yaml that describes them.

The tensors' shapes are silent about the rate, the frames in a chunk, the heads, and about what is left out: norms in
front of the layers, the skip around them. Only ``hyperparams.yaml`` says these. Whatever it says that our network
cannot be is refused.
"""

from collections.abc import Mapping
from pathlib import Path

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError
from septool.interop.tagged_yaml import Node, Tagged, read_tagged_yaml, resolve
from septool.interop.tensors import UNKNOWN, Arguments, ForeignArchitecture, Names, Tensors, choose, count_children

YAML = "hyperparams.yaml"
PARTS = ("encoder", "masknet", "decoder")

SEPFORMER_NAMES: Names = {
    "encoder.conv1d.*": "encoder.basis.*",
    "masknet.norm.*": "norm.*",
    "masknet.conv1d.*": "linear.*",
    "masknet.dual_mdl.*.*_mdl.pos_enc.pe": None,  # sines and cosines
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.norm1.norm.*": "blocks.*.*.layers.*.norm1.*",
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.self_att.att.in_proj_*": "blocks.*.*.layers.*.attention.qkv.*",
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.self_att.att.out_proj.*": "blocks.*.*.layers.*.attention.out.*",
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.norm2.norm.*": "blocks.*.*.layers.*.norm2.*",
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.pos_ffn.ffn.0.*": "blocks.*.*.layers.*.expand.*",
    "masknet.dual_mdl.*.*_mdl.mdl.layers.*.pos_ffn.ffn.3.*": "blocks.*.*.layers.*.contract.*",
    "masknet.dual_mdl.*.*_mdl.mdl.norm.norm.*": "blocks.*.*.layer_norm.*",
    "masknet.dual_mdl.*.*_norm.*": "blocks.*.*.global_norm.*",
    "masknet.prelu.*": "activation.*",
    "masknet.conv2d.*": "split.linear.*",
    "masknet.output.0.*": "mask.tanh.*",
    "masknet.output_gate.0.*": "mask.sigmoid.*",
    "masknet.end_conv1x1.*": "mask.relu.*",
    "decoder.*": "decoder.basis.*",
}


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
        "position": choose(arguments, "number of position tables", 0, 2 * blocks) > 0,
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


SEPFORMER = ForeignArchitecture("sepformer", SEPFORMER_NAMES, _infer_sepformer, drops_tail=True)

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


class Description:
    """A ``hyperparams.yaml``: what it says of the parts of a network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document = read_tagged_yaml(path)

    def resolve(self, value: Node) -> Node:
        """Follow references, and read numbers that were written as text."""
        return resolve(self.document, value)

    def top(self, key: str) -> Node:
        """Return a value at the top, or None."""
        return self.resolve(self.document.get(key))

    def part(self, value: Node, *kinds: str) -> tuple[str, JsonDict]:
        """Return which class a part is of, and what it is constructed with.

        Raises:
            CheckpointError: it is of none of ``kinds``.
        """
        node = self.resolve(value)
        if not isinstance(node, Tagged) or not node.tag.startswith("new:") or node.kind not in kinds:
            shown = node.tag if isinstance(node, Tagged) else repr(node)
            raise CheckpointError(f"{self.path} describes {shown}; septool has {' or '.join(kinds)} there")
        given = node.value if isinstance(node.value, Mapping) else {}
        return node.kind, {key: self.resolve(item) for key, item in given.items()}

    def sized(self, kind: str, given: JsonDict, defaults: JsonMapping, *needed: str) -> JsonDict:
        """Complete what a part is constructed with by the defaults of its class.

        Raises:
            CheckpointError: something unknown, or something missing.
        """
        for key in given:
            if key not in defaults and key not in needed:
                raise CheckpointError(f"{self.path}: {kind} has {key}, which septool does not know")
        for key in needed:
            if key not in given:
                raise CheckpointError(f"{self.path}: {kind} has no {key}")
        return {**defaults, **given}

    def only(self, kind: str, values: JsonMapping, **allowed: object) -> None:
        """Refuse what our network cannot be.

        Raises:
            CheckpointError: a value that is not the allowed one.
        """
        for key, wanted in allowed.items():
            if values[key] != wanted:
                raise CheckpointError(
                    f"{self.path}: {key} of {kind} is {values[key]!r}; septool has such a network only with {wanted!r}"
                )

    def rate(self) -> dict[str, int]:
        """Return the sample rate, if it is said."""
        rate = self.top("sample_rate")
        return {} if rate is None else {"sample_rate": rate}


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
    voices = description.top("num_spks")
    if voices is not None and voices != masknet["num_spks"]:
        raise CheckpointError(f"{path} contradicts itself: num_spks is {voices} and {masknet['num_spks']}")
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

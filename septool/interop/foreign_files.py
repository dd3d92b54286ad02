"""Checkpoints leave for other toolkits: our weights under their names, in the files that they load.

Only where their network is ours. What was written is converted back and compared before it is kept.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import torch
from torch import Tensor

from septool.config import JsonDict, JsonMapping
from septool.errors import SeptoolError
from septool.headers import Header
from septool.interop import asteroid, speechbrain
from septool.interop.conversion import convert_files
from septool.interop.tensors import Names, Tensors
from septool.models.layers.attention import SinusoidalPosition

POSITIONS = 2500  # rows of the tables that SpeechBrain keeps with its weights


@dataclass(frozen=True)
class Layout:
    """How another toolkit keeps one of our networks."""

    names: Names
    axes: Mapping[str, int]  # of their tensors, where ours have fewer: theirs are convolutions of width one
    gains: tuple[str, ...]  # ends of their names whose weight and bias are called gamma and beta
    required: JsonMapping  # settings of ours that theirs cannot have otherwise


CONV_TASNET = Layout(
    names=asteroid.CONV_TASNET,
    axes={"masker.bottleneck.1.weight": 3},
    gains=("bottleneck.0", "shared_block.2", "shared_block.5"),
    required={"bias": True, "input_norm": "global", "edge": 0},
)
DPRNN = Layout(
    names=asteroid.DPRNN,
    axes={
        "masker.bottleneck.1.weight": 3,
        "masker.first_out.1.weight": 4,
        "masker.net_out.0.weight": 3,
        "masker.net_gate.0.weight": 3,
        "masker.mask_net.weight": 3,
    },
    gains=("bottleneck.0", "intra_norm", "inter_norm"),
    required={"bias": True, "padding": "unfold"},
)
SEPFORMER = Layout(
    names=speechbrain.SEPFORMER_NAMES,
    axes={
        "masknet.conv1d.weight": 3,
        "masknet.conv2d.weight": 4,
        "masknet.output.0.weight": 3,
        "masknet.output_gate.0.weight": 3,
        "masknet.end_conv1x1.weight": 3,
    },
    gains=(),
    required={},
)


def rename(weights: Mapping[str, Tensor], layout: Layout) -> Tensors:
    """Give every tensor of ours the name and the axes that it has there."""
    lines = [
        (re.compile(re.escape(ours).replace(r"\*", r"([^.]+)")), theirs)
        for theirs, ours in layout.names.items()
        if ours is not None
    ]
    renamed: Tensors = {}
    for name, value in weights.items():
        match, theirs = next((m, theirs) for pattern, theirs in lines if (m := pattern.fullmatch(name)))
        for part in match.groups():
            theirs = theirs.replace("*", part, 1)
        stem, _, last = theirs.rpartition(".")
        if stem.endswith(layout.gains) and layout.gains:
            theirs = f"{stem}.{ {'weight': 'gamma', 'bias': 'beta'}[last] }"
        axes = layout.axes.get(theirs, value.dim())
        renamed[theirs] = value.reshape(*value.shape, *[1] * (axes - value.dim())).contiguous()
    return renamed


def _check_settings(header: Header, layout: Layout, toolkit: str) -> None:
    for key, wanted in layout.required.items():
        if header.config[key] != wanted:
            raise SeptoolError(f"{key} is {header.config[key]!r}; {toolkit} has a {header.model} only with {wanted!r}")


# asteroid.


def _conv_tasnet_arguments(config: JsonMapping) -> JsonDict:
    if not config["skip"] and not config["mask_prelu"]:
        raise SeptoolError("mask_prelu is False; asteroid has a conv-tasnet without a skip path only with True")
    return {
        "bn_chan": config["bottleneck"],
        "hid_chan": config["hidden"],
        "skip_chan": config["skip"],
        "conv_kernel_size": config["kernel"],
        "n_blocks": config["blocks"],
        "n_repeats": config["repeats"],
        "causal": False,
    }


def _dprnn_arguments(config: JsonMapping) -> JsonDict:
    return {
        "bn_chan": config["features"],
        "hid_size": config["hidden"],
        "chunk_size": config["chunk"],
        "hop_size": config["chunk"] // 2,
        "n_repeats": config["blocks"],
    }


ASTEROID: dict[str, tuple[str, Layout, Callable[[JsonMapping], JsonDict]]] = {
    "conv-tasnet": ("ConvTasNet", CONV_TASNET, _conv_tasnet_arguments),
    "dprnn": ("DPRNNTasNet", DPRNN, _dprnn_arguments),
}


def write_asteroid(weights: Mapping[str, Tensor], header: Header, out: Path) -> None:
    """Write a file for ``asteroid.models.BaseModel.from_pretrained``.

    Raises:
        SeptoolError: a network that asteroid does not have.
    """
    if header.model not in ASTEROID:
        raise SeptoolError(f"asteroid has no {header.model} that is ours; it has {', '.join(ASTEROID)}")
    name, layout, arguments = ASTEROID[header.model]
    _check_settings(header, layout, "asteroid")
    config = header.config
    tensors = rename(weights, layout)
    if header.model == "conv-tasnet" and config["skip"]:  # nothing reads it, and it has to be there
        last = config["blocks"] * config["repeats"] - 1
        tensors[f"masker.TCN.{last}.res_conv.weight"] = torch.zeros(config["bottleneck"], config["hidden"], 1)
        tensors[f"masker.TCN.{last}.res_conv.bias"] = torch.zeros(config["bottleneck"])
    model_args = {
        "n_src": header.sources,
        "fb_name": "free",
        "n_filters": config["filters"],
        "kernel_size": config["window"],
        "stride": config["window"] // 2,
        "sample_rate": header.sample_rate,
        "norm_type": "gLN",
        "mask_act": config["mask"],
        "encoder_activation": "relu" if config["rectify"] else None,
        **arguments(config),
    }
    infos = {"licence": header.licence, "trained_on": header.trained_on, "origin": header.origin or "septool"}
    torch.save({"model_name": name, "model_args": model_args, "state_dict": tensors, "infos": infos}, out)
    _compare("asteroid", [out], weights, header)


# SpeechBrain.

HYPERPARAMS = Template("""\
# A SepFormer of septool for speechbrain.inference.separation.SepformerSeparation
# Trained on: $trained_on. Licence: $licence.
sample_rate: $rate
num_spks: $sources

Encoder: !new:speechbrain.lobes.models.dual_path.Encoder
    kernel_size: $window
    out_channels: $filters

SBtfintra: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    num_layers: $intra
    d_model: $filters
    nhead: $heads
    d_ffn: $feedforward
    dropout: 0
    use_positional_encoding: $position
    norm_before: true

SBtfinter: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    num_layers: $inter
    d_model: $filters
    nhead: $heads
    d_ffn: $feedforward
    dropout: 0
    use_positional_encoding: $position
    norm_before: true

MaskNet: !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
    num_spks: !ref <num_spks>
    in_channels: $filters
    out_channels: $filters
    num_layers: $blocks
    K: $chunk
    intra_model: !ref <SBtfintra>
    inter_model: !ref <SBtfinter>
    norm: ln
    linear_layer_after_inter_intra: false
    skip_around_intra: true

Decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    in_channels: $filters
    out_channels: 1
    kernel_size: $window
    stride: $stride
    bias: false

modules:
    encoder: !ref <Encoder>
    decoder: !ref <Decoder>
    masknet: !ref <MaskNet>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        encoder: !ref <Encoder>
        masknet: !ref <MaskNet>
        decoder: !ref <Decoder>
""")


def write_speechbrain(weights: Mapping[str, Tensor], header: Header, out: Path) -> None:
    """Write a folder for ``speechbrain.inference.separation.SepformerSeparation.from_hparams``.

    Raises:
        SeptoolError: a network that SpeechBrain does not have.
    """
    if header.model != "sepformer":
        raise SeptoolError(f"SpeechBrain has no {header.model} that is ours; it has sepformer")
    config = header.config
    tensors = rename(weights, SEPFORMER)
    if config["position"]:
        table = SinusoidalPosition(config["filters"])(POSITIONS)[None]
        for block in range(config["blocks"]):
            for path in ("intra", "inter"):
                tensors[f"masknet.dual_mdl.{block}.{path}_mdl.pos_enc.pe"] = table.clone()
    said = {key: str(value).lower() if isinstance(value, bool) else value for key, value in config.items()}
    texts = {key: " ".join((getattr(header, key) or "unknown").split()) for key in ("trained_on", "licence")}
    text = HYPERPARAMS.substitute(
        said | texts | {"rate": header.sample_rate, "sources": header.sources, "stride": config["window"] // 2}
    )
    (out / speechbrain.YAML).write_text(text, encoding="utf-8")
    for part in speechbrain.PARTS:
        own = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
        torch.save(own, out / f"{part}.ckpt")
    _compare("speechbrain-sepformer", [out], weights, header)


def _compare(source: str, files: list[Path], weights: Mapping[str, Tensor], header: Header) -> None:
    """Convert what was written back, and compare."""
    again = convert_files(source, files)
    if (again.header.config, again.header.sample_rate) != (header.config, header.sample_rate):
        changed = {key for key, value in again.header.config.items() if header.config.get(key) != value}
        raise SeptoolError(f"the file would be of another network: {', '.join(sorted(changed)) or 'its rate'} differ")
    if any(not torch.equal(again.weights[key], value) for key, value in weights.items()):
        raise SeptoolError("the file would hold other weights")


WRITERS = {"asteroid": write_asteroid, "speechbrain": write_speechbrain}

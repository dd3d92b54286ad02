"""asteroid's networks. Sizes come from shapes and files; where both are silent, asteroid's defaults hold."""

from pathlib import Path

import torch

from septool.config import JsonDict
from septool.errors import CheckpointError
from septool.interop import conv_tasnet
from septool.interop.tensors import (
    Arguments,
    ForeignArchitecture,
    ForeignCheckpoint,
    Names,
    Tensors,
    choose,
    count_children,
    half,
)

BASES: Names = {
    "encoder.filterbank._filters": "encoder.basis.weight",
    "decoder.filterbank._filters": "decoder.basis.weight",
}
_CONV_TASNET: Names = {
    **BASES,
    "masker.bottleneck.0.*": "norm.*",
    "masker.bottleneck.1.*": "bottleneck.*",
    **{f"masker.TCN.*.shared_block.{i}.*": f"blocks.*.{name}.*" for i, name in enumerate(conv_tasnet.CONV_BLOCK)},
    "masker.TCN.*.res_conv.*": "blocks.*.residual.*",
    "masker.mask_net.0.*": "mask.0.*",
    "masker.mask_net.1.*": "mask.1.*",
}
CONV_TASNET: Names = {**_CONV_TASNET, "masker.TCN.*.skip_conv.*": "blocks.*.skip.*"}
DPRNN: Names = {
    **BASES,
    "masker.bottleneck.0.*": "norm.*",
    "masker.bottleneck.1.*": "linear.*",
    "masker.net.*.*_RNN.rnn.*": "blocks.*.*.recurrent.lstm.*",
    "masker.net.*.*_linear.*": "blocks.*.*.recurrent.linear.*",
    "masker.net.*.*_norm.*": "blocks.*.*.norm.*",
    "masker.first_out.0.*": "activation.*",
    "masker.first_out.1.*": "split.linear.*",
    "masker.net_out.0.*": "mask.tanh.*",
    "masker.net_gate.0.*": "mask.sigmoid.*",
    "masker.mask_net.*": "mask.relu.*",
}
DPTNET: Names = {
    **BASES,
    "masker.in_norm.*": "norm.*",
    **{
        f"masker.layers.*.{number}.{theirs}*": f"blocks.*.{path}.{ours}*"
        for number, path in enumerate(("intra", "inter"))
        for theirs, ours in {
            "mha.in_proj_": "attention.qkv.",
            "mha.out_proj.": "attention.out.",
            "norm_mha.": "norm1.",
            "recurrent.": "lstm.",
            "linear.": "linear.",
            "norm_ff.": "norm2.",
        }.items()
    },
    "masker.first_out.0.*": "activation.*",
    "masker.first_out.1.*": "split.linear.*",
    "masker.net_out.0.*": "mask.tanh.*",
    "masker.net_gate.0.*": "mask.sigmoid.*",
}
# The blocks and masks of SuDoRM-RF, which its authors' code calls the same without the prefix.
SUDORMRF_MASKER: Names = {
    "ln.*": "norm.*",
    "l1.*": "bottleneck.*",
    "sm.*.proj_1x1.conv.*": "blocks.*.expand.0.*",
    "sm.*.proj_1x1.norm.*": "blocks.*.expand.1.*",
    "sm.*.proj_1x1.act.*": "blocks.*.expand.2.*",
    "sm.*.spp_dw.*.conv.*": "blocks.*.levels.*.0.*",
    "sm.*.spp_dw.*.norm.*": "blocks.*.levels.*.1.*",
    "sm.*.final_norm.norm.*": "blocks.*.merge.0.*",
    "sm.*.final_norm.act.*": "blocks.*.merge.1.*",
    "sm.*.conv_1x1_exp.conv.*": "blocks.*.contract.0.*",
    "sm.*.conv_1x1_exp.norm.*": "blocks.*.contract.1.*",
    "sm.*.module_act.norm.*": "blocks.*.out.0.*",
    "sm.*.module_act.act.*": "blocks.*.out.1.*",
    "reshape_before_masks.*": "widen.*",
    "m.*": "mask.*",
}
SUDORMRF: Names = {
    **BASES,
    "encoder.encoder.filterbank._filters": None,  # the encoder's a second time
    **{f"masker.{theirs}": ours for theirs, ours in SUDORMRF_MASKER.items()},
}


def _bases(weights: Tensors, arguments: Arguments) -> dict[str, int]:
    filters, _, window = weights["encoder.basis.weight"].shape
    half(arguments, "stride", window)
    return {"filters": filters, "window": window}


def _chunk(arguments: Arguments) -> int:
    chunk = arguments.get("chunk_size", 100)
    half(arguments, "hop_size", chunk)
    return chunk


def _infer_conv_tasnet(weights: Tensors, arguments: Arguments) -> JsonDict:
    settings = _bases(weights, arguments) | conv_tasnet.infer_sizes(weights, stack=arguments.get("n_blocks", 8))
    if settings["skip"]:
        last = settings["blocks"] * settings["repeats"] - 1
        for part in ("weight", "bias"):
            weights.pop(f"blocks.{last}.residual.{part}", None)  # nothing reads it
    return settings | {
        "rectify": choose(arguments, "encoder_activation", None, "linear", "relu") == "relu",
        "mask": choose(arguments, "mask_act", "sigmoid", "relu"),
        "mask_prelu": not settings["skip"],
    }


def _infer_dprnn(weights: Tensors, arguments: Arguments) -> JsonDict:
    features = len(weights["linear.bias"])
    return _bases(weights, arguments) | {
        "sources": len(weights["split.linear.bias"]) // features,
        "features": features,
        "chunk": _chunk(arguments),
        "blocks": count_children(weights, "blocks"),
        "hidden": weights["blocks.0.intra.recurrent.lstm.weight_hh_l0"].shape[1],
        "rectify": choose(arguments, "encoder_activation", None, "linear", "relu") == "relu",
        "bias": True,
        "padding": "unfold",
        "mask": choose(arguments, "mask_act", "sigmoid", "relu"),
    }


def _infer_dptnet(weights: Tensors, arguments: Arguments) -> JsonDict:
    choose(arguments, "encoder_activation", "relu")
    bases = _bases(weights, arguments)
    filters = bases["filters"]
    weights["linear.weight"] = torch.eye(filters)  # it has no convolution before the chunks
    weights["mask.relu.weight"] = torch.eye(filters)  # and none behind the gates
    for part in ("weight", "bias"):
        weights[f"split.linear.{part}"] = weights[f"split.linear.{part}"] / 2  # averages chunks that we add
    return bases | {
        "sources": len(weights["split.linear.bias"]) // filters,
        "features": filters,
        "chunk": _chunk(arguments),
        "blocks": count_children(weights, "blocks"),
        "hidden": weights["blocks.0.intra.lstm.weight_hh_l0"].shape[1],
        "heads": arguments.get("n_heads", 4),
        "norm": "sequence",
        "padding": "unfold",
        "mask": choose(arguments, "mask_act", "relu", "sigmoid"),
    }


def _infer_sudormrf(weights: Tensors, arguments: Arguments) -> JsonDict:
    choose(arguments, "mask_act", "softmax")
    filters, _, window = weights["encoder.basis.weight"].shape
    if window % 8 != 5:
        # Both fill up with zeros until the rates halve evenly; only here they agree how many that are.
        raise CheckpointError(f"the window is {window} samples; septool pads as asteroid does only if it is 8 n + 5")
    sources = len(weights["mask.bias"])
    weights["decoder.basis.weight"] = weights["decoder.basis.weight"].repeat(sources, 1, 1)  # shared there
    weights["encoder.basis.bias"], weights["decoder.basis.bias"] = torch.zeros(filters), torch.zeros(sources)
    return infer_sudormrf_sizes(weights)


def infer_sudormrf_sizes(weights: Tensors) -> JsonDict:
    """Read the sizes of a SuDoRM-RF off renamed tensors."""
    filters, _, window = weights["encoder.basis.weight"].shape
    return {
        "sources": len(weights["mask.bias"]),
        "filters": filters,
        "window": window,
        "width": len(weights["bottleneck.bias"]),
        "hidden": len(weights["blocks.0.expand.0.bias"]),
        "depth": count_children(weights, "blocks.0.levels"),
        "blocks": count_children(weights, "blocks"),
    }


ARCHITECTURES = {
    "ConvTasNet": ForeignArchitecture("conv-tasnet", CONV_TASNET, _infer_conv_tasnet, drops_tail=True),
    "DPRNNTasNet": ForeignArchitecture("dprnn", DPRNN, _infer_dprnn, drops_tail=True),
    "DPTNet": ForeignArchitecture("dptnet", DPTNET, _infer_dptnet, drops_tail=True),
    "SuDORMRFNet": ForeignArchitecture("sudormrf", SUDORMRF, _infer_sudormrf),
}
CONV_TASNET_NO_SKIP = ForeignArchitecture("conv-tasnet", _CONV_TASNET, _infer_conv_tasnet, drops_tail=True)
# What our counterparts are, whether a file says so or not.
ONLY = {
    "fb_name": ("free", "FreeFB"),
    "norm_type": ("gLN",),
    "causal": (False,),
    "bidirectional": (True,),
    "ff_activation": ("relu",),
    "rnn_type": ("LSTM",),
    "use_mulcat": (False,),
    "num_layers": (1,),
    "in_channels": (1, None),
}


def read_checkpoint(content: JsonDict, path: Path) -> ForeignCheckpoint:
    """Take apart what asteroid's ``serialize`` wrote.

    Raises:
        CheckpointError: another file, or a network that ours cannot be.
    """
    for key in ("model_name", "model_args", "state_dict"):
        if key not in content:
            raise CheckpointError(f"{path} is not a checkpoint of asteroid: it has no {key}")
    name, arguments, state = content["model_name"], content["model_args"], content["state_dict"]
    if not isinstance(arguments, dict) or not isinstance(state, dict):
        raise CheckpointError(f"{path} is not a checkpoint of asteroid: model_args or state_dict names nothing")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(f"{path} holds asteroid's {name}; septool converts {', '.join(ARCHITECTURES)}")
    for key, known in ONLY.items():
        choose(arguments, key, *known)
    try:
        rates = {float(section["sample_rate"]) for section in (content, arguments) if section.get("sample_rate")}
    except (TypeError, ValueError):
        raise CheckpointError(f"{path} has a sample_rate that is no number") from None
    if len(rates) > 1:
        raise CheckpointError(f"{path} contradicts itself: sample_rate is {' and '.join(map(str, sorted(rates)))} Hz")
    known_rate = {"sample_rate": rates.pop()} if rates else {}
    arguments = {key: value for key, value in arguments.items() if key != "sample_rate"} | known_rate
    architecture = ARCHITECTURES[name]
    if name == "ConvTasNet" and not arguments.get("skip_chan", 128):
        architecture = CONV_TASNET_NO_SKIP
    return ForeignCheckpoint(architecture, state, arguments)

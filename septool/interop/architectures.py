"""Networks of other toolkits: what their tensors are called here, and which of our configurations they are.

Every network has a table of names, and a function that reads our configuration off the shapes, and off what
its file says where the shapes are silent. A layer that only ours has gets the weights with which it changes
nothing. All of these networks normalise what they have encoded, so that the level of the recordings they
were trained on does not matter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from septool.errors import CheckpointError

Tensors = dict[str, Tensor]
Arguments = Mapping[str, Any]  # what a file says of its network
Names = dict[str, str | None]  # theirs to ours; * is one part of a name, None a constant that has no place


@dataclass(frozen=True)
class Peer:
    """A network of another toolkit."""

    model: str  # ours
    names: Names
    settle: Callable[[Tensors, Arguments], dict[str, Any]]  # returns our settings, mends the renamed tensors


def choose(arguments: Arguments, key: str, *known: Any) -> Any:
    """Return what a file says of its network; if it says nothing, the first of what ours can be.

    Raises:
        CheckpointError: ours cannot be what the file says.
    """
    value = arguments.get(key, known[0])
    if value not in known:
        can = " or ".join(map(repr, known))
        raise CheckpointError(f"{key} is {value!r} in this file; septool has such a network only with {can}")
    return value


def _count(weights: Tensors, stem: str) -> int:
    return len({name.removeprefix(stem).split(".")[1] for name in weights if name.startswith(f"{stem}.")})


# SpeechBrain. All its published SepFormers have these numbers of heads and of frames in a chunk.

SPEECHBRAIN_SEPFORMER: Names = {
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


def _speechbrain_sepformer(weights: Tensors, arguments: Arguments) -> dict[str, Any]:
    filters, _, window = weights["encoder.basis.weight"].shape
    blocks = _count(weights, "blocks")
    return {
        "sources": len(weights["split.linear.bias"]) // filters,
        "filters": filters,
        "window": window,
        "chunk": 250,
        "blocks": blocks,
        "intra": _count(weights, "blocks.0.intra.layers"),
        "inter": _count(weights, "blocks.0.inter.layers"),
        "heads": 8,
        "feedforward": len(weights["blocks.0.intra.layers.0.expand.bias"]),
        "position": choose(arguments, "number of position tables", 0, 2 * blocks) > 0,
    }


SEPFORMER = Peer("sepformer", SPEECHBRAIN_SEPFORMER, _speechbrain_sepformer)


# Papez, as its authors released it. The last three are constants that we compute, and a table that nothing reads there.

PAPEZ: Names = {
    "encoder.0.*": "encoder.basis.*",
    "encoder.1.*": "encoder_norm.*",
    "encoder.3.*": "encoder_mix.*",
    "masknet.embed.0.*": "embed_in.*",
    "masknet.embed.1.*": "embed_norm.*",
    "masknet.embed.2.*": "embed_act.*",
    "masknet.embed.3.*": "embed_out.*",
    "masknet.dislodge.0.*": "mask_in.*",
    "masknet.dislodge.1.*": "mask_norm.*",
    "masknet.dislodge.2.*": "mask_act.*",
    "masknet.dislodge.3.*": "mask_out.*",
    "masknet.transformer.enc.linear1.*": "layer.expand.*",
    "masknet.transformer.enc.linear2.*": "layer.contract.*",
    "masknet.transformer.enc.norm1.*": "layer.norm1.*",
    "masknet.transformer.enc.norm2.*": "layer.norm2.*",
    "masknet.transformer.enc.self_attn.in_proj_*": "layer.attention.qkv.*",
    "masknet.transformer.enc.self_attn.out_proj.*": "layer.attention.out.*",
    "decoder.0.*": "decoder_mix.*",
    "decoder.1.*": "decoder_norm.*",
    "decoder.3.*": "decoder.basis.*",
    "masknet.transformer.enc.position_signal": None,
    "masknet.transformer.timing_signal": None,
    "memory_slots": None,
}


# Conv-TasNet, of two toolkits. The shapes do not say where a stack ends.

CONV_BLOCK = ("expand", "prelu1", "norm1", "depthwise", "prelu2", "norm2")  # numbered in both


def _conv_tasnet(weights: Tensors, stack: int) -> dict[str, Any]:
    filters, _, window = weights["encoder.basis.weight"].shape
    total = _count(weights, "blocks")
    if total % stack:
        raise CheckpointError(f"{total} blocks are no whole number of stacks of {stack}")
    return {
        "sources": len(weights["mask.1.bias"]) // filters,
        "filters": filters,
        "window": window,
        "bottleneck": len(weights["bottleneck.bias"]),
        "hidden": len(weights["blocks.0.expand.bias"]),
        "skip": len(weights["blocks.0.skip.bias"]),
        "kernel": weights["blocks.0.depthwise.weight"].shape[-1],
        "blocks": stack,
        "repeats": total // stack,
    }


# torchaudio's conv_tasnet_base: stacks of eight blocks, a ReLU on the masks, zeros around the recording.

TORCHAUDIO_CONV_TASNET: Names = {
    "encoder.*": "encoder.basis.*",
    "mask_generator.input_norm.*": "norm.*",
    "mask_generator.input_conv.*": "bottleneck.*",
    **{f"mask_generator.conv_layers.*.conv_layers.{i}.*": f"blocks.*.{name}.*" for i, name in enumerate(CONV_BLOCK)},
    "mask_generator.conv_layers.*.res_out.*": "blocks.*.residual.*",
    "mask_generator.conv_layers.*.skip_out.*": "blocks.*.skip.*",
    "mask_generator.output_prelu.*": "mask.0.*",
    "mask_generator.output_conv.*": "mask.1.*",
    "decoder.*": "decoder.basis.*",
}


def _torchaudio_conv_tasnet(weights: Tensors, _: Arguments) -> dict[str, Any]:
    settings = _conv_tasnet(weights, stack=8)
    return settings | {"mask": "relu", "edge": settings["window"] // 2}


CONV_TASNET_BASE = Peer("conv-tasnet", TORCHAUDIO_CONV_TASNET, _torchaudio_conv_tasnet)


# asteroid. Its files say what the shapes do not.

ASTEROID_BASES: Names = {
    "encoder.filterbank._filters": "encoder.basis.weight",
    "decoder.filterbank._filters": "decoder.basis.weight",
}
ASTEROID_CONV_TASNET: Names = ASTEROID_BASES | {
    "masker.bottleneck.0.*": "norm.*",
    "masker.bottleneck.1.*": "bottleneck.*",
    **{f"masker.TCN.*.shared_block.{i}.*": f"blocks.*.{name}.*" for i, name in enumerate(CONV_BLOCK)},
    "masker.TCN.*.res_conv.*": "blocks.*.residual.*",
    "masker.TCN.*.skip_conv.*": "blocks.*.skip.*",
    "masker.mask_net.0.*": "mask.0.*",
    "masker.mask_net.1.*": "mask.1.*",
}
ASTEROID_DPRNN: Names = ASTEROID_BASES | {
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
ASTEROID_DPTNET: Names = ASTEROID_BASES | {
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
ASTEROID_SUDORMRF: Names = ASTEROID_BASES | {
    "encoder.encoder.filterbank._filters": None,  # the encoder's a second time
    "masker.ln.*": "norm.*",
    "masker.l1.*": "bottleneck.*",
    "masker.sm.*.proj_1x1.conv.*": "blocks.*.expand.0.*",
    "masker.sm.*.proj_1x1.norm.*": "blocks.*.expand.1.*",
    "masker.sm.*.proj_1x1.act.*": "blocks.*.expand.2.*",
    "masker.sm.*.spp_dw.*.conv.*": "blocks.*.levels.*.0.*",
    "masker.sm.*.spp_dw.*.norm.*": "blocks.*.levels.*.1.*",
    "masker.sm.*.final_norm.norm.*": "blocks.*.merge.0.*",
    "masker.sm.*.final_norm.act.*": "blocks.*.merge.1.*",
    "masker.sm.*.conv_1x1_exp.conv.*": "blocks.*.contract.0.*",
    "masker.sm.*.conv_1x1_exp.norm.*": "blocks.*.contract.1.*",
    "masker.sm.*.module_act.norm.*": "blocks.*.out.0.*",
    "masker.sm.*.module_act.act.*": "blocks.*.out.1.*",
    "masker.reshape_before_masks.*": "widen.*",
    "masker.m.*": "mask.*",
}


def _bases(weights: Tensors, arguments: Arguments) -> dict[str, int]:
    filters, _, window = weights["encoder.basis.weight"].shape
    _half(arguments, "stride", window)
    return {"filters": filters, "window": window}


def _chunks(arguments: Arguments) -> int:
    chunk = arguments.get("chunk_size", 100)
    _half(arguments, "hop_size", chunk)
    return chunk


def _half(arguments: Arguments, key: str, whole: int) -> None:
    hop = arguments.get(key) or whole // 2
    if hop != whole // 2:
        raise CheckpointError(f"{key} is {hop} in this file; septool has such a network only with half of {whole}")


def _asteroid_conv_tasnet(weights: Tensors, arguments: Arguments) -> dict[str, Any]:
    settings = _bases(weights, arguments) | _conv_tasnet(weights, stack=arguments.get("n_blocks", 8))
    last = settings["blocks"] * settings["repeats"] - 1
    for part in ("weight", "bias"):
        weights.pop(f"blocks.{last}.residual.{part}", None)  # nothing reads it
    return settings | {
        "rectify": choose(arguments, "encoder_activation", None, "linear", "relu") == "relu",
        "mask": choose(arguments, "mask_act", "sigmoid", "relu"),
    }


def _asteroid_dprnn(weights: Tensors, arguments: Arguments) -> dict[str, Any]:
    features = len(weights["linear.bias"])
    return _bases(weights, arguments) | {
        "sources": len(weights["split.linear.bias"]) // features,
        "features": features,
        "chunk": _chunks(arguments),
        "blocks": _count(weights, "blocks"),
        "hidden": weights["blocks.0.intra.recurrent.lstm.weight_hh_l0"].shape[1],
        "rectify": choose(arguments, "encoder_activation", None, "linear", "relu") == "relu",
        "bias": True,
        "padding": "unfold",
        "mask": choose(arguments, "mask_act", "sigmoid", "relu"),
    }


def _asteroid_dptnet(weights: Tensors, arguments: Arguments) -> dict[str, Any]:
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
        "chunk": _chunks(arguments),
        "blocks": _count(weights, "blocks"),
        "hidden": weights["blocks.0.intra.lstm.weight_hh_l0"].shape[1],
        "heads": arguments.get("n_heads", 4),
        "norm": "sequence",
        "padding": "unfold",
        "mask": choose(arguments, "mask_act", "relu", "sigmoid"),
    }


def _asteroid_sudormrf(weights: Tensors, arguments: Arguments) -> dict[str, Any]:
    choose(arguments, "mask_act", "softmax")
    filters, _, window = weights["encoder.basis.weight"].shape
    if window % 8 != 5:
        # Both fill up with zeros until the rates halve evenly; only here they agree how many that are.
        raise CheckpointError(f"the window is {window} samples; septool pads as asteroid does only if it is 8 n + 5")
    sources = len(weights["mask.bias"])
    weights["decoder.basis.weight"] = weights["decoder.basis.weight"].repeat(sources, 1, 1)  # shared there
    weights["encoder.basis.bias"], weights["decoder.basis.bias"] = torch.zeros(filters), torch.zeros(sources)
    return {
        "sources": sources,
        "filters": filters,
        "window": window,
        "width": len(weights["bottleneck.bias"]),
        "hidden": len(weights["blocks.0.expand.0.bias"]),
        "depth": _count(weights, "blocks.0.levels"),
        "blocks": _count(weights, "blocks"),
    }


ASTEROID = {
    "ConvTasNet": Peer("conv-tasnet", ASTEROID_CONV_TASNET, _asteroid_conv_tasnet),
    "DPRNNTasNet": Peer("dprnn", ASTEROID_DPRNN, _asteroid_dprnn),
    "DPTNet": Peer("dptnet", ASTEROID_DPTNET, _asteroid_dptnet),
    "SuDORMRFNet": Peer("sudormrf", ASTEROID_SUDORMRF, _asteroid_sudormrf),
}
# What our counterparts are, whether a file says so or not.
ASTEROID_ONLY = {
    "fb_name": ("free", "FreeFB"),
    "norm_type": ("gLN",),
    "causal": (False,),
    "bidirectional": (True,),
    "ff_activation": ("relu",),
}

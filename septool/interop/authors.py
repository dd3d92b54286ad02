"""Public implementations outside of toolkits, by authors of papers and others.

Their files are a state dict, alone or beside the numbers that the network was built with. What neither shapes nor file
tell has to be said when they are converted. They were trained at any rate, so that is to be said as well.

========================  =======================================================================
source                    code
========================  =======================================================================
jusperlee-dprnn           github.com/JusperLee/Dual-Path-RNN-Pytorch
jusperlee-afrcnn          github.com/JusperLee/AFRCNN-For-Speech-Separation, both ways of fusion
ujscjj-dptnet             github.com/ujscjj/DPTNet
kaituoxu-convtasnet       github.com/kaituoxu/Conv-TasNet
sudormrf                  github.com/etzinis/sudo_rm_rf, the first version
two-step-tdcn             github.com/etzinis/two_step_mask_learning
papez                     github.com/snuhcs/Papez
========================  =======================================================================
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError
from septool.interop import conv_tasnet
from septool.interop.asteroid import SUDORMRF_MASKER, infer_sudormrf_sizes
from septool.interop.tensors import (
    UNKNOWN,
    Arguments,
    ForeignArchitecture,
    ForeignCheckpoint,
    Names,
    Tensors,
    choose,
    count_children,
    name_pattern,
)

SAID = {  # theirs to ours, of the plain values beside a state dict
    "num_blocks": "iterations",
    "norm_type": "norm_type",
    "mask_nonlinear": "mask_nonlinear",
    "causal": "causal",
    "sample_rate": "sample_rate",
}
STATES = ("state_dict", "model_state_dict", "model")  # under what training scripts keep their tensors
PREFIXES = ("module.", "m.")  # added by wrappers for several GPUs


@dataclass(frozen=True)
class Release:
    """A public implementation: its architecture, and what has to be done to its tensors before they have our names."""

    architecture: ForeignArchitecture
    prepare: Callable[[Tensors], tuple[Tensors, JsonDict]] = lambda tensors: (tensors, {})


# JusperLee's DPRNN.

DPRNN_NAMES: Names = {
    "encoder.conv1d.*": "encoder.basis.*",
    "decoder.*": "decoder.basis.*",
    "separation.norm.*": "norm.*",
    "separation.conv1d.*": "linear.*",
    "separation.dual_rnn.*.*_rnn.*": "blocks.*.*.recurrent.lstm.*",
    "separation.dual_rnn.*.*_linear.*": "blocks.*.*.recurrent.linear.*",
    "separation.dual_rnn.*.*_norm.*": "blocks.*.*.norm.*",
    "separation.prelu.*": "activation.*",
    "separation.conv2d.*": "split.linear.*",
    "separation.output.0.*": "mask.tanh.*",
    "separation.output_gate.0.*": "mask.sigmoid.*",
    "separation.end_conv1x1.*": "mask.relu.*",
}


def _infer_dual_path(weights: Tensors, hidden: Tensor) -> JsonDict:
    filters, _, window = weights["encoder.basis.weight"].shape
    features = len(weights["linear.weight"])
    return {
        "sources": len(weights["split.linear.bias"]) // features,
        "filters": filters,
        "features": features,
        "window": window,
        "chunk": UNKNOWN,
        "blocks": count_children(weights, "blocks"),
        "hidden": hidden.shape[1],
    }


def _infer_dprnn(weights: Tensors, _: Arguments) -> JsonDict:
    return _infer_dual_path(weights, weights["blocks.0.intra.recurrent.lstm.weight_hh_l0"])


# JusperLee's A-FRCNN. One module stands for all iterations; its name says how stages take in their neighbours.


def _afrcnn_layer(theirs: str, conv: str | None, norm: str, slope: str | None) -> Names:
    names = {f"sm.block.{theirs}.norm.*": f"block.{norm}.*"}
    if conv is not None:
        names[f"sm.block.{theirs}.conv.*"] = f"block.{conv}.*"
    if slope is not None:
        names[f"sm.block.{theirs}.act.*"] = f"block.{slope}.*"
    return names


def _afrcnn_names(*, concat: bool) -> Names:
    return {
        "encoder.*": "encoder.basis.*",
        "decoder.*": "decoder.basis.*",
        "ln.*": "norm.*",
        "bottleneck.*": "bottleneck.*",
        "mask_net.*.*": "mask.*.*",
        "sm.concat_block.*.*": "remind.*.*",
        "sm.block.res_conv.*": "block.contract.*",
        **_afrcnn_layer("proj_1x1", "expand.0", "expand.1", "expand.2"),
        **_afrcnn_layer("last_layer.0", "join.0.conv", "join.1", "join.2"),
        **_afrcnn_layer("spp_dw.*", "climb.*.0", "climb.*.1", None),
        **_afrcnn_layer("fuse_layers.*.0", "bottom_up.*.0", "bottom_up.*.1", None),
        **_afrcnn_layer("concat_layer.*", "fuse.*.0.conv" if concat else None, "fuse.*.1", "fuse.*.2"),
    }


def _prepare_afrcnn(tensors: Tensors) -> tuple[Tensors, JsonDict]:
    renamed = {}
    for name, value in tensors.items():
        name = re.sub(r"^sm\.blocks\.", "sm.block.", name)
        # Theirs are counted from the stage that receives, ours from the stage that sends.
        renamed[re.sub(r"fuse_layers\.(\d+)", lambda m: f"fuse_layers.{int(m.group(1)) - 1}", name)] = value
    return renamed, {}


def _infer_afrcnn(weights: Tensors, arguments: Arguments) -> JsonDict:
    filters, _, window = weights["encoder.basis.weight"].shape
    return {
        "sources": weights["decoder.basis.weight"].shape[1],
        "filters": filters,
        "window": window,
        "width": len(weights["bottleneck.bias"]),
        "hidden": len(weights["block.expand.0.bias"]),
        "stages": count_children(weights, "block.climb"),
        "iterations": arguments.get("iterations", UNKNOWN),
        "fusion": "concat" if "block.fuse.0.0.conv.weight" in weights else "sum",
    }


# ujscjj's DPTNet. A linear layer is its decoder's basis, transposed against ours.

DPTNET_NAMES: Names = {
    "encoder.conv1d_U.*": "encoder.basis.*",
    "enc_LN.*": "norm.*",
    "separator.BN.*": "linear.*",
    "separator.DPT.output.0.*": "activation.*",
    "separator.DPT.output.1.*": "split.linear.*",
    "separator.output.0.*": "mask.tanh.*",
    "separator.output_gate.0.*": "mask.sigmoid.*",
    "mask_conv1x1.*": "mask.relu.*",
    "decoder.basis_signals.*": "decoder.basis.*",
    **{
        f"separator.DPT.{theirs}_transformer.*.transformer.{part}": f"blocks.*.{path}.{ours}"
        for theirs, path in (("row", "intra"), ("col", "inter"))
        for part, ours in {
            "self_attn.in_proj_*": "attention.qkv.*",
            "self_attn.out_proj.*": "attention.out.*",
            "lstm.*": "lstm.*",
            "linear.*": "linear.*",
            "norm1.*": "norm1.*",
            "norm2.*": "norm2.*",
        }.items()
    },
}


def _infer_dptnet(weights: Tensors, _: Arguments) -> JsonDict:
    sizes = _infer_dual_path(weights, weights["blocks.0.intra.lstm.weight_hh_l0"])
    return sizes | {"heads": UNKNOWN}


def _prepare_basis(tensors: Tensors) -> tuple[Tensors, JsonDict]:
    basis = "decoder.basis_signals.weight"
    return tensors | ({basis: tensors[basis].T.contiguous()} if basis in tensors else {}), {}


# kaituoxu's Conv-TasNet, which has no skip path. It numbers the blocks of every stack anew.

_KAITUOXU_LAYERS = {
    "net.0.*": "expand.*",
    "net.1.*": "prelu1.*",
    "net.2.*": "norm1.*",
    "net.3.net.0.*": "depthwise.*",
    "net.3.net.1.*": "prelu2.*",
    "net.3.net.2.*": "norm2.*",
    "net.3.net.3.*": "residual.*",
}
KAITUOXU_NAMES: Names = {
    "encoder.conv1d_U.*": "encoder.basis.*",
    "decoder.basis_signals.*": "decoder.basis.*",
    "separator.network.0.*": "norm.*",
    "separator.network.1.*": "bottleneck.*",
    **{f"blocks.*.{theirs}": f"blocks.*.{ours}" for theirs, ours in _KAITUOXU_LAYERS.items()},
    "separator.network.3.*": "mask.1.*",
}


def _prepare_kaituoxu(tensors: Tensors) -> tuple[Tensors, JsonDict]:
    tensors, _ = _prepare_basis(tensors)
    matches = [re.match(r"separator\.network\.2\.(\d+)\.(\d+)\.(.+)", name) for name in tensors]
    stack = 1 + max((int(match.group(2)) for match in matches if match), default=0)
    renamed = {}
    for (name, value), match in zip(tensors.items(), matches, strict=True):
        renamed_key = (
            name if match is None else f"blocks.{int(match.group(1)) * stack + int(match.group(2))}.{match.group(3)}"
        )
        renamed[renamed_key] = value
    return renamed, {"blocks in a stack": stack}


def _infer_kaituoxu(weights: Tensors, arguments: Arguments) -> JsonDict:
    choose(arguments, "norm_type", "gLN")
    choose(arguments, "causal", False, 0)  # an option of a command line
    return conv_tasnet.infer_sizes(weights, arguments["blocks in a stack"]) | {
        "bias": False,
        "rectify": True,
        "mask": choose(arguments, "mask_nonlinear", "relu"),
        "input_norm": "frame",
    }


# etzinis's SuDoRM-RF and two-step TDCN.

SUDORMRF_NAMES: Names = {
    **SUDORMRF_MASKER,
    "ln_mask_in.*": None,  # never applied
    "encoder.0.*": "encoder.basis.*",
    "decoder.*": "decoder.basis.*",
}


def _infer_sudormrf(weights: Tensors, _: Arguments) -> JsonDict:
    return infer_sudormrf_sizes(weights)


TWO_STEP_NAMES: Names = {
    "fe.0.*": "encoder.basis.*",
    "be.*": "decoder.basis.*",
    "ln.*": "norm.*",
    "l1.*": "bottleneck.*",
    "sm.*.m.*.*": "blocks.*.layers.*.*",
    "ln_mask_in.*": "mask_norm.*",
    "m.*": "mask.*",
}
TWO_STEP_WIDER: Names = {**TWO_STEP_NAMES, "reshape_before_masks.*": "widen.*"}


def _infer_two_step(weights: Tensors, arguments: Arguments) -> JsonDict:
    filters, _, window = weights["encoder.basis.weight"].shape
    hidden, _, kernel = weights["blocks.0.layers.3.weight"].shape
    blocks, total = arguments.get("blocks", UNKNOWN), count_children(weights, "blocks")
    if isinstance(blocks, int) and total % blocks:
        raise CheckpointError(f"{total} blocks are no whole number of stacks of {blocks}")
    return {
        "sources": len(weights["mask.bias"]),
        "filters": filters,
        "window": window,
        "bottleneck": len(weights["bottleneck.bias"]),
        "hidden": hidden,
        "kernel": kernel,
        "blocks": blocks,
        "repeats": total // blocks if isinstance(blocks, int) else UNKNOWN,
    }


# Papez, its authors' code.

PAPEZ_NAMES: Names = {
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
    "decoder.0.*": "decoder_mix.*",
    "decoder.1.*": "decoder_norm.*",
    "decoder.3.*": "decoder.basis.*",
    "masknet.transformer.enc.linear1.*": "layer.expand.*",
    "masknet.transformer.enc.linear2.*": "layer.contract.*",
    "masknet.transformer.enc.norm1.*": "layer.norm1.*",
    "masknet.transformer.enc.norm2.*": "layer.norm2.*",
    "masknet.transformer.enc.self_attn.in_proj_*": "layer.attention.qkv.*",
    "masknet.transformer.enc.self_attn.out_proj.*": "layer.attention.out.*",
    "masknet.transformer.enc.position_signal": None,  # sines and cosines
    "masknet.transformer.timing_signal": None,  # never read
    "memory_slots": None,  # unit vectors, which are not trained
}


def _prepare_papez(tensors: Tensors) -> tuple[Tensors, JsonDict]:
    settings: JsonDict = {}
    slots, positions = tensors.get("memory_slots"), tensors.get("masknet.transformer.enc.position_signal")
    if slots is not None and slots.dim() == 3:
        _, tagged, memory = slots.shape
        fixed = torch.eye(tagged, memory)
        fixed[-1] = 1
        if not torch.equal(slots[0], fixed):
            raise CheckpointError("memory_slots are not the unit vectors that the released code starts from")
        settings["memory"] = memory
        if positions is not None:
            settings["chunk"] = positions.shape[1] - memory
    return tensors, settings


def _infer_papez(weights: Tensors, arguments: Arguments) -> JsonDict:
    width, _, window = weights["encoder.basis.weight"].shape
    return {
        "sources": len(weights["mask_in.bias"]) // width,
        "width": width,
        "window": window,
        "chunk": arguments.get("chunk", UNKNOWN),
        "memory": arguments.get("memory", UNKNOWN),
        "depth": len(weights["layer.norm1.weight"]),
        "heads": UNKNOWN,
        "feedforward": len(weights["layer.expand.bias"]),
    }


RELEASES: dict[str, list[Release]] = {
    "jusperlee-dprnn": [Release(ForeignArchitecture("dprnn", DPRNN_NAMES, _infer_dprnn, drops_tail=True))],
    "jusperlee-afrcnn": [
        Release(ForeignArchitecture("afrcnn", _afrcnn_names(concat=concat), _infer_afrcnn), _prepare_afrcnn)
        for concat in (True, False)
    ],
    "ujscjj-dptnet": [
        Release(ForeignArchitecture("dptnet", DPTNET_NAMES, _infer_dptnet, drops_tail=True), _prepare_basis)
    ],
    "kaituoxu-convtasnet": [
        Release(ForeignArchitecture("conv-tasnet", KAITUOXU_NAMES, _infer_kaituoxu, drops_tail=True), _prepare_kaituoxu)
    ],
    "sudormrf": [Release(ForeignArchitecture("sudormrf", SUDORMRF_NAMES, _infer_sudormrf))],
    "two-step-tdcn": [
        Release(ForeignArchitecture("two-step-tdcn", names, _infer_two_step))
        for names in (TWO_STEP_NAMES, TWO_STEP_WIDER)
    ],
    "papez": [Release(ForeignArchitecture("papez", PAPEZ_NAMES, _infer_papez, drops_tail=True), _prepare_papez)],
}

# maum-ai's VoiceFilter: the network that makes the masks. Its target embedding comes from a network that we do not
# have, so a checkpoint of ours cannot be made of it. Every convolution follows a layer of zeros there.
VOICEFILTER_NAMES: Names = {
    "lstm.*": "lstm.lstm.*",
    "fc1.*": "dense.*",
    "fc2.*": "out.*",
    **{
        f"conv.{theirs + norm}.*": f"convolutions.{ours}.{norm}.*"
        for ours, theirs in enumerate((1, 5, 9, 13, 17, 21, 25, 28))
        for norm in (0, 1)
    },
}


def unwrap(content: JsonMapping) -> tuple[JsonDict, JsonDict]:
    """Take a training script's file apart: the tensors by name, and the plain values beside them."""
    inner = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), None)
    tensors = {str(name): value for name, value in (content if inner is None else inner).items()}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    values = {} if inner is None else {key: v for key, v in content.items() if isinstance(v, str | int | float)}
    given = content.get("model_args")
    return tensors, values | (dict(given) if isinstance(given, Mapping) else {})


def read_release(source: str, content: JsonMapping) -> ForeignCheckpoint:
    """Read a public implementation's state dict.

    Raises:
        CheckpointError: another network's.
    """
    tensors, values = unwrap(content)
    arguments = {ours: values[theirs] for theirs, ours in SAID.items() if theirs in values}
    releases = RELEASES[source]
    # The one whose table has a line for most of the tensors; what is wrong with it is said later.
    release = max(releases, key=lambda candidate: _known(candidate, tensors))
    prepared, settings = release.prepare(tensors)
    return ForeignCheckpoint(release.architecture, prepared, arguments | settings)


def _known(release: Release, tensors: JsonMapping) -> int:
    prepared, _ = release.prepare(dict(tensors))
    patterns = [name_pattern(line) for line in release.architecture.names]
    matched = [any(pattern.fullmatch(str(name)) for name in prepared) for pattern in patterns]
    return sum(matched) - 2 * (len(matched) - sum(matched))


def recognize_release(content: JsonMapping) -> str | None:
    """Name the implementation whose names a state dict has, if there is one."""
    tensors, _ = unwrap(content)
    for source, releases in RELEASES.items():
        for release in releases:
            if _known(release, tensors) == len(release.architecture.names):
                return source
    return None

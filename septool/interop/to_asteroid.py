"""Export to asteroid: a file that its ``from_pretrained`` loads."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from septool.config import JsonDict, JsonMapping
from septool.errors import SeptoolError
from septool.headers import Header
from septool.interop import asteroid
from septool.interop.layouts import Layout, check_settings, compare_written, rename

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
        raise SeptoolError(f"asteroid has no {header.model} that takes these weights; it has {', '.join(ASTEROID)}")
    name, layout, arguments = ASTEROID[header.model]
    check_settings(header, layout, "asteroid")
    config = header.config
    tensors = rename(weights, layout)
    if header.model == "conv-tasnet" and config["skip"]:
        header = replace(header, config=config | {"mask_prelu": False})  # which says nothing where there is a skip path
        # Nothing reads these, and they have to be there.
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
    compare_written("asteroid", [out], weights, header)

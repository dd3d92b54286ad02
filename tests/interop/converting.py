"""Files of other toolkits for the tests of ``models convert``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from septool import checkpoints
from septool.config import build
from septool.interop import architectures
from septool.interop.architectures import Peer
from septool.interop.conversion import match_tensors
from septool.models import MODELS
from septool.models.base import Separator
from septool.tasks.convert import convert

PARTS = ("encoder", "masknet", "decoder")
Network = TypeVar("Network", bound=nn.Module)


def perturbed(network: Network) -> Network:
    torch.manual_seed(0)
    with torch.no_grad():  # gains, biases and slopes away from their defaults
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def converted(source: str, files: Sequence[Path], **options: Any) -> tuple[Separator, checkpoints.Header]:
    out = files[0].with_name("out.safetensors")
    header = convert(source, files, out, **options)
    model, again = checkpoints.load(out)
    assert again == header
    return model, header


def torchaudio_network(**sizes: Any) -> nn.Module:
    from torchaudio.models import ConvTasNet

    small = {"enc_num_feats": 16, "msk_num_feats": 8, "msk_num_hidden_feats": 12, "msk_num_stacks": 2}
    return perturbed(ConvTasNet(**{**small, "msk_activate": "relu"} | sizes))


def asteroid_file(path: Path, name: str, tensors: Any, arguments: Any) -> list[Path]:
    infos = {"torch_version": torch.__version__}  # a class of its own
    torch.save({"model_name": name, "state_dict": tensors, "model_args": arguments, "infos": infos}, path)
    return [path]


def speechbrain_files(folder: Path, tensors: dict[str, Tensor]) -> list[Path]:
    files = [folder / f"{part}.ckpt" for part in PARTS]
    for path in files:
        stem = f"{path.stem}."
        own = {name.removeprefix(stem): value for name, value in tensors.items() if name.startswith(stem)}
        torch.save(own, path)
    return files


def settle(peer: Peer, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> Any:
    found = {ours: tensors[theirs] for ours, theirs in match_tensors(tensors, peer.names).items()}
    return build(MODELS.module(peer.model).Config, peer.settle(found, arguments))


def their_names(model: Separator, peer: Peer) -> dict[str, Tensor]:
    tensors = {}
    for name, value in model.state_dict().items():
        for theirs, ours in peer.names.items():
            if ours and (match := re.fullmatch(re.escape(ours).replace(r"\*", r"(\w+)"), name)):
                for part in match.groups():
                    theirs = theirs.replace("*", part, 1)
                tensors[theirs] = value
    return tensors


# Every size another number.
CONV_TASNET = {"filters": 10, "bottleneck": 6, "hidden": 7, "skip": 8, "sources": 3, "kernel": 5, "repeats": 2}
DUAL_PATH = {"filters": 12, "window": 8, "sources": 3, "chunk": 22, "blocks": 2, "hidden": 7, "padding": "unfold"}
SIZES = {
    "sepformer": (
        architectures.SEPFORMER,
        {"filters": 16, "window": 20, "sources": 3, "blocks": 4, "intra": 3, "inter": 1, "feedforward": 7},
        {"number of position tables": 8},
    ),
    "torchaudio": (architectures.CONV_TASNET_BASE, CONV_TASNET | {"window": 20, "edge": 10, "mask": "relu"}, {}),
    "ConvTasNet": (architectures.ASTEROID["ConvTasNet"], CONV_TASNET | {"blocks": 4}, {"n_blocks": 4}),
    "DPRNNTasNet": (
        architectures.ASTEROID["DPRNNTasNet"],
        DUAL_PATH | {"features": 5, "rectify": False, "bias": True, "mask": "sigmoid"},
        {"chunk_size": 22, "hop_size": 11, "stride": 4},
    ),
    "DPTNet": (
        architectures.ASTEROID["DPTNet"],
        DUAL_PATH | {"features": 12, "heads": 3, "norm": "sequence"},
        {"chunk_size": 22, "hop_size": None, "stride": 4, "n_heads": 3},
    ),
    "SuDORMRFNet": (
        architectures.ASTEROID["SuDORMRFNet"],
        {"filters": 12, "window": 13, "width": 6, "hidden": 7, "depth": 4, "blocks": 2, "sources": 3},
        {},
    ),
}

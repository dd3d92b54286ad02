"""Files of other toolkits for the tests of ``models convert``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from septool import checkpoints
from septool.config import build
from septool.interop import asteroid, speechbrain
from septool.interop.tensors import ForeignArchitecture, match_tensors
from septool.interop.torchaudio import CONV_TASNET_BASE
from septool.models import MODELS
from septool.models.base import Model, Separator
from septool.tasks.convert import convert
from tests.models.parity import fixture, state

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


HYPERPARAMS = """\
# Inference for source separation
sample_rate: 16000
num_spks: 2
Encoder: !new:speechbrain.lobes.models.dual_path.Encoder
    kernel_size: 16
    out_channels: 32
SBtfintra: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    num_layers: 2
    d_model: 32
    nhead: 4
    d_ffn: 64
    dropout: 0
    use_positional_encoding: true
    norm_before: true
SBtfinter: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
    num_layers: 2
    d_model: 32
    nhead: 4
    d_ffn: 64
    dropout: 0
    use_positional_encoding: true
    norm_before: true
MaskNet: !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
    num_spks: !ref <num_spks>
    in_channels: 32
    out_channels: 32
    num_layers: 2
    K: 50
    intra_model: !ref <SBtfintra>
    inter_model: !ref <SBtfinter>
    norm: ln
    linear_layer_after_inter_intra: false
    skip_around_intra: true
Decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    in_channels: 32
    out_channels: 1
    kernel_size: 16
    stride: 8
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
"""


RESEPFORMER = """\
sample_rate: 8000
num_spks: 2
N_encoder_out: 16
kernel_stride: 8
Encoder: !new:speechbrain.lobes.models.dual_path.Encoder
    kernel_size: 16
    out_channels: 16
intra_mdl: !new:speechbrain.lobes.models.resepformer.SBTransformerBlock_wnormandskip
    num_layers: 2
    d_model: 16
    nhead: 4
    d_ffn: 32
    dropout: 0
    use_positional_encoding: true
    norm_before: true
    use_norm: true
    use_skip: true
mem_mdl: !new:speechbrain.lobes.models.resepformer.SBTransformerBlock_wnormandskip
    num_layers: 2
    d_model: 16
    nhead: 4
    d_ffn: 32
    dropout: 0
    use_positional_encoding: true
    norm_before: true
    use_norm: true
    use_skip: true
MaskNet: !new:speechbrain.lobes.models.resepformer.ResourceEfficientSeparator
    input_dim: 16
    num_spk: 2
    causal: false
    unit: 256
    segment_size: 20
    layer: 3
    mem_type: av
    seg_model: !ref <intra_mdl>
    mem_model: !ref <mem_mdl>
Decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    in_channels: 16
    out_channels: 1
    kernel_size: 16
    stride: 8
    bias: false
modules:
    encoder: !ref <Encoder>
    decoder: !ref <Decoder>
    masknet: !ref <MaskNet>
"""


def resepformer_tensors() -> dict[str, Tensor]:
    """The recorded RE-SepFormer, with the position tables that the recording leaves out."""
    parts = {"seg": 3, "mem": 2}
    tables = {
        f"masknet.model.{part}_model.{number}.pos_enc.pe": torch.zeros(1, 100, 16)
        for part, count in parts.items()
        for number in range(count)
    }
    return state(fixture("resepformer")) | tables


def described(folder: Path, *changes: tuple[str, str], text: str = HYPERPARAMS) -> Path:
    """Write the hyperparams.yaml of the recorded SepFormer, or another one, with passages replaced."""
    for passage, instead in changes:
        assert passage in text
        text = text.replace(passage, instead)
    path = folder / "hyperparams.yaml"
    path.write_text(text)
    return path


def infer_config(foreign: ForeignArchitecture, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> Any:
    found = {ours: tensors[theirs] for ours, theirs in match_tensors(tensors, foreign.names).items()}
    return build(MODELS.module(foreign.model).Config, foreign.infer_config(found, arguments))


def their_names(model: Model, foreign: ForeignArchitecture) -> dict[str, Tensor]:
    tensors = {}
    for name, value in model.state_dict().items():
        for theirs, ours in foreign.names.items():
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
        speechbrain.SEPFORMER,
        {"filters": 16, "window": 20, "sources": 3, "blocks": 4, "intra": 3, "inter": 1, "feedforward": 7},
        {"number of position tables": 8, "chunk": 250, "heads": 8},
    ),
    "torchaudio": (CONV_TASNET_BASE, CONV_TASNET | {"window": 20, "edge": 10, "mask": "relu"}, {}),
    "ConvTasNet": (
        asteroid.ARCHITECTURES["ConvTasNet"],
        CONV_TASNET | {"blocks": 4},
        {"n_blocks": 4},
    ),
    "DPRNNTasNet": (
        asteroid.ARCHITECTURES["DPRNNTasNet"],
        DUAL_PATH | {"features": 5, "rectify": False, "bias": True, "mask": "sigmoid"},
        {"chunk_size": 22, "hop_size": 11, "stride": 4},
    ),
    "DPTNet": (
        asteroid.ARCHITECTURES["DPTNet"],
        DUAL_PATH | {"features": 12, "heads": 3, "norm": "sequence"},
        {"chunk_size": 22, "hop_size": None, "stride": 4, "n_heads": 3},
    ),
    "SuDORMRFNet": (
        asteroid.ARCHITECTURES["SuDORMRFNet"],
        {"filters": 12, "window": 13, "width": 6, "hidden": 7, "depth": 4, "blocks": 2, "sources": 3},
        {},
    ),
}

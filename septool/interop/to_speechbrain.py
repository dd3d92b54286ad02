"""Export to SpeechBrain: a folder of weights with the ``hyperparams.yaml`` that describes them."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

import torch
from torch import Tensor

from septool.errors import SeptoolError
from septool.headers import Header
from septool.interop import speechbrain
from septool.interop.layouts import Layout, compare_written, rename
from septool.models.layers.attention import SinusoidalPosition

POSITIONS = 2500  # rows of the tables that SpeechBrain keeps with its weights
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
        raise SeptoolError(f"SpeechBrain has no {header.model} that takes these weights; it has sepformer")
    config = header.config
    tensors = rename(weights, SEPFORMER)
    if config["position"]:
        table = SinusoidalPosition(config["filters"])(POSITIONS)[None]
        for block in range(config["blocks"]):
            for path in ("intra", "inter"):
                tensors[f"masknet.dual_mdl.{block}.{path}_mdl.pos_enc.pe"] = table.clone()
    values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in config.items()}
    texts = {key: " ".join((getattr(header, key) or "unknown").split()) for key in ("trained_on", "licence")}
    text = HYPERPARAMS.substitute(
        values | texts | {"rate": header.sample_rate, "sources": header.sources, "stride": config["window"] // 2}
    )
    (out / speechbrain.YAML).write_text(text, encoding="utf-8")
    for part in speechbrain.PARTS:
        own = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
        torch.save(own, out / f"{part}.ckpt")
    compare_written("speechbrain-sepformer", [out], weights, header)

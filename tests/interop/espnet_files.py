"""What ESPnet keeps of the recorded TF-GridNets and TF-Locoformers: ``config.yaml`` and ``*.pth``."""

from pathlib import Path

import torch

from tests.models.parity import fixture, state

# Much of what such a file says is about training.
TRAINING = """\
config: conf/tuning/train_enh.yaml
optim: adam
optim_conf:
    lr: 0.001
    eps: 1.0e-08
init: xavier_uniform
criterions:
-   name: si_snr
    conf:
        eps: 1.0e-07
    wrapper: pit
model_conf:
    normalize_variance: true
num_spk: 2
sample_rate: 8000
mask_module: multi_mask
version: '202402'
"""
GRIDNET = """\
encoder: same
separator: {version}
separator_conf:
    n_srcs: 2
    n_fft: 64
    stride: {hop}
    window: hann
    n_imics: 1
    n_layers: 2
    lstm_hidden_units: 16
    attn_n_head: 4
    attn_approx_qk_dim: 100
    emb_dim: 16
    emb_ks: 4
    emb_hs: {shift}
    activation: prelu
    eps: 1.0e-05
decoder: same
"""
TRANSFORM = """\
encoder: stft
encoder_conf:
    n_fft: 64
    hop_length: 32
decoder: stft
decoder_conf:
    n_fft: 64
    hop_length: 32
"""
GRIDNET_V3 = """\
separator: tfgridnetv3
separator_conf:
    n_srcs: 2
    n_layers: 2
    lstm_hidden_units: 16
    attn_n_head: 4
    attn_qk_output_channel: 3
    emb_dim: 16
    emb_ks: 4
    emb_hs: 4
"""
LOCOFORMER = """\
separator: tflocoformer
separator_conf:
    num_spk: 2
    n_layers: {layers}
    emb_dim: {channels}
    norm_type: rmsgroupnorm
    num_groups: {groups}
    tf_order: ft
    n_heads: {heads}
    flash_attention: false
    attention_dim: {attention}
    ffn_type:
    - swiglu_conv1d
    - swiglu_conv1d
    ffn_hidden_dim:
    - {before}
    - {behind}
    conv1d_kernel: {kernel}
    conv1d_shift: {shift}
    dropout: 0.0
    eps: 1.0e-05
"""
_LARGE = {"layers": 2, "channels": 16, "groups": 4, "heads": 2, "attention": 16, "before": 24, "behind": 20}
_STRIDE = {"layers": 1, "channels": 24, "groups": 3, "heads": 4, "attention": 32, "before": 20, "behind": 12}
DESCRIPTIONS = {
    "tfgridnet": GRIDNET.format(version="tfgridnetv2", hop=32, shift=1),
    "tfgridnet_linear": GRIDNET.format(version="tfgridnetv2", hop=16, shift=4),
    "tfgridnet_v1": GRIDNET.format(version="tfgridnet", hop=32, shift=2),
    "tfgridnet_v3": TRANSFORM + GRIDNET_V3,
    "tflocoformer": TRANSFORM + LOCOFORMER.format(**_LARGE, kernel=4, shift=1),
    "tflocoformer_stride": TRANSFORM + LOCOFORMER.format(**_STRIDE, kernel=3, shift=2),
}


def espnet_files(folder: Path, case: str, *changes: tuple[str, str]) -> list[Path]:
    """Write both files of a recorded network, with passages of the yaml replaced."""
    text = TRAINING + DESCRIPTIONS[case]
    for passage, instead in changes:
        assert passage in text
        text = text.replace(passage, instead)
    described, weights = folder / "config.yaml", folder / "valid.loss.ave_5best.pth"
    described.write_text(text)
    torch.save({f"separator.{name}": value for name, value in state(fixture(case)).items()}, weights)
    return [described, weights]

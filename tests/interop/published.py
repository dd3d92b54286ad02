"""The files of every published checkpoint, made of the public classes at the published sizes, with random weights.

Each maker returns the files by name, and the other toolkit's own way from a mixture ``[time]`` to voices
``[voice, time]``. They need the other toolkits, which ``make peers`` installs.
"""

import importlib.util
import io
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool.catalogue import Entry
from tests.conftest import ROOT
from tests.interop.converting import HYPERPARAMS, RESEPFORMER
from tests.interop.espnet_files import GRIDNET, LOCOFORMER, TRAINING, TRANSFORM

Run = Callable[[Tensor], Tensor]
Files = Mapping[str, bytes]
PARTS = ("encoder", "masknet", "decoder")

# In SpeechBrain's files, instead of what the recorded small networks have.
SEPFORMER = (
    (" 32\n", " 256\n"),
    ("num_layers: 2\n    d_model", "num_layers: 8\n    d_model"),
    ("nhead: 4", "nhead: 8"),
    ("d_ffn: 64", "d_ffn: 1024"),
    ("K: 50", "K: 250"),
)
RESEPFORMER_SIZES = (
    (" 16\n    nhead", " 128\n    nhead"),
    ("out_channels: 16", "out_channels: 128"),
    ("N_encoder_out: 16", "N_encoder_out: 128"),
    ("in_channels: 16", "in_channels: 128"),
    ("input_dim: 16", "input_dim: 128"),
    ("num_layers: 2", "num_layers: 8"),
    ("nhead: 4", "nhead: 8"),
    ("d_ffn: 32", "d_ffn: 1024"),
    ("segment_size: 20", "segment_size: 150"),
    ("layer: 3", "layer: 2"),
)
# As asteroid's recipes have them, which the published files name.
ASTEROID: dict[str, tuple[str, dict[str, Any]]] = {
    "convtasnet": ("ConvTasNet", {"mask_act": "relu"}),
    "dptnet": (
        "DPTNet",
        {"n_filters": 64, "chunk_size": 100, "n_repeats": 2, "ff_hid": 256, "kernel_size": 16, "stride": 8},
    ),
    "dprnn-wham-clean-ks2": (
        "DPRNNTasNet",
        {"n_filters": 64, "chunk_size": 250, "n_repeats": 6, "mask_act": "sigmoid", "kernel_size": 2, "stride": 1},
    ),
    "dprnn-wham-clean-ks16": (
        "DPRNNTasNet",
        {"n_filters": 64, "chunk_size": 100, "n_repeats": 6, "mask_act": "sigmoid", "kernel_size": 16, "stride": 8},
    ),
}
LOCOFORMER_MEDIUM = {"layers": 6, "channels": 128, "before": 384, "behind": 384, "kernel": 4}
LOCOFORMERS = {
    "tflocoformer-libri2mix": LOCOFORMER_MEDIUM,
    "tflocoformer-wsj02mix": LOCOFORMER_MEDIUM,
    "tflocoformer-whamr": LOCOFORMER_MEDIUM | {"before": 192, "behind": 192, "kernel": 8},
    "tflocoformer-small-whamr": {"layers": 4, "channels": 96, "before": 128, "behind": 128, "kernel": 8},
    "tflocoformer-dns-enhancement-16k": LOCOFORMER_MEDIUM,
}
LOCOFORMER_CODE = ("https://github.com/merlresearch/tf-locoformer", "b76d38baad9428629cb2fbf23a951e4c76290015")


def make_files(name: str, entry: Entry) -> tuple[Files, Run]:
    """Make what an entry's servers have."""
    makers = {
        "speechbrain-sepformer": _speechbrain,
        "speechbrain-resepformer": _speechbrain,
        "asteroid": _asteroid,
        "torchaudio-convtasnet": _torchaudio,
        "espnet": _espnet,
    }
    torch.manual_seed(0)
    return makers[entry.source](name, entry)


def _random(network: nn.Module) -> nn.Module:
    """Move gains, biases and slopes away from their defaults; the rest is drawn as the class draws it."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad and parameter.squeeze().ndim < 2:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def _saved(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def _speechbrain(name: str, entry: Entry) -> tuple[Files, Run]:
    separation = _import("speechbrain.inference.separation")
    yaml = _import("hyperpyyaml")
    text, changes = (HYPERPARAMS, SEPFORMER) if entry.model == "sepformer" else (RESEPFORMER, RESEPFORMER_SIZES)
    rate = text.split("sample_rate: ")[1].split()[0]
    said = (
        (f"sample_rate: {rate}", f"sample_rate: {entry.sample_rate}"),
        ("num_spks: 2", f"num_spks: {entry.sources}"),
    )
    for passage, instead in (*changes, *said):
        assert passage in text
        text = text.replace(passage, instead)
    hyperparams = yaml.load_hyperpyyaml(text)
    modules = {part: _random(module) for part, module in hyperparams["modules"].items()}
    files = {f"{part}.ckpt": _saved(modules[part].state_dict()) for part in PARTS}
    toolkit = separation.SepformerSeparation(modules=modules, hparams=hyperparams)
    return files | {"hyperparams.yaml": text.encode()}, lambda mixture: toolkit.separate_batch(mixture[None])[0].mT


def _asteroid(name: str, entry: Entry) -> tuple[Files, Run]:
    models = _import("asteroid.models")
    separate = _import("asteroid.separate").torch_separate

    kind, sizes = ASTEROID.get(name) or ASTEROID[name.partition("-")[0]]
    sizes = {"n_src": entry.sources, "sample_rate": entry.sample_rate, **sizes}
    if kind == "ConvTasNet" and entry.sample_rate == 16000:
        sizes |= {"kernel_size": 32, "stride": 16}
    network: Any = _random(models.get(kind)(**sizes))
    infos = {"software_versions": {"torch_version": torch.__version__}, "final_metrics": {"si_sdr": np.float64(1)}}
    content = {"model_name": kind, "state_dict": network.state_dict(), "model_args": network.get_model_args()}
    return {entry.files[0].name: _saved(content | {"infos": infos})}, lambda mixture: separate(network, mixture[None])[
        0
    ]


def _torchaudio(name: str, entry: Entry) -> tuple[Files, Run]:
    from torchaudio.models import conv_tasnet_base

    network = _random(conv_tasnet_base(num_sources=entry.sources))
    return {entry.files[0].name: _saved(network.state_dict())}, lambda mixture: network(mixture[None, None])[0]


def _espnet(name: str, entry: Entry) -> tuple[Files, Run]:
    encoders, decoders = _import("espnet2.enh.encoder.stft_encoder"), _import("espnet2.enh.decoder.stft_decoder")
    training = TRAINING.replace("sample_rate: 8000", f"sample_rate: {entry.sample_rate}")
    if entry.model == "tf-gridnet":
        grid = _import("espnet2.enh.separator.tfgridnetv2_separator")
        text = GRIDNET.format(version="tfgridnetv2", hop=64, shift=1)
        changes = (("n_fft: 64", "n_fft: 128"), ("n_layers: 2", "n_layers: 6"), ("emb_dim: 16", "emb_dim: 128"))
        more = (
            ("lstm_hidden_units: 16", "lstm_hidden_units: 192"),
            ("dim: 100", "dim: 512"),
            ("emb_ks: 4", "emb_ks: 1"),
        )
        for passage, instead in (*changes, *more):
            assert passage in text
            text = text.replace(passage, instead)
        network = _random(grid.TFGridNetV2(None, n_srcs=entry.sources, emb_dim=128, emb_ks=1, emb_hs=1))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as out:
            out.writestr("meta.yaml", "espnet: '202308'\n")
            out.writestr("exp/enh_train_raw/config.yaml", training + text)
            out.writestr("exp/enh_train_raw/valid.loss.ave_5best.pth", _prefixed(network))
        return {entry.files[0].name: packed.getvalue()}, lambda mixture: torch.cat(
            network(mixture[None], torch.tensor([len(mixture)]))[0]
        )
    fft = 256 if "whamr" in name or entry.sample_rate == 16000 else 128
    hop = 128 if entry.sample_rate == 16000 else 64
    sizes = LOCOFORMERS[name]
    text = TRANSFORM.replace("n_fft: 64", f"n_fft: {fft}").replace("hop_length: 32", f"hop_length: {hop}")
    text += LOCOFORMER.format(**sizes, groups=4, heads=4, attention=128, shift=1).replace(
        "    attention_dim: 128\n", ""
    )
    text = text.replace("num_spk: 2", f"num_spk: {entry.sources}")
    network = _random(
        _locoformer_code().TFLocoformerSeparator(
            None,
            num_spk=entry.sources,
            n_layers=sizes["layers"],
            emb_dim=sizes["channels"],
            norm_type="rmsgroupnorm",
            ffn_type=["swiglu_conv1d", "swiglu_conv1d"],
            ffn_hidden_dim=[sizes["before"], sizes["behind"]],
            conv1d_kernel=sizes["kernel"],
        )
    )
    encoder, decoder = encoders.STFTEncoder(fft, fft, hop), decoders.STFTDecoder(fft, fft, hop)

    def run(mixture: Tensor) -> Tensor:  # the steps of ESPnet's inference
        length, level = torch.tensor([len(mixture)]), mixture.std()
        spectrum, frames = encoder(mixture[None] / level, length)
        spectra, _, _ = network(spectrum, frames)
        return torch.cat([decoder(each, length)[0] for each in spectra]) * level

    return {"config.yaml": (training + text).encode(), entry.files[1].name: _prefixed(network)}, run


def _import(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name.partition('.')[0]} is not installed")


def _prefixed(network: nn.Module) -> bytes:
    return _saved({f"separator.{key}": value for key, value in network.state_dict().items()})


def _locoformer_code() -> Any:
    """Import the authors' separator, which is no package, from a checkout that is fetched once."""
    _import("rotary_embedding_torch")
    folder = ROOT / ".cache" / "tf-locoformer"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        url, commit = LOCOFORMER_CODE
        without_weights = ("-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false")
        for command in (
            ("init", "--quiet", str(partial)),
            ("-C", str(partial), "fetch", "--quiet", "--depth", "1", url, commit),
            ("-C", str(partial), *without_weights, "checkout", "--quiet", "FETCH_HEAD"),
        ):
            if subprocess.run(["git", *command], check=False, capture_output=True).returncode:
                pytest.skip(f"{url} cannot be fetched")
        partial.rename(folder)
    path = folder / "espnet2" / "enh" / "separator" / "tflocoformer_separator.py"
    spec = importlib.util.spec_from_file_location("tflocoformer_separator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

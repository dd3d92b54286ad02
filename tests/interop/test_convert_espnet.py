"""TF-GridNet and TF-Locoformer as ESPnet keeps them: converted, and refused where ours cannot be so."""

import zipfile
from pathlib import Path

import pytest
import torch

from septool.errors import CheckpointError, SeptoolError, UsageError
from septool.interop.conversion import convert_files, find_files
from septool.models.base import MappingSeparator
from tests.interop.converting import converted
from tests.interop.espnet_files import DESCRIPTIONS, espnet_files
from tests.models.parity import assert_parity, fixture, torch_frames


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_recorded_espnet(tmp_path: Path, case: str) -> None:
    model, header = converted("auto", espnet_files(tmp_path, case))
    assert isinstance(model, MappingSeparator)
    assert (header.sample_rate, header.sources, header.drops_tail) == (8000, 2, False)
    assert header.origin.startswith("espnet: config.yaml (sha256 ")
    assert_parity(torch_frames(model), fixture(case))


def test_a_file_is_described_by_the_yaml_beside_it(tmp_path: Path) -> None:
    files = espnet_files(tmp_path, "tfgridnet")
    for given in (files[1:], [tmp_path]):
        assert find_files("auto", given) == ("espnet", files)
        assert find_files("espnet", given) == ("espnet", files)
    (tmp_path / "1epoch.pth").write_bytes(files[1].read_bytes())
    with pytest.raises(UsageError, match="has 2 files of weights; name the one to use"):
        find_files("auto", [tmp_path])
    assert find_files("auto", files[1:]) == ("espnet", files)
    files[0].unlink()
    with pytest.raises(UsageError, match=r"one \.pth with its config\.yaml beside it, or a zip of both; valid\.loss"):
        convert_files("auto", files[1:])


def test_a_model_zoo_keeps_both_in_a_zip_or_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    folder = tmp_path / "exp" / "enh_train_raw"
    folder.mkdir(parents=True)
    files = espnet_files(folder, "tfgridnet_v1")
    expected = convert_files("auto", files).weights
    (tmp_path / "meta.yaml").write_text("espnet: '202402'\n")
    packed = tmp_path / "model.zip"
    with zipfile.ZipFile(packed, "w") as out:
        for path in (tmp_path / "meta.yaml", *files):
            out.write(path, path.relative_to(tmp_path))
    for given in (packed, tmp_path):
        again = convert_files("auto", [given])
        assert again.weights.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in again.weights.items())
    with zipfile.ZipFile(packed, "a") as out:
        out.write(files[1], "exp/another.pth")
    with pytest.raises(CheckpointError, match=r"model\.zip holds 1 config\.yaml and 2 \.pth; a packed model has one"):
        convert_files("auto", [packed])
    packed.write_bytes(b"PK no zip")
    with pytest.raises(CheckpointError, match=r"model\.zip is not a zip of a model: "):
        convert_files("auto", [packed])


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused(tmp_path: Path, compression: int) -> None:
    described, tensors = espnet_files(tmp_path, "tfgridnet")
    with zipfile.ZipFile(packed := tmp_path / "model.zip", "w") as out:
        out.write(described, described.name, compression)
        out.write(tensors, tensors.name)
    content = bytearray(packed.read_bytes())
    content[60:70] = bytes(byte ^ 0xFF for byte in content[60:70])
    packed.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.zip is not a zip of a model: "):
        convert_files("espnet", [packed])


@pytest.mark.parametrize(
    ("case", "passage", "instead", "message"),
    [
        ("tfgridnet", "separator: tfgridnetv2", "separator: skim", "describes ESPnet's 'skim' as separator; .* tfgr"),
        ("tfgridnet", "separator: tfgridnetv2", "separator: tfgridnet", "has no place: .* variant that septool does n"),
        (
            "tfgridnet",
            "n_imics: 1",
            "n_imics: 4",
            "n_imics of tfgridnetv2 is 4; septool has such a network only with 1",
        ),
        ("tfgridnet", "window: hann", "window: hamming", "window of tfgridnetv2 is 'hamming'"),
        ("tfgridnet", "    eps: 1.0e-05", "    eps: 1.0e-08", "eps of tfgridnetv2 is 1e-08"),
        ("tfgridnet", "emb_hs: 1", "emb_hop: 1", "tfgridnetv2 has emb_hop, which septool does not know"),
        ("tfgridnet", "n_layers: 2", "n_layers: 3", "says n_layers is 3, the tensors say 2"),
        ("tfgridnet", "emb_dim: 16", "emb_dim: 32", "do not have the axes of a tf-gridnet"),
        ("tfgridnet", "n_fft: 64", "n_fft: 128", "does not fit the other tensors"),
        ("tfgridnet", "emb_dim: 16", "emb_dim: [16]", r"emb_dim of tfgridnetv2 is \[16\]; it should be a number"),
        ("tfgridnet", "n_fft: 64", "n_fft: many", "n_fft of tfgridnetv2 is 'many'; it should be a number"),
        ("tfgridnet", "encoder: same", "encoder: stft", "encoder of config is 'stft'; .* only with 'same'"),
        ("tfgridnet", "separator: tfgridnetv2", "separator: [skim]", r"describes ESPnet's \['skim'\] as separator"),
        ("tfgridnet", "sample_rate: 8000\n", "", "at which rate"),
        (
            "tfgridnet_v3",
            "normalize_variance: true",
            "normalize_variance: false",
            "normalize_variance of model_conf is F",
        ),
        ("tfgridnet_v3", "encoder: stft", "encoder: conv", "encoder of config is 'conv'; .* only with 'stft'"),
        (
            "tfgridnet_v3",
            "decoder_conf:\n    n_fft: 64",
            "decoder_conf:\n    n_fft: 32",
            "n_fft of decoder_conf is 32; ",
        ),
        (
            "tfgridnet_v3",
            "hop_length: 32\nsep",
            "hop_length: 32\n    center: false\nsep",
            "center of decoder_conf is F",
        ),
        (
            "tfgridnet",
            "n_fft: 64",
            "n_fft: -2",
            "n_fft and attn_approx_qk_dim of tfgridnetv2 are -2 and 100; ",
        ),
        ("tfgridnet", "approx_qk_dim: 100", "approx_qk_dim: .inf", "are 64 and inf; both should be sizes"),
        ("tfgridnet", "sample_rate: 8000", "sample_rate: .inf", "sample_rate is inf in these files"),
        ("tfgridnet", "sample_rate: 8000", "sample_rate: .nan", "sample_rate is nan in these files"),
        ("tfgridnet", "num_spk: 2", "num_spk: !!int ''", "is not YAML"),
        ("tfgridnet", "num_spk: 2", "num_spk: !!bool foo", "is not YAML"),
        ("tfgridnet", "num_spk: 2", "num_spk: !!timestamp x", "is not YAML"),
        (
            "tfgridnet_v3",
            "model_conf:\n    normalize_variance: true",
            "model_conf: foo",
            "model_conf is 'foo'; it should name",
        ),
        ("tflocoformer", "tf_order: ft", "tf_order: tf", "tf_order of tflocoformer is 'tf'; .* only with 'ft'"),
        (
            "tflocoformer",
            "norm_type: rmsgroupnorm\n",
            "norm_type: layernorm\n",
            "norm_type of tflocoformer is 'layernorm'",
        ),
        (
            "tflocoformer",
            "    ffn_hidden_dim:\n    - 24\n    - 20\n",
            "    ffn_hidden_dim: 24\n",
            "is 24; septool has two",
        ),
        ("tflocoformer", "    - swiglu_conv1d\n", "    - conv1d\n", r"ffn_type of tflocoformer is \['conv1d', "),
        ("tflocoformer", "n_layers: 2", "n_layers: 1", "says n_layers is 1, the tensors say 2"),
        (
            "tflocoformer",
            "separator_conf:\n",
            "separator_conf: large\nsizes:\n",
            "tflocoformer is 'large'; it should name",
        ),
    ],
)
def test_what_ours_cannot_be_is_refused(tmp_path: Path, case: str, passage: str, instead: str, message: str) -> None:
    with pytest.raises(SeptoolError, match=message) as caught:
        convert_files("espnet", espnet_files(tmp_path, case, (passage, instead)))
    assert "\n" not in str(caught.value)


def test_rotary_positions_whose_rates_were_trained_are_refused(tmp_path: Path) -> None:
    files = espnet_files(tmp_path, "tflocoformer")
    tensors = torch.load(files[1])
    tensors["separator.blocks.1.freq_path.attn.rope.freqs"] += 0.01
    torch.save(tensors, files[1])
    with pytest.raises(CheckpointError, match=r"blocks\.1\.freq_path\.attn\.rope\.freqs was trained; septool has"):
        convert_files("espnet", files)

"""Converted weights compute what they computed; what does not fit is refused in one line."""

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from septool import checkpoints
from septool.cli import app
from septool.commands import models
from septool.config import build
from septool.errors import CheckpointError, ConfigError, SeptoolError, UsageError
from septool.models import MODELS, conv_tasnet, sepformer
from septool.models.base import Separator
from septool.models.build import build_model
from septool.tasks import peers
from septool.tasks.convert import convert, rename
from septool.tasks.peers import Peer
from tests.models.parity import assert_parity, fixture, state

PARTS = ("encoder", "masknet", "decoder")


def perturbed(network: nn.Module) -> nn.Module:
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


def assert_equal(model: Separator, run: Callable[[Tensor], Tensor], samples: Sequence[int]) -> None:
    for count in samples:
        mixture = torch.randn(2, count, generator=torch.Generator().manual_seed(count)) * 0.1
        with torch.inference_mode():
            ours, theirs = model(mixture), run(mixture)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def torchaudio_network(**sizes: Any) -> nn.Module:
    from torchaudio.models import ConvTasNet

    small = {"enc_num_feats": 16, "msk_num_feats": 8, "msk_num_hidden_feats": 12, "msk_num_stacks": 2}
    return perturbed(ConvTasNet(**{**small, "msk_activate": "relu"} | sizes))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    torch.save(torchaudio_network().state_dict(), path)
    return path


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


# Against the other toolkits.


@pytest.mark.parametrize("sizes", [{}, {"num_sources": 3, "enc_kernel_size": 20}])
def test_torchaudio(tmp_path: Path, sizes: dict[str, int]) -> None:
    theirs = torchaudio_network(**sizes)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    model, _ = converted("torchaudio-convtasnet", [tmp_path / "weights.pt"])
    assert_equal(model, lambda mixture: theirs(mixture[:, None]), (4000, 3777, 7, 1))


def test_the_published_network_of_torchaudio_is_a_row_of_ours() -> None:
    from torchaudio.models import conv_tasnet_base

    with torch.device("meta"):
        tensors = conv_tasnet_base().state_dict()
    assert settle(peers.CONV_TASNET_BASE, tensors, {}) == conv_tasnet.CONFIGS["torchaudio"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ConvTasNet", {"n_blocks": 3, "kernel_size": 20, "stride": 10, "bn_chan": 10, "hid_chan": 14, "skip_chan": 6}),
        ("ConvTasNet", {"n_blocks": 2, "mask_act": "relu", "encoder_activation": "relu", "n_src": 3}),
        ("DPRNNTasNet", {"chunk_size": 20, "kernel_size": 8, "stride": 4, "bn_chan": 12, "hid_size": 10}),
        ("DPRNNTasNet", {"chunk_size": 20, "mask_act": "relu", "encoder_activation": "relu", "n_src": 3}),
        ("DPTNet", {"chunk_size": 20, "kernel_size": 8, "stride": 4, "ff_hid": 10}),
        ("DPTNet", {"chunk_size": 20, "mask_act": "sigmoid", "n_heads": 2, "n_src": 3}),
        ("SuDORMRFNet", {"num_blocks": 2, "upsampling_depth": 3, "bn_chan": 12}),
        ("SuDORMRFNet", {"num_blocks": 1, "upsampling_depth": 2, "bn_chan": 12, "kernel_size": 13, "n_src": 3}),
    ],
)
def test_asteroid(tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    known = pytest.importorskip("asteroid.models", reason="asteroid is not installed")
    repeats = {} if name == "SuDORMRFNet" else {"n_repeats": 2}
    theirs = perturbed(known.get(name)(**{"n_src": 2, "n_filters": 16, "sample_rate": 16000} | repeats | arguments))
    files = asteroid_file(tmp_path / "model.pth", name, theirs.state_dict(), theirs.get_model_args())
    model, header = converted("asteroid", files)
    assert header.sample_rate == 16000
    # Without padding, theirs leave what is behind the last whole window at zero.
    samples = (4000, 3777, 1) if name == "SuDORMRFNet" else (4000, 3760)
    assert_equal(model, lambda mixture: theirs(mixture[:, None]), samples)


def test_speechbrain(tmp_path: Path) -> None:
    theirs = pytest.importorskip("speechbrain.lobes.models.dual_path", reason="speechbrain is not installed")
    sizes = {"encoder_out_nchannels": 32, "masknet_chunksize": 20, "masknet_numspks": 3}
    heads = {"intra_numlayers": 2, "inter_numlayers": 1, "intra_nhead": 4, "inter_nhead": 4}
    network = perturbed(theirs.SepformerWrapper(**sizes, **heads, intra_dffn=48, inter_dffn=48))
    files = speechbrain_files(tmp_path, network.state_dict())
    model, _ = converted("speechbrain-sepformer", files, chunk=20, heads=4)
    assert_equal(model, lambda mixture: network(mixture).mT, (4000, 3776))


def test_the_published_network_of_speechbrain_is_ours() -> None:
    theirs = pytest.importorskip("speechbrain.lobes.models.dual_path", reason="speechbrain is not installed")
    with torch.device("meta"):
        tensors = theirs.SepformerWrapper().state_dict()
    assert settle(peers.SEPFORMER, tensors, {"number of position tables": 4}) == sepformer.Config()


# Against what they computed once.


@pytest.mark.parametrize(
    ("case", "name", "arguments", "window"),
    [
        ("convtasnet_asteroid", "ConvTasNet", {"n_blocks": 3, "mask_act": "sigmoid"}, 16),
        ("dprnn_asteroid", "DPRNNTasNet", {"chunk_size": 20, "hop_size": 10, "stride": 4}, 8),
    ],
)
def test_recorded_asteroid(tmp_path: Path, case: str, name: str, arguments: dict[str, Any], window: int) -> None:
    tensors = fixture(case)
    model, _ = converted("asteroid", asteroid_file(tmp_path / "model.pth", name, state(tensors), arguments))
    assert_parity(model, tensors, covered=lambda samples: samples // (window // 2) * (window // 2))


@pytest.mark.parametrize("case", ["sepformer", "sepformer_3spk"])
def test_recorded_speechbrain(tmp_path: Path, case: str) -> None:
    tensors = fixture(case)
    model, _ = converted("speechbrain-sepformer", speechbrain_files(tmp_path, state(tensors)), chunk=50, heads=4)
    assert_parity(model, tensors, covered=lambda samples: samples // 8 * 8)


# Sizes: our networks under their names, every size another number.


def settle(peer: Peer, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> Any:
    found = {ours: tensors[theirs] for ours, theirs in rename(tensors, peer.names).items()}
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


CONV_TASNET = {"filters": 10, "bottleneck": 6, "hidden": 7, "skip": 8, "sources": 3, "kernel": 5, "repeats": 2}
DUAL_PATH = {"filters": 12, "window": 8, "sources": 3, "chunk": 22, "blocks": 2, "hidden": 7, "padding": "unfold"}
SIZES = {
    "sepformer": (
        peers.SEPFORMER,
        {"filters": 16, "window": 20, "sources": 3, "blocks": 4, "intra": 3, "inter": 1, "feedforward": 7},
        {"number of position tables": 8},
    ),
    "torchaudio": (peers.CONV_TASNET_BASE, CONV_TASNET | {"window": 20, "edge": 10, "mask": "relu"}, {}),
    "ConvTasNet": (peers.ASTEROID["ConvTasNet"], CONV_TASNET | {"blocks": 4}, {"n_blocks": 4}),
    "DPRNNTasNet": (
        peers.ASTEROID["DPRNNTasNet"],
        DUAL_PATH | {"features": 5, "rectify": False, "bias": True, "mask": "sigmoid"},
        {"chunk_size": 22, "hop_size": 11, "stride": 4},
    ),
    "DPTNet": (
        peers.ASTEROID["DPTNet"],
        DUAL_PATH | {"features": 12, "heads": 3, "norm": "sequence"},
        {"chunk_size": 22, "hop_size": None, "stride": 4, "n_heads": 3},
    ),
    "SuDORMRFNet": (
        peers.ASTEROID["SuDORMRFNet"],
        {"filters": 12, "window": 13, "width": 6, "hidden": 7, "depth": 4, "blocks": 2, "sources": 3},
        {},
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_read(name: str) -> None:
    peer, sizes, arguments = SIZES[name]
    model = build_model(peer.model, sizes)
    assert settle(peer, their_names(model, peer), arguments) == model.config


# What a checkpoint says, and how the command says it.


def test_the_header_says_where_the_weights_are_from(weights: Path) -> None:
    _, header = converted("torchaudio-convtasnet", [weights])
    assert header.origin == f"torchaudio-convtasnet: weights.pt (sha256 {checkpoints.sha256(weights)})"
    assert (header.sample_rate, header.sources) == (8000, 2)
    assert (header.trained_on, header.licence) == ("unknown", "unknown")
    options = {"sample_rate": 16000, "trained_on": "Libri2Mix", "licence": "CC-BY-4.0"}
    _, header = converted("torchaudio-convtasnet", [weights], **options, force=True)
    assert {key: getattr(header, key) for key in options} == options


def test_the_command(weights: Path) -> None:
    out = weights.with_name("conv-tasnet.safetensors")
    run = CliRunner().invoke(app, ["models", "convert", "torchaudio-convtasnet", str(weights), "-o", str(out)])
    assert run.exit_code == 0
    assert run.stdout == f"{out}\n"
    assert "conv-tasnet, 2 voices at 8000 Hz, trained on: unknown, licence: unknown" in run.stderr
    run = CliRunner().invoke(app, ["models", "show", str(out)])
    assert "torchaudio-convtasnet: weights.pt" in run.stdout


def test_command_and_task_have_the_same_parameters() -> None:
    command, task = (
        {p.name: p.default for p in inspect.signature(f).parameters.values()} for f in (models.convert, convert)
    )
    assert {name: command.pop(name) for name in ("quiet", "debug")} == {"quiet": False, "debug": False}
    assert command == task


# Refusals.


def test_an_unknown_source_gets_a_suggestion(weights: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'asteroid'"):
        converted("astroid", [weights])


def test_a_checkpoint_is_not_replaced_unasked(weights: Path) -> None:
    converted("torchaudio-convtasnet", [weights])
    with pytest.raises(SeptoolError, match="--force"):
        converted("torchaudio-convtasnet", [weights])


def test_a_name_that_no_verb_would_take_is_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.pt .* \.safetensors"):
        convert("torchaudio-convtasnet", [weights], weights.with_name("out.pt"))


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVEfmt ", b"these are no weights", b"PK\x03\x04 cut off"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a file of plain tensors"):
        converted("torchaudio-convtasnet", [path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.pt cannot be read: No such file"):
        converted("torchaudio-convtasnet", [tmp_path / "weights.pt"])


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    torch.save({"encoder.weight": Hostile(tmp_path / "ran")}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="is not a file of plain tensors"):
        converted("torchaudio-convtasnet", [tmp_path / "weights.pt"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no named tensors but a list"),
        ({"encoder.weight": 3}, "encoder.weight is a int, not a tensor"),
        ({"masker.foo": torch.zeros(2, 3)}, r"masker\.foo \(2, 3\) has no place"),
        ({}, r"there is no tensor encoder\.\* in these files"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=message):
        converted("torchaudio-convtasnet", [tmp_path / "weights.pt"])


def with_one_more(tensors: dict[str, Tensor]) -> None:
    tensors["mask_generator.conv_layers.3.extra.weight"] = torch.zeros(2)


def with_a_residual_that_ours_lacks(tensors: dict[str, Tensor]) -> None:
    tensors["mask_generator.conv_layers.15.res_out.bias"] = torch.zeros(8)


def with_another_size(tensors: dict[str, Tensor]) -> None:
    tensors["mask_generator.conv_layers.3.res_out.weight"] = torch.zeros(8, 11, 1)


def without_one(tensors: dict[str, Tensor]) -> None:
    del tensors["mask_generator.conv_layers.3.res_out.weight"]


def without_a_block(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("mask_generator.conv_layers.3.")]:
        del tensors[name]


def without_an_axis(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.weight"] = tensors["encoder.weight"][:, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_one_more, r"mask_generator\.conv_layers\.3\.extra\.weight \(2,\) has no place"),
        (with_a_residual_that_ours_lacks, r"mask_generator\.conv_layers\.15\.res_out\.bias \(8,\) has no place"),
        (with_another_size, r"conv_layers\.3\.res_out\.weight \(8, 11, 1\) does not fit .* \(8, 12, 1\)"),
        (without_one, r"nothing in these files fills blocks\.3\.residual\.weight \(8, 12, 1\)"),
        (without_a_block, "15 blocks are no whole number of stacks of 8"),
        (without_an_axis, "do not have the axes of a conv-tasnet"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(
    weights: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    tensors = torch.load(weights, weights_only=True)
    change(tensors)
    torch.save(tensors, weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        converted("torchaudio-convtasnet", [weights])
    assert "\n" not in str(caught.value)
    assert not weights.with_name("out.safetensors").exists()


def test_a_setting_that_the_network_lacks_is_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match="--heads was given, but conv-tasnet has no such setting"):
        converted("torchaudio-convtasnet", [weights], heads=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": 25}, UsageError, "chunk is 25 frames; .* even number"),
        ({"heads": 3}, ConfigError, "sepformer: 16 channels do not divide into 3 heads"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, options: dict[str, int], error: type[SeptoolError], message: str
) -> None:
    model = build_model("sepformer", {"filters": 16, "intra": 1, "inter": 1, "position": False})
    files = speechbrain_files(tmp_path, their_names(model, peers.SEPFORMER))
    with pytest.raises(error, match=message):
        converted("speechbrain-sepformer", files, **options)


def test_every_source_wants_its_files(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UsageError, match=r"encoder\.ckpt, masknet\.ckpt and decoder\.ckpt; weights\.pt was given"):
        converted("speechbrain-sepformer", [weights])
    with pytest.raises(UsageError, match="one file; 2 were given"):
        converted("torchaudio-convtasnet", [weights, weights])
    with pytest.raises(CheckpointError, match=r"weights\.pt is not a checkpoint of asteroid: it has no model_name"):
        converted("asteroid", [weights])
    with pytest.raises(CheckpointError, match="model_name is a str, not a tensor"):
        converted("torchaudio-convtasnet", asteroid_file(tmp_path / "model.pth", "ConvTasNet", {}, {}))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("DCCRNet", {}, "holds asteroid's DCCRNet; septool converts ConvTasNet, "),
        ("ConvTasNet", None, "model_args or state_dict names nothing"),
        ("ConvTasNet", {"norm_type": "cLN"}, "norm_type is 'cLN' in this file; .* only with 'gLN'"),
        ("ConvTasNet", {"causal": True}, "causal is True"),
        ("DPRNNTasNet", {"bidirectional": False}, "bidirectional is False"),
        ("DPRNNTasNet", {"stride": 2}, "stride is 2 in this file; .* half of 8"),
        ("DPRNNTasNet", {"chunk_size": 22, "hop_size": 22}, "hop_size is 22 in this file; .* half of 22"),
        ("DPRNNTasNet", {"mask_act": "softmax"}, "mask_act is 'softmax' in this file; .* 'sigmoid' or 'relu'"),
        ("DPRNNTasNet", {"chunk_size": "22"}, "or the file denies them"),
    ],
)
def test_variants_of_asteroid_that_ours_cannot_be_are_refused(
    tmp_path: Path, name: str, arguments: dict[str, Any] | None, message: str
) -> None:
    peer, sizes, known = SIZES["DPRNNTasNet"]
    tensors = their_names(build_model(peer.model, sizes), peer) if name == "DPRNNTasNet" else {}
    given = arguments if arguments is None else known | arguments
    with pytest.raises(CheckpointError, match=message):
        converted("asteroid", asteroid_file(tmp_path / "model.pth", name, tensors, given))


def test_a_sudormrf_of_asteroid_that_pads_otherwise_is_refused() -> None:
    found = {"encoder.basis.weight": torch.zeros(4, 1, 41), "mask.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="the window is 41 samples"):
        peers.ASTEROID["SuDORMRFNet"].settle(found, {})

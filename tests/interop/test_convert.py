"""Converted weights compute what they computed."""

import copy
import inspect
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from septool import checkpoints
from septool.cli import app
from septool.commands import models
from septool.errors import UsageError
from septool.files import sha256_of
from septool.interop import asteroid, speechbrain
from septool.interop.conversion import find_files
from septool.interop.torchaudio import CONV_TASNET_BASE
from septool.models import conv_tasnet, sepformer
from septool.models.base import Separator
from septool.models.build import build_model
from septool.tasks.convert import convert
from tests.interop.converting import (
    CONV_TASNET,
    RESEPFORMER,
    SIZES,
    asteroid_file,
    converted,
    described,
    infer_config,
    perturbed,
    resepformer_tensors,
    speechbrain_files,
    their_names,
    torchaudio_network,
)
from tests.models.parity import assert_parity, fixture, state


def assert_equal(model: Separator, run: Callable[[Tensor], Tensor], samples: Sequence[int]) -> None:
    for count in samples:
        mixture = torch.randn(2, count, generator=torch.Generator().manual_seed(count)) * 0.1
        with torch.inference_mode():
            ours, theirs = model(mixture), run(mixture)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


# Against the other toolkits.


@pytest.mark.parametrize("sizes", [{}, {"num_sources": 3, "enc_kernel_size": 20}])
def test_torchaudio(tmp_path: Path, sizes: dict[str, int]) -> None:
    theirs = torchaudio_network(**sizes)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    model, _ = converted("torchaudio-convtasnet", [tmp_path / "weights.pt"], sample_rate=8000)
    assert_equal(model, lambda mixture: theirs(mixture[:, None]), (4000, 3777, 7, 1))


def test_the_published_network_of_torchaudio_is_a_row_of_ours() -> None:
    from torchaudio.models import conv_tasnet_base

    with torch.device("meta"):
        tensors = conv_tasnet_base().state_dict()
    assert infer_config(CONV_TASNET_BASE, tensors, {}) == conv_tasnet.CONFIGS["torchaudio"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ConvTasNet", {"n_blocks": 3, "kernel_size": 20, "stride": 10, "bn_chan": 10, "hid_chan": 14, "skip_chan": 6}),
        ("ConvTasNet", {"n_blocks": 2, "bn_chan": 10, "hid_chan": 14, "skip_chan": 0}),
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


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])  # before NumPy 2, and since
def test_a_file_of_asteroid_may_hold_scores(tmp_path: Path, module: str) -> None:
    scores = {"si_sdr": np.float64(14.8), "epochs": np.int64(200), "stoi": np.float32(0.9)}
    tensors, arguments = state(fixture("convtasnet_asteroid")), {"n_blocks": 3, "sample_rate": 8000}
    content = {"model_name": "ConvTasNet", "state_dict": tensors, "model_args": arguments, "infos": scores}
    torch.save(content, tmp_path / "saved.bin")
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(tmp_path / "saved.bin") as saved, zipfile.ZipFile(path, "w") as out:
        for name in saved.namelist():
            out.writestr(name, re.sub(rb"numpy\._?core", module.encode(), saved.read(name)))
    assert module in path.read_bytes().decode("latin-1")
    assert converted("asteroid", [path])[1].model == "conv-tasnet"


def test_speechbrain(tmp_path: Path) -> None:
    theirs = pytest.importorskip("speechbrain.lobes.models.dual_path", reason="speechbrain is not installed")
    sizes = {"encoder_out_nchannels": 32, "masknet_chunksize": 20, "masknet_numspks": 3}
    heads = {"intra_numlayers": 2, "inter_numlayers": 1, "intra_nhead": 4, "inter_nhead": 4}
    network = perturbed(theirs.SepformerWrapper(**sizes, **heads, intra_dffn=48, inter_dffn=48))
    files = speechbrain_files(tmp_path, network.state_dict())
    model, _ = converted("speechbrain-sepformer", files, sample_rate=8000, chunk=20, heads=4)
    assert_equal(model, lambda mixture: network(mixture).mT, (4000, 3776))


def test_the_published_network_of_speechbrain_is_ours() -> None:
    theirs = pytest.importorskip("speechbrain.lobes.models.dual_path", reason="speechbrain is not installed")
    with torch.device("meta"):
        tensors = theirs.SepformerWrapper().state_dict()
    assert (
        infer_config(speechbrain.SEPFORMER, tensors, {"number of position tables": 4, "chunk": 250, "heads": 8})
        == sepformer.Config()
    )


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
    model, _ = converted(
        "asteroid", asteroid_file(tmp_path / "model.pth", name, state(tensors), arguments), sample_rate=8000
    )
    assert_parity(model, tensors, covered=lambda samples: samples // (window // 2) * (window // 2))


@pytest.mark.parametrize("case", ["sepformer", "sepformer_3spk"])
def test_recorded_speechbrain(tmp_path: Path, case: str) -> None:
    tensors = fixture(case)
    model, _ = converted(
        "speechbrain-sepformer", speechbrain_files(tmp_path, state(tensors)), sample_rate=8000, chunk=50, heads=4
    )
    assert_parity(model, tensors, covered=lambda samples: samples // 8 * 8)


def test_a_folder_of_speechbrain_says_everything_itself(tmp_path: Path) -> None:
    tensors = fixture("sepformer")
    files = speechbrain_files(tmp_path, state(tensors))
    described(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    out = tmp_path / "out.safetensors"
    for source in ("auto", "speechbrain-sepformer"):
        header = convert(source, [tmp_path], out, force=True)
        assert (header.sample_rate, header.sources, header.config["chunk"], header.config["heads"]) == (16000, 2, 50, 4)
        assert header.assumed == ""
        assert "hyperparams.yaml (sha256 " in header.origin
    assert_parity(checkpoints.load(out)[0], tensors, covered=lambda samples: samples // 8 * 8)
    assert (
        "norm in front"
        in convert("auto", files, tmp_path / "bare.safetensors", sample_rate=8000, chunk=50, heads=4).assumed
    )


def test_recorded_resepformer(tmp_path: Path) -> None:
    files = speechbrain_files(tmp_path, resepformer_tensors())
    model, header = converted("auto", [*files, described(tmp_path, text=RESEPFORMER)])
    assert (header.sample_rate, header.sources, header.assumed) == (8000, 2, "")
    assert_parity(model, fixture("resepformer"), covered=lambda samples: (samples - 16) // 8 * 8 + 16)
    bare = convert("auto", files, tmp_path / "bare.safetensors", sample_rate=8000, settings=["chunk_size=20"], heads=4)
    assert (bare.config, bare.assumed.split(",")[-1]) == (header.config, " ReLU masks")
    with pytest.raises(UsageError, match="do not say chunk_size and heads of their re-sepformer"):
        convert("auto", files, tmp_path / "open.safetensors", sample_rate=8000)


@pytest.mark.parametrize(
    ("case", "source", "settings", "covered"),
    [
        ("dprnn", "jusperlee-dprnn", ["chunk=20"], 4),
        ("dptnet", "ujscjj-dptnet", ["chunk=20", "heads=4"], 4),
        ("convtasnet_noskip", "kaituoxu-convtasnet", [], 8),
        ("papez", "papez", ["heads=4"], 8),
        ("afrcnn", "jusperlee-afrcnn", ["iterations=3"], 1),
        ("afrcnn_sum", "jusperlee-afrcnn", ["iterations=3"], 1),
        ("sudormrf", "sudormrf", [], 1),
        ("two_step_tdcn", "two-step-tdcn", ["blocks=3"], 1),
    ],
)
def test_recorded_releases_of_authors(
    tmp_path: Path, case: str, source: str, settings: list[str], covered: int
) -> None:
    tensors = fixture(case)
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": state(tensors)}, path)
    assert find_files("auto", [path])[0] == source
    model, header = converted("auto", [path], sample_rate=8000, settings=settings)
    assert header.origin.startswith(f"{source}: weights.pt")
    assert_parity(model, tensors, covered=lambda samples: samples // covered * covered)
    if settings:
        with pytest.raises(UsageError, match=f"do not say .*{settings[-1].split('=')[0]} .*--set"):
            converted("auto", [path], sample_rate=8000, force=True)


@pytest.mark.parametrize(
    ("case", "source", "settings"),
    [("sepformer", "speechbrain-sepformer", ["chunk=50", "heads=4"]), ("papez", "papez", ["heads=4"])],
)
def test_an_exact_tail_is_theirs_to_the_last_sample(
    tmp_path: Path, case: str, source: str, settings: list[str]
) -> None:
    tensors = fixture(case)
    if case == "sepformer":
        files = speechbrain_files(tmp_path, state(tensors))
    else:
        files = [tmp_path / "weights.pt"]
        torch.save(state(tensors), files[0])
    model, header = converted(source, files, sample_rate=8000, settings=settings, exact_tail=True)
    assert header.drops_tail
    assert_parity(model, tensors)
    assert all(tensors[f"x{case}"].shape[-1] % 8 for case in (1,)), "the test needs a length with a tail"
    assert model(torch.ones(1, 3)).shape == (1, 2, 3)
    copied, mixture = copy.deepcopy(model), torch.ones(1, 400)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.zero_()
    assert not torch.equal(copied(mixture), model(mixture)), "the copy computes by the weights of the first"


def test_a_convtasnet_of_asteroid_without_a_skip_path(tmp_path: Path) -> None:
    model = build_model("conv-tasnet", CONV_TASNET | {"skip": 0, "mask_prelu": True})
    assert isinstance(model, conv_tasnet.ConvTasNet)
    with torch.no_grad():
        model.mask[0].get_parameter("weight").fill_(0.7)  # of the PReLU that the network keeps
    tensors = their_names(model, asteroid.CONV_TASNET_NO_SKIP)
    files = asteroid_file(tmp_path / "model.pth", "ConvTasNet", tensors, {"skip_chan": 0, "sample_rate": 16000.0})
    again, header = converted("asteroid", files)
    assert header.sample_rate == 16000
    assert again.config == model.config
    mixture = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(mixture), model.eval()(mixture))


# Our networks under their names.


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_read(name: str) -> None:
    foreign, sizes, arguments = SIZES[name]
    model = build_model(foreign.model, sizes)
    assert infer_config(foreign, their_names(model, foreign), arguments) == model.config


# What a checkpoint says, and how the command says it.


def test_the_header_says_where_the_weights_are_from(weights: Path) -> None:
    _, header = converted("torchaudio-convtasnet", [weights], sample_rate=8000)
    assert header.origin == f"torchaudio-convtasnet: weights.pt (sha256 {sha256_of(weights)})"
    assert (header.sample_rate, header.sources) == (8000, 2)
    assert (header.trained_on, header.licence) == ("unknown", "unknown")
    options = {"sample_rate": 16000, "trained_on": "Libri2Mix", "licence": "CC-BY-4.0"}
    _, header = converted("torchaudio-convtasnet", [weights], **options, force=True)
    assert {key: getattr(header, key) for key in options} == options


def test_the_command(weights: Path) -> None:
    out = weights.with_name("conv-tasnet.safetensors")
    run = CliRunner().invoke(
        app, ["models", "convert", "torchaudio-convtasnet", str(weights), "--sample-rate=8000", "-o", str(out)]
    )
    assert run.exit_code == 0
    assert run.stdout == f"{out}\n"
    assert "conv-tasnet, 2 voices at 8000 Hz, trained on: unknown, licence: unknown" in run.stderr
    run = CliRunner().invoke(app, ["models", "show", str(out)])
    assert "torchaudio-convtasnet: weights.pt" in run.stdout


def test_command_and_task_have_the_same_parameters() -> None:
    command, task = (
        {p.name: p.default for p in inspect.signature(f).parameters.values()} for f in (models.convert, convert)
    )
    assert {name: command.pop(name) for name in ("json", "quiet", "debug")} == dict.fromkeys(
        ("json", "quiet", "debug"), False
    )
    command["settings"] = tuple(command["settings"])  # a list is what typer reads
    assert command == task

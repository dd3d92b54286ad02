"""What ``models convert`` cannot convert is refused in one line that says why."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from septool import checkpoints
from septool.errors import CheckpointError, ConfigError, SeptoolError, UsageError
from septool.interop import asteroid, speechbrain
from septool.interop.tagged_yaml import LIMIT, Tagged, read_tagged_yaml
from septool.models.build import build_model
from septool.tasks.convert import convert
from tests.interop.converting import (
    RESEPFORMER,
    SIZES,
    asteroid_file,
    converted,
    described,
    resepformer_tensors,
    speechbrain_files,
    their_names,
)
from tests.models.parity import fixture, state


def test_an_unknown_source_gets_a_suggestion(weights: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'asteroid'"):
        converted("astroid", [weights])


def test_a_checkpoint_is_not_replaced_unasked(weights: Path) -> None:
    converted("torchaudio-convtasnet", [weights], sample_rate=8000)
    with pytest.raises(SeptoolError, match="--force"):
        converted("torchaudio-convtasnet", [weights], sample_rate=8000)


def test_a_name_that_no_verb_would_take_is_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"output must end in \.safetensors: .*out\.pt"):
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
        ({"encoder.weight": 3}, "is not a state dict: it has a int under 'encoder.weight'"),
        ({3: torch.zeros(2)}, "is not a state dict: it has a Tensor under 3"),
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


def with_two_for_one_place(tensors: dict[str, Tensor]) -> None:
    tensors["mask_generator.input_norm.gamma"] = torch.ones(16)


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
        (with_two_for_one_place, r"input_norm\.gamma and mask_generator\.input_norm\.weight are for the same place"),
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


def test_an_exact_tail_of_a_network_that_drops_none_is_refused(weights: Path) -> None:
    with pytest.raises(
        UsageError, match="an exact tail was asked for, but the conv-tasnet of torchaudio-convtasnet leaves"
    ):
        converted("torchaudio-convtasnet", [weights], sample_rate=8000, exact_tail=True)


def test_a_setting_that_the_network_lacks_is_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"^heads was given, but conv-tasnet has no such setting"):
        converted("torchaudio-convtasnet", [weights], heads=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": 25, "heads": 4}, ConfigError, "chunk is 25 frames; .* even number"),
        ({"chunk": 24, "heads": 3}, ConfigError, "sepformer: 16 channels do not divide into 3 heads"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, options: dict[str, int], error: type[SeptoolError], message: str
) -> None:
    model = build_model("sepformer", {"filters": 16, "intra": 1, "inter": 1, "position": False})
    files = speechbrain_files(tmp_path, their_names(model, speechbrain.SEPFORMER))
    with pytest.raises(error, match=message):
        converted("speechbrain-sepformer", files, sample_rate=8000, **options)


def test_every_source_wants_its_files(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"encoder\.ckpt, masknet\.ckpt and decoder\.ckpt, best with hyperparams\.yaml; weights\.pt was given",
    ):
        converted("speechbrain-sepformer", [weights])
    with pytest.raises(UsageError, match="one file; 2 were given"):
        converted("torchaudio-convtasnet", [weights, weights])
    with pytest.raises(CheckpointError, match=r"weights\.pt is not a checkpoint of asteroid: it has no model_name"):
        converted("asteroid", [weights])
    with pytest.raises(CheckpointError, match="it has a str under 'model_name'"):
        converted("torchaudio-convtasnet", asteroid_file(tmp_path / "model.pth", "ConvTasNet", {}, {}))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("DCCRNet", {}, "holds asteroid's DCCRNet; septool converts ConvTasNet, "),
        ("ConvTasNet", None, "model_args or state_dict names nothing"),
        ([1], {}, r"holds asteroid's \[1\]; septool converts ConvTasNet, "),
        ("ConvTasNet", {"sample_rate": "abc"}, "has a sample_rate that is no number"),
        ("ConvTasNet", {"sample_rate": [8000]}, "has a sample_rate that is no number"),
        ("ConvTasNet", {"norm_type": "cLN"}, "norm_type is 'cLN' in this file; .* only with 'gLN'"),
        ("ConvTasNet", {"causal": True}, "causal is True"),
        ("DPRNNTasNet", {"bidirectional": False}, "bidirectional is False"),
        ("DPRNNTasNet", {"stride": 2}, "stride is 2 in this file; .* half of 8"),
        ("DPRNNTasNet", {"chunk_size": 22, "hop_size": 22}, "hop_size is 22 in this file; .* half of 22"),
        ("DPRNNTasNet", {"mask_act": "softmax"}, "mask_act is 'softmax' in this file; .* 'sigmoid' or 'relu'"),
        ("DPRNNTasNet", {"chunk_size": "22"}, "or the file contradicts them"),
    ],
)
def test_variants_of_asteroid_that_ours_cannot_be_are_refused(
    tmp_path: Path, name: Any, arguments: dict[str, Any] | None, message: str
) -> None:
    foreign, sizes, known = SIZES["DPRNNTasNet"]
    tensors = their_names(build_model(foreign.model, sizes), foreign) if name == "DPRNNTasNet" else {}
    given = arguments if arguments is None else known | arguments
    with pytest.raises(CheckpointError, match=message):
        converted("asteroid", asteroid_file(tmp_path / "model.pth", name, tensors, given))


def test_a_sudormrf_of_asteroid_that_pads_otherwise_is_refused() -> None:
    found = {"encoder.basis.weight": torch.zeros(4, 1, 41), "mask.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="the window is 41 samples"):
        asteroid.ARCHITECTURES["SuDORMRFNet"].infer_config(found, {})


@pytest.mark.parametrize(
    ("passage", "instead", "message"),
    [
        ("norm_before: true", "norm_before: false", "norm_before of SBTransformerBlock is False; .* only with True"),
        ("    norm_before: true\n", "", "norm_before of SBTransformerBlock is False"),
        ("skip_around_intra: true", "skip_around_intra: false", "skip_around_intra of Dual_Path_Model is False"),
        (
            "    linear_layer_after_inter_intra: false\n",
            "",
            "linear_layer_after_inter_intra of Dual_Path_Model is True",
        ),
        ("norm: ln", "norm: cln", "norm of Dual_Path_Model is 'cln'"),
        ("stride: 8", "stride: 4", "stride of Decoder is 4; .* only with 8"),
        ("    bias: false\n", "", "bias of Decoder is True"),
        ("num_spks: 2\n", "num_spks: 3\n", "says sources is 3, the tensors say 2"),
        ("num_spks: !ref <num_spks>", "num_spks: 3", "contradicts itself: num_spks is 2 and 3"),
        ("num_layers: 2\n    K: 50", "num_layers: 3\n    K: 50", "says blocks is 3, the tensors say 2"),
        ("K: 50", "K: 51", "chunk is 51 frames; .* even number"),
        ("K: 50", "segment: 50", "Dual_Path_Model has segment, which septool does not know"),
        ("Dual_Path_Model", "Skim", r"describes new:speechbrain\.lobes\.models\.dual_path\.Skim; septool has"),
        ("!ref <SBtfintra>", "!ref <SBtf>", "!ref <SBtf> refers to nothing"),
        ("K: 50", "K: !ref <num_spks> * 25", "more than a reference"),
        ("num_spks: 2\n", "num_spks: !ref <num_spks>\n", "refers to itself"),
        ("sample_rate: 16000", "sample_rate: fast", "sample_rate is 'fast'"),
        ("modules:", "parts:", "describes no encoder, masknet, decoder under modules"),
        ("sample_rate: 16000", "sample_rate: [", "is not YAML"),
        ("sample_rate: 16000", "a: " + 5000 * "[", "is not YAML"),
    ],
)
def test_a_description_of_what_ours_cannot_be_is_refused(
    tmp_path: Path, passage: str, instead: str, message: str
) -> None:
    files = speechbrain_files(tmp_path, state(fixture("sepformer")))
    with pytest.raises(SeptoolError, match=message) as caught:
        converted("speechbrain-sepformer", [*files, described(tmp_path, (passage, instead))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("passage", "instead", "message"),
    [
        ("causal: false", "causal: true", "causal of ResourceEfficientSeparator is True; .* only with False"),
        ("    causal: false\n", "", "causal of ResourceEfficientSeparator is True"),
        ("mem_type: av", "mem_type: hc", "mem_type of ResourceEfficientSeparator is 'hc'"),
        ("unit: 256", "nonlinear: sigmoid", "nonlinear of ResourceEfficientSeparator is 'sigmoid'"),
        ("use_skip: true", "use_skip: false", "use_skip of SBTransformerBlock_wnormandskip is False"),
        ("use_positional_encoding: true", "norm_type: cln", "use_positional_encoding of .* is False"),
        ("use_norm: true", "norm_type: cln", "norm_type of SBTransformerBlock_wnormandskip is 'cln'"),
        ("seg_model: !ref <intra_mdl>", "seg_model: null", "describes None; septool has SBTransformerBlock_wnormandsk"),
        ("mem_mdl: !new:speechbrain.lobes.models.resepformer.SBT", "mem_mdl: !new:SBR", "SBRransformerBlock"),
        ("num_spk: 2", "num_spk: 3", "contradicts itself: num_spks is 2 and 3"),
        ("layer: 3", "layer: 2", "says blocks is 2, the tensors say 3"),
        ("layer: 3", "rounds: 3", "ResourceEfficientSeparator has rounds, which septool does not know"),
    ],
)
def test_a_resepformer_that_ours_cannot_be_is_refused(tmp_path: Path, passage: str, instead: str, message: str) -> None:
    files = speechbrain_files(tmp_path, resepformer_tensors())
    with pytest.raises(CheckpointError, match=message):
        converted("speechbrain-resepformer", [*files, described(tmp_path, (passage, instead), text=RESEPFORMER)])


def test_a_resepformer_whose_parts_differ_or_without_positions_is_refused(tmp_path: Path) -> None:
    files = speechbrain_files(tmp_path, resepformer_tensors())
    text = RESEPFORMER.replace("nhead: 4", "nhead: 2", 1)
    with pytest.raises(CheckpointError, match="nhead is 2 within the chunks and 4 in the memory"):
        converted("speechbrain-resepformer", [*files, described(tmp_path, text=text)])
    files = speechbrain_files(tmp_path, state(fixture("resepformer")))
    with pytest.raises(CheckpointError, match=r"number of position tables is 0 in this file; .* only with 5"):
        converted("speechbrain-resepformer", [*files, described(tmp_path, text=RESEPFORMER)])


def test_nothing_in_a_description_is_constructed(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    changes = ("num_spks: 2\n", f"num_spks: 2\nevil: !!python/object/apply:os.mkdir ['{ran}']\n")
    with pytest.raises(CheckpointError, match="is not YAML"):
        read_tagged_yaml(described(tmp_path, changes))
    harmless = described(tmp_path, ("num_spks: 2\n", f"num_spks: 2\nevil: !apply:os.mkdir ['{ran}']\n"))
    assert read_tagged_yaml(harmless)["evil"] == Tagged("apply:os.mkdir", [str(ran)])
    assert not ran.exists()


def test_a_description_is_no_book(tmp_path: Path) -> None:
    path = tmp_path / "hyperparams.yaml"
    path.write_text("a: b\n" + "#" * LIMIT)
    with pytest.raises(CheckpointError, match=f"has {LIMIT + 5} bytes; a description of a network has a few kB"):
        read_tagged_yaml(path)


def test_what_files_do_not_say_has_to_be_said(tmp_path: Path, weights: Path) -> None:
    files = speechbrain_files(tmp_path, state(fixture("sepformer")))
    with pytest.raises(UsageError, match=r"do not say chunk and heads of their sepformer; .* --set chunk=N"):
        converted("speechbrain-sepformer", files, sample_rate=8000)
    with pytest.raises(UsageError, match="at which rate"):
        converted("speechbrain-sepformer", files, chunk=50, heads=4)
    with pytest.raises(UsageError, match="a sample rate of 8000 Hz was given, but these files say 16000 Hz"):
        converted("speechbrain-sepformer", [*files, described(tmp_path)], sample_rate=8000)
    with pytest.raises(UsageError, match=r"^chunk 20 was given, but in these files it is 50"):
        converted("speechbrain-sepformer", [*files, described(tmp_path)], chunk=20)
    with pytest.raises(UsageError, match="at which rate"):
        converted("torchaudio-convtasnet", [weights])


def test_two_rates_in_one_file_of_asteroid_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    arguments = {"sample_rate": 8000}
    torch.save({"model_name": "DPTNet", "state_dict": {}, "model_args": arguments, "sample_rate": 16000}, path)
    with pytest.raises(CheckpointError, match=r"contradicts itself: sample_rate is 8000\.0 and 16000\.0 Hz"):
        converted("asteroid", [path])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"a\.pt is not a file of weights; save them as one"):
        converted("auto", [tmp_path / "a.pt"])
    with pytest.raises(CheckpointError, match=r"a\.pt is not a file$"):
        checkpoints.read_header(tmp_path / "a.pt")


def test_a_folder_or_file_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 0 files of weights"):
        converted("auto", [tmp_path])
    for content in ({"layer.weight": torch.zeros(2)}, {3: torch.zeros(2)}, {"model_name": [1]}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match="is of no source that septool knows; known: speechbrain-sepformer, "):
            converted("auto", [tmp_path / "a.pt"])


def test_code_that_a_file_wants_to_run_is_named(tmp_path: Path) -> None:
    torch.save({"a": Hostile(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"it wants to run _?io\.open, which septool does not do"):
        converted("auto", [tmp_path / "a.pt"])

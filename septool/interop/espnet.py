"""ESPnet's separators: a ``*.pth`` of tensors and the ``config.yaml`` beside it, or both in the zip of a model zoo.

TF-GridNet in its three versions, and TF-Locoformer, which its authors publish as an extension of ESPnet. The tensors
are silent about hops, windows, heads and groups, and about the version of a TF-GridNet's padding: the yaml is needed.
"""

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError, UsageError
from septool.interop.description import Description
from septool.interop.tensors import ForeignArchitecture, Names, Tensors, count_children

YAML = "config.yaml"
LARGEST = 1_000_000_000  # bytes of a member of a zip; published ones have 60 MB

_STEM_AND_HEAD: Names = {
    "separator.conv.0.*": "encoder.convolution.*",
    "separator.conv.1.*": "encoder.norm.*",
    "separator.deconv.*": "decoder.convolution.*",
}
_GRIDNET: Names = {
    **_STEM_AND_HEAD,
    "separator.blocks.*.*_norm.*": "blocks.*.*.norm.*",
    "separator.blocks.*.*_rnn.*": "blocks.*.*.lstm.*",
    "separator.blocks.*.*_linear.*": "blocks.*.*.linear.*",
    "separator.blocks.*.attn_concat_proj.0.*": "blocks.*.attention.out.*",
    "separator.blocks.*.attn_concat_proj.1.*": "blocks.*.attention.activation.*",
    "separator.blocks.*.attn_concat_proj.2.*": "blocks.*.attention.norm.*",
}
# Queries, keys and values are called Q, K and V until they are joined.
GRIDNET: Names = {
    **_GRIDNET,
    "separator.blocks.*.attn_conv_*.*": "blocks.*.attention.*.map.*",
    "separator.blocks.*.attn_norm_*.act.*": "blocks.*.attention.*.activation.*",
    "separator.blocks.*.attn_norm_*.*": "blocks.*.attention.*.norm.*",
}
GRIDNET_V1: Names = {  # every head has modules of its own: Q_0, Q_1
    **_GRIDNET,
    "separator.blocks.*.attn_conv_*.0.*": "blocks.*.attention.*.map.*",
    "separator.blocks.*.attn_conv_*.1.*": "blocks.*.attention.*.activation.*",
    "separator.blocks.*.attn_conv_*.2.*": "blocks.*.attention.*.norm.*",
}
LOCOFORMER: Names = {
    **_STEM_AND_HEAD,
    **{
        f"separator.blocks.*.{path}_path.{theirs}": f"blocks.*.{axis}.{ours}"
        for path, axis in (("freq", "frequency"), ("frame", "time"))
        for theirs, ours in {
            "ffn_norm.1.*": "norm1.*",  # the second of the list runs first
            "attn_norm.*": "norm2.*",
            "ffn_norm.0.*": "norm3.*",
            "ffn.1.conv1d.*": "before.expand.*",
            "ffn.1.deconv1d.weight": "before.contract.weight",
            "ffn.1.deconv1d.bias": "before.bias",
            "ffn.0.conv1d.*": "behind.expand.*",
            "ffn.0.deconv1d.weight": "behind.contract.weight",
            "ffn.0.deconv1d.bias": "behind.bias",
            "attn.qkv.*": "attention.qkv.*",
            "attn.aggregate_heads.0.*": "attention.out.*",
        }.items()
    },
    "separator.blocks.*.*_path.attn.rope.freqs": None,  # rates of rotary positions, which are not trained
}

# What ESPnet's classes have where a yaml is silent.
STFT = {
    "n_fft": 512,
    "win_length": None,
    "hop_length": 128,
    "window": "hann",
    "center": True,
    "normalized": False,
    "onesided": True,
    "use_builtin_complex": True,
    "default_fs": 16000,
    "spec_transform_type": None,
    "spec_factor": 0.15,
    "spec_abs_exponent": 0.5,
}
_GRIDNET_SIZES = {
    "n_srcs": 2,
    "n_imics": 1,
    "n_layers": 6,
    "lstm_hidden_units": 192,
    "attn_n_head": 4,
    "emb_dim": 48,
    "emb_ks": 4,
    "emb_hs": 1,
    "activation": "prelu",
    "eps": 1e-5,
}
_OWN_STFT = {"n_fft": 128, "stride": 64, "window": "hann", "attn_approx_qk_dim": 512, "use_builtin_complex": False}
SEPARATORS: dict[str, JsonDict] = {
    "tfgridnet": {**_GRIDNET_SIZES, **_OWN_STFT, "ref_channel": -1},
    "tfgridnetv2": {**_GRIDNET_SIZES, **_OWN_STFT},
    "tfgridnetv3": {**_GRIDNET_SIZES, "attn_qk_output_channel": 4},
    "tflocoformer": {
        "num_spk": 2,
        "n_layers": 6,
        "emb_dim": 128,
        "norm_type": "rmsgrouporm",  # so there, a network that cannot be built
        "num_groups": 4,
        "tf_order": "ft",
        "n_heads": 4,
        "flash_attention": False,
        "attention_dim": 128,
        "ffn_type": "swiglu_conv1d",
        "ffn_hidden_dim": None,  # 384 of one network, which is not ours; a list is of two
        "conv1d_kernel": 4,
        "conv1d_shift": 1,
        "dropout": 0.0,
        "eps": 1e-5,
    },
}


def is_espnet(names: Iterable[object]) -> bool:
    """Tell a state dict of one of these networks by its names."""
    return any(str(name).startswith("separator.blocks.") for name in names)


def with_description(files: Sequence[Path]) -> list[Path]:
    """Add the ``config.yaml`` that lies beside a single file of tensors."""
    if len(files) == 1 and files[0].suffix != ".zip" and (beside := files[0].with_name(YAML)).exists():
        return [beside, *files]
    return list(files)


def open_zip(path: Path) -> tuple[str, io.BytesIO]:
    """Read the description and the tensors out of a packed model; nothing is unpacked onto the disk.

    Returns:
        The text of its yaml, and the bytes of its tensors.

    Raises:
        CheckpointError: another kind of file, or not one of each in it.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            described = [member for member in packed.infolist() if PurePosixPath(member.filename).name == YAML]
            tensors = [member for member in packed.infolist() if member.filename.endswith(".pth")]
            if len(described) != 1 or len(tensors) != 1:
                found = f"{len(described)} {YAML} and {len(tensors)} .pth"
                raise CheckpointError(f"{path} holds {found}; a packed model has one of each")
            for member in (*described, *tensors):
                if member.file_size > LARGEST:
                    raise CheckpointError(
                        f"{path}: {member.filename} has {member.file_size} bytes; at most {LARGEST} are read"
                    )
            text = packed.read(described[0]).decode("utf-8")
            return text, io.BytesIO(packed.read(tensors[0]))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, UnicodeDecodeError, EOFError) as error:
        raise CheckpointError(f"{path} is not a zip of a model: {' '.join(str(error).split())[:120]}") from None


def check_rotary_rates(tensors: JsonMapping) -> None:
    """Refuse rotary positions whose rates were trained; ours are fixed.

    Raises:
        CheckpointError: other rates than those of Su et al., 2021.
    """
    for name, value in tensors.items():
        if str(name).endswith(".rope.freqs") and isinstance(value, torch.Tensor):
            fixed = 10000 ** -(torch.arange(len(value)) / max(len(value), 1))
            if not torch.allclose(value.float(), fixed, rtol=1e-4):
                raise CheckpointError(f"{name} was trained; septool has rotary positions only with fixed rates")


def describe(description: Description) -> tuple[ForeignArchitecture, JsonDict]:
    """Read what a ``config.yaml`` says.

    Returns:
        The network, and what the file says besides its settings: the rate.

    Raises:
        CheckpointError: another network, or a variant that ours cannot be.
    """
    kind = description.top("separator")
    if not isinstance(kind, str) or kind not in SEPARATORS:
        known = ", ".join(SEPARATORS)
        raise CheckpointError(f"{description.path} describes ESPnet's {kind!r} as separator; septool converts {known}")
    values = description.sized(kind, description.top("separator_conf") or {}, SEPARATORS[kind])
    if kind == "tflocoformer":
        model, names, mend = "tf-locoformer", LOCOFORMER, _mend_locoformer
        settings = _describe_locoformer(description, values)
    else:
        model, names, mend = "tf-gridnet", GRIDNET_V1 if kind == "tfgridnet" else GRIDNET, _mend_gridnet
        settings = _describe_gridnet(description, kind, values)

    def infer_config(weights: Tensors, _: JsonMapping) -> JsonDict:
        blocks = count_children(weights, "blocks")
        if blocks != settings["blocks"]:
            raise CheckpointError(f"{YAML} says n_layers is {settings['blocks']}, the tensors say {blocks}")
        mend(weights, settings)
        return dict(settings)

    return ForeignArchitecture(model, names, infer_config), description.rate()


def _check_codec(description: Description, wanted: str) -> None:
    kinds = {key: description.top(key) for key in ("encoder", "decoder")}
    description.only("config", kinds, encoder=wanted, decoder=wanted)


def _describe_stft(description: Description) -> JsonDict:
    """Read the transform around a network that has none of its own, and that the level is normalized."""
    _check_codec(description, "stft")
    encoder, decoder = (
        description.sized(kind, description.top(kind) or {}, STFT) for kind in ("encoder_conf", "decoder_conf")
    )
    plain = {key: STFT[key] for key in ("window", "center", "normalized", "onesided", "spec_transform_type")}
    for kind, values in (("encoder_conf", encoder), ("decoder_conf", decoder)):
        values["win_length"] = values["win_length"] or values["n_fft"]
        values["spec_transform_type"] = (
            None if values["spec_transform_type"] == "none" else values["spec_transform_type"]
        )
        sizes = {key: encoder[key] for key in ("n_fft", "hop_length")}
        description.only(kind, values, **sizes, win_length=encoder["n_fft"], **plain)
    model = description.top("model_conf") or {}
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{description.path}: model_conf is {model!r}; it should name its settings")
    description.only("model_conf", {"normalize_variance": False, **model}, normalize_variance=True)
    return {"fft": encoder["n_fft"], "hop": encoder["hop_length"]}


def _describe_gridnet(description: Description, kind: str, values: JsonDict) -> JsonDict:
    description.only(kind, values, n_imics=1, activation="prelu", eps=1e-5)
    if kind == "tfgridnetv3":
        transform, key = _describe_stft(description), values["attn_qk_output_channel"]
    else:
        _check_codec(description, "same")  # its transform is its own
        description.only(kind, values, window="hann")
        transform = {"fft": values["n_fft"], "hop": values["stride"]}
        fft, approximate = values["n_fft"], values["attn_approx_qk_dim"]
        if not (0 < fft < math.inf and 0 < approximate < math.inf):
            sizes = f"n_fft and attn_approx_qk_dim of {kind} are {fft} and {approximate}"
            raise CheckpointError(f"{description.path}: {sizes}; both should be sizes")
        key = math.ceil(approximate / (fft // 2 + 1))
    return transform | {
        "sources": values["n_srcs"],
        "blocks": values["n_layers"],
        "channels": values["emb_dim"],
        "hidden": values["lstm_hidden_units"],
        "kernel": values["emb_ks"],
        "stride": values["emb_hs"],
        "heads": values["attn_n_head"],
        "key": key,
        "padding": "end" if kind == "tfgridnet" else "both",
        "norm": "bin" if kind == "tfgridnetv3" else "frame",
    }


def _describe_locoformer(description: Description, values: JsonDict) -> JsonDict:
    kind = "tflocoformer"
    description.only(kind, values, norm_type="rmsgroupnorm", tf_order="ft", ffn_type=2 * ["swiglu_conv1d"], eps=1e-5)
    hidden = values["ffn_hidden_dim"]
    if not isinstance(hidden, list) or len(hidden) != 2:
        raise CheckpointError(f"{description.path}: ffn_hidden_dim of {kind} is {hidden!r}; septool has two of them")
    return _describe_stft(description) | {
        "sources": values["num_spk"],
        "blocks": values["n_layers"],
        "channels": values["emb_dim"],
        "hidden": tuple(hidden),
        "kernel": values["conv1d_kernel"],
        "stride": values["conv1d_shift"],
        "heads": values["n_heads"],
        "attention": values["attention_dim"],
        "groups": values["num_groups"],
    }


def _mend_gridnet(weights: Tensors, settings: JsonMapping) -> None:
    for number in range(settings["blocks"]):
        for path in ("intra", "inter"):
            _mend_recurrent(weights, f"blocks.{number}.{path}", settings)
        _mend_attention(weights, f"blocks.{number}.attention", settings)


def _mend_recurrent(weights: Tensors, stem: str, settings: JsonMapping) -> None:
    kernel, channels = settings["kernel"], settings["channels"]
    weight, bias = weights[f"{stem}.linear.weight"], weights.pop(f"{stem}.linear.bias")
    if weight.ndim == 3:  # a transposed convolution, and windows in which the position runs faster than the channel
        weights[f"{stem}.linear.weight"] = weight.permute(2, 1, 0).flatten(0, 1)
        for direction in ("", "_reverse"):
            name = f"{stem}.lstm.weight_ih_l0{direction}"
            weights[name] = weights[name].unflatten(1, (channels, kernel)).mT.flatten(1)
    if kernel > settings["stride"]:
        weights[f"{stem}.bias"] = bias
    else:
        weights[f"{stem}.linear.bias"] = bias if weight.ndim == 2 else bias.repeat(kernel)


def _mend_attention(weights: Tensors, stem: str, settings: JsonMapping) -> None:
    """Join queries, keys and values of all heads in one map; channels come last."""
    heads = settings["heads"]
    apart = f"{stem}.Q_0.map.bias" in weights
    maps: dict[str, list[torch.Tensor]] = {"weight": [], "bias": []}
    for number, letter in enumerate("QKV"):
        parts = [f"{letter}_{head}" for head in range(heads)] if apart else [letter]
        for name, joined in maps.items():
            joined += [weights.pop(f"{stem}.{part}.map.{name}") for part in parts]
            gain = torch.cat([weights.pop(f"{stem}.{part}.norm.{name}") for part in parts])
            # [heads or 1, heads or channels, ...] to [head, channel, bin], of which there is one in the third version
            gain = gain.reshape(heads, -1, gain.shape[-1])
            weights[f"{stem}.norms.{number}.{name}"] = gain[:, :, None].permute(0, 2, 3, 1)
        slopes = [weights.pop(f"{stem}.{part}.activation.weight") for part in parts]
        weights[f"{stem}.norms.{number}.activation.weight"] = torch.cat(slopes)
    for name, joined in maps.items():
        weights[f"{stem}.qkv.{name}"] = torch.cat(joined)
        weights[f"{stem}.norm.{name}"] = weights[f"{stem}.norm.{name}"][0, :, 0].mT.squeeze(0)  # [F, D]


def _mend_locoformer(weights: Tensors, settings: JsonMapping) -> None:
    """Write convolutions as products of windows."""
    for number in range(settings["blocks"]):
        for path in ("frequency", "time"):
            for part in ("before", "behind"):
                stem = f"blocks.{number}.{path}.{part}"
                weights[f"{stem}.expand.weight"] = weights[f"{stem}.expand.weight"].mT.flatten(1)
                contract = weights[f"{stem}.contract.weight"]  # [C, D, K] to [K D, C]
                weights[f"{stem}.contract.weight"] = contract.permute(2, 1, 0).flatten(0, 1)


def split_files(paths: Sequence[Path]) -> tuple[Path, Path]:
    """Name the description and the tensors among the files of a source.

    Raises:
        UsageError: not one of each.
    """
    described = [path for path in paths if path.suffix in (".yaml", ".yml")]
    tensors = [path for path in paths if path not in described]
    if len(described) != 1 or len(tensors) != 1:
        given = ", ".join(path.name for path in paths)
        raise UsageError(f"this source is one .pth with its {YAML} beside it, or a zip of both; {given} was given")
    return described[0], tensors[0]

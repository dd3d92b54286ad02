"""What networks compute in: refused where it cannot be, bfloat16 by itself where it is faster and as good."""

from pathlib import Path
from typing import Any

import pytest
import torch

from septool import catalogue, checkpoints
from septool.device import has_fast_bfloat16
from septool.errors import SeptoolError, UsageError
from septool.headers import read_header
from septool.inference.dtype import BF16_CHANGE, MOST_CHANGE_DB, check_dtype, choose_dtype, computing_in, torch_dtype
from septool.inference.level import make_estimator


def test_half_the_bits_give_nearly_the_same(tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    mixture = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        plain = make_estimator(model)(mixture)
        half = make_estimator(model, dtype=torch_dtype("bf16"))(mixture)
    assert half.dtype == torch.float32
    assert 0 < (half - plain).abs().max() < 0.1 * plain.abs().max()


def test_a_type_that_a_processor_does_not_have() -> None:
    with pytest.raises(UsageError, match="--dtype fp16 takes a GPU; processors have bf16"):
        check_dtype("fp16", torch.device("cpu"))
    check_dtype("fp16", None)  # of a cluster's workers nobody knows yet
    with (
        pytest.raises(SeptoolError, match="--dtype fp16 takes a GPU; processors have bf16"),
        computing_in(torch_dtype("fp16"), torch.device("cpu")),
    ):
        pass
    with pytest.raises(UsageError, match="--dtype is 'half'; it can be auto, fp32, bf16, fp16"):
        check_dtype("half", torch.device("cpu"))
    with (
        pytest.raises(SeptoolError, match=r"cannot compute the model in torch\.bfloat16; use --dtype fp32"),
        computing_in(torch.bfloat16, torch.device("cpu")),
    ):
        raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")


@pytest.mark.parametrize(
    ("asked", "device", "has_amx", "measured", "expected"),
    [
        ("auto", "cpu", True, {BF16_CHANGE: -0.049}, "bf16"),
        ("auto", "cpu", True, {BF16_CHANGE: 0}, "bf16"),
        ("auto", "cpu", True, {BF16_CHANGE: 0.06}, "fp32"),  # better by chance, worse by it elsewhere
        ("auto", "cpu", True, {BF16_CHANGE: "none"}, "fp32"),
        ("auto", "cpu", True, {"si_snri": 9.3}, "fp32"),  # never measured
        ("auto", "cpu", False, {BF16_CHANGE: 0.0}, "fp32"),
        ("auto", "mps", True, {BF16_CHANGE: 0.0}, "fp32"),
        ("auto", None, True, {BF16_CHANGE: 0.0}, "fp32"),  # machines of a cluster give the same
        ("fp32", "cpu", True, {BF16_CHANGE: 0.0}, "fp32"),
        ("bf16", "cpu", False, {}, "bf16"),
    ],
)
def test_bfloat16_where_it_is_faster_and_as_good(
    asked: str,
    device: str | None,
    has_amx: bool,
    measured: dict[str, Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has_amx, "avx512_bf16": False})
    assert choose_dtype(asked, None if device is None else torch.device(device), measured).name == expected


def test_bfloat16_on_processors_that_multiply_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in (({"avx512_bf16": True}, True), ({"avx512_f": True}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert has_fast_bfloat16(torch.device("cpu")) == expected


def test_bfloat16_on_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6) if device.index == 0 else (7, 5))
    assert has_fast_bfloat16(torch.device("cuda:0"))
    assert not has_fast_bfloat16(torch.device("cuda:1"))


def test_what_counts_as_done_is_what_auto_may_be() -> None:
    borne: dict[str, Any] = {BF16_CHANGE: 0.0}
    assert choose_dtype("auto", None, borne).accepted == ("fp32", "bf16")
    assert not choose_dtype("auto", None, {}).accepted
    assert not choose_dtype("bf16", None, borne).accepted


@pytest.mark.parametrize("name", ["galr", "papez"])
def test_the_bundled_separators_bear_it(name: str) -> None:
    _, path = catalogue.resolve_checkpoint(name)
    assert abs(read_header(path).measured[BF16_CHANGE]) < MOST_CHANGE_DB

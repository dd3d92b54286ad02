"""What a processor keeps for lengths of sound that it has computed once."""

import os
import subprocess
import sys

import pytest

from septool.device import KERNELS, choose_device, hardware

GROWTH = """
import resource, sys
import torch
from septool.device import choose_device
choose_device("cpu")
torch.set_num_threads(1)
layer = torch.nn.Conv1d(16, 16, 9)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
with torch.inference_mode():
    layer(torch.zeros(1, 16, 2000))
    before = peak()
    for length in range(500, 1700):
        layer(torch.zeros(1, 16, length))
print(peak() - before)
"""


def test_hardware_in_words() -> None:
    import torch

    assert hardware(torch.device("mps")).endswith("GPU (MPS)")
    assert "CPU, " in hardware(torch.device("cpu"))


def test_what_the_user_says_of_kernels_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    name, most = KERNELS
    monkeypatch.delenv(name, raising=False)
    choose_device("cpu")
    monkeypatch.setenv(name, "7")
    choose_device("cpu")
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    choose_device("cpu")
    assert os.environ[name] == most


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are in other units elsewhere")
def test_lengths_that_are_never_heard_again_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = []
    for kept in ("1024", None):
        monkeypatch.setenv(KERNELS[0], kept) if kept else monkeypatch.delenv(KERNELS[0])
        said = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, check=True, text=True).stdout
        grown.append(float(said))
    assert grown[1] < grown[0] / 2, grown

"""Files of other toolkits, with random weights."""

from pathlib import Path

import pytest
import torch

from tests.interop.converting import torchaudio_network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The state dict of torchaudio's Conv-TasNet."""
    path = tmp_path / "weights.pt"
    torch.save(torchaudio_network().state_dict(), path)
    return path

"""Papez as its authors released it: their code is no package, so it is fetched, and its weights brought to ours."""

import subprocess
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor, nn

from septool.models.papez import Config
from septool.tasks.convert import convert

REPOSITORY = "https://github.com/snuhcs/Papez"
COMMIT = "bd494c2e600adb79c37ab1ec5df0e1a907e776f8"
FOLDER = Path(__file__).parent.parent / ".cache" / "papez"
CONFIG = Config()
Network = TypeVar("Network", bound=nn.Module)
RUNNING = -3.0  # the channel that decides: 16 steps at sigmoid(-3) stay below the threshold, so that no token halts


def perturb(network: Network) -> Network:
    """Move gains, biases and slopes away from their defaults, the same way every time."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


class Released(nn.Module):
    """The network as the others are called: without an axis for channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mixture: Tensor) -> Tensor:  # [B, T]
        return self.network(mixture[:, None])


def code() -> ModuleType:
    """Fetch the authors' code, unless it is there, and import it."""
    if not FOLDER.exists():
        partial = FOLDER.with_suffix(".partial")
        for command in (
            ("init", "--quiet", str(partial)),
            ("-C", str(partial), "fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT),
            ("-C", str(partial), "checkout", "--quiet", "FETCH_HEAD"),
        ):
            subprocess.run(["git", *command], check=True, stdout=sys.stderr)
        partial.rename(FOLDER)
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return import_module("core.model")


def papez() -> Released:
    """Build the network at the paper's sizes; no token halts, so that it takes all its steps, whatever it hears."""
    theirs = code()
    torch.manual_seed(0)
    with redirect_stdout(sys.stderr):  # it prints while it is built
        layer = theirs.MemoryTransformerEncoderLayer_MEMABSPOS_SINGLESHOT_AdaLN_NormTogether(
            d_model=CONFIG.width,
            depth=CONFIG.depth,
            nhead=CONFIG.heads,
            chunk_size=CONFIG.chunk,
            mem_size=CONFIG.memory,
            dim_feedforward=CONFIG.feedforward,
            batch_first=True,
            norm_first=False,
        )
        transformer = theirs.PapezTransformer(layer, num_layers=CONFIG.depth, hidden_size=CONFIG.width)
        network = perturb(
            theirs.Papez(
                transformer,
                encoder_kernel_size=CONFIG.window,
                encoder_out_nchannels=CONFIG.width,
                masknet_numspks=CONFIG.sources,
                num_memory_slots=CONFIG.memory,
            )
        )
    state = network.state_dict()  # shares its memory
    state["masknet.embed.3.weight"][-1] = 0.0
    state["masknet.transformer.enc.norm2.weight"][:, -1] = 0.0
    state["masknet.embed.3.bias"][-1] = RUNNING
    state["masknet.transformer.enc.norm2.bias"][:, -1] = RUNNING
    return Released(network)


def converted(network: Released, path: Path) -> Path:
    """Bring the network's weights into a checkpoint of ours."""
    file = path.with_suffix(".pt")
    torch.save(network.network.state_dict(), file)
    convert("papez", [file], path, sample_rate=8000, heads=CONFIG.heads)
    return path

"""A network's throughput against the machine's peak, and its most expensive layers.

The machine's limit is what a large matrix product reaches, in the same process and at the same precision. A network
whose share of it is small waits for memory, for activations, or for one small product after the other.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from septool.profiling.records import Layer

PRODUCT = {"cpu": 2048, "cuda": 8192, "mps": 4096}  # rows and columns
PRODUCTS = 4  # the fastest counts: the limit is what the machine reaches undisturbed
PASSES = 3


def product_gflops(device: torch.device) -> float:
    """Return the GFLOP/s of a product of two square matrices; as precise as autocast says."""
    rows = PRODUCT.get(device.type, 2048)
    left, right = torch.randn(2, rows, rows, device=device)

    def call() -> None:
        torch.matmul(left, right)
        synchronize(device)

    with torch.inference_mode():
        call()
        return product_flops(rows) / min(_time(call) for _ in range(PRODUCTS)) / 1e9


def product_flops(rows: int) -> int:
    """Return the FLOPs of a product of two square matrices: a product and a sum for each of ``rows ** 3``."""
    return 2 * rows**3


def synchronize(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _time(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


@dataclass
class LayerClock:
    """What every module of a network takes by itself: without the modules that it calls.

    Args:
        model: the network.
        device: where it is; every module waits for it, so that a GPU's overlap is lost.
        clock: seconds.
    """

    model: nn.Module
    device: torch.device
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)  # by path; "" is the network's own
    calls: dict[str, int] = field(default_factory=dict)

    def run(self, call: Callable[[], object]) -> None:
        """Make a call of the network, and add up what its modules take."""
        running: list[str] = []
        last = 0.0

        def switch() -> None:
            nonlocal last
            synchronize(self.device)
            now = self.clock()
            if running:
                self.seconds[running[-1]] = self.seconds.get(running[-1], 0.0) + now - last
            last = now

        def enter(path: str) -> Callable[..., None]:
            def before(*_: object) -> None:
                switch()
                running.append(path)
                self.calls[path] = self.calls.get(path, 0) + 1

            return before

        def leave(*_: object) -> None:
            switch()
            running.pop()

        hooks = []
        for path, module in self.model.named_modules():
            hooks.append(module.register_forward_pre_hook(enter(path)))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            call()
        finally:
            for hook in hooks:
                hook.remove()


def layer_costs(model: nn.Module, device: torch.device, call: Callable[[], object]) -> tuple[Layer, ...]:
    """Time a few calls of a network module by module; the costliest first, those of a list of alike ones together."""
    clock = LayerClock(model, device)
    for _ in range(PASSES):
        clock.run(call)
    kinds = {path: type(module).__name__ for path, module in model.named_modules()}
    return summarize_layers(clock.seconds, clock.calls, kinds, PASSES)


def summarize_layers(
    seconds: Mapping[str, float], calls: Mapping[str, int], kinds: Mapping[str, str], passes: int
) -> tuple[Layer, ...]:
    """Join modules that differ by their place in a list alone, and order them by what they take.

    Args:
        seconds: of all passes, by the path of a module.
        calls: the same.
        kinds: the class of each.
        passes: how many there were.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for path in seconds:
        groups.setdefault((layer_name(path), kinds[path]), []).append(path)
    total = sum(seconds.values())
    layers = [
        Layer(
            module=name,
            kind=kind,
            calls=sum(calls[path] for path in paths) // passes,
            seconds=sum(seconds[path] for path in paths) / passes,
            share=sum(seconds[path] for path in paths) / total if total else 0.0,
        )
        for (name, kind), paths in groups.items()
    ]
    return tuple(sorted(layers, key=lambda layer: -layer.seconds))


def layer_name(path: str) -> str:
    """Return the path of a module without its places in lists.

    >>> layer_name("blocks.3.local.lstm")
    'blocks.*.local.lstm'
    """
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path) or "(itself)"

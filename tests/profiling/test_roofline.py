"""How far from the machine's limit a network is, and which layers cost most, against values made by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from septool.errors import UsageError
from septool.profiling import isolation, roofline
from septool.profiling.isolation import measure_in_rounds
from septool.profiling.measure import Target, measure
from septool.profiling.records import Layer, Peak, Row, Settings, Timing
from septool.profiling.report import Machine, Profile, tables, write_profile
from septool.profiling.roofline import LayerClock, layer_costs, layer_name, product_flops, product_gflops
from septool.tasks.profile import profile
from tests.models.tiny import TINY
from tools.results import read_profile

CPU = torch.device("cpu")
MACHINE = Machine(
    hardware="x", cores=2, threads=1, system="", driver="", cuda="", septool="", torch="", python="", commit="", date=""
)


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(nn.Module):
    """Takes so long before what it calls, and as long after."""

    def __init__(self, clock: Clock, seconds: float, *parts: nn.Module) -> None:
        super().__init__()
        self.clock, self.seconds, self.parts = clock, seconds, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.seconds
        for part in self.parts:
            x = part(x)
        self.clock.now += self.seconds
        return x


class Other(Slow):
    pass


def test_a_layer_takes_what_those_that_it_calls_do_not() -> None:
    clock = Clock()
    shared = Other(clock, 1.0)
    model = Slow(clock, 0.5, Slow(clock, 2.0, shared), Slow(clock, 3.0, shared), Slow(clock, 4.0))
    timed = LayerClock(model, CPU, clock)
    clock.now += 100  # before the call is nobody's
    timed.run(lambda: model(torch.zeros(1)))
    assert timed.seconds == {"": 1.0, "parts.0": 4.0, "parts.0.parts.0": 4.0, "parts.1": 6.0, "parts.2": 8.0}
    assert timed.calls == {"": 1, "parts.0": 1, "parts.0.parts.0": 2, "parts.1": 1, "parts.2": 1}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_layers_of_a_list_stand_together_and_the_costliest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    model = Slow(clock, 0.5, Slow(clock, 2.0), Other(clock, 5.0), Slow(clock, 4.0))
    monkeypatch.setattr(roofline, "LayerClock", lambda model, device: LayerClock(model, device, clock))
    found = layer_costs(model, CPU, lambda: model(torch.zeros(1)))
    assert found == (
        Layer(module="parts.*", kind="Slow", calls=2, seconds=12.0, share=12 / 23),
        Layer(module="parts.*", kind="Other", calls=1, seconds=10.0, share=10 / 23),
        Layer(module="(itself)", kind="Slow", calls=1, seconds=1.0, share=1 / 23),
    )


def test_a_network_that_fails_is_left_without_hooks() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError):
        LayerClock(model, CPU).run(lambda: model(torch.zeros(3)))
    assert not model[0]._forward_hooks


def test_places_in_lists_are_left_out_of_names() -> None:
    assert layer_name("0.blocks.12.conv1d.lstm2.3") == "*.blocks.*.conv1d.lstm2.*"


def test_a_product_is_counted_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert product_flops(3) == 2 * 27  # nine sums of three products
    taken = iter([0.5, 0.25, 1.0, 0.75])

    def time_call(call: Callable[[], object]) -> float:
        call()
        return next(taken)

    monkeypatch.setattr(roofline, "_time", time_call)
    monkeypatch.setattr(roofline, "PRODUCT", {"cpu": 100})
    assert product_gflops(CPU) == pytest.approx(2e6 / 0.25 / 1e9)


def row(seconds: float, latency: float) -> Row:
    timing = Timing(latency, latency, latency, 1)
    return Row(
        model="a", seconds=seconds, parameters=1, bytes=1, macs=1_500_000_000, flops=3_000_000_000, latency=timing,
        real_time_factor=0.0, memory=None,
    )  # fmt: skip


def test_a_share_is_of_what_the_processes_reach_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[row(1.0, 0.1), Peak(50.0)], [row(1.0, 0.3), Peak(60.0)], [row(1.0, 0.2), Peak(120.0)]]
    monkeypatch.setattr(isolation, "measure_isolated", lambda *_: answers.pop(0))
    target = Target(name="a", model="galr", config={}, rate=8000)
    ((found,), _) = measure_in_rounds([target], [1.0], Settings(rounds=3, batch=2))
    assert found.gflops == pytest.approx(2 * 3.0 / 0.2)
    assert found.peak_gflops == 60.0
    assert found.peak_share == pytest.approx(0.5)
    assert row(1.0, 0.1).peak_share is None


def test_the_costs_say_so(tmp_path: Path) -> None:
    layers = (Layer(module="blocks.*", kind="Block", calls=6, seconds=0.15, share=0.75),)
    rows = [replace(row(1.0, 0.2), gflops=15.0, peak_gflops=60.0, layers=layers)]
    measured = Profile(machine=MACHINE, conditions=Settings(), rows=rows, growth=[], failures=[])
    costs, by_layer = tables(measured)
    assert "a large matrix product reaches 60 GFLOP/s" in costs.title
    cells = dict(zip(costs.columns, costs.rows[0], strict=True))
    assert (cells["GFLOP/s"], cells["of peak"]) == (15.0, "25%")
    assert by_layer.rows == [["blocks.*", "Block", 6, 150.0, "75%"]]
    for name in ("a.jsonl", "a.csv"):
        write_profile(measured, out=tmp_path / name, plot=None, html=None)
    assert read_profile(tmp_path / "a.jsonl").rows == rows
    assert "blocks.*=0.7500" in (tmp_path / "a.csv").read_text()


def test_the_longest_recordings_layers_are_timed() -> None:
    target = Target(name="a", model="galr", config=TINY["galr"], rate=8000)
    short, long = measure(target, [0.1, 0.05], Settings(budget=0.0, by_layer=True))
    assert isinstance(short, Row)
    assert isinstance(long, Row)
    assert short.layers == ()
    assert sum(layer.share for layer in long.layers) == pytest.approx(1.0)
    shares: Any = [layer.share for layer in long.layers]
    assert shares == sorted(shares, reverse=True)
    assert {"LSTM", "Linear"} <= {layer.kind for layer in long.layers}


def test_compiled_modules_have_no_layers() -> None:
    with pytest.raises(UsageError, match="--by-layer takes modules that are not compiled; leave out --compile"):
        profile(model="galr", by_layer=True, compile=True)

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool import checkpoints
from septool.errors import AudioError, CheckpointError, SeptoolError, UsageError
from septool.models import MODELS
from septool.models.base import Separator
from septool.models.build import build_model
from septool.profiling import isolation, report, timing
from septool.profiling import measure as measuring
from septool.profiling.isolation import measure_isolated
from septool.profiling.measure import Target, load_batch, measure
from septool.profiling.memory import PeakMemory
from septool.profiling.records import Failure, Row, Settings, scaling_exponent
from septool.profiling.timing import summarize_times, time_call
from septool.tasks.profile import EXAMPLE, find_target, parse_lengths, profile
from tests.models.tiny import TINY, TINY_EXTRACTORS
from tools.results import read_profile

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
QUICK = Settings(budget=0.0)
TABLE = """
title = "A table"
protocol = "0.1 s"
lengths = [0.1]
reference = "B"
[[rows]]
label = "A"
model = "galr:d64-m16"
config = {blocks = 1}
published = {parameters_m = 0.5, gmacs = 1}
si_snri = 10.0
[[rows]]
label = "B"
model = "dprnn:stride8"
config = {blocks = 1}
published = {parameters_m = 0.5, gmacs = 2}
"""


def tiny(model: str) -> Target:
    return Target(name=model, model=model, config=(TINY | TINY_EXTRACTORS)[model], rate=8000)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: a fresh one takes seconds to start."""
    monkeypatch.setattr(isolation, "measure_isolated", measure)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.toml"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("1-5s", (1, 2, 3, 4, 5)),
        ("1-5", (1, 2, 3, 4, 5)),
        ("0.5,1,2,4,60s", (0.5, 1, 2, 4, 60)),
        ("2", (2,)),
        ("0.5-2.5s", (0.5, 1.5, 2.5)),
        ("1.1-4.1s", (1.1, 2.1, 3.1, 4.1)),
        ("1.1-4.0s", (1.1, 2.1, 3.1)),
        ("4s, 1-2s, 1s", (1, 2, 4)),
    ],
)
def test_lengths_are_read(text: str, lengths: tuple[float, ...]) -> None:
    assert parse_lengths(text) == lengths


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(UsageError, match="lengths are '1,5-2s'; the range 5-2s runs backwards"):
        parse_lengths("1,5-2s")


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1-", "1,,2", "inf", "nan", "1e300s", "0-9999999999s"])
def test_lengths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="lengths are"):
        parse_lengths(text)


def test_the_exponent_is_that_of_a_power_law() -> None:
    lengths = [0.5, 1, 2, 8]
    assert scaling_exponent(lengths, [3 * length**1.7 for length in lengths]) == pytest.approx(1.7)


@pytest.mark.parametrize("name", sorted(TINY | TINY_EXTRACTORS))
def test_every_model_can_be_measured_and_trained(name: str) -> None:
    _, row = measure(tiny(name), [0.1], Settings(budget=0.0, train=True))
    assert isinstance(row, Row), row
    model = tiny(name).build()
    assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert row.bytes >= 4 * row.parameters
    assert row.macs > 0
    assert row.training is not None
    assert row.training.median > 0


def test_rows_come_by_length_with_their_real_time_factor() -> None:
    rows = [*measure(tiny("galr"), [0.2, 0.1], Settings(budget=0.0, batch=3))]
    assert [row.seconds for row in rows] == [0.1, 0.2]
    for row in rows:
        assert isinstance(row, Row)
        assert row.latency.low <= row.latency.median <= row.latency.high
        assert row.real_time_factor == pytest.approx(row.latency.median / (3 * row.seconds))
        assert row.training is None


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_other_precisions_run(dtype: Any) -> None:
    (row,) = measure(tiny("conv-tasnet"), [0.1], Settings(budget=0.0, dtype=dtype))
    assert isinstance(row, Row), row


def test_repeating_ends_when_the_median_is_known() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    measured = time_call(call, torch.device("cpu"), budget=0.0)
    assert (measured.repeats, calls) == (3, 4)  # and one to warm up


def test_repeating_ends_even_if_the_median_never_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    monkeypatch.setattr(timing, "_time_once", lambda *_: 10.0 ** random.uniform(-9, -4))
    assert time_call(lambda: None, torch.device("cpu"), budget=60.0).repeats == timing.MAX_REPEATS


def test_two_runs_agree_within_their_stated_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine whose every pass takes 1 s and up to a tenth more, rarely three times as long.
    random = np.random.default_rng(0)
    monkeypatch.setattr(timing, "_time_once", lambda *_: 1 + random.exponential(0.03) + 2.0 * (random.random() < 0.03))
    runs = [time_call(lambda: None, torch.device("cpu"), budget=60.0) for _ in range(40)]
    for first, second in pairwise(runs):
        assert first.low <= second.high
        assert second.low <= first.high
    assert all(run.high - run.low < timing.SETTLED * run.median for run in runs)
    assert all(timing.ENOUGH_REPEATS <= run.repeats < timing.MAX_REPEATS for run in runs)


@pytest.mark.parametrize("repeats", [6, 20, 100])
def test_the_stated_spread_holds_the_true_median(repeats: int) -> None:
    random = np.random.default_rng(repeats)
    runs = [summarize_times(list(random.exponential(size=repeats))) for _ in range(1000)]
    covered = sum(run.low <= math.log(2) <= run.high for run in runs)
    assert covered >= 940  # 950 are expected at least
    # Not by saying nothing: the error of a median shrinks with the root of the repeats.
    assert np.median([run.high - run.low for run in runs]) < 6 / repeats**0.5


def test_what_a_device_still_does_of_the_first_call_is_not_in_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: events.append("wait"))
    time_call(lambda: events.append("call"), torch.device("mps"), budget=0.0, min_repeats=1)
    assert events == ["call", "wait"] * 2


@LINUX
def test_the_gauge_shows_the_peak_and_forgets_it() -> None:
    memory = PeakMemory(torch.device("cpu"))
    np.ones(2**27, dtype=np.uint8)
    held = memory.peak()
    assert held is not None
    assert held >= 0.95 * 2**27
    memory.reset()
    after = memory.peak()
    assert after is not None
    assert after < held - 2**26


@LINUX
def test_a_system_that_leaves_out_the_peak_says_nothing_of_it(tmp_path: Path) -> None:
    memory = PeakMemory(torch.device("cpu"))
    memory._status = tmp_path / "status"
    memory._status.write_text("VmRSS:   1234 kB\n")
    assert memory.peak() is None


class Breaking(Separator[Any]):
    """Breaks at 0.2 s."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        if mixture.shape[-1] == 1600:
            raise torch.OutOfMemoryError("no room\nand more lines")
        return self.layer(mixture[..., None]).mT


def test_a_length_that_fails_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "build", lambda self: Breaking())
    first, second, third = measure(tiny("galr"), [0.1, 0.2, 0.3], QUICK)
    assert isinstance(first, Row)
    assert second == Failure("galr", 0.2, "no room")
    assert isinstance(third, Row)


def test_a_step_that_fails_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(measuring, "training_step", no_room)
    row, failed = measure(tiny("galr"), [0.1], Settings(budget=0.0, train=True))
    assert isinstance(row, Row)
    assert row.training is None
    assert failed == Failure("galr", 0.1, "no room")


def test_weights_that_do_not_fit_are_a_failure(tiny_checkpoint: Path) -> None:
    target = Target(name="x", model="galr", config=TINY["galr"], rate=8000, weights=tiny_checkpoint)
    (failed,) = measure(target, [0.1], QUICK)
    assert isinstance(failed, Failure)
    assert "does not fit" in failed.error


def test_a_trace_is_written(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    (row,) = measure(tiny("galr"), [0.05], Settings(budget=0.0, trace=path))
    assert isinstance(row, Row), row
    names = {event.get("name") for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]}
    assert "aten::lstm" in names


def test_modules_are_marked_one_inside_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", lambda path: seen.append(path) or len(seen))
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: seen.append("end"))
    monkeypatch.setattr(torch.cuda.profiler, "profile", nullcontext)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("synchronized"))
    model = tiny("galr").build()
    mixture = load_batch(None, 8000, 0.05, 1)
    with torch.inference_mode():
        expected = model(mixture)
        measuring.mark_modules(model, lambda: torch.testing.assert_close(model(mixture), expected))
        assert seen[:3] == ["GALR", "encoder", "encoder.basis"]
        assert seen[-2:] == ["end", "synchronized"]
        assert seen.count("end") == len(seen) // 2
        before = len(seen)
        model(mixture)
        assert len(seen) == before, "the marks are gone"


def test_speech_is_repeated_and_brought_to_level(call: Path) -> None:
    mixture = load_batch(call, 8000, 7.0, batch=2)  # the recording has 3 s
    assert mixture.shape == (2, 56000)
    torch.testing.assert_close(mixture[0, :24000], mixture[1, 24000:48000])
    assert mixture[0].square().mean().sqrt() == pytest.approx(0.1, rel=1e-3)  # -20 dB


def test_a_papez_that_halts_is_counted_by_what_its_tokens_need(tiny_checkpoint: Path, call: Path) -> None:
    def cost(halting: str) -> Row:
        (row,) = measure(find_target(str(tiny_checkpoint), halting), [0.5], Settings(budget=0.0, speech=call))
        assert isinstance(row, Row)
        return row

    rows = {halting: cost(halting) for halting in ("none", "reference", "freeze", "drop")}
    assert rows["none"].running == ()
    for halting in ("reference", "freeze", "drop"):
        shares = rows[halting].running
        assert shares[0] == 1
        assert all(before >= after for before, after in pairwise(shares))
    assert rows["drop"].macs < rows["freeze"].macs < rows["reference"].macs <= rows["none"].macs
    assert rows["freeze"].bytes == tiny_checkpoint.stat().st_size


def test_names_mean_models_rows_and_checkpoints(tiny_checkpoint: Path) -> None:
    assert find_target("galr").config == vars(MODELS.module("galr").Config())
    assert find_target("galr:d64-m16").config == vars(MODELS.module("galr").CONFIGS["d64-m16"])
    assert find_target("papez").config["halting"] == "none"
    rates = {model: find_target(model).rate for model in ("voicefilter", "atss-net-pit", "galr")}
    assert rates == {"voicefilter": 16000, "atss-net-pit": 16000, "galr": 8000}
    loaded = find_target(str(tiny_checkpoint), "drop")
    assert (loaded.name, loaded.model, loaded.weights) == ("tiny", "papez", tiny_checkpoint)
    assert loaded.config["halting"] == "drop"
    assert (find_target("galr").quality, find_target("galr").quality_from) == (20.3, "published")


def test_weights_that_never_learned_to_halt_are_not_made_to(tmp_path: Path) -> None:
    config = TINY["papez"] | {"halting": "none"}
    path = tmp_path / "still.safetensors"
    header = checkpoints.Header(model="papez", config=config, sample_rate=8000, sources=2)
    checkpoints.save(path, build_model("papez", config).state_dict(), header)
    assert find_target(str(path), "none").config["halting"] == "none"
    with pytest.raises(UsageError, match="--halting drop needs weights that learned to halt; still was trained"):
        find_target(str(path), "drop")


@pytest.mark.parametrize("measured", [{"si_snri": 7.5}, {"si_snri": 8.0, "si_snri_one_pass": 7.5}])
def test_a_checkpoint_brings_its_measured_score(measured: dict[str, float], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model = build_model("galr", TINY["galr"])
    header = checkpoints.Header(model="galr", config=TINY["galr"], sample_rate=8000, sources=2, measured=measured)
    checkpoints.save(path, model.state_dict(), header)
    assert (find_target(str(path)).quality, find_target(str(path)).quality_from) == (7.5, "measured")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model": "sepfomer"}, UsageError, "unknown model 'sepfomer'; did you mean 'sepformer'?"),
        ({"model": "galr:d64"}, UsageError, "unknown configuration of galr 'd64'"),
        ({"model": "speaker-net"}, UsageError, "neither separates nor extracts"),
        ({"model": "none.safetensors"}, CheckpointError, "does not exist"),
        ({"model": "papez", "halting": "drop"}, UsageError, "needs trained weights"),
        ({"model": "galr", "halting": "stop"}, UsageError, "unknown way of halting 'stop'"),
        ({"model": "galr", "dtype": "int8"}, UsageError, "unknown precision 'int8'"),
        ({"model": "galr", "dtype": "tf32"}, UsageError, "needs a CUDA GPU"),
        ({"model": "galr", "nvtx": True}, UsageError, "--nvtx needs a CUDA GPU"),
        ({"model": "galr,dprnn", "halting": "drop"}, UsageError, "is for checkpoints of Papez; galr,dprnn has none"),
        ({"model": "galr", "out": Path("a.txt")}, UsageError, "^a.txt has to end in .jsonl or .csv"),
        ({"model": "galr", "plot": Path("a.gif")}, UsageError, "^a.gif has to end in .png or .svg"),
        ({"model": "galr", "html": Path("a.pdf")}, UsageError, "^a.pdf has to end in .html"),
        ({"model": "galr", "torch_profiler": Path("a.txt")}, UsageError, "^a.txt has to end in .json"),
        ({"model": "galr,dprnn", "torch_profiler": Path("a.json")}, UsageError, "takes one model, 2 were given"),
        ({"model": "speaker-net-8k"}, UsageError, "speaker-net neither separates nor extracts"),
        ({"model": "galr,papez,galr"}, UsageError, "--model names galr twice"),
        ({"model": "galr", "speech": Path("none.wav")}, AudioError, "none.wav does not exist"),
        ({"model": "galr", "paper": "galr-table3"}, UsageError, "unknown system of GALR, Table 3 'galr'"),
        ({"paper": "galr-table3", "lengths": "1s"}, UsageError, "brings its lengths"),
        ({"paper": "galr-table3", "halting": "drop"}, UsageError, "needs trained weights"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    monkeypatch.setattr(isolation, "measure_isolated", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(error, match=said):
        profile(device="cpu", **arguments)


def test_figures_without_matplotlib_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'septool\[plot\]'"):
        profile(model="galr", device="cpu", plot=Path("a.png"))


@pytest.mark.parametrize("option", ["out", "plot", "html", "torch_profiler"])
def test_a_file_that_is_there_stays_unless_forced(
    option: str, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    suffix = {"out": "csv", "plot": "png", "html": "html", "torch_profiler": "json"}[option]
    path = tmp_path / f"mine.{suffix}"
    path.write_text("mine")
    asked: dict[str, Any] = {"model": str(tiny_checkpoint), "lengths": "0.1", "device": "cpu", "budget": 0.0}
    asked[option] = path
    monkeypatch.setattr(isolation, "measure_isolated", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(SeptoolError, match=rf"mine\.{suffix} exists; use --force to replace it"):
        profile(**asked)
    assert path.read_text() == "mine"
    monkeypatch.setattr(isolation, "measure_isolated", measure)
    profile(**asked, force=True)
    assert path.read_bytes()[:4] != b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_for_results_is_made_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "measure_isolated", lambda *_: [])
    profile(model="galr", device="cpu", out=tmp_path / "new" / "a.jsonl")
    assert (tmp_path / "new" / "a.jsonl").exists()
    monkeypatch.setattr(isolation, "measure_isolated", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(AudioError, match="is a file, not a folder"):
        profile(model="galr", device="cpu", out=tmp_path / "new" / "a.jsonl" / "b.jsonl")


@pytest.mark.usefixtures("here")
def test_the_bundled_example_is_heard_by_default(tiny_checkpoint: Path) -> None:
    measured = profile(model=str(tiny_checkpoint), lengths="0.1", device="cpu", budget=0.0)
    assert measured.conditions.speech == EXAMPLE
    heading = report.tables(measured)[0].title
    assert heading.endswith("cpu, fp32, batch 1, two-talkers.flac, 5 processes for each model")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("here")
def test_everything_is_written(tmp_path: Path, tiny_checkpoint: Path, call: Path) -> None:
    pytest.importorskip("matplotlib")
    for suffix in ("jsonl", "csv"):
        measured = profile(
            model=str(tiny_checkpoint),
            lengths="0.1,0.2,0.4",
            device="cpu",
            budget=0.0,
            speech=call,
            out=tmp_path / f"a.{suffix}",
            plot=tmp_path / "a.svg",
            html=tmp_path / "a.html",
            force=True,
        )
    assert [row.seconds for row in measured.rows] == [0.1, 0.2, 0.4]
    (fit,) = measured.growth
    assert fit.macs == pytest.approx(scaling_exponent([0.1, 0.2, 0.4], [row.macs for row in measured.rows]))
    assert math.isfinite(fit.latency)

    machine, *costs, growth = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert machine["kind"] == "machine"
    assert machine["torch"] == torch.__version__
    assert machine["conditions"]["speech"] == call.name
    again = read_profile(tmp_path / "a.jsonl")
    assert json.loads(json.dumps(list(report.profile_lines(again)))) == [machine, *costs, growth]
    assert [(cost["kind"], cost["model"], cost["seconds"]) for cost in costs] == [
        ("cost", "tiny", length) for length in (0.1, 0.2, 0.4)
    ]
    assert growth["kind"] == "growth"

    body = read_csv(tmp_path / "a.csv")
    assert [line["kind"] for line in body] == ["cost", "cost", "cost", "growth"]
    assert (body[2]["macs"], body[2]["flops"]) == (str(measured.rows[2].macs), str(2 * measured.rows[2].macs))
    assert float(body[3]["memory"] or "nan") == pytest.approx(
        math.nan if fit.memory is None else fit.memory, nan_ok=True
    )
    for line in body:
        assert (line["torch"], line["conditions_device"]) == (torch.__version__, "cpu")
    assert {"latency_median", "hardware", "commit"} < body[0].keys()

    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert not list(tmp_path.glob(".*partial"))


VOID = {"br", "hr", "img", "link", "meta", "source"}  # tags that nothing closes


class Page(HTMLParser):
    """Counts tags and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1


@pytest.mark.usefixtures("here")
def test_a_table_of_a_paper_is_measured_and_compared(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outputs: dict[str, Any] = {"out": tmp_path / "a.csv", "html": tmp_path / "a.html", "plot": tmp_path / "a.png"}
    measured = profile(paper=str(table), device="cpu", budget=0.0, **outputs)
    assert [row.model for row in measured.rows] == ["A", "B"]
    assert measured.rows[0].quality == 10.0
    quantities = [(one.label, one.quantity, one.published) for one in measured.comparisons]
    assert quantities == [
        ("A", "parameters, M", 0.5),
        ("A", "MACs, G", 1.0),
        ("B", "parameters, M", 0.5),
        ("B", "MACs, G", 2.0),
    ]
    assert measured.comparisons[1].measured == measured.rows[0].macs / 1e9
    compared = [line for line in read_csv(tmp_path / "a.csv") if line["kind"] == "comparison"]
    assert [(line["label"], line["quantity"], float(line["published"])) for line in compared] == quantities
    assert [float(line["ratio"]) for line in compared] == [one.ratio for one in measured.comparisons]
    page = Page()
    page.feed((tmp_path / "a.html").read_text(encoding="utf-8"))
    page.close()
    assert not page.open
    assert (page.count["svg"], page.count["table"], page.count["h1"]) == (1, 2, 1)
    assert page.count["tr"] == (1 + 2) + (1 + 4)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("here")
def test_some_systems_of_a_paper_are_enough(table: Path) -> None:
    measured = profile(paper=str(table), model="galr:d64-m16", device="cpu", budget=0.0)
    assert [row.model for row in measured.rows] == ["A"]


@pytest.mark.slow
def test_compiled_models_are_measured() -> None:
    (row,) = measure_isolated(tiny("conv-tasnet"), [0.1], Settings(budget=0.0, compile=True, train=True))
    assert isinstance(row, Row), row
    assert row.memory is None
    assert row.training_memory is None
    assert row.training is not None


def test_training_steps_are_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Counter[str]()

    def compile(function: Callable[..., Any], **_: object) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            compiled["backward" if torch.is_grad_enabled() else "forward"] += 1
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    rows = [*measure(tiny("conv-tasnet"), [0.1], Settings(budget=0.0, compile=True, train=True))]
    assert len(rows) == 2
    assert compiled["forward"] == compiled["backward"] > 1


@pytest.mark.device
def test_a_gpu_is_measured() -> None:
    rows = [*measure_isolated(tiny("galr"), [0.1, 0.2], Settings(device="cuda", budget=0.1, train=True))]
    assert len(rows) == 4, rows
    for row in rows[2:]:
        assert isinstance(row, Row), row
        assert row.memory is not None
        assert row.training_memory is not None
        assert row.training_memory > row.memory > row.bytes


@pytest.mark.usefixtures("here")
def test_a_model_that_needs_no_memory_can_be_drawn(tmp_path: Path, tiny_checkpoint: Path, call: Path) -> None:
    pytest.importorskip("matplotlib")
    measured = profile(model=str(tiny_checkpoint), lengths="0.1,0.2", device="cpu", budget=0.0, speech=call)
    for memory in (None, 0):
        rows = tuple(replace(row, memory=memory) for row in measured.rows)
        figure = report.draw_profile(replace(measured, rows=rows))
        figure.savefig(tmp_path / "a.png")
        assert [len(axes.lines) for axes in figure.axes[:2]] == [1, 0]

"""ONNX Runtime in place of torch: the same voices, without importing it, where that is the right choice."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from septool import audio, checkpoints, workers
from septool.api import load_separator
from septool.device import processor
from septool.errors import SeptoolError, UsageError
from septool.inference import engines, onnx_export, onnx_runtime
from septool.inference.dtype import BF16_CHANGE
from septool.inference.engines import load_engine, may_use_onnx
from septool.inference.level import give_levels, rescale_to_mixture, share_residual
from septool.inference.onnx_export import keep_graph
from septool.inference.onnx_runtime import Graph, GraphInfo, OnnxSeparator, find_graph, has_graphs
from septool.models.build import build_model
from septool.signal.levels import remove_dc, rms
from septool.tasks.export import export
from tests.conftest import RATE, ROOT, Command, files_below, voice, write
from tests.models.tiny import TINY

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEPTOOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def exported(graphs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose graph is in the cache, and by what was measured as fast as torch."""
    torch.manual_seed(0)
    model = build_model("conv-tasnet", TINY["conv-tasnet"])
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    header = checkpoints.Header(model="conv-tasnet", config=TINY["conv-tasnet"], sample_rate=RATE, sources=2)
    checkpoints.save(path, model.state_dict(), header)
    done = export(str(path), cache=True)
    assert done.difference < 1e-5
    graph = find_graph(path)
    assert done.file == str(graph.path)
    info = graph.info()
    assert info is not None
    assert min(info.onnx_s, info.torch_s) > 0
    measured(graph, onnx_s=1.0, torch_s=1.0)
    return path


def measured(graph: Graph, *, onnx_s: float, torch_s: float) -> None:
    """Let a graph have taken so long."""
    info = GraphInfo(model="small", difference=0.0, onnx_s=onnx_s, torch_s=torch_s)
    graph.info_path.write_text(json.dumps(vars(info)), encoding="utf-8")


def test_levels_of_arrays_are_those_of_tensors() -> None:
    random = np.random.default_rng(0)
    mixture = random.standard_normal((2, 4000)).astype(np.float32) + np.array([[0.0], [0.5]], dtype=np.float32)
    estimates = random.standard_normal((2, 3, 4000)).astype(np.float32)
    tensors = torch.from_numpy(mixture), torch.from_numpy(estimates)
    for function in (rms, remove_dc):
        given = function(mixture)
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, function(tensors[0]).numpy(), rtol=1e-5, atol=1e-6)
    for function in (rescale_to_mixture, share_residual):
        given = function(mixture, estimates)
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, function(*tensors).numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(give_levels(mixture, estimates, consistency=True).sum(1), mixture, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 2.0, 9.3])
def test_voices_are_torchs(exported: Path, seconds: float) -> None:
    recording = 0.3 * voice(120, seconds=seconds, seed=3) + 0.2 * voice(220, seconds=seconds, seed=4) + 0.05
    onnx, plain = (load_separator(str(exported), "cpu", engine=engine) for engine in ("onnx", "torch"))
    assert isinstance(onnx.model, OnnxSeparator)
    found, expected = (each.separate(recording, RATE, segment=2.0, overlap=0.5) for each in (onnx, plain))
    assert found.shape == expected.shape
    if seconds > 0.01:  # what is shorter than a window is seen with other zeros beside it
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    stream = onnx.stream(RATE, segment=2.0, overlap=0.5)
    parts = [stream.push(block) for block in np.array_split(recording, 7)] + [stream.finish()]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), found, atol=1e-5)


def test_separate_runs_without_torch(exported: Path, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.wav", voice(100 + 9 * n, seconds=3), 16000) for n, name in enumerate("abcde")]
    code = """
import sys
from septool import cli
sys.argv = ["septool", *sys.argv[1:]]
try:
    cli.main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    common = ["-m", exported, "--segment", "2", "--overlap", "0.5", "--json", "--manifest", tmp_path / "done.jsonl"]

    def separate(*more: object) -> tuple[list[dict], str]:
        command = [sys.executable, "-c", code, "separate", *map(str, (*paths, *common, *more))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.splitlines()[-1]

    for jobs in (1, 2):
        rows, imported = separate("-o", tmp_path / str(jobs), "--engine", "onnx", "--jobs", jobs)
        assert [row["engine"] for row in rows] == ["onnx"] * 5
        assert imported == "False"
    rows, imported = separate("-o", tmp_path / "torch", "--engine", "torch")
    assert [row["engine"] for row in rows] == ["torch"] * 5
    assert imported == "True"
    recorded = [json.loads(line)["engine"] for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    assert recorded == ["onnx"] * 10 + ["torch"] * 5
    names = files_below(tmp_path / "torch")
    assert len(names) == 10
    for name in names:
        of_one, of_two, expected = (audio.read_audio(tmp_path / each / name)[0] for each in ("1", "2", "torch"))
        np.testing.assert_array_equal(of_one, of_two)
        np.testing.assert_allclose(of_one, expected, atol=1e-4 * np.abs(expected).max() + 2**-15)


def test_int8_is_a_graph_of_its_own(
    septool: Command, exported: Path, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = export(str(exported), cache=True, dtype="int8")
    plain, fewer = find_graph(exported), find_graph(exported, "int8")
    assert done.file == str(fewer.path) != str(plain.path)
    assert 1e-4 < done.difference < 0.1
    line = ("separate", call, "-m", exported, "--json")
    voices = []
    for dtype, engine in (("int8", "auto"), ("fp32", "onnx")):
        result = septool(*line, "-o", tmp_path / dtype, "--dtype", dtype, "--engine", engine)
        assert json.loads(result.lines[0])["engine"] == "onnx"
        voices.append(np.stack([audio.read_audio(tmp_path / dtype / f"call_s{n}.wav")[0] for n in (1, 2)]))
    same = ("-o", tmp_path / "int8", "--manifest", tmp_path / "done.jsonl", "--dtype")
    septool(*line, *same, "int8", "--force")
    assert "it was made with dtype int8, not fp32" in septool(*line, *same, "auto", "--skip-existing").errors[-1]
    found, expected = voices
    noise = np.square(found - expected).mean() / np.square(expected).mean()
    assert 1e-9 < noise < 10**-2.5
    recording = audio.read_audio(call)[0][0]
    pipeline = load_separator(str(exported), engine="onnx", dtype="int8")
    assert isinstance(pipeline.model, OnnxSeparator)
    assert pipeline.model.path == fewer.path
    np.testing.assert_allclose(pipeline.separate(recording, RATE), found[:, 0], atol=1e-3)
    monkeypatch.setattr(onnx_export, "MOST_INT8_DB", -100.0)
    with pytest.raises(
        SeptoolError, match=r"small does not bear int8, which adds noise at -\d+\.\d dB; use --dtype fp32"
    ):
        export(str(exported), tmp_path / "a.onnx", dtype="int8")
    monkeypatch.setattr(onnx_export, "IN_INT8", ())
    with pytest.raises(SeptoolError, match="small has no linear or LSTM layers, which int8 is for"):
        export(str(exported), tmp_path / "a.onnx", dtype="int8")
    assert not files_below(tmp_path / "a.onnx")


def test_auto_is_bfloat16_where_that_was_measured_to_be_as_good(
    septool: Command, tiny_checkpoint: Path, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    path = tmp_path / "borne.safetensors"
    checkpoints.save(path, model.state_dict(), replace(header, measured={BF16_CHANGE: 0.01}))
    monkeypatch.setattr("septool.inference.dtype.has_fast_bfloat16", lambda _: True)
    done = tmp_path / "done.jsonl"
    line = ("separate", call, "-m", path, "-o", tmp_path, "--device", "cpu", "--json")

    def made_in(*more: object) -> list[str]:
        rows = [json.loads(line) for line in septool(*line, "--manifest", done, *more).lines]
        return [row["dtype"] for row in rows if not row.get("skipped")]

    assert made_in() == ["bf16"]
    assert json.loads(done.read_text().splitlines()[-1])["settings"]["dtype"] == "bf16"
    other = septool(*line, "--manifest", done, "--skip-existing", "--dtype", "fp32")
    assert "it was made with dtype bf16, not fp32" in other.errors[-1]
    assert made_in("--force", "--dtype", "fp32") == ["fp32"]
    assert made_in("--skip-existing") == []  # made on another machine
    assert made_in("--force", "--cluster", "local:1") == ["fp32"]  # whose machines may be of several kinds
    monkeypatch.setattr("septool.inference.dtype.has_fast_bfloat16", lambda _: False)
    assert made_in("--force") == ["fp32"]


def test_what_was_done_by_one_engine_need_not_be_done_by_the_other(
    septool: Command, exported: Path, call: Path, tmp_path: Path
) -> None:
    line = ("separate", call, "-m", exported, "-o", tmp_path / "out", "--manifest", tmp_path / "done.jsonl", "--json")
    assert json.loads(septool(*line, "--engine", "onnx").lines[0])["engine"] == "onnx"
    assert json.loads(septool(*line, "--engine", "torch", "--skip-existing").lines[0])["skipped"]


def test_auto_takes_what_is_here_and_fast(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = find_graph(exported)

    def chosen(device: str = "auto", engine: str = "auto") -> str:
        return load_engine(engine, "small", exported, onnx=may_use_onnx(engine, device)).engine

    monkeypatch.setattr(engines, "has_accelerator", lambda: False)
    assert (chosen(), chosen("cpu"), chosen(engine="torch")) == ("onnx", "onnx", "torch")
    monkeypatch.setattr(engines, "has_accelerator", lambda: True)
    assert (chosen(), chosen("cpu"), chosen("cuda")) == ("torch", "onnx", "torch")
    assert not may_use_onnx("auto", "cpu", ["--speakers"])
    assert not may_use_onnx("auto", "cpu", better_with_torch=True)
    measured(graph, onnx_s=1.2, torch_s=1.0)
    try:
        assert (chosen("cpu"), chosen("cpu", "onnx")) == ("torch", "onnx")
        graph.info_path.write_text("{", encoding="utf-8")
        assert chosen("cpu") == "torch"
    finally:
        measured(graph, onnx_s=1.0, torch_s=1.0)
    assert chosen("cpu") == "onnx"


def test_a_checkpoint_is_exported_once(
    septool: Command, exported: Path, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first use makes the graph, and later ones find it; so does ``models export --cache``."""
    graph = find_graph(exported)
    content, about = graph.path.read_bytes(), graph.info_path.read_bytes()
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    assert not has_graphs()
    made: list[str] = []

    def keep(name: str, checkpoint: Path, graph: Graph, precision: str) -> tuple[checkpoints.Header, GraphInfo | None]:
        made.append(f"{name} {precision}")
        graph.path.parent.mkdir(parents=True)
        graph.path.write_bytes(content)
        graph.info_path.write_bytes(about)
        return checkpoints.read_header(checkpoint), graph.info()

    monkeypatch.setattr("septool.inference.onnx_export.keep_graph", keep)
    line = ("separate", call, "-m", exported, "-o", tmp_path / "out", "--json", "--force")
    first = septool(*line, "--engine", "onnx")
    assert json.loads(first.lines[0])["engine"] == "onnx"
    assert "small is exported for ONNX Runtime, once; that takes a minute or several" in first.errors[0]
    assert not any("exported" in error for error in septool(*line, "--engine", "onnx").errors)
    shown = septool("models", "export", exported, "--cache")
    assert shown.lines == [str(find_graph(exported).path)]
    assert made == ["small fp32"]


def test_a_damaged_graph_is_said_in_a_line(exported: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "a.onnx"
    damaged.write_bytes(find_graph(exported).path.read_bytes()[:1000])
    separator = OnnxSeparator(damaged, checkpoints.read_header(exported))
    with pytest.raises(SeptoolError, match=r"a\.onnx cannot be loaded .*; delete it to have it made anew"):
        separator.run(np.zeros((1, 1000), dtype=np.float32))


def test_a_lack_of_memory_and_other_failures_are_told_apart(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        said = "std::bad_alloc"

        def run(self, *_: object) -> None:
            raise Exception(self.said)

    monkeypatch.setattr(onnx_runtime, "open_session", lambda _: Session())
    separator = OnnxSeparator(exported, checkpoints.read_header(exported))
    with pytest.raises(MemoryError):
        separator.run(np.zeros((1, 1000), dtype=np.float32))
    monkeypatch.setattr(Session, "said", "a node\nfails")
    with pytest.raises(SeptoolError, match=r"^ONNX Runtime fails \(a node\); use --engine torch$"):
        separator.run(np.zeros((1, 1000), dtype=np.float32))


def test_a_process_that_is_forked_has_a_session_of_its_own(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # a session of one has no threads that the fork lacks
    separator = OnnxSeparator(find_graph(exported).path, checkpoints.read_header(exported))
    mixture = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    expected = separator.run(mixture)

    def separate(sending: Connection) -> None:
        sending.send(separator.run(mixture))

    forking = multiprocessing.get_context("fork")
    receiving, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=separate, args=(sending,))
    child.start()
    try:
        assert receiving.poll(60)
        np.testing.assert_allclose(receiving.recv(), expected, atol=1e-6)
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("0", None), ("many", None), ("9" * 5000, None)])
def test_threads_are_those_that_are_asked_for(
    exported: Path, monkeypatch: pytest.MonkeyPatch, asked: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    options = onnx_runtime.open_session(find_graph(exported).path).get_session_options()
    assert options.intra_op_num_threads == (threads or workers.cores())


def test_a_graph_that_gives_something_else_is_not_kept(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = replace(find_graph(exported), path=find_graph(exported).path.with_name("other.onnx"))
    changed = checkpoints.load(exported)[0]

    def load(_: Path) -> tuple[object, checkpoints.Header]:
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(2)  # between what is traced and what is compared
        return changed, checkpoints.read_header(exported)

    content = find_graph(exported).path.read_bytes()

    class Traced:
        model = type("Model", (), {"metadata_props": {}})

        def save(self, path: str) -> None:
            Path(path).write_bytes(content)

    monkeypatch.setattr(checkpoints, "load", load)
    monkeypatch.setattr("septool.inference.onnx_export.trace", lambda *_: Traced())
    with pytest.raises(SeptoolError, match="small as ONNX gives something else"):
        keep_graph("small", exported, graph)
    assert not any("other" in name for name in files_below(graph.path.parent))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "onnx", "-d", "cuda"], "--engine onnx computes on the processor; leave out --device cuda"),
        (["--engine", "onnx", "--speakers", "auto"], "--speakers takes --engine torch"),
        (["--engine", "onnx", "--dtype", "bf16"], "--dtype bf16 takes --engine torch"),
        (["--engine", "tensorrt"], "tensorrt"),
        (["--dtype", "int8", "--engine", "torch"], "--dtype int8 takes --engine onnx"),
        (["--dtype", "int8", "--speakers", "auto"], "--dtype int8 is not for conversations"),
    ],
)
def test_what_makes_no_sense_is_refused(septool: Command, call: Path, arguments: list[str], said: str) -> None:
    result = septool("separate", call, "-o", call.parent, *arguments)
    assert result.status == 2
    assert said in result.errors[0]


def test_onnx_runtime_that_is_not_here(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"install it with: pip install 'septool\[onnx\]'"):
        may_use_onnx("onnx", "auto")
    with pytest.raises(UsageError, match="--engine is 'tensorrt'; it can be auto, torch, onnx"):
        may_use_onnx("tensorrt", "auto")


def test_the_processor_has_torchs_type() -> None:
    assert (processor().type, processor().index) == (torch.device("cpu").type, None)

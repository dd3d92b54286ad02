"""What the tests share: one torch thread, a cache of their own, voices, a tiny checkpoint, the command line."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, checkpoints, cli, workers
from septool.batch.output_folder import OUTPUT_LIST
from septool.commands import options
from septool.models.build import build_model
from tests.hub import Hub, run_hub
from tests.models.tiny import SPEAKER, TINY, TINY_EXTRACTORS

RATE = 8000
ROOT = Path(__file__).parent.parent

FORKING = ("tests/training/test_distributed.py", "tests/training/test_interrupt.py")
UNFOUND = pytest.StashKey[list[str]]()  # tests of long.txt that their files do not have

torch.set_num_threads(1)


def voice(pitch: float, *, seconds: float = 3.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Syllables of harmonics that glide about ``pitch`` Hz, with pauses and some breath: ``[time]``, float32."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    frequency = pitch * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time + random.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    harmonics = sum(np.sin(k * phase + random.uniform(0, 6)) / k for k in range(1, 12) if 1.1 * k * pitch < rate / 2)
    syllables = np.clip(np.sin(2 * np.pi * random.uniform(1.5, 3) * time + random.uniform(0, 6)) + 0.3, 0, 1)
    return (0.1 * syllables * harmonics + 0.001 * random.standard_normal(len(time))).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """Write a recording, in a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_audio(path, samples.astype(np.float32), rate, subtype)
    return path


def files_below(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too, but for the list of what was written."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != OUTPUT_LIST]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that were measured to take long, and keep which of the files' listed tests there are no more.

    Tests that fork come first: torch refuses to train in a process that was forked after threads of its autograd
    had started, as some tests make it do.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FORKING))
    listed = set((ROOT / "tests" / "long.txt").read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.long)
    files = {item.nodeid.partition("::")[0] for item in items}
    unfound = listed - {item.nodeid for item in items}
    config.stash[UNFOUND] = sorted(test for test in unfound if test.partition("::")[0] in files)


@pytest.fixture(autouse=True)
def no_signal_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was asked to stop stays so; a test is not asked to by the one before it."""
    monkeypatch.setattr(workers, "_signal", "")


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """Servers of tests are on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # of the session, as fixtures that train are
        for name in os.environ:  # settings of who tests
            if name.startswith("SEPTOOL_"):
                patch.delenv(name)
        patch.setenv("SEPTOOL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))  # no defaults of who tests
        yield


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server that plays the hub and others, and caches of its own."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    pytest.importorskip("httpx", reason="httpx is not installed")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # another protocol, of the public hub
    with run_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Three seconds of two voices, ``[source, time]`` at 8 kHz; their sum is a mixture."""
    return np.stack([voice(110, seed=1), voice(210, seed=2)])


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Papez for two voices at 8 kHz."""
    torch.manual_seed(0)
    model = build_model("papez", TINY["papez"])
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    header = checkpoints.Header(model="papez", config=TINY["papez"], sample_rate=RATE, sources=2)
    checkpoints.save(path, model.state_dict(), header)
    return path


@pytest.fixture(scope="session")
def tiny_extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained extractor at 8 kHz, with a threshold of presence that no score reaches."""
    torch.manual_seed(0)
    config = TINY_EXTRACTORS["voicefilter"] | {"speaker": SPEAKER | {"rate": RATE}}
    model = build_model("voicefilter", config)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    header = checkpoints.Header(
        model="voicefilter", config=config, sample_rate=RATE, sources=1, presence_threshold=1000.0
    )
    checkpoints.save(path, model.state_dict(), header)
    return path


@pytest.fixture
def call(tmp_path: Path, speech: np.ndarray) -> Path:
    """A recording of two voices, alone in its folder."""
    path = tmp_path / "in" / "call.wav"
    path.parent.mkdir()
    audio.write_audio(path, speech.sum(0), RATE)
    return path


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of four speakers with two utterances each, ``speaker/.../utterance.wav``; not to be changed."""
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in range(4):
        for utterance in range(2):
            path = folder / f"speaker{speaker}" / "chapter" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write_audio(
                path, voice(90 + 45 * speaker, seconds=1.2 + 0.3 * utterance, seed=10 * speaker + utterance), RATE
            )
    return folder


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    status: int
    out: bytes
    stderr: bytes

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def errors(self) -> list[str]:
        return self.stderr.decode().splitlines()


Command = Callable[..., Result]


@pytest.fixture
def septool(monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in this process, from argument list to exit status."""

    def command(*arguments: object, stdin: bytes = b"") -> Result:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "200")
            patch.setattr(sys, "argv", ["septool", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(options, "_debug", False)
            try:
                cli.main()
                status: Any = 0
            except SystemExit as end:
                status = end.code or 0
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return Result(status, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]

    return command


@pytest.fixture
def separate(septool: Command, tiny_checkpoint: Path, tmp_path: Path) -> Command:
    """``septool separate`` with the tiny checkpoint, into ``tmp_path / "out"`` unless told otherwise."""

    def command(*arguments: object, stdin: bytes = b""):
        where = () if "-o" in arguments else ("-o", tmp_path / "out")
        return septool("separate", *arguments, "-m", tiny_checkpoint, "-d", "cpu", *where, stdin=stdin)

    return command


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A suite that a script runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """The command line in a process of its own, for what only a process has; ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def command(*arguments: object, interpreter: Sequence[str] = (), **settings: Any) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        line = [sys.executable, *interpreter, "-m", "septool", *map(str, arguments)]
        # A suite that a script runs in the background would hand down that Ctrl-C is ignored.
        heard: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
        process: Any = subprocess.Popen(line, env=environment, **(heard | pipes | settings))
        running.append(process)
        return process

    yield command
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[bytes]]) -> Command:
    """The command line in a process of its own, to its end."""

    def command(*arguments: object, stdin: bytes = b"", **settings: Any) -> Result:
        process = start(*arguments, stdin=subprocess.PIPE, **settings)
        out, err = process.communicate(stdin, timeout=120)
        return Result(process.returncode, out, err)

    return command

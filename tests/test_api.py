"""Voices of recordings in memory are those that the command writes."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import septool
from septool import audio, catalogue, checkpoints
from septool.api import ExtractionPipeline, SeparationPipeline
from septool.errors import AudioError, CheckpointError, UsageError
from septool.inference.dtype import BF16_CHANGE
from septool.inference.live import EstimateStream
from septool.metrics.si_snr import si_snr
from septool.tasks.extract import Extracted, extract
from septool.tasks.separate import Separated, separate
from tests.conftest import RATE, ROOT


@pytest.fixture
def separator(tiny_checkpoint: Path) -> SeparationPipeline:
    return septool.load_separator(str(tiny_checkpoint), device="cpu")


@pytest.fixture
def extractor(tiny_extractor: Path) -> ExtractionPipeline:
    return septool.load_extractor(str(tiny_extractor), device="cpu")


@pytest.mark.parametrize("rate", [RATE, 2 * RATE, 6000])
@pytest.mark.parametrize("segment", [30.0, 1.25])
def test_voices_are_those_of_the_file(
    separator: SeparationPipeline, tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path, rate: int, segment: float
) -> None:
    mixture = audio.resample(speech.sum(0), RATE, rate)
    audio.write_audio(tmp_path / "call.wav", mixture, rate, "FLOAT")
    (done,) = separate(
        [str(tmp_path / "call.wav")], model=str(tiny_checkpoint), out=str(tmp_path), segment=segment, overlap=0.5
    )
    assert isinstance(done, Separated)
    assert done.outcome == "done"
    written = np.stack([audio.read_audio(Path(path))[0][0] for path in done.outputs])
    voices = separator.separate(mixture, rate, segment=segment, overlap=0.5)
    assert voices.dtype == np.float32
    np.testing.assert_allclose(voices, written, atol=1e-5)
    assert np.abs(written).max() > 0.01


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_a_stream_gives_the_voices_of_the_file(
    separator: SeparationPipeline, tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path, rate: int
) -> None:
    mixture = audio.resample(speech.sum(0), RATE, rate)
    audio.write_audio(tmp_path / "call.wav", mixture, rate, "FLOAT")
    (done,) = separate(
        [str(tmp_path / "call.wav")], model=str(tiny_checkpoint), out=str(tmp_path), segment=1.25, overlap=0.5
    )
    assert isinstance(done, Separated)
    written = np.stack([audio.read_audio(Path(path))[0][0] for path in done.outputs])
    stream = separator.stream(rate, segment=1.25, overlap=0.5)
    parts = [stream.push(mixture[start : start + 700]) for start in range(0, len(mixture), 700)]
    assert any(part.shape[1] for part in parts)  # before the end
    np.testing.assert_allclose(np.concatenate([*parts, stream.finish()], axis=1), written, atol=1e-6)


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_the_voice_is_that_of_the_file(
    extractor: ExtractionPipeline, tiny_extractor: Path, speech: np.ndarray, tmp_path: Path, rate: int
) -> None:
    mixture, reference = (audio.resample(each, RATE, rate) for each in (speech.sum(0), speech[0]))
    for name, samples in {"call": mixture, "reference": reference}.items():
        audio.write_audio(tmp_path / f"{name}.wav", samples, rate, "FLOAT")
    (done,) = extract(
        [str(tmp_path / "call.wav")],
        references=[tmp_path / "reference.wav"],
        model=str(tiny_extractor),
        out=str(tmp_path),
        segment=1.25,
        overlap=0.5,
    )
    assert isinstance(done, Extracted)
    assert done.outcome == "done"
    voice, presence = extractor.extract(mixture, rate, [reference], segment=1.25, overlap=0.5)
    np.testing.assert_allclose(voice, audio.read_audio(Path(done.output))[0][0], atol=1e-5)
    assert presence == pytest.approx(done.presence, abs=1e-5)
    stream = extractor.stream(rate, [reference], segment=1.25, overlap=0.5)
    assert stream.presence is None
    parts, scores = [], []
    for start in range(0, len(mixture), rate):
        parts.append(stream.push(mixture[start : start + rate]))
        scores.append(stream.presence)
    parts.append(stream.finish())
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[0], voice, atol=1e-5)
    known = [score for score in scores if score is not None]
    assert known == sorted(known) != []
    assert stream.presence == pytest.approx(presence, abs=1e-5)
    silenced, _ = extractor.extract(mixture, rate, [reference], threshold=presence + 1.0)
    assert not silenced.any()


def test_passes_and_threshold_are_those_of_the_command(
    separator: SeparationPipeline,
    extractor: ExtractionPipeline,
    tiny_checkpoint: Path,
    tiny_extractor: Path,
    speech: np.ndarray,
    call: Path,
    tmp_path: Path,
) -> None:
    mixture, reference = audio.read_audio(call)[0][0], speech[0]
    audio.write_audio(tmp_path / "reference.wav", reference, RATE, "FLOAT")
    references, out = [audio.read_audio(tmp_path / "reference.wav")[0][0]], str(tmp_path)
    segments: dict[str, Any] = {"segment": 1.25, "overlap": 0.5}

    def through(stream: EstimateStream) -> np.ndarray:
        return np.concatenate([stream.push(mixture), stream.finish()], axis=1)

    (done,) = separate([str(call)], model=str(tiny_checkpoint), out=out, passes=2, **segments)
    assert isinstance(done, Separated)
    written = np.stack([audio.read_audio(Path(path))[0][0] for path in done.outputs])
    np.testing.assert_allclose(through(separator.stream(RATE, passes=2, **segments)), written, atol=1e-4)
    assert np.abs(through(separator.stream(RATE, passes=1, **segments)) - written).max() > 1e-3

    known: dict[str, Any] = {"references": [tmp_path / "reference.wav"], "model": str(tiny_extractor), "out": out}
    (found,) = extract([str(call)], passes=2, **known, **segments)
    assert isinstance(found, Extracted)
    (voice,), _ = audio.read_audio(Path(found.output))
    twice = extractor.extract(mixture, RATE, references, passes=2, **segments)
    np.testing.assert_allclose(twice.voice, voice, atol=1e-4)
    np.testing.assert_allclose(
        through(extractor.stream(RATE, references, passes=2, **segments))[0], twice.voice, atol=1e-5
    )
    once = extractor.extract(mixture, RATE, references, passes=1, **segments)
    assert np.abs(once.voice - twice.voice).max() > 1e-3

    for threshold, heard in ((once.presence - 10.0, True), (once.presence + 1.0, False)):
        stream = extractor.stream(RATE, references, threshold=threshold, passes=1, **segments)
        assert through(stream).any() == heard


def test_the_speaker_network_is_the_one_that_is_named(speech: np.ndarray, call: Path, tmp_path: Path) -> None:
    mixture = audio.read_audio(call)[0][0]
    audio.write_audio(tmp_path / "reference.wav", speech[1], RATE, "FLOAT")
    scores = []
    for name in ("campplus", "speaker-net"):
        extractor = septool.load_extractor("galr", "cpu", speaker_model=name)
        result = extractor.extract(mixture, RATE, [speech[1]], passes=1)
        (done,) = extract(
            [str(call)],
            references=[tmp_path / "reference.wav"],
            model="galr",
            speaker_model=name,
            out=str(tmp_path / name),
            passes=1,
        )
        assert isinstance(done, Extracted)
        assert result.presence == pytest.approx(done.presence, abs=1e-4)
        np.testing.assert_allclose(result.voice, audio.read_audio(Path(done.output))[0][0], atol=1e-4)
        scores.append(result.presence)
    assert abs(scores[0] - scores[1]) > 1e-3


@pytest.mark.parametrize(
    "kind",
    [np.float64, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64).requires_grad_(), np.flip],
    ids=["float64", "tensor", "float64 tensor with a gradient", "a view"],
)
def test_samples_of_any_kind(
    separator: SeparationPipeline, speech: np.ndarray, kind: Callable[[np.ndarray], np.ndarray | torch.Tensor]
) -> None:
    mixture = speech.sum(0)
    given = kind(mixture)
    expected = separator.separate(np.flip(mixture).copy() if kind is np.flip else mixture, RATE)
    np.testing.assert_allclose(separator.separate(given, RATE), expected, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 79, 24_001])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_voices_are_as_long_as_the_recording(separator: SeparationPipeline, samples: int, rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(samples) * 0.1
    voices = separator.separate(noise, rate)
    assert voices.shape == (2, samples)
    assert np.isfinite(voices).all()


@pytest.mark.parametrize(
    ("recording", "error", "said"),
    [
        (np.zeros((2, 8000), np.float32), UsageError, r"has the shape \[2, 8000\]"),
        (np.zeros(8000, np.int16), UsageError, "is int16; give"),
        (torch.zeros(8000, dtype=torch.int16), UsageError, r"is torch\.int16; give"),
        (torch.zeros(8000, dtype=torch.bool), UsageError, r"is torch\.bool; give"),
        (torch.zeros(8000, dtype=torch.complex64), UsageError, r"is torch\.complex64; give"),
        (np.zeros(0), AudioError, "has no samples"),
        (np.full(8000, np.nan), AudioError, "non-finite"),
    ],
)
def test_what_is_no_recording(
    separator: SeparationPipeline, recording: np.ndarray, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        separator.separate(recording, RATE)


def test_what_is_no_reference(extractor: ExtractionPipeline, speech: np.ndarray) -> None:
    mixture = speech.sum(0)
    cases: list[tuple[Any, str]] = [
        ([], "give a recording of the wanted voice"),
        (speech[0], "put this one in brackets"),
        (torch.from_numpy(speech), "put this one in brackets"),
        ([np.zeros(RATE)], "reference 1 is silent"),
        ([speech[0], np.zeros(0)], "reference 2 has no samples"),
        ([speech], r"reference 1 has the shape \[2, "),
    ]
    for references, said in cases:
        with pytest.raises((UsageError, AudioError), match=said):
            extractor.extract(mixture, RATE, references)


def test_a_model_for_something_else(tiny_extractor: Path) -> None:
    with pytest.raises(CheckpointError, match="does not separate"):
        septool.load_separator(str(tiny_extractor))
    with pytest.raises(CheckpointError, match="does not extract"):
        septool.load_extractor("speaker-net")
    with pytest.raises(UsageError, match="galr"):
        septool.load_separator("garl")


@pytest.mark.parametrize(
    ("engine", "dtype", "words"),
    [
        ("torch", "nonsense", "dtype is 'nonsense'; it can be auto, fp32, bf16, fp16, int8"),
        ("onnx", "bf16", "dtype bf16 takes --engine torch"),
        ("torch", "int8", "dtype int8 takes --engine onnx"),
        ("auto", "fp16", "dtype fp16 takes a GPU"),
    ],
)
def test_a_precision_that_is_not_offered_is_refused(tiny_checkpoint: Path, engine: Any, dtype: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        septool.load_separator(str(tiny_checkpoint), device="cpu", engine=engine, dtype=dtype)


@pytest.mark.parametrize("words", [{"device": "gpux"}, {"device": "cpu", "dtype": "fp16"}])
def test_nothing_is_downloaded_for_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, words: dict[str, Any]
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(catalogue, "fetch_weights", fetched.append)
    for load in (septool.load_separator, septool.load_extractor):
        with pytest.raises(UsageError, match=r"gpux|fp16"):
            load("sepformer-libri2mix", **words)
    assert fetched == []


def test_one_recording_and_paths_in_words(
    tiny_checkpoint: Path, tiny_extractor: Path, call: Path, tmp_path: Path
) -> None:
    words: dict[str, Any] = {"out": str(tmp_path / "out"), "device": "cpu"}
    record = str(tmp_path / "done.jsonl")
    for recording in (str(call), call):
        (done,) = septool.separate(recording, model=str(tiny_checkpoint), manifest=record, force=True, **words)
        assert isinstance(done, Separated)
        assert done.input == str(call)
    found = septool.extract(call, references=str(call), model=str(tiny_extractor), manifest=record, **words)
    assert [type(each) for each in found] == [Extracted]
    assert len(Path(record).read_text().splitlines()) == 3
    samples, rate = audio.read_audio(call)
    with pytest.raises(UsageError, match="threshold is nan; it is a score"):
        septool.load_extractor(str(tiny_extractor), "cpu").extract(samples[0], rate, [samples[0]], threshold=math.nan)
    with pytest.raises(UsageError, match="--threshold is nan; it is a score"):
        list(septool.extract(call, references=call, model=str(tiny_extractor), presence=True, threshold=math.nan))


def test_bfloat16_by_name_and_by_itself(
    tiny_checkpoint: Path, tiny_extractor: Path, speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, half = (septool.load_separator(str(tiny_checkpoint), "cpu", dtype=dtype) for dtype in ("fp32", "bf16"))
    assert (plain.dtype, half.dtype) == ("fp32", "bf16")
    away = np.abs(half.separate(speech[0], 8000) - plain.separate(speech[0], 8000)).max()
    assert 0 < away < 0.05
    assert septool.load_extractor(str(tiny_extractor), "cpu", dtype="bf16").dtype == "bf16"
    monkeypatch.setattr("septool.inference.dtype.has_fast_bfloat16", lambda _: True)
    assert septool.load_separator(str(tiny_checkpoint), "cpu").dtype == "fp32"  # never measured
    measured = tmp_path / "measured.safetensors"
    model, header = checkpoints.load(tiny_checkpoint)
    checkpoints.save(measured, model.state_dict(), replace(header, measured={BF16_CHANGE: 0.0}))
    for load in (septool.load_separator, septool.load_extractor):
        assert load(str(measured), "cpu").dtype == "bf16"


def test_the_readme_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    own = {number: soundfile.read(ROOT / f"examples/two-talkers_s{number}.flac")[0] for number in (1, 2)}
    named = {"mixture": names["samples"], "first": own[1], "second": own[2], "voice": names["voice"]}
    named |= dict(zip("ab", names["voices"], strict=True))
    heard = {name: torch.tensor(audio.resample(samples, names["rate"], RATE)) for name, samples in named.items()}

    def gain(estimate: str, reference: str) -> float:
        before, after = (si_snr(estimate=heard[each], reference=heard[reference]) for each in ("mixture", estimate))
        return (after - before).item()

    assert min(gain("a", "first"), gain("b", "second")) > 5 or min(gain("b", "first"), gain("a", "second")) > 5
    assert gain("voice", "first") > 3


def test_importing_septool_waits_for_no_torch() -> None:
    line = "import sys, septool; septool.load_separator, septool.separate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", line], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="separator"):
        septool.separator  # noqa: B018


@pytest.mark.parametrize("rate", [0, -8000, "16000", math.nan, 1, 10**9])
def test_a_rate_that_no_recording_has_is_refused(rate: Any) -> None:
    galr, samples = septool.load_separator("galr"), np.zeros(100, np.float32)
    for refused in (lambda: galr.separate(samples, rate), lambda: galr.stream(rate)):
        with pytest.raises(UsageError, match="it is a number of Hz from 1000 to 1000000"):
            refused()
    with pytest.raises(UsageError, match="it is a number of Hz"):
        septool.load_extractor("galr").extract(samples, rate, [samples])

"""Several passes whose voices are averaged: in one order, at one time, with one sign."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from septool import audio, checkpoints, load_separator
from septool.errors import UsageError
from septool.inference.engines import TorchSeparator
from septool.inference.level import make_estimator, on_arrays
from septool.inference.passes import DELAY, average_passes, extract_mean
from septool.models.base import Extraction
from septool.tasks.prepare import prepare
from tests.conftest import RATE, Command, voice

CPU = torch.device("cpu")


def mixtures() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float32)


class Bands:
    """An estimator of two voices, low and high, in another order each time, with an offset of its own."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset, self.lengths = offset, list[int]()

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        low = (mixture + np.pad(mixture, ((0, 0), (1, 0)))[:, :-1]) / 2
        voices = np.stack([low, mixture - low], axis=1) + self.offset
        self.lengths.append(mixture.shape[1])
        return voices[:, :: (-1) ** len(self.lengths)]


@pytest.mark.parametrize("passes", [2, 3, 8])
def test_orders_delays_and_signs_are_undone(passes: int) -> None:
    estimate = Bands()
    found = average_passes(estimate, passes)(mixtures())
    expected = Bands()(mixtures())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert estimate.lengths == [4000 + number * DELAY for number in range(passes)]


def test_what_does_not_follow_the_sign_is_averaged_away() -> None:
    np.testing.assert_allclose(average_passes(Bands(0.1), 2)(mixtures()), Bands()(mixtures()), atol=1e-6)


def test_one_pass_is_the_estimator_itself() -> None:
    estimate = Bands()
    assert average_passes(estimate, 1) is estimate


def test_as_many_as_the_checkpoint_says(tiny_checkpoint: Path) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    for wrong in (0, 17):
        with pytest.raises(UsageError, match=f"passes is {wrong}; it is 1 to 16"):
            header.choose_passes(wrong)
    separator = TorchSeparator(model, replace(header, passes=3))
    single = on_arrays(make_estimator(model), CPU)
    recording = 0.1 * mixtures()
    for passes, expected in ((None, 3), (1, 1), (2, 2)):
        found = separator.estimator(CPU, consistency=False, passes=passes)(recording)
        np.testing.assert_array_equal(found, average_passes(single, expected)(recording))


def test_the_command_the_function_and_its_record_agree(tiny_checkpoint: Path, septool: Command, tmp_path: Path) -> None:
    recording = voice(120, seconds=1.0) + voice(210, seconds=1.0, seed=1)
    audio.write_audio(tmp_path / "call.wav", recording, RATE, "FLOAT")
    arguments = ("separate", tmp_path / "call.wav", "-m", tiny_checkpoint, "-d", "cpu", "-o", tmp_path)
    record = ("--manifest", tmp_path / "record.jsonl")
    assert septool(*arguments, "--passes", "2", *record).status == 0
    written = np.concatenate([audio.read_audio(tmp_path / f"call_s{number}.wav")[0] for number in (1, 2)])
    separator = load_separator(str(tiny_checkpoint), device="cpu")
    np.testing.assert_allclose(written, separator.separate(recording, RATE, passes=2), atol=1e-6)
    assert np.abs(written - separator.separate(recording, RATE)).max() > 1e-4
    again = septool(*arguments, "--passes", "2", *record, "--skip-existing", "--json")
    assert '"skipped": true' in again.out.decode()
    other = septool(*arguments, "--passes", "1", *record, "--skip-existing", "--json")
    assert '"skipped": true' not in other.out.decode()


class Finder:
    """An extractor that finds the wanted voice, but somebody else in every third pass, of which it is less sure."""

    def __init__(self) -> None:
        self.calls = 0

    def extract_each(self, mixture: torch.Tensor, embeddings: torch.Tensor) -> Extraction:
        self.calls += 1
        presence = 0.3 if self.calls % 3 == 0 else 0.9
        wrong = torch.randn(mixture.shape, generator=torch.Generator().manual_seed(0))
        voice = wrong if self.calls % 3 == 0 else mixture / 2
        count = len(embeddings)
        return Extraction(voice[:, None].expand(-1, count, -1), torch.full((len(mixture), count), presence))


def test_a_pass_that_found_somebody_else_is_left_out() -> None:
    mixture = torch.from_numpy(0.1 * mixtures())
    model = Finder()
    voices, presence = extract_mean(model, mixture, torch.zeros(2, 8), 3)  # type: ignore[arg-type]
    torch.testing.assert_close(voices, mixture[:, None].expand(-1, 2, -1) / 2, atol=2e-3, rtol=0)
    assert model.calls == 3
    torch.testing.assert_close(presence, torch.full((3, 2), 0.7))


def test_estimates_have_no_passes(septool: Command, tmp_path: Path) -> None:
    refused = septool("eval", tmp_path, tmp_path, "--passes", "2")
    assert refused.status == 2
    assert "--passes is for --model" in refused.errors[0]


def test_scores_of_a_model_are_of_as_many_passes(
    tiny_checkpoint: Path, tree: Path, septool: Command, tmp_path: Path
) -> None:
    prepare("folder", tree, out=tmp_path, split="dev", mixtures=1)
    found = {}
    for passes in ("1", "2"):
        out = tmp_path / f"{passes}.jsonl"
        run = ("eval", tmp_path / "dev-2mix.jsonl", "-m", tiny_checkpoint, "-d", "cpu", "--metric", "si-snri")
        done = septool(*run, "--passes", passes, "-o", out)
        assert done.status == 0, done.errors
        _, row = map(json.loads, out.read_text().splitlines())
        assert row["passes"] == passes
        found[passes] = row["si-snri"]
    assert found["1"] != found["2"]


def test_a_known_voice_is_extracted_by_as_many_passes(
    tiny_extractor: Path, call: Path, septool: Command, tmp_path: Path
) -> None:
    found = []
    for passes in ("1", "3"):
        out = tmp_path / f"{passes}.wav"
        run = ("extract", call, "--reference", call, "-m", tiny_extractor, "-d", "cpu", "--format", "wav")
        done = septool(*run, "--passes", passes, "--json", "-o", out)
        assert done.status == 0, done.errors
        found.append(json.loads(done.lines[0])["presence"])
    assert found[0] != found[1]  # of weights that nobody trained, no two passes agree in the voice

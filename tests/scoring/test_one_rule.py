"""Silence and lost voices mean the same in ``eval``, in a run's validation and in ``separate --reference``."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio
from septool.data import manifest
from septool.data.mixing import Rendered
from septool.errors import SeptoolError, UsageError
from septool.inference.streaming import EstimateSettings
from septool.scoring.items import FAILED_ITEM_DB, Item
from septool.scoring.references import score_outputs
from septool.tasks.evaluate import evaluate
from septool.tasks.mix import mix_manifest
from septool.tasks.separate import separate
from septool.training.distributed import Distributed
from septool.training.separation import SeparatorRole
from tests.conftest import RATE, voice

TRUE = np.stack([voice(110, seed=1), voice(210, seed=2)])
LEAKING = TRUE[::-1] + 0.1 * TRUE  # in the other order
SILENCE = np.zeros_like(TRUE[0])

CASES = {
    "both voices": (TRUE, LEAKING),
    "a silent reference": (np.stack([TRUE[0], SILENCE]), np.stack([0.3 * TRUE[1], TRUE[0] + 0.1 * TRUE[1]])),
    "a silent reference and a silent estimate": (
        np.stack([SILENCE, TRUE[1]]),
        np.stack([TRUE[1] + 0.1 * TRUE[0], SILENCE]),
    ),
    "a silent estimate": (TRUE, np.stack([SILENCE, LEAKING[1]])),
    "silent estimates": (TRUE, np.stack([SILENCE, SILENCE])),
    "silent references": (np.stack([SILENCE, SILENCE]), LEAKING),
    "an estimate that is constant": (TRUE, np.stack([SILENCE + 0.5, LEAKING[1]])),
    "an estimate that is no number": (TRUE, np.stack([LEAKING[0], SILENCE + math.nan])),
}


def put(folder: Path, signals: np.ndarray) -> Path:
    for number, samples in enumerate(signals, 1):
        audio.write_audio(folder / f"a_s{number}.wav", samples.astype(np.float32), RATE, "FLOAT")
    return folder


def by_eval(true: np.ndarray, found: np.ndarray, tmp_path: Path) -> Item:
    for name, signals in (("true", true), ("found", found)):
        (tmp_path / name).mkdir()
        put(tmp_path / name, signals)
    audio.write_audio(tmp_path / "true/a.wav", TRUE.sum(0), RATE, "FLOAT")
    (item,), _ = evaluate(tmp_path / "true", tmp_path / "found", metric="si-snri")
    return item


def by_validation(true: np.ndarray, found: np.ndarray) -> float | None:
    """Validate a model that gives these estimates."""
    role = object.__new__(SeparatorRole)
    role.recipe = SimpleNamespace(data=SimpleNamespace(sample_rate=RATE, validation="dev.jsonl"))  # pyright: ignore
    role.model = lambda mixture: torch.from_numpy(found.astype(np.float32))[None]  # pyright: ignore
    role.device = torch.device("cpu")
    role.distributed = Distributed(torch.device("cpu"))
    try:
        return role.score([Rendered(TRUE.sum(0).astype(np.float32), true.astype(np.float32), None)])
    except SeptoolError:
        return None


@pytest.mark.parametrize("case", CASES)
def test_eval_and_validation_agree(case: str, tmp_path: Path) -> None:
    true, found = CASES[case]
    item, value = by_eval(true, found, tmp_path), by_validation(true, found)
    scores = [score for score in item.scores.get("si-snri", ()) if score is not None]
    if item.error:
        assert value == FAILED_ITEM_DB
    elif not scores:
        assert value is None
    else:
        assert value == pytest.approx(np.mean(scores), abs=1e-4)
    assert bool(item.error) == ("estimate" in case and "reference" not in case)
    assert len(scores) == (0 if item.error else np.any(true, axis=1).sum())


@pytest.mark.parametrize("case", sorted(set(CASES) - {"an estimate that is no number"}))  # files of such are refused
def test_eval_and_separate_agree(case: str, tmp_path: Path) -> None:
    true, found = CASES[case]
    item = by_eval(true, found, tmp_path)
    settings = EstimateSettings(voices=2, model_rate=RATE, segment=30, overlap=4)
    files = [tmp_path / f"found/a_s{number}.wav" for number in (1, 2)]
    improvements = score_outputs(tmp_path / "true/a.wav", files, torch.from_numpy(true), settings)
    if item.error:
        assert improvements == ((None, item.error),) * 2
        return
    for reference, score in enumerate(item.scores["si-snri"]):
        gain, reason = improvements[item.order[reference]]
        assert gain is None if score is None else gain == pytest.approx(score, abs=0.006)
        assert reason == (item.reasons["si-snri"][reference] or "")


@pytest.mark.parametrize("consistency", [True, False])
def test_eval_of_a_model_and_of_what_separate_wrote_agree(
    consistency: bool, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    put(tmp_path, TRUE[:, :RATE])
    sources = tuple(manifest.Source(path=f"a_s{number}.wav") for number in (1, 2))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(manifest.dump_manifest([manifest.Mixture(id="a", sample_rate=RATE, sources=sources)]))
    mix_manifest(rows, out=tmp_path / "mixed", subtype="FLOAT")
    settings: dict[str, Any] = {"model": str(tiny_checkpoint), "device": "cpu", "dtype": "fp32"}
    written = [*separate(tmp_path / "mixed/a.wav", out=str(tmp_path / "found"), consistency=consistency, **settings)]
    assert len(written) == 1
    (of_files,), _ = evaluate(rows, tmp_path / "found", metric="si-snri")
    (of_model,), (summary,) = evaluate(rows, metric="si-snri", consistency=consistency, **settings)
    (other,), _ = evaluate(rows, metric="si-snri", consistency=not consistency, **settings)
    assert of_model.scores["si-snri"] == pytest.approx(of_files.scores["si-snri"], abs=1e-3)
    assert of_model.scores["si-snri"] != pytest.approx(other.scores["si-snri"], abs=1e-2)
    assert summary.provenance.get("consistency") == ("true" if consistency else None)


@pytest.mark.parametrize("settings", [{"consistency": True}, {"dtype": "bf16"}, {"dtype": "auto"}])
def test_how_a_model_is_run_is_not_said_of_files(settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(settings))} is "):
        evaluate(tmp_path, tmp_path, **settings)  # pyright: ignore[reportArgumentType]


def test_no_consistency_of_one_voice(tmp_path: Path, tiny_extractor: Path) -> None:
    sources = (manifest.Source(path="a_s1.wav"),)
    (tmp_path / "a.jsonl").write_text(
        manifest.dump_manifest([manifest.Mixture(id="a", sample_rate=RATE, sources=sources)])
    )
    with pytest.raises(UsageError, match="an extractor gives one"):
        evaluate(tmp_path / "a.jsonl", model=str(tiny_extractor), device="cpu", consistency=True)

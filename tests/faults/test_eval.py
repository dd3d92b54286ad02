"""Scoring strangers' folders: silence, lost voices and surplus files are told, whatever the names."""

import csv
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.errors import UsageError
from septool.scoring.items import ScoringInput, score_item
from septool.scoring.layouts import find_voices
from septool.tasks.evaluate import evaluate
from tests.conftest import RATE, Command, voice

ONE, TWO = voice(100, seconds=0.8, seed=1), voice(200, seconds=0.8, seed=2)
SILENCE = np.zeros_like(ONE)


def noisy(clean: np.ndarray, db: float) -> np.ndarray:
    noise = np.random.default_rng(9).standard_normal(len(clean))
    return (clean + noise * clean.std() * 10 ** (-db / 20)).astype(np.float32)


def put(folder: Path, signals: Mapping[str, np.ndarray] | None = None, rate: int = RATE, **named: np.ndarray) -> Path:
    for name, signal in {**(signals or {}), **named}.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write_audio(path, signal, rate, "FLOAT")
    return folder


def test_the_silent_estimate_belongs_to_the_silent_reference(tmp_path: Path) -> None:
    """What a three-voice model gives on two talkers."""
    true = put(tmp_path / "ref", m_s1=ONE, m_s2=TWO, m_s3=SILENCE)
    found = put(tmp_path / "est", m_s1=SILENCE, m_s2=noisy(TWO, 3), m_s3=noisy(ONE, 10))
    (item,), (summary,) = evaluate(true, found, metric="si-snr")
    assert item.order == (2, 1, 0)
    assert item.scores["si-snr"] == [pytest.approx(10, abs=0.5), pytest.approx(3, abs=0.5), None]
    assert (summary.count, summary.undefined, summary.failed) == (2, 1, 0)
    assert summary.reasons == {"the reference is silent": 1}


def test_a_lost_voice_fails_its_item(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=TWO, b_s1=ONE, b_s2=TWO)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 10), a_s2=SILENCE, b_s1=noisy(ONE, 8), b_s2=noisy(TWO, 8))
    result = septool("eval", true, found, "--metric", "si-snr", "-q")
    assert result.status == 1
    assert result.errors == ["septool: a: estimate 2 is silent, reference 2 is not: the voice is lost"]
    assert result.lines[0].split()[-3:] == ["count", "undefined", "failed"]
    assert result.lines[1].split()[-3:] == ["2", "0", "1"]


def test_surplus_estimates_are_named_and_strict_makes_them_an_error(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=TWO)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 9), a_s2=noisy(TWO, 9), a_s3=noisy(ONE + TWO, 3), z_s1=ONE)
    run = ("eval", true, found, "--metric", "si-snr", "-q")
    said = [
        f"septool: {found} has 1 item without a reference: z",
        "septool: a: 1 more estimates than references, a_s3; the best 2 are scored",
    ]
    result = septool(*run)
    assert (result.status, result.errors) == (0, said)
    result = septool(*run, "--strict")
    assert (result.status, result.errors) == (1, said)


def test_strict_makes_undefined_scores_an_error(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=SILENCE)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 9), a_s2=noisy(ONE, 3))
    run = ("eval", true, found, "--metric", "si-snr")
    assert septool(*run).status == 0
    assert septool(*run, "--strict").status == 1


def test_why_an_improvement_is_undefined(tmp_path: Path) -> None:
    """The mixture of one voice and silence is the voice: it is not the estimate that equals the reference."""
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=SILENCE)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 9), a_s2=noisy(ONE, 3))
    (item,), _ = evaluate(true, found, metric="si-snri")
    assert item.reasons["si-snri"] == ["the mixture equals the reference", "the reference is silent"]


def test_the_reason_of_an_undefined_score_is_printed(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", rate=44100, a_s1=ONE, a_s2=TWO)
    found = put(tmp_path / "est", rate=44100, a_s1=noisy(ONE, 9), a_s2=noisy(TWO, 9))
    result = septool("eval", true, found, "--metric", "pesq")
    assert result.errors[-1] == (
        "septool: pesq: 2 undefined, PESQ is defined at 8000 and 16000 Hz, not at 44100; --sample-rate resamples"
    )


def test_estimates_a_few_samples_short_are_trimmed_on_request(tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=TWO)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 9)[:-3], a_s2=noisy(TWO, 9)[:-5])
    (item,), _ = evaluate(true, found, metric="si-snri")
    assert item.error.endswith("--trim cuts all to the shortest")
    (item,), _ = evaluate(true, found, metric="si-snr,si-snri", trim=True)
    assert item.scores["si-snr"] == pytest.approx([9, 9], abs=0.5)
    assert all(value is not None for value in item.scores["si-snri"])


@pytest.mark.parametrize(
    "names", ["{id}_s{voice}", "s{voice}/{id}", "{id}_est{voice}", "{id}_source{voice}hat", "{id}_source{voice}"]
)
@pytest.mark.parametrize("first", [0, 1])
def test_the_usual_layouts_are_found(tmp_path: Path, names: str, first: int) -> None:
    true = put(tmp_path / "ref", {"s1/a": ONE, "s2/a": TWO, "mix/a": noisy(ONE + TWO, 20)})
    files = {names.format(id="a", voice=first + n): noisy(each, 9 + n) for n, each in enumerate((ONE, TWO))}
    (item,), _ = evaluate(true, put(tmp_path / "est", files), metric="si-snr,si-snri")
    assert (item.id, item.order) == ("a", (0, 1))
    assert item.scores["si-snr"] == pytest.approx([9, 10], abs=0.5)


def test_a_folder_that_counts_from_0_and_from_1_is_refused(tmp_path: Path) -> None:
    found = put(tmp_path, a_s0=ONE, a_s1=TWO, b_s1=ONE)
    assert list(find_voices(found).voices["b"]) == [2]  # it has lost its first one
    put(found, b_s2=TWO)
    with pytest.raises(UsageError, match=r"from 0 \(a_s0\.wav\) and from 1 \(b_s2\.wav\)"):
        find_voices(found)


def test_which_mixture_of_several_has_to_be_said(septool: Command, tmp_path: Path) -> None:
    """A published noisy set has the clean mixture beside it, and improvements over one are not those over the other."""
    clean, loud = ONE + TWO, noisy(ONE + TWO, 0)
    files = {"mix_clean/a": clean, "mix_both/a": loud, "mix_single/a": noisy(ONE, 0)}
    true = put(tmp_path / "test", {"s1/a": ONE, "s2/a": TWO} | files)
    found = put(tmp_path / "est", {"a_s1": noisy(ONE, 10), "a_s2": noisy(TWO, 10)})
    result = septool("eval", true, found, "--metric", "si-snri")
    assert result.status == 2
    assert "has mix_clean/a and mix_both/a; say which is the mixture, such as --mixture mix_both" in result.errors[-1]
    gains = []
    for mixture in ("mix_clean", "mix_both", "mix_both/{id}.wav"):
        lines = septool("eval", true, found, "--metric", "si-snri", "--mixture", mixture, "--json").lines
        gains.append(json.loads(lines[-1])["mean"])
    assert gains[1] == gains[2] > gains[0] + 1
    for mixture, said in (("mix", "has no mixtures named mix/{id}"), ("{x}", "is a folder, or has {id}")):
        assert said in septool("eval", true, found, "--mixture", mixture).errors[-1]
    put(true, {"s1/b": ONE, "s2/b": TWO})
    put(found, {"b_s1": noisy(ONE, 10), "b_s2": noisy(TWO, 10)})
    _, last = evaluate(true, found, metric="si-snri", mixture="mix_both")[0]
    assert last.error == "b has no mixture of the name that --mixture gives"
    other = put(tmp_path / "other", {"out-1-of-a": noisy(ONE, 10), "out-2-of-a": noisy(TWO, 10)})
    _, (summary,) = evaluate(true, other, metric="si-snri", pair="out-{voice}-of-{id}", mixture="mix_both", limit=1)
    assert summary.count == 2


def test_any_other_layout_by_template(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=TWO)
    found = put(tmp_path / "est", {"out-1-of-a": noisy(ONE, 9), "out-2-of-a": noisy(TWO, 9)})
    (item,), _ = evaluate(true, found, metric="si-snr", pair="out-{voice}-of-{id}.wav")
    assert item.scores["si-snr"] == pytest.approx([9, 9], abs=0.5)
    result = septool("eval", true, found, "--pair", "{id}.wav")
    assert result.status == 2
    assert result.errors[0].startswith("septool: --pair '{id}.wav' has to hold {id} and {voice}")


def test_one_pair_of_files(septool: Command, tmp_path: Path) -> None:
    put(tmp_path, ref=ONE, est=noisy(ONE, 12))
    result = septool("eval", tmp_path / "ref.wav", tmp_path / "est.wav", "--json", "-q")
    assert result.status == 0
    item = json.loads(result.lines[0])
    assert item["si-snr"] == [pytest.approx(12, abs=0.5)]
    assert item["sdr"][0] > 12
    result = septool("eval", tmp_path / "ref.wav", tmp_path / "est.wav", "--json", "-q", "--metric", "si-snri")
    assert json.loads(result.lines[0])["undefined"] == {"si-snri": ["there is no mixture to improve on"]}


@pytest.mark.parametrize("name", ["sisdr", "SI-SDR", "si_sdr"])
def test_si_sdr_is_si_snr_of_zero_mean_signals(tmp_path: Path, name: str) -> None:
    put(tmp_path, ref=ONE, est=noisy(ONE, 12))
    (item,), _ = evaluate(tmp_path / "ref.wav", tmp_path / "est.wav", metric=f"{name},si-snr")
    assert item.scores["si-sdr"] == item.scores["si-snr"]


def test_ten_voices_are_assigned_at_once() -> None:
    random = np.random.default_rng(0)
    references = random.standard_normal((10, 4000))
    order = random.permutation(10)
    estimates = (references + random.normal(0, 0.3, (10, 4000)))[order]
    item = score_item(["si-snr"], RATE, ScoringInput("a", [*references], [*estimates]))
    assert item.order == tuple(order.argsort().tolist())


def test_names_in_composed_and_decomposed_form_are_paired(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    true = put(tmp_path / "ref", {f"{composed}_s1": ONE, f"{composed}_s2": TWO})
    found = put(tmp_path / "est", {f"{decomposed}_s1": noisy(ONE, 9), f"{decomposed}_s2": noisy(TWO, 9)})
    (item,), _ = evaluate(true, found, metric="si-snr")
    assert (item.error, item.id) == ("", composed)


def test_no_name_is_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    true = put(tmp_path / "ref", {"=cmd|x_s1": ONE, "@y_s1": ONE})
    found = put(tmp_path / "est", {"=cmd|x_s1": noisy(ONE, 9)})
    evaluate(true, found, metric="si-snr", out=tmp_path / "items.csv")
    with (tmp_path / "items.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["'=cmd|x", "'@y"]


def test_a_missing_estimate_is_named(septool: Command, tmp_path: Path) -> None:
    true = put(tmp_path / "ref", a_s1=ONE, a_s2=TWO)
    found = put(tmp_path / "est", a_s1=noisy(ONE, 9))
    result = septool("eval", true, found, "-q")
    assert (result.status, result.errors) == (1, [f"septool: a: {found} has no a_s2"])

"""Scoring an extractor on mixtures with enrollments, and a speaker network on trials."""

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from septool import audio, catalogue, checkpoints
from septool.data import manifest
from septool.data.manifest import Enrollment, Mixture, Source
from septool.errors import UsageError
from septool.files import sha256_of
from septool.models import SPEAKER_MODEL
from septool.models.base import Extraction, Extractor
from septool.models.build import build_model
from septool.models.voicefilter import VoiceFilter
from septool.scoring.items import Item
from septool.scoring.model_estimates import extract_row
from septool.scoring.summary import Detection, summarize_detections
from septool.tasks.evaluate import evaluate
from tests.conftest import RATE, Command, voice
from tests.models.tiny import SPEAKER

PITCHES = {"ann": 110, "bob": 180, "eve": 290}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two mixtures of three people, a recording of each for an enrollment."""
    for place, (name, pitch) in enumerate(PITCHES.items()):
        for take in (0, 1):
            audio.write_audio(tmp_path / f"{name}{take}.wav", voice(pitch, seconds=2.5, seed=10 * place + take), RATE)

    def row(id: str, one: str, two: str, target: int) -> Mixture:
        speaker = (one, two)[target]
        sources = (Source(path=f"{one}0.wav", speaker=one), Source(path=f"{two}0.wav", speaker=two))
        enrollment = Enrollment(path=f"{speaker}1.wav", speaker=speaker, target=target)
        return Mixture(id=id, sample_rate=RATE, sources=sources, enrollment=enrollment)

    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest([row("a", "ann", "bob", 0), row("b", "bob", "eve", 1)]))
    return path


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch, rows: Path) -> dict[float, str]:
    """An extractor that knows the three voices by heart and gives the enrolled one, a little noisy."""
    takes = {name: torch.from_numpy(audio.load_audio(rows.parent / f"{name}0.wav", RATE)) for name in PITCHES}
    known = {name: torch.from_numpy(audio.load_audio(rows.parent / f"{name}1.wav", RATE)) for name in PITCHES}
    answers = {name: name for name in PITCHES}

    def speaker(self: Any, waves: Tensor) -> Tensor:
        nearest = [float(torch.corrcoef(torch.stack((waves[0], known[name])))[0, 1]) for name in PITCHES]
        return torch.tensor([[float(np.argmax(nearest))]])

    def find(self: Any, mixture: Tensor, embedding: Tensor) -> Extraction:
        names = [list(PITCHES)[int(known)] for known in embedding]
        given = torch.stack([takes[answers[name]] for name in names])
        noise = torch.randn(given.shape[1:], generator=torch.Generator().manual_seed(0))
        there = [max(float(torch.corrcoef(torch.stack((mixture[0], takes[name])))[0, 1]), 0.0) for name in names]
        return Extraction(given + 0.01 * noise, torch.tensor(there))

    monkeypatch.setattr(VoiceFilter, "extract_with_score", find)
    monkeypatch.setattr("septool.models.layers.speaker.SpeakerEmbedding.forward", speaker)
    return answers  # type: ignore[return-value]


def test_the_enrolled_voice_is_what_is_scored(rows: Path, tiny_extractor: Path, knowing: Any) -> None:
    items, summaries = evaluate(rows, model=str(tiny_extractor), metric="si-snr,si-snri", device="cpu")
    assert [item.order for item in items] == [(0,), (0,)]
    assert all(item.scores["si-snr"][0] > 10 for item in items)  # type: ignore[operator]
    by_name = {summary.metric: summary for summary in summaries}
    assert list(by_name) == ["si-snr", "si-snri", "right-voice", "presence-eer"]
    assert (by_name["right-voice"].mean, by_name["right-voice"].count) == (100.0, 2)
    assert (by_name["presence-eer"].mean, by_name["presence-eer"].count) == (0.0, 4)
    threshold = by_name["presence-eer"].threshold
    assert threshold is not None
    for item in items:
        assert item.detections["absence"] < threshold < item.detections["presence"]


def test_the_other_voice_is_the_wrong_one(rows: Path, tiny_extractor: Path, knowing: dict[str, str]) -> None:
    knowing["ann"] = "bob"
    items, summaries = evaluate(rows, model=str(tiny_extractor), metric="si-snri", device="cpu")
    assert [item.detections["right-voice"] for item in items] == [0.0, 100.0]
    assert next(summary.mean for summary in summaries if summary.metric == "right-voice") == 50.0
    assert items[0].scores["si-snri"][0] < -10  # type: ignore[operator]


def test_a_voice_that_is_lost_counts_where_it_was_looked_for(
    rows: Path, tiny_extractor: Path, knowing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = VoiceFilter.extract_with_score

    def lose(self: Any, mixture: Tensor, embedding: Tensor) -> Extraction:
        found = find(self, mixture, embedding)
        return found._replace(voice=torch.zeros_like(found.voice))

    monkeypatch.setattr(VoiceFilter, "extract_with_score", lose)
    items, summaries = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu")
    assert all("the voice is lost" in item.error for item in items)
    assert all(item.detections.keys() == {"right-voice", "presence", "absence"} for item in items)
    assert Item.from_row(items[0].to_row()) == items[0]
    by_name = {summary.metric: summary for summary in summaries}
    assert by_name["presence-eer"].count == 4


@pytest.mark.parametrize("part", ["voice", "presence"])
def test_an_answer_that_is_no_number_fails_its_item(
    rows: Path, tiny_extractor: Path, knowing: dict[str, str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    find = VoiceFilter.extract_with_score

    def break_one(self: Any, mixture: Tensor, embedding: Tensor) -> Extraction:
        found = find(self, mixture, embedding)
        return found._replace(**{part: found._asdict()[part] * math.nan})

    monkeypatch.setattr(VoiceFilter, "extract_with_score", break_one)
    items, (summary,) = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu")
    assert ["non-finite" in item.error for item in items] == [True, True]
    assert [item.detections for item in items] == [{}, {}]
    assert summary.failed == 2


def test_a_separator_is_scored_on_the_enrolled_voice_if_asked(rows: Path, tiny_checkpoint: Path) -> None:
    run = partial(evaluate, rows, model=str(tiny_checkpoint), metric="si-snr", device="cpu")
    items, summaries = run(extract=True)
    assert [len(item.scores["si-snr"]) for item in items] == [1, 1]
    assert all(item.detections.keys() == {"right-voice", "presence", "absence"} for item in items)
    assert summaries[0].provenance["speaker_model_sha256"] == sha256_of(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1])
    separated, _ = run()
    assert [len(item.scores["si-snr"]) for item in separated] == [2, 2]
    for source in (rows.parent, rows):
        with pytest.raises(UsageError, match="--extract is for"):
            evaluate(source, rows.parent, extract=True)


def test_an_extractor_is_known_by_itself(rows: Path, tiny_extractor: Path, knowing: Any) -> None:
    """The speaker network that chooses from a separator's outputs is not in what it was measured with."""
    _, summaries = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu", extract=True)
    assert summaries[0].provenance["model_sha256"] == sha256_of(tiny_extractor)
    assert "speaker_model_sha256" not in summaries[0].provenance


def test_a_row_without_enrollment_fails_alone(rows: Path, tiny_extractor: Path) -> None:
    first, second = rows.read_text().splitlines()
    rows.write_text(json.dumps(json.loads(first) | {"enrolment": None}) + "\n" + second + "\n")
    items, summaries = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu")
    assert items[0].error == "mixture a has no enrollment"
    assert "absence" not in items[1].detections  # nobody else is enrolled
    assert [summary.metric for summary in summaries] == ["si-snr", "right-voice", "presence-eer"]
    assert [summary.failed for summary in summaries] == [1, 1, 1]
    assert (summaries[-1].count, summaries[-1].undefined) == (0, 1)


def test_the_table_of_items_has_what_was_found(rows: Path, tiny_extractor: Path, tmp_path: Path) -> None:
    out = tmp_path / "items.csv"
    items, _ = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu", out=out)
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["a", "b"]
    assert float(table[0]["presence"]) == pytest.approx(items[0].detections["presence"], abs=1e-4)
    assert table[0]["right-voice"] in ("0.0000", "100.0000")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """An untrained speaker network."""
    config = SPEAKER | {"rate": RATE, "speakers": 3}
    path = tmp_path / "network.safetensors"
    header = checkpoints.Header(model="speaker-net", config=config, sample_rate=RATE, sources=0)
    checkpoints.save(path, build_model("speaker-net", config).state_dict(), header)
    return path


def test_trials_give_an_equal_error_rate(rows: Path, network: Path, septool: Command, tmp_path: Path) -> None:
    listed = tmp_path / "trials.txt"
    listed.write_text("1 ann0.wav ann0.wav\n0 ann0.wav eve0.wav\n1 bob1.wav bob1.wav\n0 bob0.wav eve1.wav\n")
    items, (summary,) = evaluate(listed, model=str(network), device="cpu")
    # A recording is nearest to itself.
    assert [item.detections.get("same") for item in items][::2] == [pytest.approx(1), pytest.approx(1)]
    assert (summary.metric, summary.mean, summary.count) == ("eer", 0.0, 4)
    out = tmp_path / "trials.csv"
    result = septool("eval", listed, "-m", network, "-d", "cpu", "-o", out)
    assert result.status == 0
    assert result.errors[-1].startswith("septool: eer: threshold of equal error rate ")
    assert len(out.read_text().splitlines()) == 5


def test_a_recording_that_cannot_be_read_fails_its_trials_alone(rows: Path, network: Path, septool: Command) -> None:
    listed = rows.parent / "trials.txt"
    listed.write_text("1 ann0.wav ann0.wav\n0 ann0.wav lost.wav\n0 ann0.wav eve0.wav\n1 ann0.wav ann0.wav\n")
    told: list[tuple[int, int]] = []
    items, (summary,) = evaluate(listed, model=str(network), device="cpu", report=lambda n, of, _: told.append((n, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]  # what is listed twice is compared once, and counts twice
    assert [item.error for item in items] == ["", f"{rows.parent}/lost.wav does not exist", "", ""]
    assert (summary.count, summary.failed, summary.provenance["manifest_sha256"]) == (3, 1, sha256_of(listed))
    result = septool("eval", listed, "-m", network, "-d", "cpu", "-q", "--json", "-o", rows.parent / "items.jsonl")
    assert result.status == 1
    assert result.errors == [f"septool: {items[1].id}: {items[1].error}"]
    lines = (rows.parent / "items.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["id"] for line in lines] == [item.id for item in items[:3]]


def test_trials_of_one_kind_alone_are_counted_as_undefined(rows: Path, network: Path, septool: Command) -> None:
    listed = rows.parent / "trials.txt"
    listed.write_text("1 ann0.wav ann0.wav\n0 ann0.wav eve0.wav\n")
    result = septool("eval", listed, "-m", network, "-d", "cpu", "-q", "--limit", 1)
    assert (result.status, result.errors) == (0, [])
    assert result.lines[1].split() == ["eer", "%", "8000", *["-"] * 6, "0", "1", "0"]


def test_wrong_usage(rows: Path, network: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a speaker network; it is scored on a list of trials \(\.txt\)"):
        evaluate(rows, model=str(network), device="cpu")
    (tmp_path / "trials.txt").write_text("1 a b\n0 a b\n")
    with pytest.raises(UsageError, match="is a list of trials; give the speaker network with --model"):
        evaluate(tmp_path / "trials.txt", rows.parent)


def test_errors_are_undefined_without_both_answers() -> None:
    rate = Detection("eer", positive="same", negative="different")
    items = [Item("a", detections={"same": 0.5}), Item("b", error="broken")]
    (summary,) = summarize_detections(items, rate)
    assert (summary.count, summary.undefined, summary.failed, math.isnan(summary.mean)) == (0, 1, 1, True)
    assert summarize_detections(items[1:], rate) == []
    (summary,) = summarize_detections([*items, Item("c", detections={"different": 0.1})], rate)
    assert (summary.mean, summary.failed, math.isnan(summary.median)) == (0.0, 1, True)
    (summary,) = summarize_detections([*items, Item("c", detections={"different": math.nan})], rate)
    assert (summary.count, summary.undefined, summary.failed, math.isnan(summary.mean)) == (0, 2, 1, True)


def test_the_first_items_score_what_they_score_among_all(rows: Path, tiny_extractor: Path, knowing: Any) -> None:
    items, _ = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu")
    (first,), _ = evaluate(rows, model=str(tiny_extractor), metric="si-snr", device="cpu", limit=1)
    assert first == items[0]
    assert "absence" in first.detections  # asked with the voice of a row behind the limit


class Watched(list[Mixture]):
    """Rows that note which of them were looked at."""

    seen: list[object]

    def __getitem__(self, place: Any) -> Any:
        self.seen.append(place)
        return super().__getitem__(place)


def test_absence_looks_on_to_the_next_row_whose_voice_is_not_there(rows: Path, tiny_extractor: Path) -> None:
    first, second = manifest.read_manifest(rows)
    listed = Watched([second, first, replace(first, id="c"), second, first])
    network, header = checkpoints.load(tiny_extractor, Extractor)
    for place, looked_at in ((1, [1, 2, 3]), (4, [4, 0])):
        listed.seen = []
        with torch.inference_mode():
            item = extract_row(
                network, header.sample_rate, torch.device("cpu"), first, rows=listed, places={"a": place}, passes=1
            )
        assert listed.seen == looked_at
        assert "absence" in item.detections


def test_trials_take_no_metric(rows: Path, network: Path, septool: Command) -> None:
    listed = rows.parent / "trials.txt"
    listed.write_text("1 ann0.wav ann0.wav\n0 ann0.wav eve0.wav\n")
    result = septool("eval", listed, "-m", network, "-d", "cpu", "--metric", "pesq")
    assert result.status == 2
    assert result.errors == [
        f"septool: {listed} is a list of trials, scored by its equal error rate; leave out --metric"
    ]


def test_an_embedding_that_is_no_number_fails_its_trials(
    rows: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = rows.parent / "trials.txt"
    listed.write_text("1 ann0.wav ann0.wav\n0 ann0.wav eve0.wav\n")
    monkeypatch.setattr(
        "septool.scoring.model_estimates.embed_recording", lambda _, path, *__: torch.tensor([math.nan, 0.0])
    )
    items, _ = evaluate(listed, model=str(network), device="cpu")
    assert [item.error for item in items] == [f"{network} gives no finite embedding; are its weights damaged?"] * 2

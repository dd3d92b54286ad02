"""A separator scored on conversations: by the path that takes recordings apart, with measures of the whole."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from septool import checkpoints
from septool.data.conversations import (
    Conversation,
    ConversationSegment,
    dump_conversations,
    read_conversations,
    render_conversation,
)
from septool.errors import UsageError
from septool.models.build import build_model
from septool.signal.turns import Turn
from septool.tasks import conversation_scores
from septool.tasks.evaluate import evaluate
from tests.conftest import RATE, Command, voice, write
from tests.models.tiny import SPEAKER


@pytest.fixture
def meetings(tmp_path: Path) -> Path:
    """Two conversations of ann and bob, who overlap for a second; the second has bob twice."""
    for name, pitch in (("ann", 110), ("bob", 210)):
        write(tmp_path / f"{name}.wav", voice(pitch, seconds=3, seed=pitch))

    def at(speaker: str, second: float) -> ConversationSegment:
        return ConversationSegment(speaker=speaker, path=f"{speaker}.wav", at=second)

    rows = [
        Conversation(id="a", sample_rate=RATE, seconds=6, segments=(at("ann", 0), at("bob", 2))),
        Conversation(id="b", sample_rate=RATE, seconds=9, segments=(at("bob", 0), at("ann", 2), at("bob", 5.5))),
    ]
    (tmp_path / "meetings.jsonl").write_text(dump_conversations(rows))
    return tmp_path / "meetings.jsonl"


class Knowing:
    """Takes a conversation apart by knowing it, but for what ``lose`` says."""

    rate = RATE

    def __init__(self, row: Conversation, lose: str = "", factor: int = 1) -> None:
        self.row, self.factor = row, factor
        self.rendered = render_conversation(row, RATE)
        self.keep = [n for n, name in enumerate(row.speakers) if name != lose]
        self.names = [row.speakers[n] for n in self.keep]
        self.heard = 0

    def __enter__(self) -> "Knowing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def choose_rate(self, recorded: int) -> int:
        return self.factor * RATE if recorded > RATE else RATE

    def listen(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[int]:
        self.chosen = rate
        for block in blocks:
            self.heard += len(block)
            yield self.heard

    def diarize(self) -> SimpleNamespace:
        assert self.heard == len(render_conversation(self.row, self.chosen).mixture)
        turns = [Turn(t.start, t.end, f"found {t.speaker}") for t in self.rendered.turns if t.speaker in self.names]
        return SimpleNamespace(turns=turns, speakers=tuple(f"found {name}" for name in self.names))

    def voices(self) -> Iterator[np.ndarray]:
        rest = np.zeros((1, len(self.rendered.mixture)))
        noise = 1e-3 * np.random.default_rng(0).standard_normal((len(self.keep), rest.shape[1]))
        voices = np.concatenate((self.rendered.sources[self.keep] + noise, rest))
        samples = -(-self.heard * RATE // self.chosen)
        yield np.pad(voices, ((0, 0), (0, samples - voices.shape[1])))


@contextmanager
def known(monkeypatch: pytest.MonkeyPatch, meetings: Path, lose: str = "") -> Iterator[None]:
    rows = iter(read_conversations(meetings))
    networks = SimpleNamespace(start=lambda: Knowing(next(rows), lose), rate=RATE)
    with monkeypatch.context() as patch:
        patch.setattr(conversation_scores, "load_conversation_networks", lambda *_: networks)
        yield


def test_who_is_taken_apart_perfectly(
    monkeypatch: pytest.MonkeyPatch, meetings: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with known(monkeypatch, meetings):
        items, summaries = evaluate(
            meetings,
            model=str(tiny_checkpoint),
            device="cpu",
            out=tmp_path / "items.jsonl",
            html=tmp_path / "report.html",  # for which nothing is taken apart once more
        )
    assert "Worst 1: " in (tmp_path / "report.html").read_text()
    found = {summary.metric: summary for summary in summaries}
    assert [*found] == ["der", "der-collar", "count-right", "wrong-track", "si-snri"]
    assert (found["der"].mean, found["der-collar"].mean, found["count-right"].mean) == (0, 0, 100)
    assert found["wrong-track"].mean < 2
    assert found["si-snri"].count == 4
    assert found["si-snri"].mean > 10
    assert found["der"].unit == "%"
    assert items[1].detections["speakers"] == items[1].detections["found"] == 2
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [row["der"] for row in rows if "der" in row] == [0, 0]


def test_who_is_not_found_is_undefined_and_counted(
    monkeypatch: pytest.MonkeyPatch, meetings: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with known(monkeypatch, meetings, lose="bob"):
        (a, b), summaries = evaluate(meetings, model=str(tiny_checkpoint), device="cpu", out=tmp_path / "items.csv")
    found = {summary.metric: summary for summary in summaries}
    assert a.detections["der"] == pytest.approx(50)
    assert b.detections["der"] == pytest.approx(200 / 3)
    assert found["count-right"].mean == 0
    assert (found["si-snri"].count, found["si-snri"].undefined) == (2, 2)
    assert found["si-snri"].reasons == {"the speaker was not found": 2}
    with (tmp_path / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["der"]) for row in rows] == pytest.approx([50, 50, 200 / 3, 200 / 3], abs=1e-3)


def test_a_conversation_that_cannot_be_read_fails_alone(
    monkeypatch: pytest.MonkeyPatch, meetings: Path, tiny_checkpoint: Path
) -> None:
    text = meetings.read_text().splitlines()
    meetings.write_text("\n".join([text[0].replace("bob.wav", "gone.wav"), text[1]]))
    starts = iter([None, Knowing(read_conversations(meetings)[1])])
    networks = SimpleNamespace(start=lambda: next(starts), rate=RATE)
    with monkeypatch.context() as patch:
        patch.setattr(conversation_scores, "load_conversation_networks", lambda *_: networks)
        (a, b), summaries = evaluate(meetings, model=str(tiny_checkpoint), device="cpu")
    assert "gone.wav" in a.error
    assert not b.error
    assert all(summary.failed == 1 for summary in summaries)


def test_a_conversation_that_there_is_not_enough_memory_for_fails_alone(
    monkeypatch: pytest.MonkeyPatch, meetings: Path, tiny_checkpoint: Path
) -> None:
    def lack(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with known(monkeypatch, meetings):
        monkeypatch.setattr(Knowing, "diarize", lack)
        items, _ = evaluate(meetings, model=str(tiny_checkpoint), device="cpu")
    assert [item.error for item in items] == ["there is not enough memory for a whole conversation at once"] * 2


@pytest.mark.parametrize(("recorded", "chosen"), [(RATE, RATE), (2 * RATE, 2 * RATE), (44100, 2 * RATE)])
def test_a_conversation_is_heard_at_the_rate_that_is_chosen_for_it(
    monkeypatch: pytest.MonkeyPatch, meetings: Path, tiny_checkpoint: Path, recorded: int, chosen: int
) -> None:
    """An odd number of samples has a half that is rounded up, and may be rounded down where the whole is rendered."""
    row = read_conversations(meetings)[0]
    row = replace(row, sample_rate=recorded, seconds=(6 * 2 * RATE + 1) / (2 * RATE))
    meetings.write_text(dump_conversations([row]))
    knowing = Knowing(read_conversations(meetings)[0], factor=2)
    networks = SimpleNamespace(start=lambda: knowing, rate=RATE)
    monkeypatch.setattr(conversation_scores, "load_conversation_networks", lambda *_: networks)
    (item,), _ = evaluate(meetings, model=str(tiny_checkpoint), device="cpu")
    assert knowing.chosen == chosen
    assert not item.error
    assert item.detections["der"] == 0


def test_a_speaker_network_that_was_not_measured_is_told_of(
    septool: Command, meetings: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    network, mine = build_model("speaker-net", SPEAKER), tmp_path / "mine.safetensors"
    header = checkpoints.Header(model="speaker-net", config={**SPEAKER}, sample_rate=RATE, sources=0)
    checkpoints.save(mine, network.state_dict(), header)
    result = septool("eval", meetings, "-m", tiny_checkpoint, "-d", "cpu", "--limit", 1, "--speaker-model", mine)
    assert f"septool: {mine}: how its embeddings are spread was not measured" in "\n".join(result.errors)


def test_the_command_line(septool: Command, meetings: Path, tiny_checkpoint: Path) -> None:
    """Real networks, from rendering to the table."""
    result = septool("eval", meetings, "-m", tiny_checkpoint, "-d", "cpu", "-q", "--limit", 1)
    assert (result.status, result.errors) == (0, [])
    assert [line.split()[0] for line in result.lines[1:]] == [
        "der",
        "der-collar",
        "count-right",
        "wrong-track",
        "si-snri",
    ]


def test_wrong_usage(meetings: Path, tiny_checkpoint: Path, tiny_extractor: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds conversations; give the separator with --model"):
        evaluate(meetings, tmp_path)
    with pytest.raises(UsageError, match="have measures of their own; leave out --metric"):
        evaluate(meetings, model=str(tiny_checkpoint), metric="sdr")
    with pytest.raises(UsageError, match=r"conversations take a model with 2 outputs, .* has 1"):
        evaluate(meetings, model=str(tiny_extractor))

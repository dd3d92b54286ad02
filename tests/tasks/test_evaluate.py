"""Scoring: what a score is, and that what has none is counted and never becomes a number."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from septool import audio
from septool.data import manifest
from septool.errors import SeptoolError, UsageError
from septool.headers import Header
from septool.inference.engines import TorchSeparator
from septool.inference.level import separate_at_model_level
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator, SeparatorConfig
from septool.scoring.item_files import item_writer, load_items
from septool.scoring.items import PROVENANCE, Item, parse_metric_names
from septool.scoring.model_estimates import separate_row
from septool.scoring.summary import Summary, summarize_items
from septool.tasks.evaluate import evaluate
from septool.tasks.mix import mix_manifest
from tests.conftest import RATE, voice


def at(reference: np.ndarray, db: float, seed: int = 0) -> np.ndarray:
    """The reference with noise that is orthogonal to it, zero-mean, and ``db`` below it."""
    noise = np.random.default_rng(seed).standard_normal(len(reference))
    zero_mean = reference - reference.mean(dtype=np.float64)
    noise -= noise.mean()
    noise -= (noise @ zero_mean) / (zero_mean @ zero_mean) * zero_mean
    noise *= np.linalg.norm(zero_mean) / np.linalg.norm(noise) * 10 ** (-db / 20)
    return (reference + noise).astype(np.float32)


def put(folder: Path, **signals: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, signal in signals.items():
        audio.write_audio(folder / f"{name}.wav", signal, RATE, "FLOAT")
    return folder


ONE, TWO = voice(100, seconds=0.6, seed=1), voice(200, seconds=0.6, seed=2)


@pytest.fixture
def true(tmp_path: Path) -> Path:
    return put(tmp_path / "true", a_s1=ONE, a_s2=TWO, b_s1=TWO, b_s2=ONE)


def test_estimates_are_scored_in_their_best_order(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 10), a_s2=at(TWO, 20), b_s1=at(ONE, 12), b_s2=at(TWO, 22))
    (a, b), (summary,) = evaluate(true, found, metric="si-snr")
    assert (a.order, b.order) == ((0, 1), (1, 0))
    assert a.scores["si-snr"] == pytest.approx([10, 20], abs=1e-4)
    assert b.scores["si-snr"] == pytest.approx([22, 12], abs=1e-4)
    assert (summary.mean, summary.median, summary.count) == (
        pytest.approx(16, abs=1e-4),
        pytest.approx(16, abs=1e-4),
        4,
    )


def test_an_improvement_is_over_the_mixture(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 30), a_s2=at(TWO, 30), b_s1=at(TWO, 30), b_s2=at(ONE, 30))
    (a, b), _ = evaluate(true, found, metric="si-snr,si-snri")
    put(true, b=at(ONE + TWO, 0))  # b gets a mixture of its own, noisier than the sum
    (_, c), _ = evaluate(true, found, metric="si-snri")
    snr, gain = a.scores["si-snr"], a.scores["si-snri"]
    alone = [10 * np.log10((x @ x) / (y @ y)) for x, y in ((ONE, TWO), (TWO, ONE))]  # nearly orthogonal voices
    for s, g, mixture in zip(snr, gain, alone, strict=True):
        assert s is not None
        assert s - mixture == pytest.approx(g, abs=0.5)
    for before, after in zip(b.scores["si-snri"], c.scores["si-snri"], strict=True):
        assert after is not None
        assert after > (before or 0) + 2


def test_a_silent_reference_is_undefined_and_does_not_hide_the_other(true: Path, tmp_path: Path) -> None:
    put(true, a_s1=np.zeros_like(ONE))
    # The voices come in the other order: only the reference that speaks can tell.
    found = put(tmp_path / "found", a_s1=at(TWO, 15), a_s2=at(ONE, 5), b_s1=at(TWO, 9), b_s2=at(ONE, 9))
    (a, _), (snr, sdr) = evaluate(true, found, metric="si-snr,sdr")
    assert a.order == (1, 0)
    assert a.scores["si-snr"] == [None, pytest.approx(15, abs=1e-4)]
    assert a.reasons["si-snr"] == ["the reference is silent", None]
    assert a.to_row()["undefined"] == {name: ["the reference is silent", None] for name in ("si-snr", "sdr")}
    assert (snr.count, snr.undefined, snr.failed) == (3, 1, 0)
    assert snr.mean == pytest.approx((15 + 9 + 9) / 3, abs=1e-4)
    assert sdr.undefined == 1


def test_an_exact_estimate_is_undefined_and_not_infinite(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=ONE, a_s2=at(TWO, 5), b_s1=at(TWO, 5), b_s2=at(ONE, 5))
    (a, _), (summary,) = evaluate(true, found, metric="si-snr")
    assert a.scores["si-snr"] == [None, pytest.approx(5, abs=1e-4)]
    assert a.reasons["si-snr"][0] == "the estimate equals the reference"
    assert math.isfinite(summary.mean)


def change(found: Path, what: str) -> None:
    match what:
        case "missing":
            (found / "a_s2.wav").unlink()
        case "short":
            put(found, a_s1=ONE[:-5], a_s2=TWO[:-5])
        case "uneven":
            put(found, a_s2=TWO[:-5])
        case "rate":
            audio.write_audio(found / "a_s1.wav", ONE, 16000)
        case "nan":
            put(found, a_s1=np.where(np.arange(len(ONE)) == 9, np.nan, ONE))
        case "text":
            (found / "a_s1.wav").write_text("no sound")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("missing", "{found} has no a_s2"),
        ("short", "the estimates have 4795 samples, the references have 4800; --trim cuts all to the shortest"),
        ("uneven", "the estimates differ in length (4800, 4795 samples); --trim cuts all to the shortest"),
        ("rate", "{found}/a_s1.wav is 16000 Hz, the others are 8000; --sample-rate brings all to one"),
        ("nan", "{found}/a_s1.wav holds non-finite samples (NaN or infinite)"),
        (
            "text",
            "{found}/a_s1.wav cannot be read as audio (Format not recognised); "
            "septool doctor lists the formats that can be read",
        ),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_scored_fails_alone(true: Path, tmp_path: Path, what: str, error: str, jobs: int) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5), b_s1=at(TWO, 7), b_s2=at(ONE, 7))
    change(found, what)
    (a, b), (summary,) = evaluate(true, found, metric="si-snr", jobs=jobs)
    assert a == Item("a", error=error.format(found=found))
    assert b.scores["si-snr"] == pytest.approx([7, 7], abs=1e-4)
    assert (summary.count, summary.undefined, summary.failed) == (2, 0, 1)


@pytest.mark.parametrize(
    ("name", "samples", "error"),
    [
        ("a_s1", np.full(4800, np.inf), "{true}/a_s1.wav holds non-finite samples (NaN or infinite)"),
        ("a", np.full(4800, np.nan), "{true}/a.wav holds non-finite samples (NaN or infinite)"),
        ("a", ONE[:-1], "the mixture has 4799 samples, the references have 4800; --trim cuts all to the shortest"),
    ],
)
def test_a_bad_reference_or_mixture_fails_alone(
    true: Path, tmp_path: Path, name: str, samples: np.ndarray, error: str
) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5), b_s1=at(TWO, 7), b_s2=at(ONE, 7))
    put(true, **{name: samples.astype(np.float32)})
    (a, b), _ = evaluate(true, found, metric="si-snri")
    assert a.error == error.format(true=true)
    assert not b.error


def test_a_reference_that_cannot_be_read_does_not_stop_the_rest(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5), b_s1=at(TWO, 7), b_s2=at(ONE, 7))
    (true / "a_s1.wav").write_text("no sound")
    (a, b), _ = evaluate(true, found, metric="si-snr")
    assert "cannot be read as audio" in a.error
    assert b.scores["si-snr"] == pytest.approx([7, 7], abs=1e-4)
    (true / "b_s1.wav").write_text("no sound")
    with pytest.raises(SeptoolError, match=r"a_s1\.wav cannot be read as audio"):
        evaluate(true, found, metric="si-snr")


def test_one_and_two_processes_give_the_same_items(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5), b_s1=at(TWO, 7), b_s2=at(ONE, 7))
    one, two = (evaluate(true, found, metric="si-snri,sdr,pesq,estoi", jobs=jobs) for jobs in (1, 2))
    for before, after in zip(one[0], two[0], strict=True):
        assert (before.id, before.order, before.reasons) == (after.id, after.order, after.reasons)
        for metric, scores in before.scores.items():
            assert after.scores[metric] == pytest.approx(scores, abs=1e-9)


def test_the_limit_holds_for_folders_too(true: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5))
    items, _ = evaluate(true, found, metric="si-snr", limit=1)
    assert [(item.id, item.error) for item in items] == [("a", "")]


def test_folders_below_keep_their_names_apart(tmp_path: Path) -> None:
    for folder, db in (("true", 99), ("found", 5)):
        for room, voices in (("x", (ONE, TWO)), ("y", (TWO, ONE))):
            (tmp_path / folder).mkdir(exist_ok=True)
            put(tmp_path / folder / room, **{f"call_s{n}": at(v, db) for n, v in enumerate(voices, 1)})
    items, _ = evaluate(tmp_path / "true", tmp_path / "found", metric="si-snr")
    assert [(item.id, item.order) for item in items] == [("x_call", (0, 1)), ("y_call", (0, 1))]
    audio.write_audio(tmp_path / "found/x/call_s1.flac", ONE, RATE)
    with pytest.raises(UsageError, match=r"call_s1\.flac and .*call_s1\.wav go by the same name"):
        evaluate(tmp_path / "true", tmp_path / "found", metric="si-snr")


def test_estimates_of_a_manifest(true: Path, tmp_path: Path) -> None:
    sources = tuple(manifest.Source(path=f"true/a_s{n}.wav") for n in (1, 2))
    row = manifest.Mixture(id="x/a", sample_rate=RATE, sources=sources, root=tmp_path)
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest([row]))
    mixtures = Path(mix_manifest(tmp_path / "rows.jsonl", out=tmp_path / "mixed", subtype="FLOAT").manifest)
    found = put(tmp_path / "found", x_a_s1=at(TWO, 8), x_a_s2=at(ONE, 6))  # as separating mixed/x_a.wav names them
    for rows in (tmp_path / "rows.jsonl", mixtures):
        (item,), _ = evaluate(rows, found, metric="si-snr")
        assert item.order == (1, 0)
        assert item.scores["si-snr"] == pytest.approx([6, 8], abs=1e-4)


def test_a_model_of_too_few_outputs_fails_the_item_and_of_too_many_gives_its_best(
    tree: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    paths = sorted(tree.rglob("*.wav"))
    rows = [
        manifest.Mixture(
            id=str(count),
            sample_rate=RATE,
            sources=tuple(manifest.Source(path=str(path)) for path in paths[:count]),
        )
        for count in (1, 2, 3)
    ]
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest(rows))
    lines: list[str] = []
    (one, two, three), _ = evaluate(
        tmp_path / "rows.jsonl", model=str(tiny_checkpoint), metric="si-snr,si-snri", device="cpu", warn=lines.append
    )
    assert lines == ["1 of 3 mixtures have fewer sources than the model gives (2); the best of its outputs are scored"]
    assert not one.error
    assert len(one.order) == 1
    assert one.reasons["si-snri"] == ["the mixture equals the reference"]  # nothing to improve on
    assert not two.error
    assert three.error == "3 sources, the model gives 2"


class Askew(Separator[SeparatorConfig]):
    """Splits a mixture into two bands, of scales that are its own, as of a network that learnt by SI-SNR."""

    scales = (0.5, -3.0)

    def __init__(self) -> None:
        super().__init__()
        self.config = SeparatorConfig()

    def forward(self, mixture: Tensor) -> Tensor:
        low = functional.avg_pool1d(mixture[:, None], 9, stride=1, padding=4)[:, 0]
        return torch.stack([self.scales[0] * low, self.scales[1] * (mixture - low)], 1)


@pytest.mark.parametrize("passes", [1, 2])
def test_voices_of_any_scale_are_scored_at_their_levels_in_the_mixture(true: Path, passes: int) -> None:
    sources = tuple(manifest.Source(path=f"a_s{n}.wav") for n in (1, 2))
    row = manifest.Mixture(id="a", sample_rate=RATE, sources=sources, root=true)
    separator = TorchSeparator(Askew(), Header(model="", config={}, sample_rate=RATE, sources=2))
    separated = separate_row(separator, torch.device("cpu"), row, passes=passes)
    voices, mixture = np.stack(separated.estimates), separated.mixture
    assert mixture is not None
    np.testing.assert_allclose(voices.sum(0), mixture - mixture.mean(), atol=1e-3 * np.abs(mixture).max())
    if passes == 1:
        with torch.inference_mode():
            plain = separate_at_model_level(Askew(), torch.from_numpy(mixture)[None])[0]
        found = [
            si_snr(estimate=voices, reference=torch.from_numpy(np.stack(separated.references)))
            for voices in (plain, torch.from_numpy(voices))
        ]
        torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=0)


def test_files_of_items(true: Path, tmp_path: Path) -> None:
    put(true, a_s1=np.zeros_like(ONE))
    found = put(tmp_path / "found", a_s1=at(ONE, 5), a_s2=at(TWO, 5))
    for name in ("items.csv", "items.jsonl"):
        evaluate(true, found, metric="si-snr,pesq", out=tmp_path / name)
    with (tmp_path / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["source"]) for row in rows] == [("a", "1"), ("a", "2"), ("b", "")]
    assert (rows[0]["si-snr"], rows[0]["pesq"]) == ("", "")
    assert rows[0]["note"] == "the reference is silent"
    assert float(rows[1]["si-snr"]) == pytest.approx(5, abs=1e-3)
    assert rows[2]["note"] == f"{found} has no b_s1"
    header, a, b = map(json.loads, (tmp_path / "items.jsonl").read_text().splitlines())
    assert header["header"]["sample_rate"] == RATE
    assert header["header"]["metrics"].keys() == {"si-snr", "pesq"}
    assert header["header"]["versions"]["pesq"]
    assert a["si-snr"] == [None, pytest.approx(5, abs=1e-4)]
    assert a["undefined"]["si-snr"] == ["the reference is silent", None]
    assert b == {"id": "b", "error": f"{found} has no b_s1"}


def test_a_file_that_another_run_adds_items_to_is_left_to_it(tmp_path: Path) -> None:
    out = tmp_path / "items.jsonl"
    with item_writer(out, [], ["si-snr"]) as write:
        write(Item("a", {"si-snr": [1.0]}))
        with pytest.raises(SeptoolError, match="is being written by another run"):  # noqa: SIM117
            with item_writer(out, [], ["si-snr"]):
                pass
        write(Item("b", {"si-snr": [2.0]}))
    assert [item.id for item in load_items(out)] == ["a", "b"]
    assert [*tmp_path.iterdir()] == [out]


def test_the_interval_holds_the_mean_and_narrows_with_the_items() -> None:
    random = np.random.default_rng(0)
    widths = []
    for count in (20, 2000):
        items = [Item(str(n), {"sdr": list(10 + 3 * random.standard_normal(2))}) for n in range(count)]
        (summary,) = summarize_items(items, ["sdr"])
        assert summary.low < summary.mean < summary.high
        widths.append(summary.high - summary.low)
    # Of independent values with a spread of 3 the mean has 3 / sqrt(n), and 95 % lie within 1.96 of them.
    assert widths[1] == pytest.approx(2 * 1.96 * 3 / math.sqrt(4000), rel=0.1)
    assert widths[0] == pytest.approx(2 * 1.96 * 3 / math.sqrt(40), rel=0.4)


def test_a_summary_of_nothing_is_no_number() -> None:
    (summary,) = summarize_items([Item("a", error="lost"), Item("b", {"sdr": [None]})], ["sdr"])
    assert (summary.count, summary.undefined, summary.failed) == (0, 1, 1)
    assert math.isnan(summary.mean)
    assert math.isnan(summary.low)


def test_metrics_are_named_once_in_the_order_given() -> None:
    assert parse_metric_names(" SDR, si-snr,sdr") == ["sdr", "si-snr"]


def test_voices_that_no_reference_belongs_to_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder, numbers in (("true", (1, 2)), ("more", (1, 2, 3)), ("gap", (1, 3))):
        for number in numbers:
            (tmp_path / folder).mkdir(exist_ok=True)
            audio.write_audio(
                tmp_path / folder / f"a_s{number}.wav", random.normal(0, 0.1, 4000).astype(np.float32), 8000
            )
    lines: list[str] = []
    (item,) = evaluate(tmp_path / "true", tmp_path / "more", metric="si-snr", warn=lines.append)[0]
    assert lines == ["a: 1 more estimates than references, a_s3; the best 2 are scored"]
    assert len(item.order) == 2
    (item,) = evaluate(tmp_path / "gap", tmp_path / "true", metric="si-snr")[0]
    assert item.error == f"{tmp_path / 'gap'} has no a_s2"


def test_recordings_without_samples_fail_alone(tmp_path: Path) -> None:
    for folder in ("true", "found"):
        (tmp_path / folder).mkdir()
        for name, samples in (("a", 4000), ("b", 0)):
            noise = np.random.default_rng(len(folder)).normal(0, 0.1, samples).astype(np.float32)
            audio.write_audio(tmp_path / folder / f"{name}_s1.wav", noise, 8000)
    good, empty = evaluate(tmp_path / "true", tmp_path / "found", metric="si-snr")[0]
    assert not good.error
    assert empty.error == f"{tmp_path}/true/b_s1.wav has no samples"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_table_pairs_files_of_any_names(tmp_path: Path, count: int) -> None:
    voices = [voice(100 + 60 * n, seconds=0.6, seed=n) for n in range(count)]
    put(tmp_path / "true", **{f"clean{n}": each for n, each in enumerate(voices)}, noisy=at(np.sum(voices, axis=0), 10))
    put(tmp_path / "found", **{f"out{n}": at(each, 10 + n) for n, each in enumerate(reversed(voices))})
    rows = [f"a,clean{n}.wav,out{n}.wav,noisy.wav" for n in range(count)]
    (tmp_path / "pairs.csv").write_text("\ufeffid,reference,estimate,mixture\n" + "\n".join(rows) + "\n")
    (item,), _ = evaluate(
        tmp_path / "true", tmp_path / "found", metric="si-snr,si-snri", pair=str(tmp_path / "pairs.csv")
    )
    assert item.order == tuple(reversed(range(count)))
    assert item.scores["si-snr"] == pytest.approx([9 + count - n for n in range(count)], abs=1e-3)
    if count == 1:
        assert item.scores["si-snri"] == pytest.approx([0], abs=1e-3)  # from the mixture that the table names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,reference\na,b\n", "has no column 'estimate'; it takes id, reference, estimate and mixture"),
        ("id,reference,estimate\na,b.wav,\n", "line 2 has no estimate"),
        ("id,reference,estimate\n", "has no rows"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_table_that_pairs_nothing(tmp_path: Path, text: str | None, said: str) -> None:
    table = tmp_path / "pairs.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UsageError) as error:
        evaluate(tmp_path, tmp_path, pair=str(table))
    assert said in str(error.value)


def test_a_table_is_for_two_folders(tmp_path: Path) -> None:
    row = manifest.Mixture(id="a", sample_rate=RATE, sources=(manifest.Source(path="a.wav"),))
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest([row]))
    with pytest.raises(UsageError, match="pairs the files of two folders; for a manifest give a template"):
        evaluate(tmp_path / "rows.jsonl", tmp_path, pair="pairs.csv")


def test_rows_of_summaries_have_every_key_of_provenance() -> None:
    row = Summary("si-snr", "dB", provenance={"passes": "2", "of another version": "x"}).row()
    assert {key: row[key] for key in PROVENANCE} == {key: "2" if key == "passes" else None for key in PROVENANCE}
    assert (row["of another version"], row["metric"], "provenance" in row) == ("x", "si-snr", False)

"""``septool eval``: tables, lines and files; what cannot be scored is counted and listed."""

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septool import audio
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import InterruptedBySignal
from septool.files import sha256_of
from septool.reports import spectrograms
from septool.scoring import model_estimates
from septool.scoring.items import ScoringInput
from septool.tasks.prepare import prepare
from tests.conftest import RATE, Command, voice

HZ = {"low": 200, "high": 440, "shrill": 1900, "shriller": 2300}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """References of two mixtures, and estimates at 20 dB."""
    true, found = tmp_path / "true", tmp_path / "found"
    random = np.random.default_rng(0)
    for folder in (true, found):
        folder.mkdir()
    for name in ("a", "b"):
        for n in (1, 2):
            reference = voice(100 * n, seconds=0.5, seed=n)
            noise = random.standard_normal(len(reference)).astype(np.float32)
            noise *= 0.1 * np.linalg.norm(reference) / np.linalg.norm(noise)
            audio.write_audio(true / f"{name}_s{n}.wav", reference, RATE, "FLOAT")
            audio.write_audio(found / f"{name}_s{n}.wav", reference + noise, RATE, "FLOAT")
    return true, found


def test_either_folder_may_lie_in_the_other(
    septool: Command, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    true, found = folders
    scored = septool("eval", true, found, "--metric", "si-snr", "-q").lines
    inside = found.rename(true / "found")
    monkeypatch.chdir(true)
    assert septool("eval", ".", "found", "--metric", "si-snr", "-q").lines == scored
    inside = inside.rename(true.parent / "found")
    true = true.rename(inside / "true")
    assert septool("eval", true, inside, "--metric", "si-snr", "-q").lines == scored


def test_a_table(septool: Command, folders: tuple[Path, Path]) -> None:
    result = septool("eval", *folders, "--metric", "si-snr,stoi", "-q")
    assert result.status == 0
    assert result.errors == []
    header, snr, stoi = (line.split() for line in result.lines)
    assert header[:5] == ["metric", "unit", "Hz", "mean", "95%"]
    assert header[-3:] == ["count", "undefined", "failed"]
    assert snr[:3] == ["si-snr", "dB", str(RATE)]
    assert float(snr[3]) == pytest.approx(20, abs=0.3)
    assert snr[-3:] == ["4", "0", "0"]
    assert stoi[0] == "stoi"


def test_files_of_any_rate_are_scored_at_the_one_named(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in folders[1].iterdir():
        audio.write_audio(path, audio.resample(audio.read_audio(path)[0], RATE, 2 * RATE), 2 * RATE, "FLOAT")
    run = ("eval", *folders, "--metric", "si-snr", "--json", "-q")
    refused = septool(*run)
    assert refused.status == 1
    assert "is 16000 Hz, the others are 8000; --sample-rate brings all to one" in refused.errors[0]
    summary = json.loads(septool(*run, "--sample-rate", RATE).lines[-1])
    assert (summary["sample_rate"], summary["count"]) == (RATE, 4)
    # Two resamplings take what lies next to half the rate from the noise, and little from the voice.
    assert summary["mean"] == pytest.approx(20, abs=1)


def test_estimates_of_a_manifest_are_scored_at_the_rate_named(septool: Command, mixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    for row in manifest.read_manifest(mixtures):
        sources = render_mixture(row).sources
        whistle = 0.05 * np.sin(2 * np.pi * 3000 / RATE * np.arange(sources.shape[1])).astype(np.float32)
        for n, source in enumerate(sources, 1):
            audio.write_audio(tmp_path / f"found/{row.id}_s{n}.wav", source + whistle, RATE, "FLOAT")
    run = ("eval", mixtures, tmp_path / "found", "--metric", "si-snr", "--json", "-q")
    heard = json.loads(septool(*run).lines[-1])
    not_heard = json.loads(septool(*run, "--sample-rate", 4000).lines[-1])
    assert (heard["sample_rate"], not_heard["sample_rate"]) == (RATE, 4000)
    assert heard["mean"] < 20
    assert not_heard["mean"] > 40


def test_json_lines_and_a_failed_item(septool: Command, folders: tuple[Path, Path]) -> None:
    (folders[1] / "b_s2.wav").unlink()
    result = septool("eval", *folders, "--metric", "si-snr", "--json", "-q")
    assert result.status == 1
    item, failed, summary = map(json.loads, result.lines)
    assert (item["id"], item["order"], len(item["si-snr"])) == ("a", [0, 1], 2)
    assert failed == {"id": "b", "error": f"{folders[1]} has no b_s2"}
    assert (summary["metric"], summary["count"], summary["failed"], summary["low"]) == ("si-snr", 2, 1, None)
    assert result.errors == [f"septool: b: {folders[1]} has no b_s2"]


def test_sdr_by_any_backend_is_the_same_and_the_file_names_it(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("mir_eval.separation", reason="mir_eval 0.9 has no separation module")
    means = []
    for backend in ("septool", "fast-bss-eval", "mir_eval"):
        out = tmp_path / f"{backend}.jsonl"
        run = ("eval", *folders, "--metric", "sdr,sdri", "--sdr-backend", backend, "-o", out, "--json", "-q")
        means.append([json.loads(line)["mean"] for line in septool(*run).lines[-2:]])
        assert json.loads(out.read_text().splitlines()[0])["header"]["sdr_backend"] == backend
    assert means[0] == pytest.approx(means[2], abs=1e-6)
    assert means[1] == pytest.approx(means[2], abs=1e-6)


LISTEN = """
import sys, wave
import numpy as np
with wave.open(sys.argv[1]) as file:
    sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
crossings = np.sum(sound[1:] * sound[:-1].astype(float) < 0)
if crossings > 3000:
    sys.exit("too high")
print("The LOW one." if crossings < 600 else "the high the one")
"""


def test_a_recognizer_gives_word_error_rates(septool: Command, tmp_path: Path) -> None:
    tones = {name: 0.3 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE) for name, hz in HZ.items()}
    for name, tone in tones.items():
        audio.write_audio(tmp_path / f"{name}.wav", tone.astype(np.float32), RATE, "FLOAT")
    texts = {"low": "the low one", "high": "the high one", "shrill": "?", "shriller": "the shrill one"}
    (tmp_path / "found").mkdir()
    rows = []
    for id, names in (("a", ("low", "high")), ("b", ("shrill", "shriller"))):
        sources = tuple(manifest.Source(path=f"{name}.wav", text=texts[name]) for name in names)
        rows.append(manifest.Mixture(id=id, sources=sources, sample_rate=RATE))
        for n, name in enumerate(reversed(names), 1):  # in the other order
            noise = 0.01 * np.cos(2 * np.pi * 50 * np.arange(RATE) / RATE)
            audio.write_audio(
                tmp_path / f"found/{id}_s{n}.wav", (tones[name] + noise).astype(np.float32), RATE, "FLOAT"
            )
    (tmp_path / "set.jsonl").write_text(manifest.dump_manifest(rows))
    (tmp_path / "listen.py").write_text(LISTEN)
    command = shlex.join([sys.executable, str(tmp_path / "listen.py")])
    run = ("eval", tmp_path / "set.jsonl", tmp_path / "found", "--metric", "si-snr", "--asr", command)
    result = septool(*run, "--json", "-o", tmp_path / "items.jsonl")
    assert result.status == 0
    first, second, _, rate, total = map(json.loads, result.lines)
    assert first["order"] == [1, 0]
    assert first["wer"] == pytest.approx([0, 100 / 3])
    assert second["undefined"]["wer"] == [
        "the manifest has no text of this source",
        "the recognizer ended with status 1",
    ]
    assert (rate["metric"], rate["count"], rate["undefined"]) == ("wer", 2, 2)
    assert (total["metric"], total["mean"], total["count"]) == ("wer-total", pytest.approx(100 / 6), 6)
    assert {row["asr"] for row in (first, second, rate, total)} == {command}
    assert json.loads((tmp_path / "items.jsonl").read_text().splitlines()[0])["header"]["asr"] == command
    said = septool(*run, "--strict")
    assert said.status == 1
    assert "septool: wer: 1 undefined, the recognizer ended with status 1" in said.errors


def test_a_file_for_every_item_is_not_replaced_without_force(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("eval", *folders, "--metric", "si-snr", "-q", "-o", tmp_path / "new/items.csv")
    assert septool(*arguments).status == 0
    result = septool(*arguments)
    assert result.status == 1
    assert result.errors == [f"septool: {tmp_path}/new/items.csv exists; use --force to replace it"]
    assert septool(*arguments, "--force").status == 0


def test_a_model_on_a_manifest(septool: Command, tree: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    prepare("folder", tree, out=tmp_path, split="dev", mixtures=2)
    result = septool("eval", tmp_path / "dev-2mix.jsonl", "-m", tiny_checkpoint, "-d", "cpu", "--limit", 1)
    assert result.status == 0
    assert [line.split()[0] for line in result.lines[1:]] == ["si-snri", "sdri"]
    assert [line.split()[-3:] for line in result.lines[1:]] == [["2", "0", "0"]] * 2
    assert result.errors == ["septool: eval 1/1"]


@pytest.fixture
def mixtures(tree: Path, tmp_path: Path) -> Path:
    prepare("folder", tree, out=tmp_path, split="dev", mixtures=4)
    return tmp_path / "dev-2mix.jsonl"


def test_results_carry_the_hashes_of_manifest_and_model(
    septool: Command, mixtures: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    hashes = {"manifest_sha256": sha256_of(mixtures), "model_sha256": sha256_of(tiny_checkpoint)}
    run = ("eval", mixtures, "-m", tiny_checkpoint, "-d", "cpu", "--limit", 1, "--metric", "si-snr", "--json", "-q")
    printed = [json.loads(line) for line in septool(*run, "-o", tmp_path / "items.jsonl").lines]
    assert len(printed) == 2
    header, item = map(json.loads, (tmp_path / "items.jsonl").read_text().splitlines())
    for row in (*printed, item, header["header"]):
        assert row | hashes == row
    septool(*run, "-o", tmp_path / "items.csv")
    with (tmp_path / "items.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row | hashes == row


def test_a_run_that_was_killed_goes_on(
    septool: Command, mixtures: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "items.jsonl"
    run = ("eval", mixtures, "-m", tiny_checkpoint, "-d", "cpu", "--metric", "si-snr,si-snri", "-q")
    assert septool(*run, "-o", whole).status == 0
    header, *lines = whole.read_text().splitlines(keepends=True)
    separate_row = model_estimates.separate_row
    seen: list[str] = []

    def counted(*arguments: Any, **settings: Any) -> ScoringInput:
        seen.append(arguments[-1].id)
        if len(seen) == 3:
            raise InterruptedBySignal("SIGINT")
        return separate_row(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(model_estimates, "separate_row", counted)
        assert septool(*run, "-o", out).status == 130
        assert out.read_text() == header + "".join(lines[:2])
        hashes = {key: value for key, value in json.loads(lines[0]).items() if key.endswith("_sha256")}
        failed = json.dumps({"id": "dev00001", "error": "lost"} | hashes)
        out.write_text(f"{header}{lines[0]}{failed}\n{lines[2][:40]}")
        assert septool(*run, "-o", out).errors == [
            f"septool: {out} exists; use --force to replace it or --skip-existing to go on"
        ]
        seen[:] = ["", "", ""]
        result = septool(*run, "-o", out, "--skip-existing")
    assert seen[3:] == ["dev00001", "dev00002", "dev00003"]
    assert out.read_text() == whole.read_text()
    assert result.lines == septool(*run).lines


def test_more_metrics_score_again_and_fewer_lose_nothing(
    septool: Command, mixtures: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "items.jsonl"
    run = ("eval", mixtures, "-m", tiny_checkpoint, "-d", "cpu", "-q", "-o", out, "--skip-existing")
    for metric, keys in (("si-snr", {"si-snr"}), ("si-snr,stoi", {"si-snr", "stoi"}), ("stoi", {"si-snr", "stoi"})):
        assert septool(*run, "--metric", metric).status == 0
        header, *rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert header["header"]["metrics"].keys() == keys
        assert [row["id"] for row in rows] == [f"dev{n:05d}" for n in range(4)]
        assert all(row.keys() & {"si-snr", "stoi"} == keys for row in rows)
    before = out.read_text()
    result = septool(*run, "--metric", "sdr")
    lost = f"septool: {out} holds scores by si-snr, which would be lost; ask for it too, use another --out or --force"
    assert (result.status, result.errors, out.read_text()) == (1, [lost], before)
    assert septool(*run, "--metric", "stoi", "--limit", 1).status == 0
    assert len(out.read_text().splitlines()) == 1 + 4


def test_scores_of_another_manifest_or_model_are_not_taken_over(
    septool: Command, mixtures: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "items.jsonl"
    run = ("eval", mixtures, "-m", tiny_checkpoint, "-d", "cpu", "--metric", "si-snr", "-q", "-o", out)
    assert septool(*run).status == 0
    before = out.read_text()
    refused = septool(*run, "--skip-existing", "--passes", 2)
    assert refused.errors == [f"septool: {out} holds scores of another --passes; use --force to replace it"]
    mixtures.write_text("".join(mixtures.read_text().splitlines(keepends=True)[:3]))
    said = [f"septool: {out} holds scores of another manifest; use --force to replace it"]
    result = septool(*run, "--skip-existing")
    assert (result.status, result.errors, out.read_text()) == (1, said, before)
    assert septool(*run, "--force").status == 0
    assert len(out.read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{true}", "{found}", "-o", "x.jsonl", "--skip-existing"], "--skip-existing resumes the items of a"),
        (["{true}", "-m", "galr", "-o", "x.csv", "--skip-existing"], "--skip-existing resumes the items of a"),
        (["{true}", "-m", "galr", "--skip-existing"], "--skip-existing resumes the items of a"),
        (["{true}"], "give a folder of estimates or --model, one of the two"),
        (["{true}", "{found}", "-m", "papez"], "give a folder of estimates or --model, one of the two"),
        (["{true}", "-m", "papez"], "{true} is a folder of references; give the folder of estimates, or a manifest"),
        (["{true}", "-m", "papez", "--sample-rate", "8000"], "--sample-rate is for a folder of estimates; a model is"),
        (["{true}", "{found}", "-o", "x.txt"], "--out x.txt has to end in .jsonl, .csv or .parquet"),
        (["{true}", "{found}", "--metric", ","], "no metric was named; choose from si-snr, "),
        (
            ["{true}", "{found}", "--pair", "{{id}}_s{{voice}}}}.wav"],
            "--pair '{{id}}_s{{voice}}}}.wav' has to hold {{id}}",
        ),
        (["{true}", "{true}/nothing"], "{true}/nothing is not a folder"),
        (["{empty}", "{found}"], "{empty} has no files named like call_s1.wav, call_s2.wav"),
        (["{true}", "{found}", "--metric", "si-snr,wer"], "wer needs a recognizer; give its command with --asr"),
        (["{true}/a_s1.wav", "{found}"], "{true}/a_s1.wav is one reference; give its estimate, a file, beside it"),
    ],
)
def test_wrong_usage(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"true": folders[0], "found": folders[1], "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    result = septool("eval", *(argument.format(**places) for argument in arguments))
    assert result.status == 2
    assert len(result.errors) == 1
    assert result.errors[0].startswith("septool: " + said.format(**places))


@pytest.mark.parametrize("missing", ["reference", "estimate"])
def test_a_file_that_is_not_there_is_named_and_no_table_is_printed(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path, missing: str
) -> None:
    there, nowhere = folders[0] / "a_s1.wav", tmp_path / "nowhere.wav"
    result = septool("eval", *((nowhere, there) if missing == "reference" else (there, nowhere)), "-q")
    assert (result.status, result.out) == (1, b"")
    assert result.errors == [f"septool: {nowhere} does not exist"]


def test_results_of_one_item_have_no_interval(septool: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    assert septool("eval", *folders, "--metric", "si-snr", "--limit", 1, "-q", "-o", one).status == 0
    result = septool("eval", "--compare", one, one)
    assert "nan" not in "".join(result.lines)
    assert result.errors == ["septool: intervals and p take at least two items that are in both results"]


def test_two_results_are_compared(septool: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    true, found = folders
    run = ("eval", true, found, "--metric", "si-snr", "-q", "-o")
    assert septool(*run, tmp_path / "a.jsonl").status == 0
    for name, n in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        reference, estimate = (audio.read_audio(folder / f"{name}_s{n}.wav")[0][0] for folder in (true, found))
        audio.write_audio(found / f"{name}_s{n}.wav", reference + 0.5 * (estimate - reference), RATE, "FLOAT")
    assert septool(*run, tmp_path / "b.jsonl").status == 0
    result = septool("eval", "--compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json")
    (row,) = map(json.loads, result.lines)
    assert (row["metric"], row["count"], row["unpaired"]) == ("si-snr", 2, 0)
    assert row["difference"] == pytest.approx(6.02, abs=0.01)
    assert septool("eval", "--compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl").lines[0].split()[:2] == [
        "metric",
        "unit",
    ]
    assert septool(*run, tmp_path / "c.jsonl", "--sample-rate", 2 * RATE).status == 0
    refused = septool("eval", "--compare", tmp_path / "a.jsonl", tmp_path / "c.jsonl")
    assert (refused.status, refused.errors[-1][:46]) == (1, "septool: the two results are at 8000 and 16000")
    assert septool("eval", "--compare", tmp_path / "a.jsonl").status == 2
    for surplus in (("--metric", "sdr"), ("--trim",), ("--limit", "3"), ("--sdr-backend", "septool"), ("-j", "1")):
        refused = septool("eval", "--compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl", *surplus)
        option = {"-j": "--jobs"}.get(surplus[0], surplus[0])
        said = f"septool: --compare reads results that are there; leave out {option}"
        assert (refused.status, refused.errors) == (2, [said])


def test_a_report_and_groups_of_a_manifest(
    septool: Command, mixtures: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setattr(spectrograms, "COLUMNS", 20)  # of a spectrogram
    run = ("eval", mixtures, "-m", tiny_checkpoint, "-d", "cpu", "--limit", 2, "--metric", "snr", "-q")
    result = septool(*run, "--by", "noise", "--html", tmp_path / "r.html")
    assert result.status == 0
    assert result.lines[0].split()[:3] == ["metric", "group", "unit"]
    assert [line.split()[:2] for line in result.lines[1:]] == [
        ["snr", "-"],
        ["si-snr", "-"],
        ["si-snri", "-"],
        ["snr", "noise"],
        ["si-snr", "noise"],
        ["si-snri", "noise"],
    ]
    text = (tmp_path / "r.html").read_text()
    assert text.count("<audio") == 10
    assert sha256_of(mixtures) in text
    assert septool(*run, "--html", tmp_path / "r.html").status == 1  # it is there
    refused = septool("eval", mixtures.parent, mixtures.parent, "--by", "sex")
    assert (refused.status, "--by is for a manifest of mixtures" in refused.errors[0]) == (2, True)


def test_parquet_holds_what_csv_holds(septool: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    (folders[1] / "b_s2.wav").unlink()
    for name in ("items.parquet", "items.csv"):
        assert septool("eval", *folders, "--metric", "si-snr", "-q", "-o", tmp_path / name).status == 1
    table = parquet.read_table(tmp_path / "items.parquet")
    with (tmp_path / "items.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    rows = table.to_pylist()
    assert [(row["id"], str(row["source"] or "")) for row in rows] == [(row["id"], row["source"]) for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert (row["note"] or "") == other["note"]
        assert row["si-snr"] == (pytest.approx(float(other["si-snr"]), abs=1e-3) if other["si-snr"] else None)
    assert "10 log10" in json.loads(table.schema.metadata[b"septool"])["metrics"]["si-snr"]

"""Mixing files at set levels, and rendering a manifest: resumable, and the same with any number of processes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septool import audio
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import AudioError, InterruptedBySignal, SeptoolError, UsageError
from septool.tasks.mix import mix_files, mix_manifest
from septool.tasks.rendering import RECORD, check_targets
from tests.conftest import RATE, voice


def rms_db(x: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(x, dtype=np.float64))))


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three recordings of different length and level."""
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for n, path in enumerate(paths):
        audio.write_audio(path, voice(100 + 50 * n, seconds=0.5 + 0.1 * n, seed=n) * 0.5**n, RATE, "FLOAT")
    return paths


def read(path: str | Path) -> np.ndarray:
    return audio.read_audio(Path(path))[0][0]


@pytest.mark.parametrize("snr", [(0.0,), (5.0,), (3.0, -2.0)])
def test_further_voices_stand_as_far_below_the_first_as_was_asked(
    three: list[Path], tmp_path: Path, snr: tuple[float, ...]
) -> None:
    mixed = mix_files(three, out=tmp_path / "mix.wav", snr=snr, mode="max", sources=tmp_path / "voices")
    first, *others = (rms_db(read(path)) for path in mixed.sources)
    asked = snr if len(snr) == 2 else snr * 2
    # Padding to the longest (0.7 s) takes from the mean of the shorter ones what the definition does not see.
    padding = [10 * np.log10(7 / 5), 10 * np.log10(7 / 6), 0]
    levels = [first + padding[0]] + [level + pad for level, pad in zip(others, padding[1:], strict=True)]
    assert [levels[0] - level for level in levels[1:]] == pytest.approx(asked, abs=0.02)


def test_the_voices_add_up_to_the_mixture(three: list[Path], tmp_path: Path) -> None:
    mixed = mix_files(three, out=tmp_path / "mix.wav", snr=(-6.0,), sources=tmp_path / "voices")
    assert mixed.seconds == 0.5
    total = sum(read(path) for path in mixed.sources)
    np.testing.assert_allclose(read(mixed.mixture), total, atol=3 / 2**15)  # each file is rounded to 16 bits


def test_a_mixture_is_replaced_with_its_voices_or_not_at_all(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, voices = tmp_path / "mix.wav", tmp_path / "voices"
    mixed = mix_files(three, out=out, sources=voices, subtype="FLOAT")
    encode = audio.encode_audio

    def fail(partial: Path, samples: np.ndarray, rate: int, subtype: str, named: Path) -> None:
        if named.name == "mix_s2.wav":
            raise AudioError("the disk is full")
        encode(partial, samples, rate, subtype, named)

    monkeypatch.setattr(audio, "encode_audio", fail)
    with pytest.raises(AudioError):
        mix_files(three, out=out, sources=voices, subtype="FLOAT", snr=(9.0,), force=True)
    np.testing.assert_allclose(read(mixed.mixture), sum(read(path) for path in mixed.sources), atol=1e-6)
    assert len([*tmp_path.iterdir(), *voices.iterdir()]) == 3 + 2 + 3  # and nothing half-written


def test_too_loud_a_sum_is_scaled_with_its_voices(three: list[Path], tmp_path: Path) -> None:
    audio.write_audio(three[0], voice(100, seconds=0.5, seed=0) * 4, RATE, "FLOAT")
    mixed = mix_files(three, out=tmp_path / "mix.wav", sources=tmp_path / "voices")
    assert mixed.scaled_db < -1
    mixture, voices = read(mixed.mixture), [read(path) for path in mixed.sources]
    peak = max(np.abs(mixture).max(), *(np.abs(one).max() for one in voices))
    assert peak == pytest.approx(0.9, abs=1e-4)
    np.testing.assert_allclose(mixture, sum(voices), atol=3 / 2**15)


def test_another_rate_and_another_format(three: list[Path], tmp_path: Path) -> None:
    mixed = mix_files(three[:2], out=tmp_path / "new/mix.flac", sample_rate=16000, mode="max")
    about = audio.audio_info(Path(mixed.mixture))
    assert (about.rate, about.frames) == (16000, 9600)


@pytest.fixture
def rows(three: list[Path], tmp_path: Path) -> Path:
    """A manifest of four mixtures: plain, padded, at another speed, and with noise."""
    a, b, c = (manifest.Source(path=path.name, speaker=path.stem) for path in three)
    plain = manifest.Mixture(id="plain", split="dev", sample_rate=RATE, sources=(a, b), root=tmp_path)
    noisy = replace(plain, id="x/noisy", noise=replace(c, gain_db=-10.0))
    faster = replace(plain, id="faster", sources=(replace(a, speed=1.05, gain_db=-3.0), replace(c, start=800)))
    padded = replace(plain, id="padded", mode="max", enrollment=manifest.Enrollment(path="c.wav", target=1))
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest([plain, noisy, faster, padded]))
    return path


def test_on_the_fly_and_on_disk_are_the_same_samples(rows: Path, tmp_path: Path) -> None:
    rendered = mix_manifest(rows, out=tmp_path / "out", subtype="FLOAT")
    assert rendered.failed == ()
    for before, after in zip(
        manifest.read_manifest(rows), manifest.read_manifest(Path(rendered.manifest)), strict=True
    ):
        assert (before.id, before.split) == (after.id, after.split)
        fly, disk = render_mixture(before), render_mixture(after)
        np.testing.assert_array_equal(fly.mixture, disk.mixture)
        np.testing.assert_array_equal(fly.sources, disk.sources)
        if fly.noise is None:
            assert disk.noise is None
        else:
            assert disk.noise is not None
            np.testing.assert_array_equal(fly.noise, disk.noise)
        assert [source.speaker for source in before.sources] == [source.speaker for source in after.sources]


def test_an_enrollment_is_still_found_from_the_new_manifest(rows: Path, tmp_path: Path) -> None:
    rendered = mix_manifest(rows, out=tmp_path / "deep/er/out")
    row = next(row for row in manifest.read_manifest(Path(rendered.manifest)) if row.id == "padded")
    assert row.enrollment is not None
    assert row.enrollment.target == 1
    assert row.locate(row.enrollment.path).resolve() == (tmp_path / "c.wav").resolve()


def test_any_number_of_processes_writes_the_same_files(rows: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        mix_manifest(rows, out=tmp_path / str(jobs), jobs=jobs)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / jobs).iterdir()} for jobs in "12")
    assert len(one) == 4 * 3 + 1 + 2  # the noise of one, the manifest, and what they were rendered from
    assert one == two


def test_what_is_there_is_left_and_force_renders_it_again(rows: Path, tmp_path: Path) -> None:
    mix_manifest(rows, out=tmp_path / "out")
    kept, lost = tmp_path / "out/plain.wav", tmp_path / "out/padded.wav"
    lost.unlink()
    audio.write_audio(kept, np.zeros(4000, dtype=np.float32), RATE)
    mix_manifest(rows, out=tmp_path / "out")
    assert not read(kept).any()
    assert read(lost).any()
    mix_manifest(rows, out=tmp_path / "out", force=True)
    assert read(kept).any()


@pytest.mark.parametrize("change", ["gain", "rate", "subtype", "no record"])
def test_what_is_there_of_something_else_is_not_passed_off(rows: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    first = mix_manifest(rows, out=out)
    settings: dict[str, Any] = {"rate": {"sample_rate": 16000}, "subtype": {"subtype": "FLOAT"}}.get(change, {})
    if change == "gain":
        rows.write_text(rows.read_text().replace('"gain_db": -3.0', '"gain_db": -20.0'))
    if change == "no record":
        (out / RECORD).unlink()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SeptoolError, match=r"faster\.wav is there of another row, rate or subtype; use --force"):
        mix_manifest(rows, out=out, **settings)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    again = mix_manifest(rows, out=out, force=True, **settings)
    assert again.failed == ()
    assert (again.sha256 == first.sha256) == (change in ("gain", "subtype", "no record"))
    assert (again.source_sha256 == first.source_sha256) == (change != "gain")
    changed = (out / "faster_s1.wav").read_bytes() != before["faster_s1.wav"]
    assert changed == (change != "no record")


def test_what_is_read_is_not_written_over(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mix_manifest(rows, out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError, match=r"would be written over while it is read; name another --out"):
        mix_manifest(out / "mixtures.jsonl", out=out, sample_rate=16000, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_manifest_is_not_written_over_by_the_one_beside_the_files(rows: Path, tmp_path: Path) -> None:
    source = rows.rename(tmp_path / "mixtures.jsonl")
    before = source.read_bytes()
    for force in (False, True):
        with pytest.raises(UsageError, match=r"mixtures\.jsonl would be written over while it is read; name another"):
            mix_manifest(source, out=tmp_path, force=force)
    assert source.read_bytes() == before


def test_what_cannot_be_rendered_again_is_kept(rows: Path, three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    mix_manifest(rows, out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != RECORD}
    samples = [read(path) for path in three]
    for path in three:
        path.unlink()
    with pytest.raises(SeptoolError, match=r"none of the 4 rows"):
        mix_manifest(rows, out=out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != RECORD} == before
    for path, own in zip(three, samples, strict=True):
        audio.write_audio(path, own * np.float32(0.5), RATE, "FLOAT")
    assert mix_manifest(rows, out=out).failed == ()  # goes on with what was asked for
    np.testing.assert_allclose(read(out / "plain.wav"), 0.5 * (samples[0][:4000] + samples[1][:4000]), atol=1 / 2**15)
    assert "outdated" not in json.loads((out / RECORD).read_text())


def test_rendering_again_that_was_interrupted_goes_on_where_it_was(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    mix_manifest(rows, out=out)

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise InterruptedBySignal("SIGINT")

    with pytest.raises(InterruptedBySignal):
        mix_manifest(rows, out=out, force=True, report=interrupt)
    rendered: list[str] = []

    def render(row: manifest.Mixture, rate: int) -> Any:
        rendered.append(row.id)
        return render_mixture(row, rate)

    monkeypatch.setattr("septool.tasks.mix.render_mixture", render)
    mix_manifest(rows, out=out)
    assert rendered == ["x/noisy"]


def test_the_list_of_other_mixtures_stays_unless_forced(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mix_manifest(rows, out=out)
    before = (out / "mixtures.jsonl").read_bytes()
    first, *others = manifest.read_manifest(rows)
    fewer = rows.with_name("fewer.jsonl")
    fewer.write_text(manifest.dump_manifest([first]))
    with pytest.raises(SeptoolError, match=rf"lists {len(others)} mixtures that .*fewer\.jsonl does not have"):
        mix_manifest(fewer, out=out)
    assert (out / "mixtures.jsonl").read_bytes() == before
    mix_manifest(fewer, out=out, force=True)
    assert [row.id for row in manifest.read_manifest(out / "mixtures.jsonl")] == [first.id]


def test_a_lost_voice_is_rendered_again(rows: Path, tmp_path: Path) -> None:
    mix_manifest(rows, out=tmp_path / "out")
    lost = tmp_path / "out/x_noisy_noise.wav"
    before = lost.read_bytes()
    lost.unlink()
    assert mix_manifest(rows, out=tmp_path / "out").failed == ()
    assert lost.read_bytes() == before


def test_rendering_again_that_was_stopped_keeps_nothing_old(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    mix_manifest(rows, out=out)
    rows.write_text(rows.read_text().replace('"gain_db": -3.0', '"gain_db": -20.0'))

    def killed(*_: Any) -> None:
        raise InterruptedBySignal("SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr(audio, "encode_audio", killed)
        with pytest.raises(InterruptedBySignal):
            mix_manifest(rows, out=out, force=True)
    mix_manifest(rows, out=out)
    for row in manifest.read_manifest(rows):
        name = manifest.file_stem(row.id)
        np.testing.assert_allclose(read(out / f"{name}.wav"), render_mixture(row).mixture, atol=1 / 2**15)


def test_a_damaged_record_is_worded(rows: Path, tmp_path: Path) -> None:
    mix_manifest(rows, out=tmp_path / "out")
    (tmp_path / "out" / RECORD).write_text("[]")
    with pytest.raises(SeptoolError, match=r"rendered\.json cannot be read .*; use --force"):
        mix_manifest(rows, out=tmp_path / "out")
    assert mix_manifest(rows, out=tmp_path / "out", force=True).failed == ()


@pytest.mark.parametrize("ids", [("a/b", "a_b"), ("a", "a_s1")])
def test_rows_that_would_share_a_file_are_refused(rows: Path, tmp_path: Path, ids: tuple[str, str]) -> None:
    row = manifest.read_manifest(rows)[0]
    rows.write_text(manifest.dump_manifest([replace(row, id=id) for id in ids]))
    with pytest.raises(SeptoolError, match=r"two rows of .*rows.jsonl would be written to a.*\.wav"):
        mix_manifest(rows, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_row(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "c.wav").unlink()
    told: list[tuple[int, int]] = []
    failed = mix_manifest(rows, out=tmp_path / "out", report=lambda *numbers: told.append(numbers)).failed
    assert told == [(n, 4) for n in (1, 2, 3, 4)]
    assert [line.partition(":")[0] for line in failed] == ["faster", "x/noisy"]


def test_rows_whose_files_a_file_system_takes_for_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "Call1.wav", tmp_path / "call1.wav"]
    check_targets(files, [], Path("rows.jsonl"))
    monkeypatch.setattr("septool.batch.path_keys._ignores_case", lambda _: True)
    with pytest.raises(SeptoolError, match=r"two rows of rows\.jsonl would be written to call1\.wav"):
        check_targets([path.parent / "other" / path.name for path in files], [], Path("rows.jsonl"))


def test_what_a_link_leads_to_is_not_written_over_while_it_is_read(tmp_path: Path) -> None:
    source, link = tmp_path / "k.wav", tmp_path / "link.wav"
    source.touch()
    link.symlink_to(source)
    check_targets([tmp_path / "other.wav"], [link], Path("rows.jsonl"))
    with pytest.raises(UsageError, match=r"link\.wav would be written over while it is read"):
        check_targets([source], [link], Path("rows.jsonl"))

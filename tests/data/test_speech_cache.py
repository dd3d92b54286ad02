"""The pool of decoded speech: made once, whole or not at all, and the same with any number of processes."""

import multiprocessing
import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.config import cache_folder
from septool.data import manifest, pool, speech_cache
from septool.data.manifest import Mixture, Source
from septool.data.mixing import render_mixture
from septool.data.speech_cache import load_pool
from septool.errors import AudioError, ConfigError, ManifestError
from tests.conftest import RATE, voice


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three utterances of two speakers, one of them twice, and one without a sound."""
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    for n in range(3):
        audio.write_audio(tmp_path / f"{n}.wav", voice(100 + 50 * n, seconds=0.2 + 0.1 * n, seed=n), RATE)
    audio.write_audio(tmp_path / "silent.wav", np.zeros(500, dtype=np.float32), RATE)
    sources = [Source(path=f"{n}.wav", speaker="bob" if n == 1 else "ann") for n in range(3)]
    sources += [replace(sources[0], gain_db=6.0), Source(path="silent.wav", speaker="eve")]
    path = tmp_path / "rows.jsonl"
    path.write_text(
        manifest.dump_manifest(
            Mixture(id=str(n), sample_rate=RATE, sources=(source,)) for n, source in enumerate(sources)
        )
    )
    return path


def test_what_is_in_a_pool(rows: Path) -> None:
    speech = load_pool(rows, RATE)
    assert len(speech) == 3  # silence and repetition are left out
    assert speech.speaker_names == ["ann", "bob"]
    assert [list(each) for each in speech.speakers] == [[0, 2], [1]]
    assert [speech.speaker_of(n) for n in range(3)] == [0, 1, 0]
    assert speech.seconds == pytest.approx(0.2 + 0.3 + 0.4)
    for n in range(3):
        samples, level = speech[n]
        expected = audio.load_audio(rows.parent / f"{n}.wav", RATE)
        np.testing.assert_allclose(samples, expected, atol=1 / pool.FULL_SCALE)
        assert level == pytest.approx(float(np.sqrt(np.mean(expected**2))), rel=1e-6)


def test_a_pool_can_be_gone_through(rows: Path) -> None:
    speech = load_pool(rows, RATE)
    assert [level for _, level in speech] == [speech.level(n) for n in range(3)]


def test_a_manifest_in_a_folder_whose_name_is_no_utf_8(rows: Path) -> None:
    folder = rows.parent / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for path in (rows, *rows.parent.glob("*.wav")):
        path.rename(folder / path.name)
    assert len(load_pool(folder / rows.name, RATE)) == 3


def test_what_is_above_full_scale_keeps_its_shape(rows: Path) -> None:
    loud = 3 * voice(100, seconds=0.2) / np.abs(voice(100, seconds=0.2)).max()
    audio.write_audio(rows.parent / "0.wav", loud, RATE, "FLOAT")
    samples, level = load_pool(rows, RATE)[0]
    np.testing.assert_allclose(3 * samples, loud, atol=3 / pool.FULL_SCALE)
    assert level == pytest.approx(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))), rel=1e-3)


def test_an_offset_is_neither_in_the_samples_nor_in_the_level_but_of_a_response(rows: Path) -> None:
    plain = load_pool(rows, RATE)
    raised = audio.load_audio(rows.parent / "0.wav", RATE) + np.float32(0.3)
    audio.write_audio(rows.parent / "0.wav", raised, RATE, "FLOAT")
    speech = load_pool(rows, RATE)
    np.testing.assert_allclose(speech[0][0], plain[0][0], atol=1e-3)
    assert speech.level(0) == pytest.approx(plain.level(0), rel=1e-2)  # that of its own is gone, too
    response = load_pool(rows, RATE, full_scale=True)[0][0]
    np.testing.assert_allclose(response, raised / raised.max(), atol=1e-3)


def test_excerpts_and_rates(rows: Path) -> None:
    source = Source(path="0.wav", start=400, frames=800, speaker="ann")
    rows.write_text(manifest.dump_manifest([Mixture(id="a", sample_rate=RATE, sources=(source,))]))
    samples, _ = load_pool(rows, 16000)[0]
    expected = audio.load_audio(rows.parent / "0.wav", 16000, 400, 800)
    np.testing.assert_allclose(samples, expected, atol=1 / pool.FULL_SCALE)


def test_a_source_at_another_speed_is_another_utterance(rows: Path) -> None:
    source = Source(path="0.wav", speaker="ann")
    row = Mixture(id="a", sample_rate=RATE, sources=(source, replace(source, speed=1.25)), mode="max", root=rows.parent)
    rows.write_text(manifest.dump_manifest([row]))
    speech = load_pool(rows, RATE)
    assert [speech.frames(n) for n in range(len(speech))] == [1600, 1280]
    rendered = render_mixture(row).sources
    for n in range(2):
        np.testing.assert_allclose(speech[n][0], rendered[n][: speech.frames(n)], atol=1 / pool.FULL_SCALE)


def files(rows: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (rows.parent / "cache/speech").iterdir()}


def test_decoding_is_done_once(rows: Path) -> None:
    load_pool(rows, RATE)
    before = files(rows)
    assert len(before) == 2
    load_pool(rows, RATE)
    assert files(rows) == before
    load_pool(rows, 16000)
    rows.write_text(rows.read_text() + "\n")
    load_pool(rows, RATE)
    assert len(files(rows)) == 6  # another rate and another manifest are others


def test_a_recording_that_is_replaced_is_decoded_anew(rows: Path) -> None:
    before = load_pool(rows, RATE)[0][0]
    audio.write_audio(rows.parent / "0.wav", 0.5 * before, RATE)
    np.testing.assert_allclose(load_pool(rows, RATE)[0][0], 0.5 * before, atol=1e-4)


def test_two_runs_may_tidy_at_once(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    glob = Path.glob

    def with_one_that_has_gone(folder: Path, pattern: str) -> list[Path]:
        return [*glob(folder, pattern), folder / "gone.i16"]

    monkeypatch.setattr(Path, "glob", with_one_that_has_gone)
    assert len(load_pool(rows, RATE)) == 3


@pytest.fixture(scope="session")
def early_cache() -> Path:
    return cache_folder()


def test_no_fixture_sees_the_cache_of_the_user(early_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert early_cache.is_relative_to(tmp_path_factory.getbasetemp())


def test_half_of_a_pool_is_made_again(rows: Path) -> None:
    load_pool(rows, RATE)
    next((rows.parent / "cache/speech").glob("*.i16")).unlink()
    assert len(load_pool(rows, RATE)) == 3


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "zeroed":
            path.write_bytes(bytes(len(content)))
        case "one bit":
            path.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
        case "encrypted" | "compressed":  # by what the zip says that an index is
            place = content.find(b"PK\1\2") + (8 if how == "encrypted" else 10)
            path.write_bytes(content[:place] + b"\x63" + content[place + 1 :])
        case "empty":
            path.write_bytes(b"")


@pytest.mark.parametrize("how", ["cut", "zeroed", "one bit", "empty", "encrypted", "compressed"])
@pytest.mark.parametrize("suffix", ["i16", "npz"])
def test_a_damaged_pool_is_made_anew(rows: Path, suffix: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = [load_pool(rows, RATE)[n][0] for n in range(3)]
    (cached,) = (rows.parent / "cache/speech").glob(f"*.{suffix}")
    damage(cached, how)
    speech = load_pool(rows, RATE)
    for n in range(3):
        np.testing.assert_array_equal(speech[n][0], expected[n])
    if (suffix, how) != ("npz", "one bit"):  # which may hit what nobody reads
        assert "is damaged, and is made anew" in caplog.text
    caplog.clear()
    load_pool(rows, RATE)
    assert "damaged" not in caplog.text


def test_any_number_of_processes_gives_the_same_pool(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for jobs in (1, 2):
        monkeypatch.setenv("SEPTOOL_CACHE", str(rows.parent / str(jobs)))
        load_pool(rows, RATE, jobs)
        found.append({path.name: path.read_bytes() for path in (rows.parent / str(jobs) / "speech").glob("*.i16")})
    assert found[0] == found[1]


def test_what_a_killed_decoder_left_is_cleared_away(rows: Path) -> None:
    def die() -> None:
        speech_cache.rms_of = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        load_pool(rows, RATE)

    killed = multiprocessing.get_context("fork").Process(target=die)
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert [name.endswith(".partial") for name in files(rows)] == [True]
    load_pool(rows, RATE)
    assert sorted(Path(name).suffix for name in files(rows)) == [".i16", ".npz"]


def test_a_file_that_cannot_be_read_leaves_no_half_pool(rows: Path) -> None:
    (rows.parent / "2.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"2\.wav cannot be read as audio"):
        load_pool(rows, RATE)
    assert files(rows) == {}


def test_a_sample_that_is_no_number_is_damage(rows: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = audio.read_audio(rows.parent / "1.wav")[0].copy()
    samples[0, 5] = np.nan
    audio.write_audio(rows.parent / "1.wav", samples, RATE, "FLOAT")
    with pytest.raises(AudioError, match=r"1\.wav holds non-finite samples"):
        load_pool(rows, RATE)
    speech = load_pool(rows, RATE, damaged_share=0.25)
    assert all(np.isfinite(speech.level(n)) for n in range(len(speech)))
    assert "1 of the 4 utterances of" in caplog.text


def test_a_pool_without_speech(rows: Path) -> None:
    rows.write_text(manifest.dump_manifest([Mixture(id="a", sample_rate=RATE, sources=(Source(path="silent.wav"),))]))
    with pytest.raises(ManifestError, match=r"rows\.jsonl: no utterance has speech in it"):
        load_pool(rows, RATE)
    assert files(rows) == {}


def test_an_excerpt_ends_with_its_utterance(rows: Path) -> None:
    speech = load_pool(rows, RATE)
    whole, level = speech[1]
    assert (speech.frames(1), speech.level(1)) == (len(whole), level) == (2400, level)
    np.testing.assert_array_equal(speech.segment(1, 100, 200), whole[100:300])
    np.testing.assert_array_equal(speech.segment(1, 2300, 200), whole[2300:])


def test_full_scale_is_another_pool(rows: Path) -> None:
    plain, full = load_pool(rows, RATE), load_pool(rows, RATE, full_scale=True)
    for n in range(3):
        expected = plain[n][0] / np.abs(plain[n][0]).max()
        np.testing.assert_allclose(full[n][0], expected, atol=1e-3)
        assert np.abs(full[n][0]).max() == 1


def test_a_process_gets_the_file_and_no_copy(rows: Path) -> None:
    speech = load_pool(rows, RATE)
    sent = pickle.dumps(speech)
    assert len(sent) < 2 * sum(speech.frames(n) for n in range(3)) / 4
    again = pickle.loads(sent)
    for n in range(3):
        np.testing.assert_array_equal(again[n][0], speech[n][0])
    assert again.speaker_names == speech.speaker_names


def test_the_pools_that_lie_unused_longest_make_room(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in (8000, 4000, 6000):
        load_pool(rows, rate)
    for rate, seconds in ((8000, 2000), (4000, 1000), (6000, 3000)):
        (path,) = (rows.parent / "cache/speech").glob(f"rows-{rate}-*.i16")
        os.utime(path, (seconds, 0))
    load_pool(rows, 4000)  # used just now
    # 0.9 s of 16 bits at 5, 4 and 6 kHz are 27 kB; those at 8 kHz were used before those at 6 kHz.
    monkeypatch.setenv("SEPTOOL_CACHE_GB", "30e-6")
    load_pool(rows, 5000)
    assert sorted(name[:9] for name in files(rows)) == 2 * ["rows-4000"] + 2 * ["rows-5000"] + 2 * ["rows-6000"]
    monkeypatch.setenv("SEPTOOL_CACHE_GB", "0")
    assert len(load_pool(rows, 3000)) == 3  # what is needed is made, whatever the limit
    assert sorted(name[:9] for name in files(rows)) == 2 * ["rows-3000"]
    for wrong in ("much", "inf"):
        monkeypatch.setenv("SEPTOOL_CACHE_GB", wrong)
        with pytest.raises(ConfigError, match=f"SEPTOOL_CACHE_GB is '{wrong}'"):
            load_pool(rows, 2000)


def test_a_recording_that_breaks_off_is_damaged(
    rows: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = rows.parent / "1.wav"
    broken.write_bytes(broken.read_bytes()[:1500])
    with pytest.raises(AudioError, match=r"1\.wav"):
        load_pool(rows, RATE)
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        speech = load_pool(rows, RATE, damaged_share=0.25)
        assert (len(speech), speech.speaker_names) == (2, ["ann"])
        assert "1 of the 4 utterances of" in caplog.text
    monkeypatch.setenv("RANK", "1")
    caplog.clear()
    load_pool(rows, RATE, damaged_share=0.25)
    assert not caplog.messages  # which the main process has said
    with pytest.raises(ManifestError, match=r"more than 0 of 4 are damaged"):
        load_pool(rows, RATE)

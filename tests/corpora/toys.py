"""Toy trees in the layout of the real corpora, with the same samples on every machine."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from septool import audio
from septool.corpora import librimix as libri
from septool.corpora import librispeech as speech
from septool.corpora import lists, wsj0mix
from septool.tasks.mix import mix_manifest

RATE = 16000
DEV, TEST = ("id10001", "id11251"), ("id10270", "id10309")
LISTED = """\
1 id10270/aa/00001.wav id10270/bb/00001.wav
0 id10270/aa/00001.wav id10309/aa/00001.wav
1 id10309/aa/00001.wav id10309/bb/00001.wav
0 id10309/bb/00001.wav id10270/bb/00001.wav
"""


def recording(path: Path, frames: int, *, rate: int = RATE, channels: int = 1) -> None:
    """Write whole numbers of a generator seeded with the file's name, in bursts; wv1 is NIST SPHERE."""
    random = np.random.default_rng(list(path.stem.encode()))
    samples = random.integers(-6000, 6000, (channels, frames)) * (np.arange(frames) // 4000 % 3 > 0) / 2**15
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wv1":
        soundfile.write(path, samples.T, rate, format="NIST", subtype="PCM_16")
    else:
        audio.write_audio(path, samples.astype(np.float32), rate)


def rendered(manifest: Path, out: Path, jobs: int = 1) -> str:
    """Render a manifest in 16 bits and return one sha256 over the samples of all files, in the order of their names."""
    assert mix_manifest(manifest, out=out, jobs=jobs).failed == ()
    digest = hashlib.sha256()
    for path in sorted(out.glob("*.wav")):
        samples, _ = soundfile.read(path, dtype="int16")
        digest.update(f"{path.name} {len(samples)}\n".encode())
        digest.update(samples.astype("<i2").tobytes())
    return digest.hexdigest()


def librimix(root: Path, count: int) -> Path:
    """All that the first mixtures of both test lists need, and those rows as lists of one's own."""
    for voices in (2, 3):
        name = f"libri{voices}mix_test-clean.csv"
        text = "".join(lists.read_list(name).splitlines(keepends=True)[: count + 1])
        (root / f"metadata/Libri{voices}Mix").mkdir(parents=True)
        (root / f"metadata/Libri{voices}Mix" / name).write_text(text)
        for line in libri.parse(text, voices):
            for index, voice in enumerate(line.voices):
                recording(root / "LibriSpeech" / voice.path, 18_000 + 1500 * index + 100 * len(voice.path.stem))
            recording(root / "wham_noise" / line.noise.path, 15_000, channels=2)
    return root


def wsj0(root: Path, count: int) -> Path:
    """The recordings of the first mixtures of both test lists, and WHAM!'s noise for those of two."""
    for voices in (2, 3):
        for mixture in wsj0mix.read_list(voices, "tt")[:count]:
            for index, voice in enumerate(mixture):
                path = root / "wsj0" / Path(*voice.key).with_suffix(".wav")
                recording(path, 20_000 + 1000 * index + 17 * len(voice.level))
    ids = [wsj0mix.name(mixture) for mixture in wsj0mix.read_list(2, "tt")[:count]]
    for name in ids:
        recording(root / "wham_noise/tt" / f"{name}.wav", 40_000, channels=2)
    meta = root / "wham_noise/metadata"
    meta.mkdir()
    begins = [1000 * (number + 1) + 1 for number in range(count)]
    with (meta / "mix_param_meta_tt.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ["utterance_id", "noise_samples_beginning_16k", "noise_samples_end_16k", "speaker1_target_snr_db"]
        )
        table.writerows([f"{name}.wav", begin, 0, 1.0] for name, begin in zip(ids, begins, strict=True))
    arrays: dict[str, Any] = {"speech_start_sample_16k": np.array(begins), "utterance_id": np.array(ids, dtype=object)}
    for kind in ("8k_min", "8k_max", "16k_min", "16k_max"):
        arrays[f"scaling_wsjmix_{kind}"] = np.array([[0.9, 0.7], [1.1, 1.3], [0.6, 0.8]][:count])
        arrays[f"scaling_wham_speech_{kind}"] = np.array([0.61, 0.93, 1.2][:count])
        arrays[f"scaling_wham_noise_{kind}"] = np.array([1.0, 1.0, 0.8][:count])
    np.savez(meta / "scaling_tt.npz", **arrays)
    return root


def overlay(root: Path) -> Path:
    """WSJ0's first utterances of the test list, some speakers of AISHELL-2, and twelve clips, one of them short."""
    for mixture in wsj0mix.read_list(2, "tt")[:3]:
        for voice in mixture:
            recording(root / "wsj0-music" / Path(*voice.key).with_suffix(".wav"), 24_000)
    for speaker in range(60):
        for utterance in range(2):
            name = f"IC{speaker:04d}W{utterance:04d}.wav"
            recording(root / f"aishell2-noise/iOS/data/wav/C{speaker:04d}/{name}", 16_000 + 100 * utterance)
    for clip in range(12):
        recording(root / f"clips/{clip}.flac", 48_000 if clip else 10_000, channels=2)
    return root


def librispeech(root: Path, speakers: int, utterances: int) -> Path:
    """Every subset in small."""
    for subset, number in zip(speech.RECORDINGS, range(100, 10_000, 100), strict=False):
        for speaker in range(number, number + speakers):
            for utterance in range(utterances):
                path = root / subset / f"{speaker}/7/{speaker}-7-{utterance:04d}.flac"
                recording(path, 47_000 + 500 * utterance)  # the shortest are below 3 s
    return root


def voxceleb1(root: Path) -> Path:
    """Two speakers of each split, and trials."""
    for split, speakers in (("dev", DEV), ("test", TEST)):
        for speaker in speakers:
            for video in ("aa", "bb"):
                recording(root / split / "wav" / speaker / video / "00001.wav", 8000)
    (root / "veri_test.txt").write_text(LISTED)
    return root

"""LibriSpeech in pairs: the papers' sets of speakers and utterances, the same bytes everywhere."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from septool import audio
from septool.corpora import librispeech
from septool.data import manifest
from septool.data.manifest import Mixture
from septool.data.mixing import render_mixture
from septool.errors import UsageError
from septool.files import sha256_of
from septool.tasks.prepare import prepare
from tests.conftest import Command
from tests.corpora import toys
from tests.corpora.toys import recording, rendered

SPEAKERS, UTTERANCES = 2, 9  # of each subset
GOLDEN = {  # manifest, and the samples of all its files
    "atss-net": (
        "22c5f9fc8ddd8715e27b428613c65ede8ec593512ac0f7e2db7a6fbdc524ae9c",
        "a7d9cdb3d5d1e5a6064ef2df06d9f5fe5f44bdcde1b73f8a8e8e1c96f80ba7a3",
    ),
    "galr": (
        "ecb0d8a45ca96adacc88357e283d4eacf3c0e9107be2073afdeec4c71dd79371",
        "cc68fd58811010c3a315b024bd4ec76d3c4da0f9fbd0c8fa889beb843fd7532d",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every subset in small; not to be changed."""
    return toys.librispeech(tmp_path_factory.mktemp("librispeech") / "LibriSpeech", SPEAKERS, UTTERANCES)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for subset in librispeech.RECORDINGS:
        monkeypatch.setitem(librispeech.RECORDINGS, subset, SPEAKERS * UTTERANCES)


@pytest.fixture
def toy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "LibriSpeech")
    return tmp_path / "LibriSpeech"


def made(source: Path, out: Path, protocol: str, **settings: object) -> dict[str, list[Mixture]]:
    found = prepare("librispeech-2mix", source, out=out, protocol=protocol, **settings)  # type: ignore[arg-type]
    prepared = found.manifests
    left_out = found.left_out
    assert left_out == []
    assert {one.missing for one in prepared} == {0}
    return {one.split: manifest.read_manifest(Path(one.path)) for one in prepared}


@pytest.mark.parametrize("protocol", GOLDEN)
def test_the_manifest_and_the_samples_to_the_byte(toy: Path, tmp_path: Path, protocol: str) -> None:
    out = tmp_path / "out"
    made(toy, out, protocol, split="test", mixtures=4, sample_rate=16000)  # a resampler's last bits may differ
    path = out / f"test-librispeech-2mix-{protocol}-16k.jsonl"
    assert (sha256_of(path), rendered(path, tmp_path / "mixed")) == GOLDEN[protocol]


def test_any_number_of_processes_gives_the_same(whole: Path, tmp_path: Path) -> None:
    found = []
    for jobs in (1, 4):
        made(whole, tmp_path / "out", "galr", mixtures=6, jobs=jobs, force=True)
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / "out").iterdir())})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_the_real_sets_have_as_many_speakers_and_utterances_as_the_papers_say() -> None:
    # Speakers of the subsets as LibriSpeech's SPEAKERS.TXT counts them.
    speakers = dict(zip(librispeech.RECORDINGS, (251, 921, 1166, 40, 33, 40, 33), strict=True))

    def count(protocol: str, split: str) -> int:
        return sum(speakers[subset] for subset in librispeech.PROTOCOLS[protocol].splits[split].subsets)

    assert (count("atss-net", "train"), count("atss-net", "test")) == (2338, 73)
    galr = librispeech.PROTOCOLS["galr"].splits
    assert (count("galr", "train"), count("galr", "test")) == (2411, 73)
    each = {name: (split.utterances[1] or 0) - split.utterances[0] for name, split in galr.items()}
    assert {name: count("galr", name) * each[name] for name in galr} == {"train": 12055, "dev": 7233, "test": 4380}


def test_utterances_of_galr(whole: Path, tmp_path: Path) -> None:
    found = made(whole, tmp_path, "galr", mixtures=200)
    speech = found["train"]
    assert set(Counter(row.sources[0].speaker for row in speech).values()) == {5}
    assert len(speech) == 5 * 2 * SPEAKERS + 3 * 5 * SPEAKERS
    train = {row.sources[0].path for row in speech}
    dev = {source.path for row in found["dev"] for source in row.sources}
    assert not train & dev
    assert len(dev) == 3 * 5 * SPEAKERS  # 200 mixtures use all of them
    assert {source.path.split("/")[-4] for row in found["test"] for source in row.sources} == set(librispeech.TEST)


def test_mixtures_of_atss_net(whole: Path, tmp_path: Path) -> None:
    found = made(whole, tmp_path, "atss-net", mixtures=40)
    assert len(found["train"]) == 3 * SPEAKERS * UTTERANCES
    starts = set()
    for row in found["test"]:
        assert (row.sample_rate, row.frames) == (16000, None)
        target, other = row.sources
        assert target.speaker != other.speaker
        assert {source.path.split("/")[-4] for source in row.sources} <= set(librispeech.DEV)
        assert row.enrollment is not None
        assert (row.enrollment.speaker, row.enrollment.target) == (target.speaker, 0)
        assert f"/{target.speaker}/" in row.enrollment.path
        assert row.enrollment.path != target.path
        starts |= {source.start for source in row.sources}
    assert len(starts) > 10
    mixture, sources, _ = render_mixture(found["test"][0])
    assert mixture.shape == (48_000,)
    levels = (sources.astype(float) ** 2).mean(1)
    assert levels[0] == pytest.approx(levels[1], rel=1e-3)
    assert levels[0] == pytest.approx(10 ** (-25 / 10), rel=1e-3)


def test_another_seed_is_another_draw(whole: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        made(whole, tmp_path / str(seed), "galr", mixtures=5, seed=seed)
    for name in ("train-librispeech-galr-speech.jsonl", "test-librispeech-2mix-galr-8k.jsonl"):
        assert (tmp_path / "0" / name).read_bytes() != (tmp_path / "1" / name).read_bytes()


def test_what_is_missing_is_told(septool: Command, toy: Path, tmp_path: Path) -> None:
    shutil.rmtree(toy / "dev-other")
    corrupt = toy / "dev-clean/400/7/400-7-0003.flac"
    corrupt.write_text("no sound")
    wrong = toy / "train-clean-100/100/7/100-7-0001.flac"
    recording(wrong, 16_000, rate=8000)
    (toy / "train-clean-360/200/7/200-7-0000.flac").unlink()
    result = septool("prepare", "librispeech-2mix", toy, "-o", tmp_path / "out", "--mixtures", 5)
    assert result.status == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train-librispeech-atss-net-speech.jsonl"]
    assert result.errors[:4] == [
        f"septool: {toy}/dev-clean has 17 of 18 usable recordings",
        f"septool: {toy}/dev-other has 0 of 18 usable recordings",
        f"septool: {toy}/train-clean-100 has 17 of 18 usable recordings",
        f"septool: {toy}/train-clean-360 has 17 of 18 usable recordings",
    ]
    assert result.errors[4].startswith(f"septool: {corrupt} cannot be read as audio")
    assert result.errors[5] == f"septool: {wrong} is 8000 Hz; the published recordings are 16000 Hz"
    assert len(manifest.read_manifest(tmp_path / "out/train-librispeech-atss-net-speech.jsonl")) == 3 * 18 - 2


def test_silent_utterances_are_not_mixed(toy: Path, tmp_path: Path) -> None:
    silent = toy / "test-clean/600/7/600-7-0000.flac"
    audio.write_audio(silent, 0 * audio.load_audio(silent, 16000), 16000)
    found = prepare("librispeech-2mix", toy, out=tmp_path / "out", protocol="galr", split="test", mixtures=60)
    prepared = found.manifests
    left_out = found.left_out
    assert [one.missing for one in prepared] == [0]
    assert len(left_out) == 1
    assert left_out[0].endswith("600-7-0000.flac is silent or damaged; no fixed mixture uses it")
    rows = manifest.read_manifest(Path(prepared[0].path))
    assert not any(source.path.endswith(silent.name) for row in rows for source in row.sources)


def test_what_a_protocol_lacks_is_wrong_usage(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are train, test"):
        prepare("librispeech-2mix", whole, out=tmp_path, split="dev")
    with pytest.raises(UsageError, match="--protocol is sepformer; here it can be atss-net or galr"):
        prepare("librispeech-2mix", whole, out=tmp_path, protocol="sepformer")  # type: ignore[arg-type]

"""The catalogue is completed from what a server tells."""

from dataclasses import replace
from pathlib import Path

import pytest

from septool import catalogue
from septool.catalogue import Entry
from septool.config import build, read_toml
from septool.downloads import RemoteFile
from septool.errors import CheckpointError
from septool.files import sha256_of
from tests.hub import COMMIT, Hub
from tools import complete_catalogue

LARGE, SMALL, ELSEWHERE = bytes(range(256)) * 8000, b"sample_rate: 8000\n", b"weights"


@pytest.fixture
def known(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    hub.files |= {"o/n/masknet.ckpt": LARGE, "o/n/hyperparams.yaml": SMALL, "w.pt": ELSEWHERE}
    hub.small = {"hyperparams.yaml"}
    hub.cards["o/n"] = {"license": "apache-2.0"}
    url = "https://huggingface.co/o/n/resolve/main"
    names = ("hyperparams.yaml", "masknet.ckpt")
    entry = Entry(
        model="sepformer",
        sample_rate=8000,
        sources=2,
        licence="unknown",
        trained_on="a",
        intended_use="b",
        source="speechbrain-sepformer",
        files=tuple(RemoteFile(name=name, url=f"{url}/{name}", about_bytes=1000) for name in names),
    )
    other = RemoteFile(name="w.pt", url=f"{hub.url}/plain/w.pt")
    known = {"on-the-hub": entry, "elsewhere": replace(entry, files=(other,), licence="MIT")}
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: dict(known))
    monkeypatch.setattr(complete_catalogue, "ROOT", tmp_path)
    return known


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["complete_catalogue", *arguments])
    return complete_catalogue.main()


def test_sums_sizes_revisions_and_licences_are_filled_in(
    known: dict[str, Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--check") == 1
    assert "on-the-hub: licence Apache-2.0" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints.toml").exists()
    assert run(monkeypatch) == 0
    written = {name: build(Entry, values) for name, values in read_toml(tmp_path / "checkpoints.toml").items()}
    entry = written["on-the-hub"]
    assert entry.licence == "Apache-2.0"
    url = f"https://huggingface.co/o/n/resolve/{COMMIT}"
    assert entry.files == tuple(
        RemoteFile(name=name, url=f"{url}/{name}", sha256=sha256_of(content), bytes=len(content))
        for name, content in (("hyperparams.yaml", SMALL), ("masknet.ckpt", LARGE))
    )
    assert (written["elsewhere"].licence, written["elsewhere"].files[0].sha256) == ("MIT", sha256_of(ELSEWHERE))
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: written)
    assert run(monkeypatch, "--check") == 0, "nothing is left to fill in"


def test_a_file_in_a_folder_is_found(known: dict[str, Entry], hub: Hub) -> None:
    hub.files["o/n/exp/train/1.pth"] = LARGE
    url = "https://huggingface.co/o/n/resolve/main"
    file = RemoteFile(name="1.pth", url=f"{url}/exp/train/1.pth")
    complete = complete_catalogue.complete_entry(replace(known["on-the-hub"], files=(file,)))
    at = url.replace("main", COMMIT)
    assert complete.files == (
        RemoteFile(name="1.pth", url=f"{at}/exp/train/1.pth", sha256=sha256_of(LARGE), bytes=len(LARGE)),
    )
    gone = replace(file, url=f"{url}/exp/gone/1.pth")
    with pytest.raises(CheckpointError, match=r"o/n has no exp/gone/1\.pth at main"):
        complete_catalogue.complete_entry(replace(known["on-the-hub"], files=(gone,)))


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"bytes": 3}])
def test_what_is_known_is_never_replaced(
    known: dict[str, Entry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
) -> None:
    files = known["on-the-hub"].files
    wrong = (files[0], replace(files[1], **changes))  # type: ignore[arg-type]
    known["on-the-hub"] = replace(known["on-the-hub"], files=wrong)
    assert run(monkeypatch, "on-the-hub") == 1
    assert "checkpoints.toml says" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints.toml").exists()


def test_a_repository_that_is_gone_does_not_stop_the_rest(
    known: dict[str, Entry],
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del hub.files["o/n/masknet.ckpt"]
    assert run(monkeypatch) == 1
    assert "on-the-hub: https://huggingface.co/o/n has no masknet.ckpt" in capsys.readouterr().err
    written = read_toml(tmp_path / "checkpoints.toml")
    assert written["elsewhere"]["files"][0]["sha256"] == sha256_of(ELSEWHERE)
    assert written["on-the-hub"]["licence"] == "unknown"

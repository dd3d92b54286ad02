"""What was loaded from a file is kept where that was asked for, until the file changes."""

import threading
from pathlib import Path

import pytest
import torch

from septool.conversation.networks import load_conversation_networks
from septool.load_cache import keep_loaded, load_once
from septool.models import SPEAKER_MODEL


def load(path: Path, loads: list[Path], what: str = "text") -> str:
    def read() -> str:
        loads.append(path)
        return path.read_text()

    return load_once(path, what, read)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_nothing_is_kept_unless_that_was_asked_for(files: list[Path]) -> None:
    loads: list[Path] = []
    assert [load(files[0], loads) for _ in range(2)] == ["a", "a"]
    with keep_loaded(1):
        load(files[0], loads)
        other = threading.Thread(target=load, args=(files[0], loads))  # which has nothing to do with this one
        other.start()
        other.join()
    assert loads == files[:1] * 4


def test_a_file_is_loaded_anew_when_it_has_changed(files: list[Path]) -> None:
    loads: list[Path] = []
    with keep_loaded(1):
        assert [load(files[0], loads) for _ in range(2)] == ["a", "a"]
        files[0].write_text("longer")
        assert [load(files[0], loads) for _ in range(2)] == ["longer", "longer"]
        assert load(files[0], loads, "something else of it") == "longer"
        files[0].unlink()
        with pytest.raises(FileNotFoundError):
            load(files[0], loads)
    assert len(loads) == 4


def test_the_file_that_was_used_least_recently_makes_room(files: list[Path]) -> None:
    loads: list[Path] = []
    first, second, third = files
    with keep_loaded(2):
        for path in (first, second, first, third, first, second):
            load(path, loads)
    assert loads == [first, second, third, second]


def test_networks_of_conversations_are_kept(tiny_checkpoint: Path) -> None:
    with keep_loaded(2):
        first, second = (
            load_conversation_networks(str(tiny_checkpoint), SPEAKER_MODEL, torch.device("cpu")) for _ in range(2)
        )
    assert second.separator.model is first.separator.model
    assert second.speaker_net is first.speaker_net
    assert len(first.speaker_net.embedding._forward_pre_hooks) <= 1  # it is told once at what rate it listens

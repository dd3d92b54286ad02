"""Fetching files: what can go wrong between a server and a cache, and what is left afterwards."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from septool import downloads
from septool.downloads import RemoteFile, download, find_downloaded, read_sums, remote_size
from septool.errors import CheckpointError, ConfigError
from septool.files import sha256_of
from tests.hub import COMMIT, Hub

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several blocks
KINDS = ("hub", "plain")


@pytest.fixture(autouse=True)
def content(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAIT", 0.01)
    hub.files["o/n/w.bin"] = CONTENT


def wanted(hub: Hub, kind: str, **known: object) -> RemoteFile:
    url = f"https://huggingface.co/o/n/resolve/{COMMIT}/w.bin" if kind == "hub" else f"{hub.url}/plain/o/n/w.bin"
    return RemoteFile(name="w.bin", url=url, **known)  # type: ignore[arg-type]


def leftovers(tmp_path: Path) -> list[Path]:
    """Return files that could be taken for the one that was wanted."""
    named = [path for path in tmp_path.rglob("w.bin") if path.is_file() and ".no_exist" not in path.parts]
    return named + [path for path in tmp_path.rglob("blobs/*") if path.is_file()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_comes_once_and_its_progress_is_told(hub: Hub, kind: str) -> None:
    told: list[tuple[str, int, int]] = []
    file = wanted(hub, kind)
    assert find_downloaded(file) is None
    path = download(file, lambda *each: told.append(each))
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("w.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    seen = len(hub.requests)
    assert download(file) == find_downloaded(file) == path
    assert len(hub.requests) == seen
    assert read_sums()[file.url] == {"sha256": sha256_of(CONTENT), "bytes": len(CONTENT)}


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_asked_for_only_if_they_are_not_known(hub: Hub, kind: str) -> None:
    assert remote_size(wanted(hub, kind)) == len(CONTENT)
    assert remote_size(wanted(hub, kind, bytes=3)) == 3
    assert len(hub.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["truncate-once", "429-once", "gone-once"])
def test_what_breaks_off_goes_on(hub: Hub, kind: str, fault: str) -> None:
    hub.faults["w.bin"] = fault
    content = hub.files["o/n/w.bin"] = CONTENT * 5  # huggingface_hub writes blocks of 10 MB
    path = download(wanted(hub, kind, sha256=sha256_of(content), bytes=len(content)))
    assert path.read_bytes() == content
    if "429" not in fault:
        assert any("range" in map(str.lower, headers) for headers in hub.asked("GET", "w.bin")), "it was not resumed"


def test_a_part_of_yesterday_is_gone_on_with_and_one_of_another_file_is_not(hub: Hub) -> None:
    file = wanted(hub, "plain")
    partial = downloads.own_path(file).with_name("w.bin.partial")
    partial.parent.mkdir(parents=True)
    for etag, resumed in ((f'"{sha256_of(CONTENT)}"', True), ('"another"', False)):
        partial.write_bytes(CONTENT[:1000] if resumed else b"x" * 1000)
        partial.with_name("w.bin.partial.etag").write_text(etag)
        path = download(file)
        assert path.read_bytes() == CONTENT
        assert hub.asked("GET", "w.bin")[-1].get("Range") == "bytes=1000-"
        path.unlink()
    assert not partial.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "the server has no such file"),
        ("401", "set HF_TOKEN"),
        ("wrong", "is another file than expected"),
        ("endless", "sends more than it should"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_no_file(hub: Hub, tmp_path: Path, kind: str, fault: str, said: str) -> None:
    hub.faults["w.bin"] = fault
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=said) as caught:
        download(wanted(hub, kind, sha256=sha256_of(CONTENT), bytes=len(CONTENT)))
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []
    assert time.monotonic() - started < 60
    del hub.faults["w.bin"]
    assert download(wanted(hub, kind)).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_announces_too_much_is_left_at_once(hub: Hub, tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError, match=f"sends more than it should: {len(CONTENT)} bytes"):
        download(wanted(hub, kind, about_bytes=2_000_000))
    assert leftovers(tmp_path) == []


def test_a_server_that_keeps_failing_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.faults["w.bin"] = "503"
    with pytest.raises(CheckpointError, match="the server answers 503"):
        download(wanted(hub, "plain"))
    assert len(hub.asked("GET", "w.bin")) == downloads.ATTEMPTS
    hub.faults["w.bin"] = "429"
    with pytest.raises(CheckpointError, match="come back later"):
        download(wanted(hub, "plain"))
    assert leftovers(tmp_path) == []


def test_no_server(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RemoteFile(name="w.bin", url="http://127.0.0.1:9/w.bin")
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1:9/w\.bin cannot be fetched: "):
        download(file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_server_is_waited_for(hub: Hub, kind: str) -> None:
    hub.faults["w.bin"] = "slow"
    assert download(wanted(hub, kind)).read_bytes() == CONTENT


def test_a_server_that_does_not_resume_is_started_over(hub: Hub) -> None:
    file = wanted(hub, "plain")
    partial = downloads.own_path(file).with_name("w.bin.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 1000)
    partial.with_name("w.bin.partial.etag").write_text(f'"{sha256_of(CONTENT)}"')
    hub.faults["w.bin"] = "no-range"
    assert download(file).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_that_was_seen_first_counts_ever_after(hub: Hub, tmp_path: Path, kind: str) -> None:
    path = download(wanted(hub, kind))
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    hub.files["o/n/w.bin"] = CONTENT[::-1]
    with pytest.raises(CheckpointError, match="the one that was seen first says"):
        download(wanted(hub, kind))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_cache_is_found(hub: Hub, kind: str) -> None:
    path = download(wanted(hub, kind))
    path.resolve().write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(CheckpointError, match="is another file than expected"):
        download(wanted(hub, kind))
    assert download(wanted(hub, kind)).read_bytes() == CONTENT


def test_a_token_is_sent_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    with pytest.raises(CheckpointError, match="set HF_TOKEN"):
        download(wanted(hub, "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download(wanted(hub, "hub")).read_bytes() == CONTENT
    download(wanted(hub, "plain"))
    for place in ("/cdn/", "/plain/"):  # the hub sends on to another host, where large files lie
        asked = hub.asked("GET", place)
        assert asked, place
        assert not any(name.lower() == "authorization" for headers in asked for name in headers), place


@pytest.mark.parametrize("name", ["SEPTOOL_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("kind", KINDS)
def test_offline_no_connection_is_opened(hub: Hub, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(CheckpointError, match="connections are off"):
        download(wanted(hub, kind))
    assert hub.requests == []
    monkeypatch.delenv(name)
    path = download(wanted(hub, kind))
    monkeypatch.setenv(name, "1")
    assert download(wanted(hub, kind)) == path


@pytest.mark.parametrize("name", ["SEPTOOL_OFFLINE", "HF_HUB_OFFLINE"])
def test_words_of_a_switch_mean_what_they_say(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("SEPTOOL_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for word in ("", "0", "false", "No", "OFF"):
        monkeypatch.setenv(name, word)
        assert not downloads.is_offline(), word
    for word in ("1", "true", "Yes", "ON"):
        monkeypatch.setenv(name, word)
        assert downloads.is_offline(), word
    monkeypatch.setenv(name, "perhaps")
    with pytest.raises(ConfigError, match=f"{name} is 'perhaps'; a switch is true or false"):
        downloads.is_offline()


def test_a_proxy_is_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.url)
    hub.files["weights/w.bin"] = CONTENT
    with pytest.raises(CheckpointError, match="no such file"):  # the proxy's answer to a whole URL
        download(RemoteFile(name="w.bin", url="http://elsewhere.invalid/w.bin"))
    assert hub.requests


def _download(url: str, cache: Path, endpoint: str) -> str:
    os.environ |= {"SEPTOOL_CACHE": str(cache), "HF_ENDPOINT": endpoint, "HF_HOME": str(cache / "hf")}
    return sha256_of(download(RemoteFile(name="w.bin", url=url)))


@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_at_once_get_the_same_file(hub: Hub, tmp_path: Path, kind: str) -> None:
    url = wanted(hub, kind).url
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.starmap(_download, [(url, tmp_path / "many", hub.url)] * 3)
    assert sums == [sha256_of(CONTENT)] * 3
    assert not list((tmp_path / "many").rglob("*.partial"))
    assert json.loads((tmp_path / "many/weights/sums.lock.json").read_text())[url]["bytes"] == len(CONTENT)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "[" * 100_000])
def test_a_damaged_list_of_sums_is_said(hub: Hub, text: str, tmp_path: Path) -> None:
    path = tmp_path / "cache/weights/sums.lock.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"sums\.lock\.json is damaged"):
        download(wanted(hub, "plain"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unreadable", [False, True])
def test_without_the_sums_what_was_fetched_stays(hub: Hub, tmp_path: Path, kind: str, unreadable: bool) -> None:
    """A file that cannot be compared is not a wrong one; of the hub's, other programs have the same."""
    path = download(wanted(hub, kind))
    sums = tmp_path / "cache/weights/sums.lock.json"
    kept = sums.read_text()
    if unreadable:
        sums.unlink()
        sums.mkdir()
    else:
        sums.write_text(kept[:-3])
    with pytest.raises(CheckpointError, match=r"sums\.lock\.json (is damaged|cannot be read)") as caught:
        download(wanted(hub, kind))
    assert type(caught.value) is CheckpointError
    assert path.read_bytes() == CONTENT
    if unreadable:
        sums.rmdir()
    sums.write_text(kept)
    seen = len(hub.requests)
    assert download(wanted(hub, kind)) == path
    assert len(hub.requests) == seen

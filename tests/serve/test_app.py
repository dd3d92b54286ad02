"""The REST API: a real recording, a broken one, two at once, what is too much, and files that go."""

import asyncio
import base64
import errno
import io
import os
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason='the page needs pip install "septool[serve]"')

from starlette.routing import Route
from starlette.testclient import TestClient

from septool import audio, catalogue, checkpoints
from septool.serve import app, jobs
from septool.serve.jobs import Limits
from septool.serve.openapi import document
from septool.tasks.separate import Separated, separate
from tests.conftest import RATE, files_below, voice, write
from tests.hub import Hub
from tests.serve.conftest import EXAMPLE, Clock, MakeClient, send, wait


def test_a_real_recording_comes_back_as_its_voices(client: TestClient, tiny_checkpoint: Path, tmp_path: Path) -> None:
    sent = send(client, EXAMPLE, "two-talkers.flac")
    job = wait(client, sent)
    assert (job["state"], job["error"]) == ("done", None)
    assert [track["title"] for track in job["tracks"]] == ["Recording", "Voice 1", "Voice 2"]
    assert [track["file"] for track in job["tracks"][1:]] == ["two-talkers_s1.wav", "two-talkers_s2.wav"]
    assert client.get(job["tracks"][0]["url"]).content == EXAMPLE.read_bytes()
    # They are those that the command writes.
    (result,) = separate([str(EXAMPLE)], model=str(tiny_checkpoint), device="cpu", out=str(tmp_path / "out"))
    assert isinstance(result, Separated)
    for track, path in zip(job["tracks"][1:], result.outputs, strict=True):
        answer = client.get(track["url"])
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.content == Path(path).read_bytes()
        assert len(answer.content) == track["bytes"]
    archive = zipfile.ZipFile(io.BytesIO(client.get(job["archive"]).content))
    assert archive.namelist() == ["two-talkers_s1.wav", "two-talkers_s2.wav"]
    assert archive.read("two-talkers_s2.wav") == Path(result.outputs[1]).read_bytes()
    assert job["seconds"] == pytest.approx(result.seconds, abs=1e-3)
    assert job["done_seconds"] == pytest.approx(job["seconds"], abs=0.01)


def test_a_network_is_loaded_once_unless_its_file_changes(
    client: TestClient, call: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], checkpoints.load

    def counted(path: Path, *kind: Any) -> Any:
        loaded.append(path)
        return load(path, *kind)

    monkeypatch.setattr(checkpoints, "load", counted)
    voices = [client.get(wait(client, send(client, call))["tracks"][1]["url"]).content for _ in range(2)]
    assert loaded == [tiny_checkpoint]
    assert voices[0] == voices[1]
    os.utime(tiny_checkpoint, ns=(0, 0))
    assert wait(client, send(client, call))["state"] == "done"
    assert loaded == [tiny_checkpoint] * 2


def test_players_ask_for_parts_of_a_file(client: TestClient, call: Path) -> None:
    job = wait(client, send(client, call))
    url = job["tracks"][1]["url"]
    whole = client.get(url).content
    part = client.get(url, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole[100:300])
    assert client.get(url).headers["content-disposition"].startswith("inline")
    assert client.get(f"{url}?download").headers["content-disposition"].startswith('attachment; filename="call_s1.wav"')


def test_spectrograms_have_one_scale(client: TestClient, tmp_path: Path) -> None:
    time = np.arange(RATE) / RATE
    tone = write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * time))
    job = wait(client, send(client, tone, "tone.wav"))
    peaks = []
    for track in job["tracks"]:
        picture = client.get(track["spectrogram"]).json()
        levels = np.frombuffer(base64.b64decode(picture["levels"]), np.uint8)
        levels = levels.reshape(picture["rows"], picture["columns"])
        peaks.append(levels.max())
        if track["title"] == "Recording":
            assert levels[:, picture["columns"] // 2].argmax() == pytest.approx(
                1000 / (RATE / 2) * picture["rows"], abs=1
            )
    assert max(peaks) == 255
    assert len(set(peaks)) > 1  # the voices of an untrained network are not as loud as one another


def test_a_broken_recording_fails_by_itself(client: TestClient, call: Path) -> None:
    broken = wait(client, send(client, b"RIFF, but no more of it", "broken.wav"))
    assert broken["state"] == "failed"
    assert broken["error"].startswith("broken.wav")
    assert "/" not in broken["error"]  # no folder of the server
    assert (broken["tracks"], broken["archive"]) == ([], None)
    assert client.get(f"/api/jobs/{broken['id']}/tracks/0").status_code == 404
    assert client.get(f"/api/jobs/{broken['id']}/voices.zip").status_code == 404
    assert wait(client, send(client, call))["state"] == "done"


def test_two_at_once_are_worked_on_one_after_the_other(
    client: TestClient, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go = threading.Event(), threading.Event()
    running: list[list[str]] = []
    most: list[int] = []

    def slow(inputs: list[str], **settings: Any) -> Any:
        running.append(inputs)
        most.append(len(running))
        begun.set()
        may_go.wait(30)
        yield from separate(inputs, **settings)
        running.remove(inputs)

    monkeypatch.setattr(jobs, "separate", slow)
    first, second = send(client, call, "one.wav"), send(client, EXAMPLE, "two.flac")
    assert begun.wait(60)
    third = send(client, call, "three.wav")
    rows = [client.get(f"/api/jobs/{job['id']}").json() for job in (first, second, third)]
    assert [row["state"] for row in rows] == ["running", "waiting", "waiting"]
    assert [row["ahead"] for row in rows] == [0, 1, 2]
    assert client.get("/api").json()["waiting"] == 2
    assert client.delete(f"/api/jobs/{third['id']}").status_code == 204
    may_go.set()
    done = [wait(client, job) for job in (first, second)]
    assert [row["state"] for row in done] == ["done", "done"]
    assert [row["tracks"][1]["file"] for row in done] == ["one_s1.wav", "two_s1.wav"]
    assert most == [1, 1]
    assert client.get(f"/api/jobs/{third['id']}").status_code == 404


def test_no_more_than_so_many_wait(client: TestClient, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_WAITING", 1)
    may_go = threading.Event()

    def slow(inputs: list[str], **settings: Any) -> Any:
        may_go.wait(30)
        yield from separate(inputs, **settings)

    monkeypatch.setattr(jobs, "separate", slow)
    sent = [send(client, call), send(client, call)]
    answer = client.post("/api/jobs", params={"name": "call.wav"}, content=b"more")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert "1 recordings are waiting already" in answer.json()["error"]
    may_go.set()
    assert [wait(client, job)["state"] for job in sent] == ["done", "done"]
    assert wait(client, send(client, call))["state"] == "done"


@pytest.mark.parametrize("told", [True, False], ids=["by its length", "while it arrives"])
def test_too_large_a_file_is_refused_and_not_kept(make_client: MakeClient, temporary: Path, told: bool) -> None:
    client = make_client(limits=Limits(upload_bytes=1000))
    body: Any = b"x" * 1001 if told else iter([b"x" * 600, b"x" * 600])
    answer = client.post("/api/jobs", params={"name": "call.wav"}, content=body)
    assert answer.status_code == 413
    assert answer.json()["error"] == "the recording has more than the 0.001 MB that are taken here"
    assert [name for name in files_below(temporary) if not name.endswith(jobs.LOCK)] == []


def test_an_upload_of_which_nothing_comes_gives_up_its_place(
    client: TestClient, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STALLED_S", 0.1)
    sent = [{"type": "http.request", "body": b"begin", "more_body": True}]
    answers: list[Any] = []

    async def receive() -> Any:
        return sent.pop() if sent else await asyncio.Event().wait()

    async def answer(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/jobs", "query_string": b"name=call.wav"}
    scope |= {"headers": [(b"host", b"127.0.0.1:8765")], "client": ("127.0.0.1", 1)}

    async def upload() -> None:
        await client.app(scope, receive, answer)

    asyncio.run(upload())
    assert answers[0]["status"] == 408
    assert [name for name in files_below(temporary) if not name.endswith(jobs.LOCK)] == []


def test_too_long_a_recording_is_refused(make_client: MakeClient, call: Path) -> None:
    client = make_client(limits=Limits(seconds=1.5))
    job = wait(client, send(client, call))
    assert (job["state"], job["error"]) == ("failed", "call.wav is longer than the 0.025 minutes that are taken here")


def test_a_recording_is_as_long_as_what_is_there_of_it(make_client: MakeClient, call: Path) -> None:
    """What broke off, or was never told its length, has a header that announces more."""
    content = bytearray(call.read_bytes())
    announced = 4 * 3600 * RATE * 2
    content[4:8] = (announced + 36).to_bytes(4, "little")
    content[40:44] = announced.to_bytes(4, "little")
    client = make_client(limits=Limits(seconds=10.0))
    job = wait(client, send(client, bytes(content), "cut.wav"))
    assert (job["state"], job["error"], job["seconds"]) == ("done", None, 3.0)
    assert any("cut.wav" in note for note in job["notes"])


def test_the_page_gives_no_advice_on_options(client: TestClient, tmp_path: Path) -> None:
    stereo = write(tmp_path / "stereo.wav", np.stack([voice(110), voice(210)]))
    job = wait(client, send(client, stereo, "stereo.wav"))
    assert "stereo.wav: 2 channels were averaged to one" in job["notes"]
    assert not any("--" in note for note in job["notes"])


def test_a_full_disk_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "FREE_BYTES", 10**18)
    answer = client.post("/api/jobs", params={"name": "call.wav"}, content=b"x")
    assert (answer.status_code, answer.json()["error"][:11]) == (507, "the disk of")


@pytest.mark.parametrize(("owner", "name"), [(Path, "mkdir"), (shutil, "disk_usage")])
def test_a_recording_that_cannot_be_kept_gives_its_place_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    def full(*_: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, name, full)
    answer = client.post("/api/jobs", params={"name": "call.wav"}, content=b"x")
    assert (answer.status_code, answer.json()["error"]) == (
        507,
        "the recording cannot be kept: No space left on device",
    )
    queue: Any = client.queue  # type: ignore[attr-defined]
    assert queue._jobs == {}


def test_files_go_when_their_time_is_over(client: TestClient, call: Path, temporary: Path, clock: Clock) -> None:
    job = wait(client, send(client, call))
    queue: Any = client.queue  # type: ignore[attr-defined]
    assert job["expires_in"] == 3600
    clock.now += 3599
    queue.remove_expired()
    assert client.get(job["tracks"][1]["url"]).status_code == 200
    assert client.get(f"/api/jobs/{job['id']}").json()["expires_in"] == 1
    clock.now += 1
    queue.remove_expired()
    answer = client.get(job["tracks"][1]["url"])
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no such recording; its files may be gone")
    assert [name for name in files_below(temporary) if not name.endswith(jobs.LOCK)] == []


def test_files_go_when_asked_and_when_the_server_ends(make_client: MakeClient, call: Path, temporary: Path) -> None:
    client = make_client()
    one, two = (wait(client, send(client, call, name)) for name in ("one.wav", "two.wav"))
    assert client.delete(f"/api/jobs/{one['id']}").status_code == 204
    left = files_below(temporary)
    assert [name for name in left if one["id"] in name] == []
    assert [name for name in left if two["id"] in name]
    client.__exit__(None, None, None)
    assert list(temporary.iterdir()) == []


def test_what_a_killed_server_left_is_cleared_away(make_client: MakeClient, temporary: Path) -> None:
    left = temporary / f"{jobs.FOLDER_PREFIX}left"
    left.mkdir()
    (left / jobs.LOCK).touch()
    (left / "recording.wav").touch()
    other = make_client()
    assert not left.exists()
    make_client()  # beside one that runs
    assert other.get("/api").status_code == 200
    assert len(list(temporary.iterdir())) == 2


def test_who_gives_up_frees_the_device(client: TestClient, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go = threading.Event(), threading.Event()

    def slow(inputs: list[str], *, progress: Any, **settings: Any) -> Any:
        def follow(*far: Any) -> None:
            begun.set()
            may_go.wait(30)
            progress(*far)

        yield from separate(inputs, progress=follow, **settings)

    monkeypatch.setattr(jobs, "separate", slow)
    job = send(client, call)
    assert begun.wait(60)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    may_go.set()
    assert wait(client, send(client, call))["state"] == "done"
    queue: Any = client.queue  # type: ignore[attr-defined]
    assert job["id"] not in queue._jobs


def test_all_workers_together_are_waited_for_no_longer_than_one(
    call: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what a model computes nothing can be broken off; the server ends all the same, without files."""
    monkeypatch.setattr(jobs, "STOP_SECONDS", 0.5)
    may_go = threading.Event()
    running = threading.Barrier(7, timeout=60)

    def slow(*_: Any, **settings: Any) -> Any:
        running.wait()
        may_go.wait(60)
        yield from ()

    monkeypatch.setattr(jobs, "separate", slow)
    queue = jobs.JobQueue(devices=["cpu"] * 6)
    queue.start()
    for _ in queue.devices:
        job = queue.open("call.wav")
        shutil.copy(call, job.recording)
        queue.submit(job)
    running.wait()
    started = time.monotonic()
    queue.stop()
    assert 0.5 <= time.monotonic() - started < 2.5
    assert list(temporary.iterdir()) == []
    may_go.set()
    for thread in queue._threads:
        thread.join(60)


def test_a_queue_may_be_stopped_by_another_thread_than_started_it(temporary: Path) -> None:
    queue = jobs.JobQueue(devices=[])
    starting = threading.Thread(target=queue.start)
    starting.start()
    starting.join(60)
    lock = queue._lock
    assert lock is not None
    assert lock.is_locked
    queue.stop()
    assert not lock.is_locked
    assert list(temporary.iterdir()) == []


def test_who_gives_up_while_it_is_drawn_is_heard(
    client: TestClient, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    begun, may_go = threading.Event(), threading.Event()

    def draw(path: Path) -> np.ndarray:
        drawn.append(path)
        begun.set()
        may_go.wait(60)
        return np.zeros((2, 2))

    monkeypatch.setattr(jobs, "spectrogram", draw)
    job = send(client, call)
    assert begun.wait(60)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    may_go.set()
    queue: Any = client.queue  # type: ignore[attr-defined]
    until = time.monotonic() + 60
    while job["id"] in queue._jobs:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert [path.name for path in drawn] == ["call.wav"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "name is missing"),
        ({"name": "a.wav", "model": "/etc/passwd"}, "model is '/etc/passwd'; it can be "),
        ({"name": "a.wav", "speakers": "many"}, "speakers is 'many'; it can be auto"),
        (
            {"name": "a.wav", "speakers": "auto", "model": "galr-small-3mix-8k"},
            "conversations take a model with 2 outputs, galr-small-3mix-8k has 3",
        ),
        ({"name": "a.wav", "spekers": "2"}, "unknown parameter 'spekers'; did you mean 'speakers'?"),
        ({"name": "a.wav"}, "the recording is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(client: TestClient, query: dict[str, str], said: str) -> None:
    answer = client.post("/api/jobs", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


def test_a_form_is_refused(client: TestClient) -> None:
    answer = client.post("/api/jobs", params={"name": "a.wav"}, files={"file": b"x"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/cron.d/x.wav", "x.wav"),
        ("C:\\calls\\a b.FLAC", "a b.FLAC"),
        ("<b>&\n.mp3", "_b___.mp3"),
        ("...", "recording"),
        (".wav", "wav"),
        ("x" * 300 + ".wav", "x" * jobs.NAME_BYTES + ".wav"),
        ("\U00020bb7" * 80 + ".wav", "\U00020bb7" * (jobs.NAME_BYTES // 4) + ".wav"),  # of four bytes
        ("x" + "\u00e4" * 80 + ".wav", "x" + "\u00e4" * (jobs.NAME_BYTES // 2 - 1) + ".wav"),  # none is cut apart
        ("Gespra\u0308ch.wav", "Gespr\u00e4ch.wav"),  # as macOS sends it
        ("\u0939\u093f\u0928\u094d\u0926\u0940.wav", "\u0939\u093f\u0928\u094d\u0926\u0940.wav"),
        ("Gespräch (1).m4a", "Gespräch (1).m4a"),
        ("page.html", "page.html"),
    ],
)
def test_names_stay_in_their_folder(name: str, kept: str) -> None:
    assert jobs.safe_name(name) == kept


def test_a_recording_is_never_a_page(client: TestClient, call: Path) -> None:
    """What is sent as one could do what its own page can, if a browser took it for one."""
    job = wait(client, send(client, call, "page.html"))
    answer = client.get(job["tracks"][0]["url"])
    assert answer.headers["content-type"] == "audio/wav"  # no browser plays .html, so it was written anew
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_no_browser_plays_is_written_as_wav(client: TestClient, speech: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "call.aiff", speech.sum(0))
    job = wait(client, send(client, path, "call.aiff"))
    assert job["tracks"][0]["file"] == "call.wav"
    (tmp_path / "back.wav").write_bytes(client.get(job["tracks"][0]["url"]).content)
    np.testing.assert_array_equal(audio.read_audio(tmp_path / "back.wav")[0], audio.read_audio(path)[0])


def test_the_page_offers_what_there_is(client: TestClient, tiny_checkpoint: Path) -> None:
    text = client.get("/").text
    about = client.get("/api").json()
    names = [model["name"] for model in about["models"]]
    assert names[0] == str(tiny_checkpoint)
    assert "galr-small-8k" in names
    assert "speaker-net-8k" not in names  # which separates nothing
    assert re.findall(r'<option value="([^"]+)" data-voices', text) == names
    assert "up to 500 MB and 180 minutes each" in text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        assert client.get(path).status_code == 200, path
    assert not re.findall(r"<script(?![^>]*src=)|<style|\bon\w+=|style=", text)  # the policy of the page refuses them


def test_other_weights_of_a_known_name_are_those_that_are_used(
    hub: Hub, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine" / "galr-small-8k"
    folder.mkdir(parents=True)
    shutil.copy(tiny_checkpoint, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    hub.files["someone/galr-small-8k/model.safetensors"] = tiny_checkpoint.read_bytes()
    catalogue.fetch_weights("hf:someone/galr-small-8k")
    monkeypatch.chdir(tmp_path)
    for given in ("mine/galr-small-8k", "hf:someone/galr-small-8k", str(folder / "model.safetensors")):
        names = [row["name"] for row in app.usable_separators(given)]
        assert names[0] == given
        assert "galr-small-8k" in names[1:]
    for given in ("galr-small-8k", "galr"):
        names = [row["name"] for row in app.usable_separators(given)]
        assert names[0] == "galr-small-8k"
        assert len(names) == len(set(names))


def test_the_document_is_of_what_is_answered(client: TestClient, call: Path) -> None:
    """Every route and method is in it, and answers have the properties that it says, no more and no less."""
    described = client.get("/openapi.json").json()
    assert described == document()
    assert "hour" not in str(described)  # which the server's --keep-minutes decides
    answered = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in client.app.routes  # type: ignore[attr-defined]
        if isinstance(route, Route) and route.path.startswith("/api")
        for method in (route.methods or set()) - {"HEAD"}
    }
    told = {(path, verb) for path, verbs in described["paths"].items() for verb in verbs if verb != "parameters"}
    assert answered == told
    schemas = described["components"]["schemas"]
    for reference in set(re.findall(r"'\$ref': '#/components/(\w+)/(\w+)'", str(described))):
        assert reference[1] in described["components"][reference[0]]
    job = wait(client, send(client, call))
    rows = {
        "Server": client.get("/api").json(),
        "Job": job,
        "Track": job["tracks"][0],
        "Spectrogram": client.get(job["tracks"][0]["spectrogram"]).json(),
        "Error": client.get("/api/jobs/none").json(),
    }
    assert {name: set(row) for name, row in rows.items()} == {
        name: set(schema["properties"]) for name, schema in schemas.items()
    }
    assert job["state"] in schemas["Job"]["properties"]["state"]["enum"]


@pytest.mark.slow
def test_a_conversation_has_speakers_and_turns(make_client: MakeClient) -> None:
    client = make_client()
    job = wait(client, send(client, EXAMPLE, "talk.flac", model="galr-small-8k", speakers="2"))
    assert (job["state"], job["error"]) == ("done", None)
    assert [track["title"] for track in job["tracks"]] == ["Recording", "Speaker 1", "Speaker 2"]
    turns = client.get(job["activity"]).text.splitlines()
    assert turns
    assert all(line.startswith("SPEAKER talk 1 ") for line in turns)
    names = zipfile.ZipFile(io.BytesIO(client.get(job["archive"]).content)).namelist()
    assert names == ["talk_s1.wav", "talk_s2.wav", "talk.rttm"]

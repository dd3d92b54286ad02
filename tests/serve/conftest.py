"""What the tests of serve share: an application with a tiny model, and a client that is a program of this machine."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from septool.reports import spectrograms
from septool.serve.jobs import JobQueue, Limits
from tests.browser import browser
from tests.conftest import ROOT

if TYPE_CHECKING:  # an extra, without which the tests are left out
    from starlette.testclient import TestClient

    from septool.serve.access import Access

__all__ = ["browser"]

EXAMPLE = ROOT / "examples" / "two-talkers.flac"
SECONDS = 60  # to wait for a recording, on a machine that has something else to do


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where recordings are kept."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spectrograms of less than what takes most of the time of a short recording."""
    monkeypatch.setattr(spectrograms, "COLUMNS", 40)


MakeClient = Callable[..., "TestClient"]


@pytest.fixture
def make_client(tiny_checkpoint: Path, temporary: Path, clock: Clock, small_pictures: None) -> Iterator[MakeClient]:
    """Start an application and return what talks to it."""
    from starlette.testclient import TestClient

    from septool.serve.access import Access
    from septool.serve.app import make_app, usable_separators

    entered: list[TestClient] = []

    def make(
        *,
        access: "Access | None" = None,
        limits: Limits | None = None,
        suffix: str = "wav",
        url: str = "",
        **settings: Any,
    ) -> "TestClient":
        models = usable_separators(str(tiny_checkpoint))
        queue = JobQueue(
            model=models[0]["name"],
            models={each["name"]: each["voices"] for each in models},
            devices=["cpu"],
            limits=limits or Limits(),
            suffix=suffix,
            clock=clock,
        )
        app = make_app(queue, access or Access(), models)
        client = TestClient(app, base_url=url or "http://127.0.0.1:8765", follow_redirects=False, **settings)
        client.__enter__()
        entered.append(client)
        client.queue = queue  # type: ignore[attr-defined]
        return client

    yield make
    for client in entered:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient) -> "TestClient":
    return make_client()


def send(client: "TestClient", content: bytes | Path, name: str = "call.wav", **query: str) -> dict[str, Any]:
    """Send a recording; return what the server says of it."""
    body = content.read_bytes() if isinstance(content, Path) else content
    answer = client.post("/api/jobs", params={"name": name, **query}, content=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def wait(client: "TestClient", job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a recording is done or has failed."""
    until = time.monotonic() + SECONDS
    while True:
        now = client.get(f"/api/jobs/{job['id']}").json()
        if now["state"] in ("done", "failed"):
            return now
        assert time.monotonic() < until, f"{job['name']} is still {now['state']}"
        time.sleep(0.02)

"""``septool serve`` as a process: where it says that it is, what it refuses, and that it ends."""

import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason='the page needs pip install "septool[serve]"')

import httpx
import torch

from septool.errors import SeptoolError, UsageError
from septool.serve import server
from septool.serve.jobs import Limits
from septool.serve.server import serve
from tests.conftest import Command, files_below

# What separates does not hear that the server ends, as in the embeddings of a conversation's runs.
BUSY = """
import sys, time
import torch
from septool import __main__ as program
from septool.serve import jobs

def compute(*_, **settings):
    network, sound = torch.nn.LSTM(64, 64, batch_first=True), torch.zeros(1, 2000, 64)
    until = time.monotonic() + 60
    with torch.no_grad():
        while time.monotonic() < until:
            network(sound)
    yield from ()

jobs.separate, jobs.STOP_SECONDS = compute, 0.5
sys.argv = ["septool", *sys.argv[3:]]
program.run()
"""


def test_it_ends_while_a_model_computes(
    start: Callable, tiny_checkpoint: Path, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    server = start("serve", "--port", "0", "-m", tiny_checkpoint, "-d", "cpu", interpreter=(str(script),))
    address = server.stdout.readline().decode().strip()
    sent = httpx.post(f"{address}api/jobs", params={"name": "call.wav"}, content=call.read_bytes(), timeout=60).json()
    until = time.monotonic() + 60
    while httpx.get(f"{address}api/jobs/{sent['id']}", timeout=60).json()["state"] != "running":
        assert time.monotonic() < until
        time.sleep(0.02)
    server.terminate()
    _, errors = server.communicate(timeout=30)
    assert (server.returncode, errors.decode().splitlines()[1:]) == (
        143,
        ["septool: ended; recordings and voices that it kept are gone"],
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_it_serves_until_it_is_stopped(
    start: Callable, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    server = start("serve", "--port", "0", "-m", tiny_checkpoint, "-d", "cpu")
    address = server.stdout.readline().decode().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    page = httpx.get(address, timeout=60)
    assert page.status_code == 200
    assert "server" not in page.headers
    server.send_signal(signal.SIGINT)
    out, errors = server.communicate(timeout=60)
    assert (server.returncode, out) == (130, b"")
    assert errors.decode().splitlines() == [
        "septool: this is the page; Ctrl-C stops it",
        "septool: ended; recordings and voices that it kept are gone",
    ]
    assert files_below(tmp_path / "temporary") == []


def test_beyond_this_machine_the_address_has_a_token(start: Callable, tiny_checkpoint: Path) -> None:
    server = start("serve", "--host", "0.0.0.0", "--port", "0", "-m", tiny_checkpoint, "-d", "cpu", "-q")
    address = server.stdout.readline().decode().strip()
    found = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{32,})", address)
    assert found
    here = f"http://127.0.0.1:{found[1]}"
    assert httpx.get(f"{here}/api", timeout=60).status_code == 401
    assert httpx.get(f"{here}/api", headers={"Authorization": f"Bearer {found[2]}"}, timeout=60).status_code == 200
    server.terminate()
    assert server.wait(timeout=60) == 143


def test_requests_are_logged_when_asked_for_and_the_token_is_not(start: Callable, tiny_checkpoint: Path) -> None:
    token = "a-token-of-the-test"
    server = start("serve", "--port", "0", "-m", tiny_checkpoint, "-d", "cpu", "-v", "--token", token)
    address = server.stdout.readline().decode().strip()
    assert address.endswith(f"/?token={token}")
    assert httpx.get(address, timeout=60).status_code == 303
    server.terminate()
    errors = server.communicate(timeout=60)[1].decode()
    assert re.search(r'^septool: 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 303$', errors, re.MULTILINE)
    assert token not in errors


def test_what_cannot_be_served_is_refused(septool: Command, tiny_checkpoint: Path, tiny_extractor: Path) -> None:
    serve = ("serve", "-m", tiny_checkpoint, "-d", "cpu")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = septool(*serve, "--port", port)
        assert result.errors[0].startswith(f"septool: --port {port} of 127.0.0.1 cannot be listened at: ")
    for more, said in {
        ("--token", "short"): "--token has 5 characters; give 16 or more",
        ("--host", "no such host"): "--host no such host is no address of this machine",
        ("-d", "cpu,cpu"): "--device cpu,cpu names one device twice",
        ("-m", tiny_extractor): "does not separate",
    }.items():
        result = septool(*serve, *more)
        assert (result.status > 0, result.out, len(result.errors)) == (True, b"", 1)
        assert said in result.errors[0]


def test_limits_are_in_bytes_and_seconds(
    septool: Command, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    def queue(**settings: Any) -> None:
        made.update(settings)
        raise SeptoolError("enough")

    monkeypatch.setattr(server, "JobQueue", queue)
    command = ("serve", "--port", "0", "-m", tiny_checkpoint, "-d", "cpu")
    limits = ("--max-megabytes", "1.5", "--max-minutes", "2.5", "--keep-minutes", "0.5", "--format", "flac")
    assert septool(*command, *limits).errors == ["septool: enough"]
    assert made["limits"] == Limits(upload_bytes=1_500_000, seconds=150.0, keep_seconds=30.0)
    assert made["suffix"] == "flac"
    septool(*command)
    assert made["limits"] == Limits(upload_bytes=500_000_000, seconds=10_800.0, keep_seconds=3600.0) == Limits()
    assert made["suffix"] == "wav"


def test_a_device_by_two_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("septool.serve.server.choose_device", torch.device)
    with pytest.raises(UsageError, match="--device cuda,cuda:0 names one device twice"):
        serve(device="cuda,cuda:0")


def test_the_extra_that_is_missing_is_named(septool: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "septool.serve.server", raising=False)
    result = septool("serve")
    assert result.status == 2
    assert result.errors == ["septool: serve needs uvicorn; install it with: pip install 'septool[serve]'"]

"""The end of the command: at once, and nothing of what Python sees to before is left out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What a process with torch does, less what it takes to import it.
SCRIPT = """
import atexit, os, sys, tempfile, threading, time, types
from septool import __main__ as program

sys.modules["torch"] = types.ModuleType("torch")

class Told:
    def __del__(self):
        os.write(2, b"taken apart ")

told = Told()
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(lambda: sys.stdout.write("at exit "))

def main():
    sys.stdout.write("buffered ")
    {body}

sys.modules["septool.cli"] = types.SimpleNamespace(main=main)
program.run()
"""


def end(folder: Path, body: str, **settings: object) -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(body=body)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "env": environment}
    pipes |= settings
    return subprocess.run([sys.executable, "-c", code, str(folder)], text=True, check=False, **pipes)  # type: ignore[call-overload]


@pytest.mark.parametrize(("given", "status"), [("", 0), ("0", 0), ("130", 130)])
def test_the_status_the_buffers_and_what_is_asked_for_at_exit_are_kept(tmp_path: Path, given: str, status: int) -> None:
    done = end(tmp_path, f"sys.exit({given})")
    assert (done.returncode, done.stdout, done.stderr) == (status, "buffered at exit ", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("sys.exit('a message')", 1, "a message"),
        ("raise ZeroDivisionError", 1, "ZeroDivisionError"),
        ("del sys.modules['torch']; sys.exit(3)", 3, ""),
    ],
)
def test_python_ends_as_ever_where_it_has_more_to_do(tmp_path: Path, body: str, status: int, said: str) -> None:
    done = end(tmp_path, body)
    assert (done.returncode, done.stdout) == (status, "buffered at exit ")
    assert said in done.stderr
    assert "taken apart" in done.stderr
    assert not any(tmp_path.iterdir())


def test_threads_are_waited_for_that_do_not_die_with_the_process(tmp_path: Path) -> None:
    """Python is not taken apart after them, which aborts where another one still computes in native code."""
    last = "lambda: (time.sleep(0.3), os.write(2, b'thread'))"
    endless = "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()"
    done = end(tmp_path, f"{endless}; threading.Thread(target={last}).start(); sys.exit(143)")
    assert (done.returncode, done.stdout, done.stderr) == (143, "buffered at exit ", "thread")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that signal")
def test_who_interrupts_again_does_not_wait(tmp_path: Path) -> None:
    again = "signal.signal(signal.SIGALRM, workers.interrupt); signal.setitimer(signal.ITIMER_REAL, 0.3)"
    idle = "threading.Thread(target=time.sleep, args=(20,)).start()"
    body = f"import signal; from septool import workers; {again}; {idle}; sys.exit(130)"
    started = time.monotonic()
    done = end(tmp_path, body)
    assert (done.returncode, done.stdout) == (130, "buffered at exit ")
    assert "taken apart" not in done.stderr
    assert time.monotonic() - started < 15


def test_ctrl_c_before_the_command_line_is_there_is_a_line(tmp_path: Path) -> None:
    done = end(tmp_path, "raise KeyboardInterrupt")
    assert (done.returncode, done.stdout) == (130, "buffered at exit ")
    assert done.stderr.startswith("septool: interrupted\n")
    assert "Traceback" not in done.stderr


def test_output_that_goes_nowhere_is_said(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no device that is always full")
    with full.open("w") as out:
        done = end(tmp_path, "sys.exit(0)", stdout=out)
    assert done.returncode == 120
    assert "No space left on device" in done.stderr

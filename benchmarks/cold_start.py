"""Where the time of ``septool separate`` goes on short recordings: ``python -m benchmarks.cold_start``.

Each process is fresh, and notes when it has imported what the task needs, loaded the weights, computed and written the
voices; the rest is Python's own start and end. Engines and lengths take turns, beside ``python -c "import torch"`` and
``python -c pass``, and the table has the medians of all rounds: seconds by the clock / of processor time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.taken import Taken

PARTS = ("start", "import", "weights", "work", "writing", "end")
SHOWN = (*PARTS, "all")
# Prints, in JSON, what each part has taken by the clock and by the processor, from the start of the interpreter on.
CHILD = """
import json, os, sys, time
begun = float(os.environ["BEGUN"])
marks = [("start", time.time(), time.process_time())]
def mark(name):
    marks.append((name, time.time(), time.process_time()))
from septool.__main__ import end_process  # the command line that a user has, typer included
from septool.commands import separate as command
from septool.tasks import separate as task
from septool.inference import accelerators, engines, streaming
if sys.argv[2] == "torch":
    from septool import checkpoints, models
    import torch
else:
    import onnxruntime
mark("import")
load = task.load_engine
def load_engine(*given, **named):
    mark("import")
    separator = load(*given, **named)
    if separator.engine == "onnx":  # a session is opened when it is first used
        from septool.inference.onnx_runtime import open_session
        separator._sessions[os.getpid()] = open_session(separator.path)
    mark("weights")
    return separator
task.load_engine = load_engine
spent = [0.0, 0.0]
inner = accelerators.WindowBatches.__call__
def estimated(self, windows):
    before = time.time(), time.process_time()
    voices = inner(self, windows)
    spent[0] += time.time() - before[0]
    spent[1] += time.process_time() - before[1]
    return voices
accelerators.WindowBatches.__call__ = estimated
list(task.separate([sys.argv[1]], out=sys.argv[3], engine=sys.argv[2], force=True, device="cpu"))
mark("writing")
taken = {"start": (marks[0][1] - begun, marks[0][2])}
for (_, *before), (name, *after) in zip(marks, marks[1:]):
    wall, cpu = taken.get(name, (0.0, 0.0))
    taken[name] = (wall + after[0] - before[0], cpu + after[1] - before[1])
taken["writing"] = tuple(value - part for value, part in zip(taken["writing"], spent))
taken["work"] = tuple(spent)
print(json.dumps({"taken": taken, "ended": marks[-1][1]}))
end_process(0)  # as the command does
"""


class Run(NamedTuple):
    """A line of the table."""

    name: str
    seconds: float | None = None  # of audio; None: the line of Python is all
    engine: str = ""
    code: str = ""


def time_process(run: Run, recording: Path | None, out: Path) -> dict[str, Taken]:
    """Run a fresh process; return what its parts took, and all of it."""
    command = [sys.executable, "-c", run.code or CHILD]
    if recording is not None:
        command += [str(recording), run.engine, str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"BEGUN": repr(begun)})
    ended = time.time()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return split_parts(Taken(ended - begun, cpu), done.stdout if recording else "", ended)


def split_parts(whole: Taken, output: str, ended: float) -> dict[str, Taken]:
    """Return the parts that a process told of, its end, and all of it."""
    parts = {"all": whole}
    if output:
        report = json.loads(output.splitlines()[-1])
        parts |= {name: Taken(*taken) for name, taken in report["taken"].items()}
        known = sum(parts[name].cpu for name in PARTS if name in parts)
        parts["end"] = Taken(ended - report["ended"], whole.cpu - known)
    return parts


def median_parts(found: Sequence[dict[str, Taken]]) -> dict[str, Taken]:
    """Return the median of each part, by the clock and of processor time alone."""
    return {
        name: Taken(*(statistics.median(run[name][kind] for run in found) for kind in (0, 1)))
        for name in SHOWN
        if name in found[0]
    }


def table(rows: dict[str, dict[str, Taken]]) -> Iterator[str]:
    """Yield the lines of a table: seconds by the clock / of processor time."""
    yield "| " + " | ".join(("", *SHOWN)) + " |"
    yield "|---" * (len(SHOWN) + 1) + "|"
    for name, parts in rows.items():
        cells = (f"{parts[part].wall:.2f} / {parts[part].cpu:.2f}" if part in parts else "" for part in SHOWN)
        yield "| " + " | ".join((name, *cells)) + " |"


def runs(engines: Sequence[str], lengths: Sequence[float]) -> list[Run]:
    """Return what is measured, in turns."""
    plain = [Run("`python -c pass`", code="pass"), Run('`python -c "import torch"`', code="import torch")]
    return plain + [Run(f"{engine}, {seconds:g} s", seconds, engine) for engine in engines for seconds in lengths]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="torch,onnx")
    parser.add_argument("--lengths", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from septool import audio
    from septool.config import shipped
    from septool.tasks.export import export

    if "onnx" in options.engines:
        export("galr", cache=True)
    samples, rate = audio.read_audio(shipped("examples/two-talkers.flac"))
    wanted = runs(options.engines.split(","), [float(length) for length in options.lengths.split(",")])
    found: dict[str, list[dict[str, Taken]]] = {run.name: [] for run in wanted}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for run in wanted:
                recording = None
                if run.seconds is not None:
                    recording = Path(folder) / f"{run.seconds:g}.wav"
                    audio.write_audio(recording, samples[:, : round(run.seconds * rate)], rate, "PCM_16")
                found[run.name].append(time_process(run, recording, Path(folder)))
    for line in table({name: median_parts(runs) for name, runs in found.items()}):
        print(line)


if __name__ == "__main__":
    main()

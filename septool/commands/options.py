"""Options that several verbs share."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from septool.commands import completion
from septool.errors import UsageError
from septool.limits import MOST_JOBS, MOST_PASSES

OUTPUT, MACHINE, PRINTING = "Output", "Machine", "Printing"  # groups of options in a verb's help
_debug = False


def _set_debug(value: bool) -> bool:
    global _debug
    _debug = _debug or value
    return value


def _set_verbose(value: bool) -> bool:
    if value:
        logging.getLogger("septool").setLevel(logging.INFO)
    return value


def debugging() -> bool:
    """Return whether --debug was given."""
    return _debug


def check_json(out: object, json: bool) -> None:
    """Refuse lines that would go where the audio goes."""
    if json and str(out) == "-":
        raise UsageError("--json and --out - would both write to standard output; name a file with --out")


Device = Annotated[
    str,
    typer.Option(
        "-d",
        "--device",
        help="auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel=MACHINE,
        autocompletion=completion.devices,
    ),
]
MOST_SECONDS = 86_400.0  # longest segment: a day
Segment = Annotated[
    float, typer.Option(min=0.5, max=MOST_SECONDS, help="Length of the segments given to the model, in seconds.")
]
Overlap = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=MOST_SECONDS / 2,
        help="Overlap of neighboring segments, in seconds; at most half of --segment.",
    ),
]
Passes = Annotated[
    int | None,
    typer.Option(
        "--passes",
        min=1,
        max=MOST_PASSES,
        help="Number of passes to average (test-time augmentation): better, and as many times slower; the "
        "checkpoint's own by default.",
    ),
]
SpeakerModel = Annotated[
    str,
    typer.Option(
        "--speaker-model", autocompletion=completion.checkpoints, help="Speaker network that tells voices apart."
    ),
]
Jobs = Annotated[
    int, typer.Option("-j", "--jobs", min=1, max=MOST_JOBS, help="Number of processes.", rich_help_panel=MACHINE)
]
AUTO_DTYPE = (
    "auto is bf16 where the device has it in hardware and scores, measured on a CPU, stay as they are, else fp32"
)
Dtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option("--dtype", help=f"Data type of the network's computations; {AUTO_DTYPE}.", rich_help_panel=MACHINE),
]
SeparatorDtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(
        "--dtype",
        help=f"Data type of the network's computations; {AUTO_DTYPE}; int8 takes ONNX Runtime.",
        rich_help_panel=MACHINE,
    ),
]
AutoJobs = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        min=1,
        max=MOST_JOBS,
        help="Number of processes; as many as keep all cores busy by default.",
        rich_help_panel=MACHINE,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Run on dask.distributed workers: local:N, or tcp://HOST:PORT of a scheduler.",
        rich_help_panel=MACHINE,
    ),
]
FromFile = Annotated[
    str | None,
    typer.Option(
        "--from-file", help="File that lists recordings, separated by newlines or NULs; - reads standard input."
    ),
]
Clip = Annotated[
    Literal["none", "rescale", "clamp"],
    typer.Option(
        "--clip",
        help="Samples over full scale in integer formats: written as float (none), all voices lowered, or clipped.",
        rich_help_panel=OUTPUT,
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.", rich_help_panel=OUTPUT)]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        help="Write a record of this run (.jsonl) with checksums; this is not a manifest of mixtures. With "
        "--skip-existing, outputs that differ from it are reported as failures; --force redoes them.",
        rich_help_panel=OUTPUT,
    ),
]
ProgressStyle = Annotated[
    Literal["bar", "json", "none"],
    typer.Option(
        "--progress", help="Progress on standard error: a bar, or one JSON object per second.", rich_help_panel=PRINTING
    ),
]
Channel = Annotated[str | None, typer.Option("--channel", help="Channel to use: N, or mix (the average, the default).")]
Channels = Annotated[
    str | None,
    typer.Option("--channel", help="Channel to use: N, mix (the average, the default), or each separately."),
]
Track = Annotated[int, typer.Option("--track", min=1, help="Audio track, in containers with several.")]
Raw = Annotated[
    str | None, typer.Option("--raw", help="Format of headerless input, ENCODING:RATE:CHANNELS, such as s16le:16000:1.")
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream", help="Process standard input while it arrives; it may be endless.", rich_help_panel=OUTPUT
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.", rich_help_panel=OUTPUT)]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Skip existing outputs.", rich_help_panel=OUTPUT)]
Shard = Annotated[
    str | None,
    typer.Option("--shard", help="Process only part I of N, to share work among N machines.", rich_help_panel=MACHINE),
]
HtmlReport = Annotated[
    Path | None,
    typer.Option(
        "--html", help="HTML report with players and spectrograms (needs matplotlib).", rich_help_panel=OUTPUT
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.", rich_help_panel=PRINTING)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print results and errors only.", rich_help_panel=PRINTING)]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_set_verbose, help="Log the device and files in use.", rich_help_panel=PRINTING
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.", rich_help_panel=PRINTING),
]

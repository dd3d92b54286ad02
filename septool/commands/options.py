"""Options that several verbs share."""

import inspect
import logging
from pathlib import Path
from typing import Annotated

import typer

from septool.errors import UsageError

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
    """Say whether --debug was given."""
    return _debug


def prose(command: object) -> str:
    """Return a command's documentation, its lines as wide as wherever it is shown."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(command) or "").split("\n\n"))


def check_json(out: object, json: bool) -> None:
    """Refuse lines that would go where the audio goes."""
    if json and str(out) == "-":
        raise UsageError("--json and --out - would both write to standard output; name a file with --out")


Device = Annotated[
    str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Machine")
]
Jobs = Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes to use.", rich_help_panel="Machine")]
Channel = Annotated[
    int | None, typer.Option("--channel", min=1, help="Channel to listen to, from 1; all are averaged by default.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave out what is done already.")]
Shard = Annotated[
    str | None,
    typer.Option("--shard", help="Work on part I of N alone, I/N, for N machines.", rich_help_panel="Machine"),
]
Listening = Annotated[
    Path | None,
    typer.Option("--html", help="Page to listen and look, .html: recordings, references, voices (needs matplotlib)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.", rich_help_panel="Printing")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print results and errors only.", rich_help_panel="Printing")
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_set_verbose, help="Say what is used: device, files.", rich_help_panel="Printing"
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.", rich_help_panel="Printing"),
]

"""Messages for wrong arguments: unknown options, and values that pydantic refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from septool.commands import help
from septool.printable import printable

if TYPE_CHECKING:
    import typer


def describe_usage_error(error: typer.TyperException, program: help.Verb, arguments: Sequence[str]) -> str:
    """Return what is wrong with the arguments, and where to read what would be right; nothing if help was shown."""
    said = " ".join(error.format_message().removesuffix(".").replace("Value error, ", "").split())
    if not said:
        return ""
    said = re.sub(r" \(Possible options: (.*)\)$", r"; did you mean \1?", said).replace(". Did you", "; did you")
    faults = getattr(error.__cause__, "errors", list)()  # of pydantic, which values are checked with
    if faults and repr(faults[0]["input"]) not in said:
        said += f", not {faults[0]['input']!r}"
    return f"septool: {printable(said[0].lower() + said[1:])}; see {verb_path(program, arguments)} --help\n"


def verb_path(program: help.Verb, arguments: Sequence[str]) -> str:
    """Return the verb that a command line calls, with the program before it: ``septool models show``."""
    path = "septool"
    command: help.Verb | None = program
    for word in arguments:
        command = help.subcommand(command, word)
        if command is None:
            break
        path += f" {word}"
    return path

"""The command line: its verbs, and errors as one line on stderr with an exit status. Imports no torch."""

import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main

from septool import workers
from septool.commands import (
    VERBS,
    activity,
    config,
    defaults,
    doctor,
    enroll,
    evaluate,
    extract,
    help,
    mix,
    models,
    options,
    prepare,
    profile,
    separate,
    serve,
    train,
    usage_errors,
)
from septool.errors import InterruptedBySignal, SeptoolError, UsageError
from septool.printable import printable
from septool.version import __version__

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Verbs(help.Group):
    """The verbs in the order in which one needs them."""

    def list_commands(self, ctx: "help.Context") -> list[str]:  # noqa: ARG002
        return list(VERBS)


app = typer.Typer(
    name="septool",
    cls=Verbs,
    help="Separate recordings in which people talk over each other.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=help.SETTINGS,
    subcommand_metavar="COMMAND ...",
)

app.add_typer(prepare.app, name="prepare", help=help.prose(prepare.prepare))
app.command("mix")(mix.mix)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("separate")(separate.separate)
app.command("activity")(activity.activity)
app.command("extract")(extract.extract)
app.command("enroll")(enroll.enroll)
app.command("profile")(profile.profile)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
for verb in (*app.registered_commands, *models.app.registered_commands, *config.app.registered_commands):
    verb.help = help.prose(verb.callback)
    verb.cls = help.TolerantCommand if verb.callback is doctor.doctor else help.Command


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"septool {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Separate recordings in which people talk over each other."""


def print_help(arguments: Sequence[str]) -> bool:
    """Print the help of a verb if a command line is that and nothing else; says whether it did.

    The parser would import what checks values, which takes longer than all the rest of a help.
    """
    if not arguments or arguments[-1] not in help.SETTINGS["help_option_names"]:
        return False
    command = typer.main.get_command(app)
    names = help.SETTINGS["help_option_names"]
    context = typer.Context(command, info_name="septool", help_option_names=names)
    for word in arguments[:-1]:
        command = help.subcommand(command, word)
        if command is None:
            return False
        context = typer.Context(command, info_name=word, parent=context, help_option_names=names)
    try:
        help.print_help(command, context)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written at the end
        sys.exit(1)
    return True


class LineFormatter(logging.Formatter):
    """Messages of one line each; names of files in them may hold anything."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return f"septool: {printable(record.message)}"


def _say(what: object) -> None:
    """Say something in one line; names of files in it may hold anything."""
    sys.stderr.write(f"septool: {printable(what)}\n")


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report what cannot go up, except an interrupt, which is raised again at the next check."""
    if not isinstance(unraisable.exc_value, InterruptedBySignal):
        sys.__unraisablehook__(unraisable)


def main() -> None:
    """Run the command line; never returns."""
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _report_unraisable
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for as long as the program runs
    # An own exception instead of KeyboardInterrupt: it passes through libraries that catch that one.
    signal.signal(signal.SIGINT, workers.interrupt)
    signal.signal(signal.SIGTERM, workers.interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be text; they come out as they are
    log = logging.StreamHandler()
    log.setFormatter(LineFormatter())
    logging.basicConfig(handlers=[log], level=logging.WARNING)
    try:
        if "" in sys.argv[1:]:  # as a path it would be the current folder
            raise UsageError("an argument is empty; is a variable of the shell not set?")
        if print_help(sys.argv[1:]):
            sys.exit(0)
        if "_SEPTOOL_COMPLETE" not in os.environ:  # a shell that completes shows what is said
            for line in defaults.describe_unknown_variables(typer.main.get_command(app)):
                _say(line)
        sys.exit(app(prog_name="septool", standalone_mode=False))
    except SeptoolError as error:
        if options.debugging():
            raise
        _say(error)
        sys.exit(error.status)
    except typer.TyperException as error:  # wrong arguments
        sys.stderr.write(usage_errors.describe_usage_error(error, typer.main.get_command(app), sys.argv[1:]))
        sys.exit(2)
    except typer.Abort:  # the end of the input in place of an answer
        sys.stderr.write("septool: there was no answer; nothing was done\n")
        sys.exit(1)
    except InterruptedBySignal as error:
        sys.stderr.write("septool: interrupted; what was finished is kept\n")
        sys.exit(error.status)
    except MemoryError:
        sys.stderr.write("septool: out of memory; shorter recordings, or a smaller --segment or --batch, need less\n")
        sys.exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:  # a file that no other handler describes
        if options.debugging():
            raise
        what = f"{error.filename}: " if error.filename else ""
        if not what and error.errno in FULL:  # files are named; what is left is standard output
            what = "output cannot be written: "
        _say(f"{what}{error.strerror or error}")
        sys.exit(1)


if __name__ == "__main__":
    main()

"""``septool prepare``: one sub-command per corpus, built from the options of the corpus."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
import typer.main

from septool.commands import help, options
from septool.config import JsonDict
from septool.corpora import CORPORA
from septool.limits import HIGHEST_RATE, LOWEST_RATE

if TYPE_CHECKING:
    from septool.corpora.base import Corpus
    from septool.tasks.prepare import Prepared

SHARED = {  # what every corpus is prepared with
    "source": inspect.Parameter.empty,
    "out": Path("data"),
    "jobs": 1,
    "force": False,
    "dry_run": False,
    "verify": False,
    "json": False,
    "quiet": False,
    "verbose": False,
    "debug": False,
}
HINTS: JsonDict = {
    "out": Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the manifests.", rich_help_panel=options.OUTPUT)
    ],
    "jobs": options.Jobs,
    "force": options.Force,
    "dry_run": Annotated[
        bool, typer.Option("--dry-run", help="Only count; write nothing.", rich_help_panel=options.OUTPUT)
    ],
    "verify": Annotated[
        bool,
        typer.Option("--verify", help="Decode every recording completely; damaged ones are reported and left out."),
    ],
    "json": options.Json,
    "quiet": options.Quiet,
    "verbose": options.Verbose,
    "debug": options.Debug,
}
MOST: dict[str, float] = {"sample_rate": HIGHEST_RATE, "mixtures": 10_000_000}
LEAST: dict[str, float] = {  # least value of an option, whatever corpus has it
    "sample_rate": LOWEST_RATE,
    "mixtures": 0,
    "sources": 1,
    "difference_db": 0,
    "minimum_seconds": 0,
}


class Corpora(help.Group):
    """The corpora as verbs; one is imported when it is asked for."""

    def list_commands(self, ctx: "help.Context") -> list[str]:  # noqa: ARG002
        return list(CORPORA)

    def get_command(self, ctx: "help.Context", cmd_name: str) -> "help.Verb":  # noqa: ARG002
        return corpus_command(cmd_name)


app = typer.Typer(cls=Corpora, subcommand_metavar="CORPUS ...")


@app.callback(invoke_without_command=True)
def prepare(
    ctx: typer.Context,
    show: Annotated[
        bool, typer.Option("--list", help="List the corpora: licence, size, folder layout and options.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Turn a corpus on disk into manifests; no audio is copied and nothing is downloaded.

    For a published set, writes its mixtures by the published lists, as {split}-{set}-{rate}-{mode}.jsonl;
    rendered, they equal the set to the sample. For a folder, writes {split}-speech.jsonl, the
    utterances that training mixes anew every epoch, and {split}-2mix.jsonl, fixed mixtures to validate
    and test on; speakers are assigned to splits by name and --seed, so the same tree gives the same files everywhere.

    Missing recordings are listed and make the status 1; the rest is done. Each corpus has options of its own:
    septool prepare CORPUS --help.
    """
    from septool.commands import printing
    from septool.errors import UsageError
    from septool.tasks.prepare import describe

    if ctx.invoked_subcommand is not None:
        return
    if not show:
        raise UsageError("prepare takes a corpus and where it is; septool prepare --list shows all")
    rows = describe()
    if json:
        for row in rows:
            printing.json_line(row)
    else:
        for row in rows:
            printing.line(f"{row['corpus']}: {row['about']}")
            for key in ("licence", "size", "expects", "options"):
                printing.line(f"  {key:8} {row[key]}")


def corpus_command(name: str) -> "help.Verb":
    """Return the verb of a corpus: its documentation as help, the keyword parameters of its ``prepare`` as options.

    Raises:
        UsageError: no such corpus, with the nearest one.
    """
    corpus = CORPORA[name]
    app = typer.Typer(context_settings=help.SETTINGS, add_completion=False)
    app.command(name, cls=help.Command, help=_documentation(corpus))(_function(name, corpus.prepare))
    command: help.Verb = typer.main.get_command(app)
    command.name = name
    return command


def _documentation(corpus: "Corpus") -> str:
    parts = (corpus.about, f"expects {corpus.expects}", f"licence: {corpus.licence}; size: {corpus.size}")
    return "\n\n".join(_sentence(part) + "." for part in parts)


def _function(corpus: str, task: Callable[..., object]) -> Callable[..., None]:
    """Return the function of a verb, with a parameter for each option of a corpus."""
    help_texts, hints = _help_texts(task), get_type_hints(_unwrapped(task))
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(task).parameters.items()
        if name not in ("source", "out", "jobs")
    }
    least, most = {name: LEAST.get(name) for name in options}, {name: MOST.get(name) for name in options}
    help_of = {
        name: help_texts[name] if help_texts[name].split()[0] in get_args(hints[name]) else _sentence(help_texts[name])
        for name in options
    }
    typed = {
        name: Annotated[hints[name], typer.Option(help=help_of[name], min=least[name], max=most[name])]
        for name in options
    }
    source = Annotated[Path, typer.Argument(help=_sentence(help_texts["source"]))]
    annotations = {"source": source} | typed | HINTS

    def function(source: Path, **given: Any) -> None:
        _prepare(corpus, source, options={name: given.pop(name) for name in options}, **given)

    defaults = {"source": SHARED["source"]} | options | SHARED
    function.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name])
            for name, default in defaults.items()
        ]
    )
    function.__annotations__ = annotations
    return function


def _unwrapped(task: Callable[..., object]) -> Callable[..., object]:
    return task.func if isinstance(task, partial) else task


def _help_texts(task: Callable[..., object]) -> dict[str, str]:
    """Return what the documentation of a function says of each argument."""
    lines = (inspect.getdoc(_unwrapped(task)) or "").partition("Args:\n")[2].partition("\n\n")[0].splitlines()
    texts: dict[str, str] = {}
    for line in lines:
        if line.startswith(" " * 8):  # goes on
            texts[list(texts)[-1]] += " " + line.strip()
        else:
            name, _, text = line.strip().partition(": ")
            texts[name] = text
    return texts


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _prepare(
    corpus: str,
    source: Path,
    *,
    options: JsonDict,
    out: Path,
    jobs: int,
    force: bool,
    dry_run: bool,
    verify: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Prepare a corpus and print what came of it."""
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.prepare import prepare as work

    given = {name: value for name, value in options.items() if value is not None}
    prepared = work(corpus, source, out=out, jobs=jobs, force=force, dry_run=dry_run, verify=verify, **given)
    if json:
        for manifest in prepared.manifests:
            printing.json_line(asdict(manifest))
    else:
        columns = ["manifest", "split", "rows", "missing", "speakers", "hours", "MB", "rendered MB", "sha256"]
        printing.table(columns, map(_cells, prepared.manifests))
    incomplete = sum(manifest.missing for manifest in prepared.manifests)
    left_out = prepared.left_out
    for line in prepared.damaged + (left_out if incomplete else []):
        printing.note(line)
    if left_out and not incomplete and not quiet:
        printing.note(f"{_counted(len(left_out), 'file was', 'files were')} left out; the first: {left_out[0]}")
    if incomplete:
        printing.note(f"{_counted(incomplete, 'row lacks', 'rows lack')} a recording")
    if prepared.damaged:
        count = len(prepared.damaged)
        printing.note(f"{_counted(count, 'recording is', 'recordings are')} damaged and left out")
    if incomplete or prepared.damaged:
        raise typer.Exit(1)


def _counted(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"


def _cells(manifest: "Prepared") -> list[object]:
    rendered = None if manifest.rendered_bytes is None else manifest.rendered_bytes / 1e6
    digest = manifest.sha256[:12] or None
    return [
        manifest.path,
        manifest.split,
        manifest.rows,
        manifest.missing,
        manifest.speakers,
        manifest.hours,
        manifest.bytes / 1e6,
        rendered,
        digest,
    ]

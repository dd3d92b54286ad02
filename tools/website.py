"""What the site has beside the files in docs: the reference of commands, the icon, and pages of the repository.

A hook of MkDocs (mkdocs.yml). Links that leave docs, which work in the repository, lead there from the site.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import typer
import typer.main
from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports] - of the extra docs

from septool.cli import app
from septool.commands import help

ROOT = Path(__file__).parent.parent
ICON = ROOT / "septool" / "serve" / "static" / "icon.svg"
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}  # of the site, from the repository
UNSEARCHED = ("modules.md", "mutants.md")  # long lists for contributors, which would bury what users look for
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?(?=\))")
BAR = "\\|"  # of a cell
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files of docs."""
    for name, source in PAGES.items():
        text = _links(ROOT.joinpath(source).read_text(encoding="utf-8"), "", config.repo_url)
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "images/icon.svg", abs_src_path=str(ICON)))
    files.append(File.generated(config, "reference/commands.md", content=command_reference()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links that leave docs lead to the repository, and leave lists for contributors out of the search."""
    uri = page.file.src_uri
    if uri in UNSEARCHED:
        page.meta["search"] = {"exclude": True}
    return (
        markdown if uri in PAGES else _links(markdown, posixpath.join("docs", posixpath.dirname(uri)), config.repo_url)
    )


def _links(text: str, folder: str, repository: str) -> str:
    """Return a text of a folder of the repository whose links are right on the site."""
    pages = {source: page for page, source in PAGES.items()}

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        anchor = match[2] or ""
        up = "" if not folder else posixpath.relpath("docs", folder) + "/"
        if target in pages:
            return up + pages[target] + anchor
        if target.startswith("docs/"):
            return match[0] if folder else target.removeprefix("docs/") + anchor
        return f"{repository}/blob/main/{target}{anchor}"

    parts = CODE.split(text)
    # A link's own text may hold code, so that a match may begin in one part and end in the next: `](` is outside.
    return "".join(part if index % 2 else LINK.sub(lead, part) for index, part in enumerate(parts))


def command_reference() -> str:
    """Return a page with every verb, from the command line itself."""
    lines = [
        "# Commands",
        "",
        "Written from the command line itself; `septool COMMAND --help` and the man pages say the same.",
    ]
    root: Any = typer.main.get_command(app)

    def walk(command: Any, context: typer.Context, depth: int) -> None:
        lines.extend(["", f"{'#' * min(depth, 4)} {context.command_path}", ""])
        lines.extend([*_escaped(command.help or "").splitlines(), ""])
        lines.extend(["```text", help.usage(command, context), "```"])
        for title, rows in help.sections(command, context):
            if title == "Commands":
                continue
            lines.extend(["", f"**{title}**", "", "| | |", "|---|---|"])
            for name, summary in rows:
                lines.append(f"| `{name.replace('|', BAR)}` | {_escaped(summary)} |")
        shown = help.examples(context)
        if shown:
            lines.extend(["", "```sh"])
            lines.extend(line for command_line, comment in shown for line in (f"# {comment}", command_line))
            lines.append("```")
        for child, verb in help.subcommands(command, context).items():
            walk(verb, typer.Context(verb, info_name=child, parent=context), depth + 1)

    walk(root, typer.Context(root, info_name="septool", help_option_names=["-h", "--help"]), 2)
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", text)

"""Reference pages from the code: the settings of recipes from their dataclasses, the corpora from their registry."""

import ast
import inspect
import io
import json
import re
import tokenize
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args

from septool.audio.formats import FOREIGN, RAW_SUFFIXES, READ_ONLY, SUFFIXES
from septool.commands.examples import EXAMPLES
from septool.corpora import CORPORA
from septool.data.mixing import Background, Reverberation
from septool.tasks.prepare import describe
from septool.training.recipe import Recipe

NESTED = {"mixing": {"[mixing.rooms]": Reverberation, "[[mixing.backgrounds]]": Background}}  # sections within one
TYPES = {"str": "text", "int": "whole number", "float": "number", "JsonDict": "table", "dict[str, str]": "table"}
PREPARED = {  # a part of a recipe's training manifest, and what writes that
    "train-360-libri2mix": ("libri2mix", "--metadata"),
    "libri2mix": ("libri2mix", ""),
    "wsj0-2mix": ("wsj0-2mix", ""),
    "wsj0-3mix": ("wsj0-3mix", ""),
    "wham": ("wham", ""),
    "wsj0-music": ("wsj0-music", ""),
    "librispeech-galr": ("librispeech-2mix", "--protocol galr"),
    "librispeech-atss-net": ("librispeech-2mix", ""),
    "aishell2-noise": ("aishell2-noise", ""),
    "voxceleb1": ("voxceleb1", ""),
    "speech": ("folder", ""),
}


def _made(field: "Field[Any]") -> Any:
    """Return the default of a field."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def recipe_sections() -> dict[str, Any]:
    """Return the class of each section, by how a recipe begins it; the recipe's own keys are in none."""
    sections: dict[str, Any] = {"": Recipe}
    for field in fields(Recipe):
        if is_dataclass(default := _made(field)):
            sections |= {f"[{field.name}]": type(default)} | NESTED.get(field.name, {})
    return sections


def field_comments(kind: type) -> dict[str, str]:
    """Return what the comments of a dataclass say of its fields: those above each, and those on its lines."""
    source = inspect.getsource(kind)
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (tree,) = ast.parse(source).body
    of_field: dict[str, str] = {}
    for node in tree.body if isinstance(tree, ast.ClassDef) else []:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first = node.lineno
        while first - 1 in comments and comments[first - 1][1]:
            first -= 1
        lines = range(first, (node.end_lineno or node.lineno) + 1)
        of_field[node.target.id] = " ".join(comments[line][0] for line in lines if line in comments)
    return of_field


def settings_page() -> str:
    """Return docs/reference/recipe-settings.md."""
    lines = [
        "# Settings of a recipe",
        "",
        "Written by `make generate` from the code: every key of a recipe's `.toml`. `septool train --set KEY=VALUE`",
        'changes one (`--set loop.batch=8`); a key that is not here is an error. `base = "NAME"` takes what a',
        "recipe does not say from another one. Runs and checkpoints keep some keys under older names, which recipes",
        "may use, too. See also [the recipes](../recipes.md), [mixing while training](../mixing.md) and",
        "[fine-tuning](../fine-tuning.md).",
    ]
    for section, kind in recipe_sections().items():
        comments = field_comments(kind)
        documentation = (inspect.getdoc(kind) or "").strip()
        lines += ["", f"## {section.strip('[]') or 'The recipe itself'}", ""]
        lines += [f"`{section}`" if section else "Before the first section.", ""]
        lines += [*_markdown(documentation).splitlines(), "", "| key | type | default | meaning |", "|---|---|---|---|"]
        for field in fields(kind):
            default = _made(field)
            if is_dataclass(default) or field.name in ("rooms", "backgrounds"):
                continue  # a section of its own
            formerly = f"; `{field.metadata['formerly']}` in files" if "formerly" in field.metadata else ""
            meaning = _markdown(comments[field.name] + formerly).replace("|", "\\|").rstrip(".")
            lines.append(f"| `{field.name}` | {_type(field)} | {_toml(default)} | {meaning[:1].upper()}{meaning[1:]} |")
    return "\n".join(lines) + "\n"


def _type(field: "Field[Any]") -> str:
    choices = get_args(field.type)
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f'`"{choice}"`' for choice in choices)
    name = str(getattr(field.type, "__name__", field.type) if not choices else field.type)
    name = name.replace(" | None", "").replace("typing.", "").replace("septool.config.", "")
    if counted := re.fullmatch(r"tuple\[(\w+), \.\.\.\]", name):
        return f"list of {TYPES[counted[1]]}s"
    if name == "tuple[float, float]":
        return "two numbers"
    return "table" if name.startswith("dict") else TYPES.get(name, name)


def _toml(value: Any) -> str:
    if value is MISSING:
        return "needed"
    if value is None or value in ({}, "", ()):
        return "-"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def _markdown(text: str) -> str:
    """Return a docstring's or comment's text with code as Markdown writes it."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))


def fields_tables(*kinds: type) -> str:
    """Return a table of the fields of each class, its own alone, with their types and what their comments say."""
    parts = []
    for kind in kinds:
        bases = [base for base in kind.__bases__ if is_dataclass(base)]
        above = {field.name for base in bases for field in fields(base)}
        comments = field_comments(kind)
        rows = [
            f"| `{field.name}` | `{_annotation(field)}` | {_markdown(comments[field.name])} |"
            for field in fields(kind)
            if field.name not in above
        ]
        has = f"what `{bases[0].__name__}` has, and" if bases else "fields"
        parts.append("\n".join([f"`{kind.__name__}`: {has}", "", "| | type | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _annotation(field: "Field[Any]") -> str:
    """Return a field's type as Python writes it, without modules, ready for a cell."""
    name = field.type.__name__ if isinstance(field.type, type) and not get_args(field.type) else str(field.type)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", name).replace("|", "\\|")


def format_table() -> str:
    """Return the suffixes of audio files: written, read, and read by an extra."""
    rows = {
        "read and written": SUFFIXES,
        "read": READ_ONLY,
        'read with `pip install "septool[av]"`': FOREIGN,
        "without a header": RAW_SUFFIXES,
    }
    lines = ["| | suffixes |", "|---|---|"]
    lines += [
        f"| {title} | {', '.join(sorted(suffix[1:] for suffix in suffixes))} |" for title, suffixes in rows.items()
    ]
    return "\n".join(lines)


def prepared_by(train: str) -> str:
    """Return what makes a recipe's training manifest, as a cell that leads to the corpus."""
    corpus, options = next(corpus_options for part, corpus_options in PREPARED.items() if part in train)
    return f"[`{corpus}`](reference/corpora.md#{corpus})" + (f" `{options}`" if options else "")


def corpora_page() -> str:
    """Return docs/reference/corpora.md."""
    lines = [
        "# Corpora",
        "",
        "Written by `make generate` from the code; `septool prepare --list` gives a summary. septool",
        "downloads no corpus. Once you have it, `prepare` writes its manifests into `data/`, where",
        "[recipes](../recipes.md) look for them. `septool prepare CORPUS --help` explains the options.",
        "",
        "- LibriSpeech: [openslr.org/12](https://www.openslr.org/12).",
        "- The lists of Libri2Mix and Libri3Mix come with septool, except train-360: clone",
        "  [LibriMix](https://github.com/JorisCos/LibriMix) and give `--metadata LibriMix/metadata/Libri2Mix`",
        "  (`Libri3Mix` for three voices).",
        "- WSJ0: [LDC93S6A](https://catalog.ldc.upenn.edu/LDC93S6A), under the LDC's licence. The lists of",
        "  WSJ0-2mix and WSJ0-3mix come with septool.",
        "- WHAM! noise: [wham.whisper.ai](http://wham.whisper.ai), not for commercial use.",
        "- VoxCeleb1 and AISHELL-2: from their authors, on request.",
    ]
    described: dict[Any, str] = {}  # modules whose documentation stands above, and at which corpus
    for row in describe():
        name = row["corpus"]
        module = _module(name)
        documentation = _markdown(inspect.getdoc(module) or "")
        if module in described:
            documentation = f"See [{described[module]}](#{described[module]})."
        described.setdefault(module, name)
        lines += ["", f"## {name}", "", f"{row['about'][:1].upper()}{row['about'][1:]}.", "", "```sh"]
        lines += [line for line, _ in EXAMPLES[f"prepare {name}"]]
        lines += ["```", "", "| | |", "|---|---|"]
        lines += [f"| {key} | {_cell(row[key])} |" for key in ("licence", "size")]
        lines += [f"| layout | {_cell(row['expects'])} |", f"| options and defaults | `{row['options']}` |", ""]
        lines += documentation.splitlines()
    return "\n".join(lines).rstrip() + "\n"


def _module(name: str) -> Any:
    return inspect.getmodule(_unwrapped(CORPORA[name].prepare))


def _unwrapped(function: Any) -> Any:
    return getattr(function, "func", function)


def _cell(text: str) -> str:
    return re.sub(r"([|*<>_])", r"\\\1", text)

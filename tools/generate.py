"""Writes what follows from the code and from measurements: man pages, the tables of README.md and docs, results.

``python -m tools.generate`` writes, ``--check`` only compares and ends with status 1 if a file is stale.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import typer
import typer.main

from benchmarks import quality
from septool import __version__, catalogue, checkpoints
from septool.batch.outcomes import Completed, Failed, Skipped
from septool.cli import app
from septool.commands import help
from septool.conversation.result import SeparatedConversation
from septool.headers import Header
from septool.inference.dtype import BF16_CHANGE
from septool.losses import DEFINITIONS, LOSSES, can_learn_by
from septool.metrics import METRICS, Measure
from septool.metrics.eer import EER
from septool.models import MODELS
from septool.profiling.comparison import published_rows
from septool.profiling.macs import count_macs
from septool.scoring.conversations import MEASURES
from septool.scoring.summary import PRESENCE
from septool.tasks.extract import Extracted, ExtractedVoices
from septool.tasks.separate import Separated
from septool.training import recipe_files as recipes
from tools import architecture, reference, results

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MODULES = ROOT / "docs" / "modules.md"
# What is measured of checkpoints, as it is called and in what unit.
SEPARATION = {"si_snri": ("SI-SNRi", " dB"), "sdri": ("SDRi", " dB"), "pesq": ("PESQ", "")}
RECOGNITION = {"right_voice": ("right voice", " %"), "presence_eer": ("presence EER", " %"), "eer": ("EER", " %")}
ONE_PASS = {"si_snri_one_pass": ("SI-SNRi with one pass", " dB"), BF16_CHANGE: ("change in bf16", " dB")}
SEXES = {
    "si_snri_same_sex": ("SI-SNRi of same-sex pairs", " dB"),
    "si_snri_different_sex": ("of mixed-sex pairs", " dB"),
}


def roff(text: str) -> str:
    """Escape text for roff: hyphens that can be copied, no line that looks like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in escaped.splitlines())


def man_page(command: Any, context: typer.Context) -> str:
    """Return the man page of a verb."""
    name, below = context.command_path, help.subcommands(command, context)
    summary = help.summary(command)
    lines = [
        f'.TH "{name.upper().replace(" ", "-")}" 1 "" "septool {__version__}" "septool"',
        ".SH NAME",
        f"{roff(name.replace(' ', '-'))} \\- {roff(summary[:1].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        f"\\fB{roff(name)}\\fR {roff(help.usage(command, context).removeprefix(name).strip())}",
        ".SH DESCRIPTION",
        *(line for part in (command.help or "").split("\n\n") for line in (".PP", roff(part))),
    ]
    if below:
        lines.append(".SH COMMANDS")
        for child, verb in below.items():
            lines += [".TP", f"\\fB{roff(child)}\\fR", roff(help.summary(verb))]
    if arguments := help.arguments(command):
        lines.append(".SH ARGUMENTS")
        for param in arguments:
            lines += [".TP", f"\\fI{roff(help.argument_name(param))}\\fR", roff(help.describe(param))]
    lines.append(".SH OPTIONS")
    for group, params in help.option_groups(command, context).items():
        lines += [] if group == "Options" else [f".SS {group}"]
        for param in params:
            names = ", ".join(f"\\fB{roff(option)}\\fR" for option in help.option_names(param))
            value = help.value_name(command, param)
            lines += [".TP", names + (f" \\fI{roff(value)}\\fR" if value else ""), roff(help.describe(param))]
    if examples := help.examples(context):
        lines.append(".SH EXAMPLES")
        for line, purpose in examples:
            lines += [
                ".PP",
                roff(caption(purpose) + ":"),
                ".PP",
                ".nf",
                ".RS",
                roff(line),
                ".RE",
                ".fi",
            ]
    lines += [
        ".SH EXIT STATUS",
        "0: all was done. 1: something failed; the rest was done. 2: wrong usage. 130, 143: interrupted.",
    ]
    if name != "septool":
        lines += [".SH SEE ALSO", "\\fBseptool\\fR(1)"]
    return "\n".join(lines) + "\n"


def man_pages() -> Iterator[tuple[Path, str]]:
    """Yield a page for the program and for every verb."""

    def walk(command: Any, context: typer.Context) -> Iterator[tuple[Path, str]]:
        yield ROOT / "man" / f"{context.command_path.replace(' ', '-')}.1", man_page(command, context)
        for child, verb in help.subcommands(command, context).items():
            yield from walk(verb, typer.Context(verb, info_name=child, parent=context))

    root: Any = typer.main.get_command(app)
    yield from walk(root, typer.Context(root, info_name="septool", help_option_names=["-h", "--help"]))


def measured_scores(entry: catalogue.Entry, keys: Iterable[str], *, named: bool = False) -> str:
    """Return those scores of a checkpoint that there are."""
    labels = SEPARATION | RECOGNITION | ONE_PASS | SEXES
    shown = [(labels[key], entry.measured[key]) for key in keys if entry.measured.get(key) is not None]
    return ", ".join(f"{label} {value:.2f}{unit}" if named else f"{value:.2f}{unit}" for (label, unit), value in shown)


def caption(purpose: str) -> str:
    """Return an example's purpose with a capital, unless it begins with the name of a file (b is b.wav)."""
    first = purpose.split(maxsplit=1)[0]
    return purpose if "." in first or first == "b" else purpose[:1].upper() + purpose[1:]


def training(entry: catalogue.Entry) -> str:
    """Return what the training of a bundled checkpoint took."""
    if not entry.file:
        return "-"
    header = checkpoints.read_header(catalogue.bundled_path(entry))
    if not header.steps:
        return f"weights of {header.origin}"
    hardware = re.sub(r"\b1 threads$", "1 thread", header.hardware)
    return f"{header.steps:,} steps, {header.hours:.1f} hours, {hardware}"


def checkpoint_table() -> str:
    """Return the table of bundled checkpoints."""
    columns = ["name", "model", "Hz", "voices", "parameters", "MB", "SI-SNRi", "SDRi", "PESQ", "recognition"]
    columns += ["trained on", "last stage of training", "licence"]
    rows = [f"| {' | '.join(columns)} |", "|" + len(columns) * "---|"]
    for name, entry in catalogue.read_catalogue().items():
        if entry.file is None:
            continue
        shown = f"[`{name}`]({entry.card.removeprefix('docs/')})" if entry.card else f"`{name}`"
        scores = " | ".join(measured_scores(entry, [key]) or "-" for key in SEPARATION)
        scores += " | " + (measured_scores(entry, RECOGNITION, named=True) or "-")
        default = f"{entry.model} (default)" if entry.default else entry.model
        rows.append(
            f"| {shown} | {default} | {entry.sample_rate} | {entry.sources or '-'} | {entry.parameters:,} "
            f"| {entry.bytes / 1e6:.1f} | {scores} | {entry.trained_on} | {training(entry)} | {entry.licence} |"
        )
    return "\n".join(rows)


PUBLISHED = {
    "si_snri": "SI-SNRi",
    "si_sdri": "SI-SDRi",
    "sdri": "SDRi",
    "si_snr": "SI-SNR",
    "si_sdr": "SI-SDR",
    "sdr": "SDR",
    "pesq": "PESQ",
    "dnsmos_ovrl": "DNSMOS",
}


def published_table() -> str:
    """Return the table of weights that others have published."""
    columns = [
        "name",
        "model",
        "Hz",
        "voices",
        "MB",
        "published score",
        "licence",
        "restrictions and doubts",
    ]
    rows = [f"| {' | '.join(columns)} |", "|" + len(columns) * "---|"]
    for name, entry in catalogue.read_catalogue().items():
        if entry.file is not None:
            continue
        scores = [f"{label} {entry.published[key]}" for key, label in PUBLISHED.items() if key in entry.published]
        shown = f"{', '.join(scores)} ({entry.published['on']})" if scores else "-"
        size = f"{entry.total_bytes / 1e6:.0f}" if entry.total_bytes else "?"
        rows.append(
            f"| [`{name}`]({entry.card}) | {entry.model} | {entry.sample_rate} | {entry.sources} | {size} | {shown} "
            f"| {entry.licence} | {entry.notices or '-'} |"
        )
    return "\n".join(rows)


def verb_table() -> str:
    """Return README's line per verb."""
    root: Any = typer.main.get_command(app)
    lines = ["| verb | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {help.summary(verb)} |" for name, verb in help.subcommands(root).items()]
    return "\n".join(lines)


def model_page() -> str:
    """Return docs/models.md."""
    lines = [
        "# Models",
        "",
        "Written by `make generate` from the code: a configuration's parameters, and its multiply-accumulates",
        "for 4 s at 8 kHz (extractors and the speaker network: 16 kHz unless they say 8k), LSTMs and attention",
        "included, counted from the network. Beside them stands what the papers' tables print for that network, for",
        "4 s or the length named. Where it is another number, the documentation of the file says why; `septool",
        "profile --paper` adds what is measured. Parameters of extractors include the speaker network; the speaker",
        "network's own count includes its training classifier.",
        "",
        "| name | paper | kind | loss | configuration | parameters | printed, M | GMACs | printed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        module, kind = MODELS.module(name), MODELS[name]
        title = (module.__doc__ or "").splitlines()[0].rstrip(".")
        with torch.device("meta"):
            learns = can_learn_by(kind(), kind.loss)  # some are only used with weights of others
        loss = f"[{kind.loss}](#losses)" if learns else "-"
        model_cells = f"[`{name}`](../{_source(module)}) | {title} | {kind.role} | {loss}"
        for row, config in module.CONFIGS.items():
            parameters, macs = _cost(kind, config)
            sizes, costs = _printed(name, config)
            lines.append(f"| {model_cells} | `{row}` | {parameters:,} | {sizes} | {macs / 1e9:.1f} | {costs} |")
            model_cells = " | | |"
    lines += [
        "",
        "## Losses",
        "",
        "x is the mixture, s a voice, e its estimate; X and S are their spectra, M a mask; V and Y the embeddings and",
        "memberships of bins. Voices are taken in the order that makes the loss smallest.",
        "",
        "| name | what is made small |",
        "|---|---|",
    ]
    for loss in DEFINITIONS:
        shown = loss.equation.replace("|", "\\|").replace("<", "\\<")
        lines.append(f"| [{loss.name}](../{_source(LOSSES.module(loss.name))}) | {shown} |")
    return "\n".join(lines) + "\n"


def recipe_page() -> str:
    """Return docs/recipes.md."""
    lines = [
        "# Recipes",
        "",
        "Written by `make generate` from `septool/recipes`: `septool train NAME`. The scores are what is published; a",
        "recipe begins with them, says what its paper leaves open, and where we have trained by it, what came of it.",
        "What can stand in one: [settings](reference/recipe-settings.md). `septool prepare CORPUS` makes the manifests",
        "that it reads; [corpora](reference/corpora.md) says how to get them. Libri2Mix train-360 needs its lists",
        "(`--metadata`).",
        "",
        "| name | model | trained on | `septool prepare` | mixtures | steps | batch | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes.describe_recipes():
        name, published = recipe["name"], recipe["published"]
        model = f"{recipe['model']} `{recipe['row']}`" if recipe["row"] else recipe["model"]
        source = f"{recipes.format_scores(published)} ({published['data']}; {published['table']})" if published else "-"
        lines.append(
            f"| [`{name}`](../septool/recipes/{name}.toml) | {model} | {recipe['data']} "
            f"| {reference.prepared_by(recipes.load_recipe(name).data.train)} | {recipe['mixing']} "
            f"| {recipe['steps']:,} | {recipe['batch']} | {source} |"
        )
    return "\n".join(lines) + "\n"


def _printed(name: str, config: Any) -> tuple[str, str]:
    """Return the parameters and the multiply-accumulates that the papers print for a network."""
    sizes, costs = [], []
    for paper, system in published_rows(name, config):
        values, seconds = system.published, paper.lengths[0]
        sizes += [f"{values['parameters_m']:g}"] if "parameters_m" in values else []
        giga = values.get("gmacs") or values.get("gflops", 0.0) / 2
        costs += [f"{giga:g}" + (f" in {seconds:g} s" if seconds != 4 else "")] if giga else []
    return ", ".join(dict.fromkeys(sizes)) or "-", ", ".join(dict.fromkeys(costs)) or "-"


def _cost(kind: Any, config: Any) -> tuple[int, int]:
    if hasattr(config, "halting"):  # how many tokens halt is up to trained weights; this is all of them, all steps
        config = replace(config, halting="none")
    with torch.device("meta"):
        model = kind(config).eval()
        rate = getattr(getattr(config, "speaker", config), "rate", None) or kind.paper_rate
        inputs = [torch.empty(1, 4 * rate)] * (2 if model.role == "extractor" else 1)
        return sum(parameter.numel() for parameter in model.parameters()), count_macs(model, *inputs).total


def _source(module: Any) -> str:
    # From the name, not from where it was imported: in CI that is an environment outside the tree.
    return f"{module.__name__.replace('.', '/')}.py"


def renewed(path: Path, parts: dict[str, str]) -> str:
    """Return a file's text with the generated parts between ``<!-- name -->`` and ``<!-- /name -->`` renewed."""
    text = path.read_text(encoding="utf-8")
    for name, content in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{content}\n{end}{after}"
    return text


def facts(entry: catalogue.Entry) -> str:
    """Return a model card's table: what the file and its header say."""
    header = checkpoints.read_header(catalogue.bundled_path(entry))
    recipe = header.recipe
    measured = dict(entry.measured)
    scores = measured_scores(entry, [*SEPARATION, *RECOGNITION, *SEXES, *ONE_PASS], named=True)
    items = "trials" if "eer" in measured else "mixtures"
    if header.presence_threshold is not None:
        scores += f"; the voice counts as there from a score of {header.presence_threshold:.2f}"
    steps = training(entry)
    if recipe:
        steps += f", batches of {recipe['loop']['batch']} crops of {recipe['mixing']['seconds']:g} s, "
        steps += f"{recipe['loop']['precision']}, seed {recipe['seed']}"
    rows = {
        "Model": f"{entry.model}, {entry.parameters:,} parameters, {entry.bytes / 1e6:.1f} MB",
        "Settings": ", ".join(f"{key} {value}" for key, value in header.config.items() if value is not None),
        **({"Voices": f"{entry.sources}"} if entry.sources else {}),
        "Sample rate": f"{entry.sample_rate} Hz",
        "Trained on": header.trained_on,
        "Training": steps,
        **({"Passes": f"{header.passes}, whose voices are averaged (`--passes`)"} if header.passes > 1 else {}),
        "Scores": f"{scores} (over the {measured[items]} {items} of {measured['on']})",
        "Licence of the weights": entry.licence,
        "sha256": f"`{entry.sha256}`",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


# What summaries of extractors and of speaker networks have beside their scores (septool.scoring.summary).
RATES = {
    metric.name: metric
    for metric in (
        Measure(
            "right-voice",
            "%",
            definition="target selection accuracy: extracted voices that are nearest, by SI-SNR, to their own "
            "reference",
        ),
        Measure(
            PRESENCE.metric,
            "%",
            better="lower",
            definition="equal error rate of the presence score, asked once for the enrolled voice and once for another "
            "speaker's, who is not in the mixture",
        ),
        replace(
            EER, definition="equal error rate of the cosine of embeddings on a list of trials, of speaker networks"
        ),
    )
}


def metric_table(metrics: Iterable[Measure], definition: str = "definition") -> str:
    """Return what each metric is, as ``eval`` defines it."""
    lines = [f"| metric | unit | better | {definition} |", "|---|---|---|---|"]
    for metric in metrics:
        defined = metric.definition.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {metric.unit or '-'} | {metric.better} | {defined} |")
    return "\n".join(lines)


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    tables = {"checkpoints": checkpoint_table(), "published": published_table()}
    metrics = ROOT / "docs" / "explanation" / "metrics.md"
    formats = ROOT / "docs" / "reference" / "files.md"
    python = ROOT / "docs" / "reference" / "python.md"
    python_tables = {
        "header": reference.fields_tables(Header),
        "results": reference.fields_tables(
            Completed, Separated, SeparatedConversation, Extracted, ExtractedVoices, Failed, Skipped
        ),
    }
    metric_tables = {
        "metrics": metric_table(METRICS.values(), "definition: e is the estimate, s the reference"),
        "rates": metric_table(RATES.values()),
        "measures": metric_table(MEASURES.values()),
    }
    files = {
        **dict(man_pages()),
        ROOT / "docs" / "models.md": model_page(),
        ROOT / "docs" / "recipes.md": recipe_page(),
        ROOT / "docs" / "reference" / "recipe-settings.md": reference.settings_page(),
        ROOT / "docs" / "reference" / "corpora.md": reference.corpora_page(),
        ROOT / "docs" / "checkpoints.md": renewed(ROOT / "docs" / "checkpoints.md", tables),
        metrics: renewed(metrics, metric_tables),
        formats: renewed(formats, {"formats": reference.format_table()}),
        python: renewed(python, python_tables),
        ROOT / "README.md": renewed(ROOT / "README.md", {"verbs": verb_table()}),
        MODULES: renewed(MODULES, {"modules": architecture.module_tables()}),
        ARCHITECTURE: renewed(ARCHITECTURE, {"picture": architecture.picture(), "rooms": architecture.room_table()}),
    }
    for document in (ARCHITECTURE, ROOT / "CONTRIBUTING.md"):
        if missing := architecture.missing_places(document.read_text(encoding="utf-8")):
            raise SystemExit(f"{document.name} names what is not there: {', '.join(missing)}")
    if RESULTS.exists():
        files[ROOT / "benchmarks" / "RESULTS.md"] = results.page(RESULTS)
    files[quality.PAGE] = quality.page_text()
    for entry in catalogue.read_catalogue().values():
        if entry.file is not None and entry.card:
            files[ROOT / entry.card] = renewed(ROOT / entry.card, {"facts": facts(entry)})
    stale = [
        path for path, content in files.items() if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    stale += [path for path in (ROOT / "man").glob("*.1") if path not in files]
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check and path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        elif not check:
            path.unlink()
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

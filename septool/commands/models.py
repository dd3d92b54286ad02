"""``septool models``: lists, fetches, verifies, converts and exports checkpoints."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from septool.commands import completion, downloading, help, options
from septool.limits import HIGHEST_RATE, LOWEST_RATE

if TYPE_CHECKING:
    from septool.config import JsonMapping
    from septool.tasks.models import Checked

app = typer.Typer(
    cls=help.Group,
    help="List, show, fetch, verify, convert, export and push checkpoints.",
    no_args_is_help=True,
    subcommand_metavar="COMMAND ...",
)


@app.command("list")
def list_checkpoints(
    remote: Annotated[bool, typer.Option("--remote", help="Include checkpoints that can be downloaded.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the checkpoints on this machine, or with --remote all known ones."""
    from septool.commands import printing
    from septool.tasks.models import list_known

    rows = list_known(remote=remote)
    if json:
        for row in rows:
            printing.json_line(row)
        return
    printing.table(
        [
            "checkpoint",
            "model",
            "Hz",
            "voices",
            "params",
            "MB",
            "SI-SNRi",
            "published",
            "licence",
            "restricted",
            "here",
        ],
        [
            [
                row["name"],
                row["model"] + (" (default)" if row["default"] else ""),
                row["sample_rate"],
                row["sources"] or None,
                row["parameters"] or None,
                round(row["bytes"] / 1e6, 1) if row["bytes"] else None,
                row["measured"].get("si_snri"),
                _score(row["published"]),
                row["licence"],
                _restriction(row["notices"]),
                "yes" if row["here"] else "no",
            ]
            for row in rows
        ],
    )
    if not remote:
        printing.note("what can be downloaded: septool models list --remote")
    if any(row["notices"] for row in rows):
        printing.note("restrictions and doubts besides the licence: septool models show NAME")


def _restriction(notices: str) -> str | None:
    """Return in a word or two what stands beside the licence; `models show` has all of it."""
    return ("non-commercial" if "not for commercial use" in notices else "see show") if notices else None


def _score(published: "JsonMapping") -> str | None:
    """Name the score that a publisher tells first: improvements if there are some."""
    names = {"si_snri": "SI-SNRi", "si_sdri": "SI-SDRi", "si_snr": "SI-SNR", "si_sdr": "SI-SDR"}
    return next((f"{name} {published[key]:.1f}" for key, name in names.items() if key in published), None)


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.checkpoints,
            help="Checkpoint, model, hf:OWNER/NAME, .safetensors file, or folder of another toolkit's.",
        ),
    ],
    offline: downloading.Offline = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show everything recorded in a checkpoint."""
    from septool.commands import printing
    from septool.tasks.models import describe_checkpoint

    description = describe_checkpoint(name)
    if json:
        printing.json_line(description)
        return
    printing.table(["", name], [[key, _words(value)] for key, value in _sections(description)])


def _sections(description: "JsonMapping") -> Iterator[tuple[str, object]]:
    """Yield what is set, by its key; a table in a table, such as a recipe's, is one of its own: ``recipe.loop``."""
    for key, value in description.items():
        tables = [name for name, item in value.items() if isinstance(item, dict)] if isinstance(value, dict) else []
        rest = {name: item for name, item in value.items() if name not in tables} if tables else value
        if rest not in (None, [], {}):
            yield key, rest
        yield from _sections({f"{key}.{name}": value[name] for name in tables})


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items() if item not in (None, [], {}))
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)


@app.command("fetch")
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            autocompletion=completion.checkpoints,
            help="Checkpoints, models (for their default checkpoints), or hf:OWNER/NAME.",
        ),
    ],
    offline: downloading.Offline = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Download checkpoints, check their sha256 and convert them to septool's format.

    Files of the Hugging Face hub go to its own cache, others to septool's ($SEPTOOL_CACHE). HF_TOKEN, HF_ENDPOINT and
    the environment's proxies are used. Interrupted downloads are resumed. Files whose sha256 was never published are
    trusted when first seen and must not change afterwards.
    """
    from septool.commands import printing
    from septool.tasks.models import fetch as work

    with downloading.Meter(quiet=quiet) as meter:
        checked = list(work(names, progress=meter))
    for checkpoint in checked:
        if not checkpoint.error and not quiet:
            for text in downloading.restrictions(checkpoint.licence, checkpoint.notices):
                printing.note(f"{checkpoint.name}: {text}")
    _print(checked, "{file}", json=json)


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=completion.checkpoints, help="Checkpoints; all local ones by default."),
    ] = None,
    offline: downloading.Offline = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare weights on disk with their sha256, published or as first seen."""
    from septool.tasks.models import verify as work

    _print(work(names or []), "{name}: OK{seen}", json=json)


def _print(checked: "Iterable[Checked]", form: str, *, json: bool) -> None:
    from dataclasses import asdict

    from septool.commands import printing

    errors: list[str] = []
    for checkpoint in checked:
        if checkpoint.error:
            errors.append(checkpoint.error)
        if json:
            printing.json_line(asdict(checkpoint))
        elif not checkpoint.error:
            seen = f" (as first seen: {', '.join(checkpoint.first_seen)})" if checkpoint.first_seen else ""
            printing.line(form.format(**asdict(checkpoint), seen=seen))
    for error in errors:
        printing.note(error)
    if errors:
        raise typer.Exit(1)


@app.command("convert")
def convert(
    source: Annotated[str, typer.Argument(help="Format of the weights, one of those named above, or auto.")],
    files: Annotated[list[Path], typer.Argument(help="Files of the checkpoint, or their folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write, NAME.safetensors.")],
    sample_rate: Annotated[
        int | None, typer.Option(min=LOWEST_RATE, max=HIGHEST_RATE, help="Sample rate in Hz, if the files do not say.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(min=2, help="Frames per chunk, if the files do not say.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, if the files do not say.")] = None,
    settings: Annotated[
        list[str],
        typer.Option("--set", help="KEY=VALUE of the configuration, if the files do not say; repeatable."),
    ] = [],  # noqa: B006 - typer's way of an empty list
    exact_tail: Annotated[
        bool, typer.Option("--exact-tail", help="Leave samples after the last whole hop at zero, as the original does.")
    ] = False,
    trained_on: Annotated[str, typer.Option(help="Corpus, for the checkpoint's header.")] = "unknown",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the checkpoint's header.")] = "unknown",
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Convert another toolkit's weights to a septool checkpoint.

    speechbrain-sepformer and speechbrain-resepformer take the folder, or hyperparams.yaml, encoder.ckpt, masknet.ckpt
    and decoder.ckpt; espnet a .pth with its config.yaml beside it, or a zip of both (tfgridnet, tfgridnetv2,
    tfgridnetv3, tflocoformer); asteroid the file in which its networks are published (ConvTasNet, DPRNNTasNet, DPTNet,
    SuDORMRFNet); torchaudio-convtasnet the weights of CONVTASNET_BASE_LIBRI2MIX; jusperlee-dprnn, jusperlee-afrcnn,
    ujscjj-dptnet, kaituoxu-convtasnet, sudormrf, two-step-tdcn and papez a state dict of their authors' code; auto
    recognizes them all. The files are read as plain tensors and plain text: no code in them runs. Options supply what
    the files do not say. docs/interop.md lists how inference differs.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.convert import convert as work

    header = work(
        source,
        files,
        out,
        sample_rate=sample_rate,
        chunk=chunk,
        heads=heads,
        settings=settings,
        exact_tail=exact_tail,
        trained_on=trained_on,
        licence=licence,
        force=force,
    )
    if not quiet:
        printing.note(
            f"{header.model}, {header.sources} voices at {header.sample_rate} Hz, "
            f"trained on: {header.trained_on}, licence: {header.licence}"
        )
        if header.assumed:
            printing.note(f"the files do not say it, so it is assumed: {header.assumed}")
    if json:
        printing.json_line({"file": str(out)} | asdict(header))
    else:
        printing.line(str(out))


@app.command("export")
def export(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.checkpoints, help="Checkpoint, model, or .safetensors file of a separator."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="NAME.onnx; NAME.pth for asteroid, a folder for speechbrain.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="onnx, asteroid or speechbrain.")] = "onnx",
    cache: Annotated[
        bool, typer.Option("--cache", help="Store the ONNX file in the cache, for separate --engine, instead of --out.")
    ] = False,
    dtype: Annotated[
        Literal["fp32", "int8"], typer.Option("--dtype", help="Data type of linear and LSTM layers in the ONNX file.")
    ] = "fp32",
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write a separator for other programs: as an ONNX file, or as asteroid or SpeechBrain load it.

    An ONNX file takes mixture [1, time] of any level, of any length over some milliseconds, at the checkpoint's
    rate, and gives voices [1, source, time]; its outputs are compared with the checkpoint's before it is kept (needs
    the extra onnx). With --cache it is stored where septool separate finds it, which then starts without torch.
    asteroid loads conv-tasnet and dprnn, SpeechBrain sepformer, in configurations that their networks share; what
    is written is converted back and compared.
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.export import export as run_export

    exported = run_export(model, out, to=to, cache=cache, dtype=dtype, force=force)
    if not quiet:
        printing.note(
            f"{exported.model}, {exported.sources} voices at {exported.sample_rate} Hz, {exported.bytes / 1e6:.1f} MB, "
            f"outputs at most {exported.difference:.1e} of the largest sample from the checkpoint's"
        )
    if json:
        printing.json_line(asdict(exported))
    else:
        printing.line(exported.file)


@app.command("push")
def push(
    model: Annotated[str, typer.Argument(help="Checkpoint or .safetensors file.")],
    to: Annotated[str, typer.Argument(help="Repository of the hub, hf:OWNER/NAME; created if missing.")],
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, if the checkpoint does not say.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Publish a checkpoint on the Hugging Face hub: weights, card and config.json; authenticates with HF_TOKEN.

    Others then use it as --model hf:OWNER/NAME or load_separator("hf:OWNER/NAME").
    """
    from dataclasses import asdict

    from septool.commands import printing
    from septool.tasks.push import push as run_push

    pushed = run_push(model, to, licence=licence, private=private)
    if not quiet:
        printing.note(f"{pushed.model}, {pushed.bytes / 1e6:.1f} MB, licence: {pushed.licence}")
    if json:
        printing.json_line(asdict(pushed))
    else:
        printing.line(pushed.url)

"""``septool profile``."""

from pathlib import Path
from typing import Annotated

import typer

from septool.commands import completion, options
from septool.profiling.papers import paper_names


def profile(
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            autocompletion=completion.models,
            help="Models, their configurations in papers (galr:d64-m16) or checkpoints, separated by commas.",
        ),
    ] = None,
    lengths: Annotated[str | None, typer.Option(help="Seconds of audio: 1-5s (the default), 0.5,1,2,4,60s.")] = None,
    paper: Annotated[
        str | None,
        typer.Option(help=f"Measure what a paper prints: {', '.join(paper_names())}, or a .toml file."),
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[str, typer.Option(help="fp32, tf32, fp16 or bf16.", rich_help_panel="Machine")] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads.", rich_help_panel="Machine")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 1,
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Measure a training step as well.")] = False,
    halting: Annotated[
        str | None,
        typer.Option(help="Halting of Papez checkpoints: reference, freeze, drop or none; as trained by default."),
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Recording to run the models on; the bundled example by default.")
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Number of interleaved processes per model, whose median is reported; 1 is quick."),
    ] = 5,
    budget: Annotated[
        float, typer.Option(min=0, help="Time budget of each measurement over all rounds, in seconds.")
    ] = 10.0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File for the results: .jsonl or .csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File for the figures: .png or .svg (needs matplotlib).")] = None,
    html: Annotated[Path | None, typer.Option(help="File for tables and figures, .html (needs matplotlib).")] = None,
    torch_profiler: Annotated[Path | None, typer.Option(help="File for a trace of one model, .json.")] = None,
    force: options.Force = False,
    nvtx: Annotated[
        bool, typer.Option("--nvtx", help="Mark modules for Nsight Systems (nsys profile -c cudaProfilerApi).")
    ] = False,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Show the most expensive layers, for the longest recording.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure what models cost: time, memory, MACs, parameters, size on disk.

    Every model runs on speech, in fresh processes that alternate with those of the other models, because two
    processes differ more than two repeats in one. MACs count matrix products, convolutions, attention and LSTM gates
    for one recording; a MAC is two FLOPs. GFLOP/s are those of the forward pass, shown beside those of a large matrix
    product at the same precision. Memory includes the weights. With --paper the published numbers stand beside the
    measured ones, and ratios between models that differ from the published ones by more than 10 % are marked. Exits
    with status 1 if something could not be measured.
    """
    from septool.commands import printing
    from septool.profiling.report import profile_lines, tables
    from septool.tasks.profile import profile as work

    with printing.Bar("profile", quiet=quiet) as bar:
        measured = work(
            model=model,
            lengths=lengths,
            paper=paper,
            device=device,
            dtype=dtype,
            threads=threads,
            batch=batch,
            compile=compile,
            train=train,
            halting=halting,
            speech=speech,
            rounds=rounds,
            budget=budget,
            out=out,
            plot=plot,
            html=html,
            torch_profiler=torch_profiler,
            force=force,
            nvtx=nvtx,
            by_layer=by_layer,
            report=bar.update,
        )
    if json:
        for line in profile_lines(measured):
            printing.json_line(line)
    else:
        for table in tables(measured):
            printing.table(table.columns, table.rows, table.title)
    for failed in measured.failures:
        at = "" if failed.seconds is None else f" at {failed.seconds:g} s"
        printing.note(f"{failed.model}{at}: {failed.error}")
    if measured.failures:
        raise typer.Exit(1)

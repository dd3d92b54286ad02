"""Profiling models, and comparing the results with those printed in their papers."""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from septool import audio, catalogue, checkpoints, provenance
from septool.config import JsonDict, field_values, shipped
from septool.device import choose_device
from septool.errors import UsageError
from septool.models import MODELS
from septool.models.base import NO_HALTING, AdaptiveCompute, Extractor, Separator
from septool.models.build import adaptive_models, config_of
from septool.profiling.comparison import compare_terms, compare_to_paper, published_si_snri
from septool.profiling.isolation import measure_in_rounds
from septool.profiling.measure import Target
from septool.profiling.papers import Paper, read_paper
from septool.profiling.records import DTYPES, Row, Settings, scaling_exponent
from septool.profiling.report import Growth, Machine, Profile, check_outputs, write_profile
from septool.provenance import source_commit
from septool.registry import suggest

MODEL = "papez,sepformer,galr,dp-rcnet"
LENGTHS = "1-5s"
EXAMPLE = shipped("examples/two-talkers.flac")
LONGEST_S = 86_400  # a day
ROUNDING_S = 1e-6  # far above the error of differences of lengths, far below a sample


def profile(
    *,
    model: str | None = None,
    lengths: str | None = None,
    paper: str | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    threads: int | None = None,
    batch: int = 1,
    compile: bool = False,
    train: bool = False,
    halting: str | None = None,
    speech: Path | None = None,
    rounds: int = 5,
    budget: float = 10.0,
    out: Path | None = None,
    plot: Path | None = None,
    html: Path | None = None,
    torch_profiler: Path | None = None,
    force: bool = False,
    nvtx: bool = False,
    by_layer: bool = False,
    report: Callable[[int, int, str], None] = lambda *_: None,
) -> Profile:
    """Measure models, each in processes of its own.

    Args:
        model: names, separated by commas: a model (``papez``; the paper's best row), a row of one
            (``galr:d64-m16``), a checkpoint or a ``.safetensors`` file. With ``paper``, which of its systems.
        lengths: of the recordings, such as ``1-5s`` or ``0.5,1,2,4,60s``.
        paper: a table or figure of a paper, by name or as a ``.toml`` file; it brings models and lengths.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: fp32, tf32, fp16 or bf16; the last two as autocast.
        threads: of the processor; torch's own choice by default.
        batch: recordings at once.
        compile: run through ``torch.compile``.
        train: measure a training step as well.
        halting: how Papez checkpoints halt (reference, freeze, drop or none); as trained by default.
        speech: a recording to feed; the bundled example by default.
        rounds: processes for each model; a time is the median of theirs.
        budget: seconds after which a time is repeated no more, of all rounds together.
        out: file for all results: ``.jsonl`` or ``.csv``.
        plot: file for the figures: ``.png`` or ``.svg``.
        html: file for tables and figures.
        torch_profiler: file for what torch's profiler sees of one model's longest forward pass.
        force: replace files that are there.
        nvtx: mark the modules of one more pass of each, for ``nsys profile -c cudaProfilerApi``; needs a CUDA GPU.
        by_layer: name the layers that cost most of the longest recording.
        report: called with the number of processes that have ended, of how many, and the next one's model.

    Raises:
        UsageError: the request makes no sense; nothing was measured.
        SeptoolError: a file is there and ``force`` is false; nothing was measured.
        CheckpointError: a checkpoint that is missing or damaged.
    """
    chosen = choose_device(device)
    table = read_paper(paper) if paper else None
    if table and lengths:
        raise UsageError(f"--paper {paper} brings its lengths; leave out --lengths {lengths}")
    seconds = table.lengths if table else parse_lengths(lengths or LENGTHS)
    targets = (
        _targets_of_paper(table, model, halting)
        if table
        else [find_target(name, halting) for name in _split_names(model or MODEL)]
    )
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise UsageError(f"--model names {max(names, key=names.count)} twice")
    if halting is not None:
        _check_halting(halting, targets, model or MODEL)
    if dtype not in DTYPES:
        raise suggest("precision", dtype, DTYPES)
    if dtype == "tf32" and chosen.type != "cuda":
        raise UsageError(f"--dtype tf32 needs a CUDA GPU; the device is {chosen}")
    if nvtx and (compile or chosen.type != "cuda"):
        raise UsageError(f"--nvtx needs a CUDA GPU, and modules that are not compiled; the device is {chosen}")
    if by_layer and compile:
        raise UsageError("--by-layer takes modules that are not compiled; leave out --compile")
    if torch_profiler and len(targets) > 1:
        raise UsageError(f"--torch-profiler takes one model, {len(targets)} were given")
    speech = speech or EXAMPLE
    audio.audio_info(speech)
    check_outputs(out, plot, html, torch_profiler, force=force)
    if table:
        compare_terms(table)  # which refuses some, before hours of measuring
    settings = Settings(
        device=str(chosen),
        dtype=dtype,
        threads=threads,
        batch=batch,
        compile=compile,
        train=train,
        rounds=rounds,
        budget=budget,
        speech=speech,
        trace=torch_profiler,
        nvtx=nvtx,
        by_layer=by_layer,
    )

    rows, failures = measure_in_rounds(targets, seconds, settings, report)
    measured = Profile(
        machine=describe_machine(chosen, threads),
        conditions=settings,
        rows=rows,
        growth=fit_growth(rows),
        failures=failures,
        paper=table,
        comparisons=compare_to_paper(table, rows, chosen.type) if table else (),
    )
    write_profile(measured, out=out, plot=plot, html=html)
    return measured


def parse_lengths(text: str) -> tuple[float, ...]:
    """Read lengths in seconds: ``1-5s`` is every whole second, ``0.5,1,60s`` the ones named.

    >>> parse_lengths("0.5,1-3s")
    (0.5, 1.0, 2.0, 3.0)
    """
    lengths: list[float] = []
    try:
        for part in text.split(","):
            first, dash, last = (piece.strip().removesuffix("s") for piece in part.partition("-"))
            start = float(first)
            # In binary 4.1 - 1.1 is a little less than 3.
            steps = range(int(min(float(last), LONGEST_S + 1) - start + ROUNDING_S) + 1) if dash else range(1)
            lengths += [start + step for step in steps]
            if dash and float(last) < start:
                raise UsageError(f"lengths are {text!r}; the range {part.strip()} runs backwards")
    except (ValueError, OverflowError):
        raise UsageError(f"lengths are {text!r}; write them as 1-5s or 0.5,1,2,4,60s") from None
    if not lengths or not all(0 < length <= LONGEST_S for length in lengths):
        raise UsageError(f"lengths are {text!r}; each is a number of seconds above 0, at most {LONGEST_S}")
    return tuple(sorted(set(lengths)))


def find_target(name: str, halting: str | None = None) -> Target:
    """Return the network that a name means.

    A model or a row of one has fresh weights. Networks whose tokens halt would halt them at random with those, so they
    halt none, and neither may one that was trained without halting.
    """
    model, _, row = name.partition(":")
    if model in MODELS:
        _check_role(model)
        if halting and _is_adaptive(model):
            raise UsageError(f"--halting {halting} needs trained weights; {name} has fresh ones, name a checkpoint")
        return _fresh_target(name, model, row or None, {})
    entry = catalogue.read_catalogue().get(name)
    if not name.endswith(".safetensors") and entry is None:
        raise suggest("model", name, {*MODELS, *catalogue.read_catalogue()})
    key, path = catalogue.resolve_checkpoint(name)
    header = checkpoints.read_header(path)
    _check_role(header.model)
    scores = entry.measured if entry else header.measured
    measured = scores.get("si_snri_one_pass", scores.get("si_snri"))  # one pass, as measured here
    score = float(measured) if isinstance(measured, int | float) else None
    adaptive = _is_adaptive(header.model)
    if halting not in (None, NO_HALTING) and adaptive and header.config.get("halting") == NO_HALTING:
        raise UsageError(f"--halting {halting} needs weights that learned to halt; {key} was trained without halting")
    halts = {"halting": halting} if halting and adaptive else {}
    return Target(
        name=key,
        model=header.model,
        config=header.config | halts,
        rate=header.sample_rate,
        weights=path,
        quality=score,
        quality_from="" if score is None else "measured",
    )


def _check_halting(halting: str, targets: Sequence[Target], names: str) -> None:
    """Refuse a way of halting that is none, and one that no target of those named can have."""
    kinds = adaptive_models()
    modes = dict.fromkeys(mode for kind in kinds.values() for mode in kind.halting_modes)
    if halting not in modes:
        raise suggest("way of halting", halting, modes)
    if not any(halting in kinds[target.model].halting_modes for target in targets if target.model in kinds):
        able = " or ".join(kind.__name__ for kind in kinds.values() if halting in kind.halting_modes)
        raise UsageError(f"--halting {halting} is for checkpoints of {able}; {names} has none")


def _is_adaptive(model: str) -> bool:
    return model in MODELS and issubclass(MODELS[model], AdaptiveCompute)


def _check_role(model: str) -> None:
    if model in MODELS and not issubclass(MODELS[model], Separator | Extractor):
        raise UsageError(f"{model} neither separates nor extracts; profile measures models that do")


def _fresh_target(name: str, model: str, row: str | None, settings: JsonDict) -> Target:
    kind, config = MODELS[model], config_of(model, settings, row)
    score = published_si_snri(model, config)
    return Target(
        name=name,
        model=model,
        config=field_values(config) | ({"halting": NO_HALTING} if _is_adaptive(model) else {}),
        rate=kind.paper_rate if issubclass(kind, Separator) else config.speaker.rate,
        quality=score,
        quality_from="" if score is None else "published",
    )


def _targets_of_paper(paper: Paper, model: str | None, halting: str | None) -> list[Target]:
    if halting:
        raise UsageError(f"--halting {halting} needs trained weights; a paper's table is measured with fresh ones")
    known = {system.model for system in paper.rows}
    wanted = set(_split_names(model)) if model else known
    for name in wanted - known:
        raise suggest(f"system of {paper.title}", name, known)
    targets = []
    for system in (system for system in paper.rows if system.model in wanted):
        name, _, row = system.model.partition(":")
        target = _fresh_target(system.label, name, row or None, system.config)
        source = "" if system.si_snri is None else "published"
        targets.append(replace(target, quality=system.si_snri, quality_from=source))
    return targets


def _split_names(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def fit_growth(rows: Sequence[Row]) -> list[Growth]:
    """Fit the costs of every target that was measured at two lengths or more."""
    fits = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        if len(own) < 2:
            continue
        lengths = [row.seconds for row in own]
        work = [row.memory - row.bytes for row in own if row.memory is not None and row.memory > row.bytes]
        fits.append(
            Growth(
                model=model,
                latency=scaling_exponent(lengths, [row.latency.median for row in own]),
                macs=scaling_exponent(lengths, [row.macs for row in own]),
                memory=scaling_exponent(lengths, work) if len(work) == len(own) else None,
            )
        )
    return fits


def describe_machine(device: torch.device, threads: int | None) -> Machine:
    """Describe the machine, and what runs on it."""
    gpu = device.type == "cuda"
    driver = _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if gpu else ""
    return Machine(
        hardware=torch.cuda.get_device_name(device) if gpu else _processor(),
        cores=os.cpu_count() or 1,
        threads=threads or torch.get_num_threads(),
        system=platform.platform(),
        driver=driver.partition("\n")[0],
        cuda=(torch.version.cuda or "") if gpu else "",
        **provenance.library_versions(),
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Published weights of other toolkits become septool checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch

from septool import checkpoints, provenance
from septool.config import as_dict
from septool.errors import CheckpointError, SeptoolError, UsageError
from septool.files import sha256_of
from septool.interop.conversion import SOURCES, fit_tensors, match_tensors
from septool.models.build import build_model
from septool.registry import suggest


def convert(
    source: str,
    files: Sequence[Path],
    out: Path,
    *,
    sample_rate: int | None = None,
    chunk: int | None = None,
    heads: int | None = None,
    trained_on: str = "unknown",
    licence: str = "unknown",
    force: bool = False,
) -> checkpoints.Header:
    """Write another toolkit's weights as a checkpoint.

    Args:
        source: where they are from, a key of :data:`septool.interop.conversion.SOURCES`.
        files: its files.
        out: the checkpoint to write, a ``.safetensors`` file.
        sample_rate: in Hz; what the file says, or 8000, by default.
        chunk: frames in a chunk; what the file says, or the published size, by default.
        heads: of the attention; what the file says, or the published number, by default.
        trained_on: the corpus, for the header.
        licence: of the weights, for the header.
        force: replace a file that is there.

    Returns:
        What the checkpoint says of itself.

    Raises:
        CheckpointError: a file that is damaged, of another network, or of a variant that ours cannot be.
        UsageError: an unknown source, or files or settings that do not go with it.
    """
    if source not in SOURCES:
        raise suggest("source", source, SOURCES)
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} would not be taken for a checkpoint; its name has to end in .safetensors")
    if out.exists() and not force:
        raise SeptoolError(f"{out} exists; use --force to replace it")
    peer, tensors, arguments = SOURCES[source](files)
    places = match_tensors(tensors, peer.names)
    weights = {ours: tensors[theirs] for ours, theirs in places.items()}
    try:
        settings = peer.settle(weights, arguments)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        raise CheckpointError(f"the tensors do not have the axes of a {peer.model}, or the file denies them") from None
    for key, value in (("chunk", chunk), ("heads", heads)):
        if value is None:
            continue
        if key not in settings:
            raise UsageError(f"--{key} was given, but {peer.model} has no such setting")
        settings[key] = value
    with torch.device("meta"):
        model = build_model(peer.model, settings)
    header = checkpoints.Header(
        model=peer.model,
        config=as_dict(model.config),
        sample_rate=sample_rate or int(arguments.get("sample_rate") or 8000),
        sources=model.config.sources,
        trained_on=trained_on,
        origin=f"{source}: " + ", ".join(f"{path.name} (sha256 {sha256_of(path)})" for path in files),
        software=provenance.library_versions(),
        licence=licence,
    )
    checkpoints.save(out, fit_tensors(weights, model.state_dict(), places), header)
    return header

"""Converting published weights of other toolkits to septool checkpoints."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from septool import checkpoints
from septool.config import override
from septool.errors import UsageError
from septool.files import refuse_existing
from septool.interop.conversion import convert_files


def convert(
    source: str,
    files: Sequence[Path],
    out: Path,
    *,
    sample_rate: int | None = None,
    chunk: int | None = None,
    heads: int | None = None,
    settings: Sequence[str] = (),
    exact_tail: bool = False,
    trained_on: str = "unknown",
    licence: str = "unknown",
    force: bool = False,
) -> checkpoints.Header:
    """Write another toolkit's weights as a checkpoint.

    Args:
        source: where they are from, a key of :data:`septool.interop.conversion.SOURCES`, or ``auto``.
        files: its files, or a folder of them.
        out: the checkpoint to write, a ``.safetensors`` file.
        sample_rate: in Hz; has to be given where the files do not say it.
        chunk: frames in a chunk; has to be given where the files do not say it.
        heads: heads of the attention; have to be given where the files do not say them.
        settings: ``KEY=VALUE`` of our configuration, where neither shapes nor files say it.
        exact_tail: leave what is behind the last whole hop at zero, as the other toolkit does.
        trained_on: the corpus, for the header.
        licence: licence of the weights, for the header.
        force: replace a file that is there.

    Returns:
        What the checkpoint says of itself.

    Raises:
        CheckpointError: a file that is damaged, of another network, or of a variant that ours cannot be.
        UsageError: an unknown source, files or settings that do not go with it, or something left unsaid.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"output must end in .safetensors: {out}")
    refuse_existing(out, force=force)
    flags = {key: value for key, value in (("chunk", chunk), ("heads", heads)) if value is not None}
    given = override({}, settings) | flags
    converted = convert_files(source, files, sample_rate=sample_rate, settings=given, exact_tail=exact_tail)
    header = replace(converted.header, trained_on=trained_on, licence=licence)
    checkpoints.save(out, converted.weights, header)
    return header

"""The published lists of mixtures, unchanged; README.md gives their origins and licences."""

import csv
import functools
import hashlib
import lzma
from importlib import resources

from septool.errors import ManifestError


def read_list(name: str) -> str:
    """Return a list's text.

    Raises:
        ManifestError: the installed file is not the published one.
    """
    folder = resources.files(__name__)
    sums = (line.split() for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    expected = {file: digest for digest, file in sums}[name]
    try:
        text = lzma.decompress((folder / f"{name}.xz").read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise ManifestError(f"the bundled list {name} cannot be read ({error}); install septool again") from None
    if hashlib.sha256(text).hexdigest() != expected:
        raise ManifestError(f"the bundled list {name} is not what was published; install septool again")
    return text.decode("utf-8")


@functools.cache
def librispeech_sexes() -> dict[str, str]:
    """Return F or M for each LibriSpeech speaker of the bundled lists."""
    text = (resources.files(__name__) / "librispeech_sex.csv").read_text(encoding="utf-8")
    return {row["speaker"]: row["sex"] for row in csv.DictReader(text.splitlines())}

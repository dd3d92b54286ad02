"""Provenance of a result: versions of this package and of torch, and the commit of a checkout."""

import platform
import subprocess
from functools import cache
from pathlib import Path

from septool.version import __version__


def library_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import torch  # here, because verbs that only read results do not need it

    return {"septool": __version__, "torch": torch.__version__, "python": platform.python_version()}


@cache
def source_commit() -> str:
    """Return the commit of this code, with a + if files were changed since; empty if git does not track it."""
    package = Path(__file__).parent

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", package, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # an installed package may lie in a repository of something else
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def software() -> dict[str, str]:
    """Return the versions, and the commit if there is one, that a run depends on."""
    return library_versions() | ({"commit": source_commit()} if source_commit() else {})

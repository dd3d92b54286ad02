"""HTML pages from templates, and the check, before anything is done, that a report can be written."""

import os
from pathlib import Path

from septool.atomic import NAME_LIMIT
from septool.errors import UsageError
from septool.files import refuse_existing, why_not_writable


def check_html_report(html: Path, *, force: bool) -> None:
    """Refuse, before anything is done, a report that cannot be made.

    Raises:
        UsageError: another suffix, a folder that it cannot be written to, or no matplotlib.
        SeptoolError: it is there.
    """
    if html.suffix != ".html":
        raise UsageError(f"--html {html} has to end in .html")
    if len(os.fsencode(html.name)) > NAME_LIMIT:
        raise UsageError(f"--html {html} has a name of more than {NAME_LIMIT} bytes")
    folder = html.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"--html {html} cannot be written: {folder} is a file, not a folder")
    if html.exists() and not os.access(html, os.W_OK):
        raise UsageError(f"--html {html} cannot be written: no permission for {html}")
    if reason := why_not_writable(folder):
        raise UsageError(f"--html {html} cannot be written: {reason} for {folder}")
    if html.is_dir():
        raise UsageError(f"--html {html} is a folder; name a file")
    refuse_existing(html, force=force)
    try:
        import matplotlib.image  # noqa: F401 - and Pillow, which it brings
    except ImportError:
        raise UsageError("spectrograms need matplotlib; install it with: pip install 'septool[plot]'") from None


def render_template(name: str, package: str, **values: object) -> str:
    """Fill in one of a package's templates, which may extend those beside this file; values are escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("septool.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)

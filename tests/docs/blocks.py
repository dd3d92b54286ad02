"""Blocks of code in README.md and in docs: which there are, and which say that they are not to be run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(<!-- not run: [^\n]*-->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool  # it does not say that it needs what is not here

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def find_blocks(*languages: str) -> Iterator[Block]:
    """Yield the blocks of some languages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[2] in languages:
                yield Block(page, text[: match.start()].count("\n") + 1, match[2], match[3], match[1] is None)


def septool_calls(text: str) -> Iterator[str]:
    """Yield the command lines of septool in a block of shell, without what follows in a pipe or a comment."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s\|\s|&&|(?:^|\s)#", re.sub(r"(^|\s)#.*", "", line)):
            if call := re.match(r"\s*(?:torchrun .* -m |uvx )?septool\s+([^>]*)", part):
                yield call[1].strip()

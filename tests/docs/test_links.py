"""Links between the documents lead somewhere, tables say what the catalogue says, and the site builds."""

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

from septool.catalogue import read_catalogue
from tests.conftest import ROOT
from tests.docs.blocks import PAGES

OWN = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md"))]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
UNPAID = "not for commercial use"
GENERATED = {"docs/reference/commands.md"}  # pages of the site alone


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in LINK.findall(text):
        path = (page.parent / target).resolve() if target else page
        if path.relative_to(ROOT).as_posix() in GENERATED:
            continue
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor[1:] in anchors(path), f"{target}{anchor}"


def test_the_choice_of_models_is_the_catalogues() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Which model")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")][2:]
    known = read_catalogue()
    assert len(rows) >= 5
    for _, name, rate, _, score, licence in rows:
        entry = known[re.findall(r"`([^`]+)`", name)[0]]
        assert (int(rate), licence.strip().partition(", but ")[0]) == (entry.sample_rate, entry.licence)
        assert (UNPAID in licence) == (UNPAID in entry.notices)
        if "septool activity" in name:
            rate_of_errors = _measured_conversations(re.findall(r"`([^`]+)`", name)[0])[0]
            assert f"DER {rate_of_errors:.1f} %" in score
            continue
        figure = float(re.findall(r"([\d.]+) dB", score)[0])
        if "septool extract" in name:
            assert figure == _extraction_si_snri(re.findall(r"`([^`]+)`", name)[0])
            continue
        assert figure in {
            round(value, 2) for value in (entry.measured | entry.published).values() if value is not str(value)
        }
    assert f"All {len(known)} checkpoints" in section


def test_the_scores_of_conversations_are_the_measured_ones() -> None:
    text = (ROOT / "docs" / "conversations.md").read_text(encoding="utf-8")
    section = " ".join(text.partition("## How good it is")[2].partition("\n## ")[0].split())
    der, with_collar, count, wrong_track, si_snri = _measured_conversations("galr-small-8k")
    assert f"DER of {der:.1f} % without a collar and {with_collar:.1f} % with" in section
    assert f"number of people in {round(count * 8 / 100)} of 8" in section
    assert f"{wrong_track:.1f} % of each voice on a wrong track" in section
    assert f"improves SI-SNR by {si_snri:.1f} dB" in section


def _measured_conversations(model: str) -> list[float]:
    """Return the scores of a separator on dev-meetings, as the page of scores has them."""
    page = (ROOT / "benchmarks" / "quality.md").read_text(encoding="utf-8")
    row = re.findall(rf"^\| {model} \| 8 \| 0 \| (.*) \|$", page.partition("## dev-meetings")[2], re.MULTILINE)[0]
    return [float(cell.split()[0]) for cell in row.split("|")]


def _extraction_si_snri(model: str) -> float:
    """Return what a separator was measured with where its outputs are chosen from."""
    lines = (ROOT / "benchmarks" / "scores" / f"dev-2mix-enrol.{model}.jsonl").read_text(encoding="utf-8").splitlines()
    return round(fmean(score for line in lines[1:] for score in json.loads(line)["si-snri"]), 2)


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.stat().st_size < 300_000, path


def test_every_page_is_in_the_navigation() -> None:
    """The site is built with every warning an error; that takes mkdocs, this does not."""
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/.-]+\.md", site))
    written = {"contributing.md", "changelog.md", "reference/commands.md"}  # when the site is built
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages | written == {name.removeprefix("/") for name in listed}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason='the site needs pip install "septool[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    page = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "septool separate" in page
    assert "--skip-existing" in page


def test_the_terminal_shows_what_the_page_says() -> None:
    """The picture is of the same run as the text below the first command."""
    drawn = (ROOT / "docs" / "images" / "terminal.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    gains = re.findall(r"SI-SNRi \+[\d.]+ dB", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(gains) == 2
    assert all(gain in drawn for gain in gains)

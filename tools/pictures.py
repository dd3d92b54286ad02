"""Draws the pictures of README.md and of the documentation, in docs/images, from what septool does with the example.

``python -m tools.pictures`` needs matplotlib (``pip install -e ".[plot]"``); colours and fonts are written, not found.
The page of ``septool serve`` is drawn where playwright is installed, by its Chromium or what ``CHROMIUM`` names.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from septool import audio
from septool.reports.spectrograms import RANGE_DB, spectrogram

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "examples" / "two-talkers.flac"
COLORS = 64  # of the picture's palette: an eighth of the size, and nobody sees it
INK, MUTED, GROUND = "#f4f1ea", "#b9b3c6", "#14101f"
# What a terminal shows by default; rich's own themes are grey on grey.
THEME = TerminalTheme(
    (20, 16, 31),
    (244, 241, 234),
    [
        *((20, 16, 31), (255, 107, 107), (126, 211, 135), (246, 200, 95)),
        *((118, 169, 250), (199, 146, 234), (98, 210, 210), (244, 241, 234)),
    ],
)
FONT = "font-family: Fira Code, Menlo, Consolas, DejaVu Sans Mono, monospace"


def separate(folder: Path) -> str:
    """Separate the example into a folder; returns what the command printed, and what it said, as on a terminal."""
    references = [f"two-talkers_s{voice}.flac" for voice in (1, 2)]
    options = [word for name in references for word in ("--reference", name)]
    command = [sys.executable, "-m", "septool", "separate", EXAMPLE.name, "-o", "voices", "-d", "cpu", *options]
    for name in (EXAMPLE.name, *references):  # so that names are short
        (folder / name).write_bytes((EXAMPLE.parent / name).read_bytes())
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def draw_spectrograms(path: Path, folder: Path) -> None:
    """Draw the mixture and its voices one above the other, on one time axis, as the HTML report does."""
    mpl.use("agg")
    from matplotlib import pyplot

    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 13, "text.color": INK, "axes.labelcolor": MUTED})
    tracks = [
        ("The recording", EXAMPLE),
        ("Voice 1, as separated", folder / "voices" / "two-talkers_s1.wav"),
        ("Voice 2, as separated", folder / "voices" / "two-talkers_s2.wav"),
    ]
    figure, axes = pyplot.subplots(3, 1, figsize=(11, 6.6), sharex=True, facecolor=GROUND)
    for ax, (title, track) in zip(axes, tracks, strict=True):
        info = audio.audio_info(track)
        levels = spectrogram(track)
        most = levels.max()
        extent = (0, info.frames / info.rate, 0, info.rate / 2000)
        ax.imshow(
            levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=most - RANGE_DB + 10, vmax=most
        )
        ax.set_ylim(0, 4)  # kHz: what the model hears
        ax.set_yticks([0, 2, 4])
        ax.set_ylabel("kHz")
        ax.set_title(title, loc="left", fontsize=14, color=INK, pad=6)
        ax.tick_params(colors=MUTED, length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout(h_pad=1.2)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
    _reduce_colors(path)


def _reduce_colors(path: Path, colors: int = COLORS) -> None:
    from PIL import Image  # matplotlib's own way to write a PNG

    with Image.open(path) as image:
        image.convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)


def record_terminal(path: Path, printed: str) -> None:
    """Write a terminal's window with the command and what it printed, as SVG."""
    console = Console(record=True, width=88, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115, PTH123
    lines = [
        ("$ ", "green", "septool separate two-talkers.flac -o voices \\\n"),
        ("    ", "", "--reference two-talkers_s1.flac --reference two-talkers_s2.flac\n"),
    ]
    for prompt, style, words in lines:
        console.print(Text.assemble((prompt, style), (words, "bold")), end="")
    for line in printed.splitlines():
        name, gap, gain = line.partition("  ")
        console.print(Text.assemble(name, gap, (gain, "cyan")))
    console.print(Text.assemble(("$ ", "green")), end="")
    svg = console.export_svg(title="septool", theme=THEME, unique_id="septool")
    # Fonts of this machine's viewer, none from elsewhere.
    start, end = svg.index("@font-face"), svg.rindex("}", 0, svg.index(".septool-matrix")) + 1
    path.write_text(svg[:start] + svg[end:].replace("font-family: Fira Code, monospace", FONT), encoding="utf-8")


def capture_page(path: Path) -> None:
    """Write what the page of ``septool serve`` looks like once it has separated the example."""
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    command = [sys.executable, "-m", "septool", "serve", "--port", "0", "--device", "cpu", "--quiet"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        with sync_playwright() as driver:
            program = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 960, "height": 900}, color_scheme="light")
            page.goto(address)
            page.set_input_files("#files", str(EXAMPLE))
            page.wait_for_selector(".player:visible")
            page.locator(".position").fill("3.2")
            page.locator(".position").blur()
            page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
            page.wait_for_timeout(1000)  # spectrograms are fetched
            page.screenshot(path=path, full_page=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    _reduce_colors(path, 256)


def main() -> None:
    """Draw all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed = separate(folder)
        draw_spectrograms(IMAGES / "voices.png", folder)
        record_terminal(IMAGES / "terminal.svg", printed)
    if find_spec("playwright"):
        capture_page(IMAGES / "serve.png")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""The page of results says what the files hold."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from septool.profiling.comparison import Comparison, compare_to_paper
from septool.profiling.papers import read_paper
from septool.profiling.records import Failure, Row, Settings, Timing
from septool.profiling.report import Machine, Profile, Table, write_profile
from tools import results

MACHINE = Machine(
    hardware="A processor",
    cores=4,
    threads=2,
    system="Linux",
    driver="",
    cuda="",
    septool="0.1.0",
    torch="2.14.1",
    python="3.11.7",
    commit="abc1234",
    date="2026-01-01T00:00:00+00:00",
)


def row(model: str, latency: Timing, seconds: float = 5.0) -> Row:
    return Row(
        model=model,
        seconds=seconds,
        parameters=2_000_000,
        bytes=8_000_000,
        macs=3 * 10**9,
        flops=6 * 10**9,
        latency=latency,
        real_time_factor=latency.median / seconds,
        memory=50_000_000,
    )


def save(folder: Path, name: str, *rows: Row, failures: tuple[Failure, ...] = ()) -> None:
    folder.mkdir(exist_ok=True)
    comparisons = compare_to_paper(read_paper(name), rows, "cpu")
    profile = Profile(
        machine=MACHINE,
        conditions=Settings(speech=Path("call.wav")),
        rows=list(rows),
        growth=[],
        failures=list(failures),
        comparisons=comparisons,
    )
    write_profile(profile, out=folder / f"{name}.jsonl", plot=None, html=None)


def test_tables_machine_and_failures_are_shown(tmp_path: Path) -> None:
    measured = Timing(1.5, 1.4, 1.6, 5)
    save(tmp_path / "cpu", "papez-table2", row("Papez", measured), failures=(Failure("DPT", None, "no room"),))
    page = results.page(tmp_path)
    assert "# cpu" in page
    assert "## Papez, Table 2" in page
    assert "A processor, 2 of 4 processor threads, Linux; septool 0.1.0 (abc1234)" in page
    assert "| Papez | 5.00 | latency, s | 1.18 | 1.50 | 1.27 |" in page
    assert "| Papez | 5.00 | 2.00 | 8.00 | 3.00 | 6.00 | 0.60 | 1500.00 | 1400.00 | 1600.00 |" in page
    assert "Not measured: DPT: no room" in page


def comparison(label: str, published: float, measured: float) -> Comparison:
    return Comparison(
        label=label,
        seconds=1.0,
        quantity="latency, s",
        published=published,
        measured=measured,
        ratio=measured / published,
        published_relative=published,
        measured_relative=measured,
        differs=False,
    )


def test_the_order_counts_pairs_that_were_published_as_different() -> None:
    found = [comparison("A", 1.0, 5.0), comparison("B", 1.05, 4.0), comparison("C", 2.0, 4.5)]
    # A and B are equal within the tolerance; A and C changed places, B and C did not.
    assert list(results.order(found)) == ["Of 2 pairs of systems, 1 come in the published order by latency, s."]


def test_other_files_bring_their_columns(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    first: dict[str, Any] = {"kind": "machine", **asdict(MACHINE), "title": "Ours and theirs", "about": "How."}
    rows = [
        first,
        {"kind": "train", "model": "galr", "ms": 7.0},  # measured alone
        {"kind": "train", "model": "dprnn", "ms": 5.0, "ratio": 0.8, "difference": 4e-7, "memory": None},
    ]
    text = "".join(json.dumps(line) + "\n" for line in rows)
    (tmp_path / "cpu" / "peers.jsonl").write_text(text, encoding="utf-8")
    page = results.page(tmp_path)
    assert "## Ours and theirs\n\nHow." in page
    assert "| model | ms | ratio | difference | memory |" in page
    assert "| galr | 7.00 | - | - | - |" in page
    assert "| dprnn | 5.00 | 0.80 | 4.0e-07 | - |" in page


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert "a\\|b" in results.markdown(Table("T", ["x"], [["a|b"]]))

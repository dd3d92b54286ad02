from pathlib import Path
from typing import Any

import pytest

from septool.errors import ConfigError, UsageError
from septool.models.build import config_of
from septool.profiling.comparison import compare_to_paper, published_si_snri
from septool.profiling.papers import Paper, System, Term, paper_names, read_paper
from septool.profiling.records import Row, Timing
from septool.tasks.profile import profile


@pytest.mark.parametrize("name", paper_names())
def test_every_bundled_table_names_networks_that_exist(name: str) -> None:
    paper = read_paper(name)
    assert paper.rows
    for asked in (*((row.model, row.config) for row in paper.rows), *((term.model, {}) for term in paper.terms)):
        model, _, row = asked[0].partition(":")
        assert config_of(model, asked[1], row or None)


def test_an_unknown_table_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="unknown paper table 'galr-table2'; did you mean 'galr-table"):
        read_paper("galr-table2")


TERM = '[[terms]]\nlabel = "A"\nmodel = "galr"\nkind = "lstm"\nmodule = "{}"\npower = {}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('reference = "B"', "reference is 'B', which is no row"),
        ('reference = "A"\nwhy = {gmac = "x"}', "'gmac' is not a quantity"),
        (TERM.format("blocks", 0), "power is 0; it has to be above 0"),
        (TERM.format("blocks", "nan"), "power is nan"),
        (TERM.format("(", 1), r"module is '\(', which is no regular expression: missing \)"),
        (TERM.format("(?i)x", 1), "which is no regular expression: global flags"),
        (TERM.format("blocks", 1), "lengths has one; how terms grow takes two"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        f'title = "T"\nprotocol = "P"\nlengths = [1]\n{text}\n[[rows]]\nlabel = "A"\nmodel = "galr"\n', encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=said):
        read_paper(str(path))


@pytest.mark.parametrize(
    ("model", "row", "settings", "si_snri"),
    [
        ("galr", None, {}, 20.3),
        ("galr", "d128-m4", {}, 20.3),
        ("galr", "d64-m16", {}, 16.2),
        ("papez", None, {}, 19.2),
        ("papez", "k250", {"memory": 8}, 18.6),
        ("sepformer", "3mix", {}, None),
        ("galr", None, {"hidden": 64}, None),
    ],
)
def test_published_scores_belong_to_exactly_one_network(
    model: str, row: str | None, settings: dict[str, Any], si_snri: float | None
) -> None:
    assert published_si_snri(model, config_of(model, settings, row)) == si_snri


def row(model: str, seconds: float = 1.0, **changed: Any) -> Row:
    values: dict[str, Any] = {
        "parameters": 2_000_000,
        "bytes": 8_000_000,
        "macs": 3_000_000_000,
        "flops": 6_000_000_000,
        "latency": Timing(0.1, 0.09, 0.11, 5),
        "real_time_factor": 0.1,
        "memory": 50_000_000,
    }
    return Row(model=model, seconds=seconds, **(values | changed))


def table(*rows: System, **changed: Any) -> Paper:
    return Paper(title="T", protocol="P", lengths=(1.0,), reference="A", rows=rows, **changed)


@pytest.mark.parametrize(("macs", "differs"), [(1.09, False), (1.11, True), (0.89, True), (0.91, False)])
def test_what_is_marked_is_the_ratio_to_the_reference(macs: float, differs: bool) -> None:
    # Both cost twice what was published, so the ratio between them tells nothing about that.
    paper = table(
        System(label="A", model="galr", published={"gmacs": 1.0}),
        System(label="B", model="dprnn", published={"gmacs": 2.0}, why={"gmacs": "known"}),
    )
    measured = [row("A", macs=2 * 10**9), row("B", macs=round(4 * macs * 10**9))]
    first, second = compare_to_paper(paper, measured, "cpu")
    assert (first.ratio, first.published_relative, first.measured_relative, first.differs) == (2, 1, 1, False)
    assert second.published_relative == 2
    assert second.measured_relative == pytest.approx(2 * macs)
    assert second.differs is differs
    assert second.why == ("known" if differs else "")


def test_units_are_those_that_the_papers_print() -> None:
    printed = {"parameters_m": 4.0, "gmacs": 6.0, "gflops": 12.0, "latency_ms": 200.0, "cpu_s": 0.2, "memory_gb": 0.1}
    paper = table(System(label="A", model="galr", published=printed))
    for comparison in compare_to_paper(paper, [row("A")], "cpu"):
        assert comparison.ratio == pytest.approx(0.5)
    (mebibytes,) = compare_to_paper(
        table(System(label="A", model="galr", published={"memory_mib": 1.0})), [row("A", memory=2**20)], "cpu"
    )
    assert mebibytes.ratio == 1


def test_a_time_that_was_printed_for_another_device_is_left_out() -> None:
    paper = table(System(label="A", model="galr", published={"cpu_s": 1.0, "gpu_ms": 5.0}))
    assert [one.published for one in compare_to_paper(paper, [row("A")], "cpu")] == [1.0]
    assert [one.published for one in compare_to_paper(paper, [row("A")], "cuda")] == [5.0]
    assert compare_to_paper(paper, [row("A")], "mps") == []


def test_memory_that_could_not_be_measured_is_left_out() -> None:
    paper = table(System(label="A", model="galr", published={"memory_gb": 1.0}))
    assert compare_to_paper(paper, [row("A", memory=None)], "cpu") == []


def test_a_claim_without_a_number_is_checked() -> None:
    paper = table(
        System(label="A", model="galr"),
        System(label="B", model="dprnn", more=("latency_ms",)),
        System(label="C", model="dptnet", more=("latency_ms",), why={"latency_ms": "known"}),
    )
    slow, fast = Timing(0.2, 0.2, 0.2, 5), Timing(0.05, 0.05, 0.05, 5)
    second, third = compare_to_paper(paper, [row("A"), row("B", latency=slow), row("C", latency=fast)], "cpu")
    assert (second.claim, second.published, second.measured_relative, second.differs) == ("> 1", None, 2, False)
    assert (third.measured_relative, third.differs, third.why) == (0.5, True, "known")


def test_the_number_of_parameters_is_compared_once_for_all_lengths() -> None:
    paper = Paper(
        title="T",
        protocol="P",
        lengths=(1.0, 2.0),
        reference="A",
        rows=(System(label="A", model="galr", published={"parameters_m": 2.0, "gmacs": 3.0}),),
    )
    found = compare_to_paper(paper, [row("A"), row("A", seconds=2.0)], "cpu")
    assert [(one.quantity, one.seconds) for one in found] == [
        ("parameters, M", 1.0),
        ("MACs, G", 1.0),
        ("MACs, G", 2.0),
    ]


def test_without_the_reference_there_is_no_relation_to_it() -> None:
    paper = table(
        System(label="A", model="galr", published={"gmacs": 1.0}),
        System(label="B", model="dprnn", published={"gmacs": 2.0}),
    )
    (one,) = compare_to_paper(paper, [row("B")], "cpu")
    assert (one.measured_relative, one.differs) == (None, False)


def test_complexities_of_galr_table_1_hold_for_what_is_counted() -> None:
    paper = read_paper("galr-table1")
    grown = compare_to_paper(paper, [], "cpu")
    assert [one.published for one in grown] == [term.power for term in paper.terms]
    assert [one.label for one in grown if one.differs] == []


def test_a_wrong_complexity_is_marked() -> None:
    wrong = Term(label="GALR", model="galr:d64-m16", module=r"blocks\.\d+\.1", kind="attention", power=1)
    paper = Paper(title="T", protocol="P", lengths=(4.0, 8.0), rows=(System(label="A", model="galr"),), terms=(wrong,))
    (one,) = compare_to_paper(paper, [], "cpu")
    assert one.differs
    assert one.measured == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("module", "kind"), [(r"blocks\.\d+\.9", "attention"), (r"blocks\.\d+\.1", "attentions")])
def test_a_term_of_nothing_is_refused_before_anything_is_measured(tmp_path: Path, module: str, kind: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'title = "T"\nprotocol = "P"\nlengths = [0.1, 0.2]\n[[rows]]\nlabel = "A"\nmodel = "galr"\n'
        f'[[terms]]\nlabel = "A"\nmodel = "galr"\npower = 1\nmodule = \'{module}\'\nkind = "{kind}"\n'
    )
    with pytest.raises(UsageError, match=f"has operations of the kind '{kind}' \\(known: .*attention, "):
        profile(paper=str(path), device="cpu", report=lambda *_: pytest.fail("measured"))

"""Summaries and comparisons of scored items."""

import math

import numpy as np
import pytest

from septool.errors import SeptoolError
from septool.scoring.conversations import MEASURES
from septool.scoring.items import Item
from septool.scoring.summary import compare_items, mean_interval, summarize_items, summarize_measures


def items(values: np.ndarray, manifest: str = "m") -> list[Item]:
    return [
        Item(str(n), {"sdr": list(row)}, {"sdr": [None] * len(row)}, provenance={"manifest_sha256": manifest})
        for n, row in enumerate(values.tolist())
    ]


def test_the_interval_is_that_of_resampled_items() -> None:
    """The numbers that committed results were computed with."""
    values = np.random.default_rng(1).normal(10, 3, (40, 2))
    drawn = np.random.default_rng(0).integers(40, size=(1000, 40))
    means = values.sum(1)[drawn].sum(1) / (2.0 * 40)
    expected = np.percentile(means, 2.5), np.percentile(means, 97.5)
    assert mean_interval([*values], np.random.default_rng(0)) == pytest.approx(expected, abs=1e-12)


def test_percentiles() -> None:
    (summary,) = summarize_items(items(np.arange(101.0)[:, None]), ["sdr"])
    assert (summary.fifth, summary.median, summary.ninety_fifth) == (5, 50, 95)


def test_a_paired_difference_is_found_under_a_much_larger_spread() -> None:
    random = np.random.default_rng(0)
    before = random.normal(10, 5, (60, 2))
    (found,) = compare_items(items(before), items(before + random.normal(0.3, 0.5, (60, 2))))
    assert (found.metric, found.count, found.unpaired) == ("sdr", 60, 0)
    assert found.second - found.first == pytest.approx(found.difference)
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(0.3, abs=0.15)
    assert 0 < found.p_value < 0.01


def test_noise_is_no_difference() -> None:
    random = np.random.default_rng(1)
    p_values = []
    for _ in range(10):
        before, after = random.normal(10, 5, (2, 30, 1))
        (found,) = compare_items(items(before), items(after))
        p_values.append(found.p_value)
    assert sum(p < 0.05 for p in p_values) <= 2
    assert max(p_values) > 0.3


def test_items_that_one_lacks_are_counted() -> None:
    first, second = items(np.ones((4, 1))), items(np.full((4, 1), 2.0))
    first[0] = Item("0", error="lost", provenance=first[0].provenance)
    (found,) = compare_items(first, second[:-1])
    assert (found.count, found.unpaired, found.difference) == (2, 2, 1.0)
    (found,) = compare_items(first[1:2], second)
    assert math.isnan(found.p_value)


def test_results_that_do_not_compare_are_refused() -> None:
    values = np.ones((3, 1))
    with pytest.raises(SeptoolError, match="of different manifests"):
        compare_items(items(values), items(values, "other"))
    other = [Item("0", {"stoi": [1.0]}, provenance={"manifest_sha256": "m"})]
    with pytest.raises(SeptoolError, match="no metric in common"):
        compare_items(items(values), other)
    with pytest.raises(SeptoolError, match="no item in common"):
        compare_items(items(values)[:1], items(values)[1:])


def test_a_metric_that_is_undefined_throughout_is_left_out() -> None:
    def scored(value: float | None) -> list[Item]:
        return [Item(str(n), {"si-snri": [value], "pesq": [None]}) for n in range(3)]

    (found,) = compare_items(scored(1.0), scored(2.0))
    assert (found.metric, found.difference) == ("si-snri", 1.0)
    with pytest.raises(SeptoolError, match="no item in common that has a value of si-snri, pesq"):
        compare_items(scored(1.0), scored(None))


def test_what_every_item_has_one_number_of_is_compared() -> None:
    first, second = (
        [Item(str(n), {"si-snri": [1.0 + n]}, detections={"der": der, "found": 2.0}) for n in range(4)]
        for der in (12.0, 9.0)
    )
    gain, error = compare_items(first, second, MEASURES.values())
    assert (gain.metric, gain.difference) == ("si-snri", 0.0)
    assert (error.metric, error.unit, error.difference, error.count) == ("der", "%", -3.0, 4)


def test_error_rates_of_conversations_are_of_all_their_speech() -> None:
    talks = [(10.0, 100.0), (20.0, 50.0), (40.0, 10.0)]
    other = dict.fromkeys(MEASURES, 0.0) | {"speech-seconds-collar": 1.0}
    scored = [
        Item(str(n), detections=other | {"der": der, "speech-seconds": seconds})
        for n, (der, seconds) in enumerate(talks)
    ]
    der = summarize_measures(scored, MEASURES.values())[0]
    assert (der.metric, der.mean, der.median) == ("der", pytest.approx(2400 / 160), 20.0)
    assert 10 <= der.low < der.mean < der.high <= 40
    older = [Item(str(n), detections=other | {"der": rate}) for n, (rate, _) in enumerate(talks)]
    assert summarize_measures(older, MEASURES.values())[0].mean == pytest.approx(70 / 3)


def test_an_interval_does_not_depend_on_what_else_is_scored() -> None:
    values = np.random.default_rng(1).normal(10, 3, (40, 2))
    both = [
        Item(str(n), {"sdr": row, "si-snr": row}, {"sdr": [None] * 2, "si-snr": [None] * 2})
        for n, row in enumerate(values.tolist())
    ]
    one, other = summarize_items(both, ["sdr", "si-snr"])
    assert (one.low, one.high) == (other.low, other.high)

"""Diarization error rate: pyannote.metrics' numbers, and cases that can be counted by hand."""

import json
from pathlib import Path

import pytest

from septool.metrics import UndefinedError
from septool.metrics.diarization import diarization_error
from septool.signal.turns import Turn

GOLDEN = json.loads((Path(__file__).parent / "golden/diarization.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=map(str, range(len(GOLDEN["cases"]))))
def test_every_part_equals_pyannote(case: dict) -> None:
    error = diarization_error(
        estimate=[Turn(*turn) for turn in case["estimate"]],
        reference=[Turn(*turn) for turn in case["reference"]],
        collar=case["collar"],
    )
    found = (error.missed, error.false_alarm, error.confusion, error.total)
    assert found == pytest.approx(tuple(case[key] for key in ("missed", "false_alarm", "confusion", "total")), abs=1e-6)


def test_each_kind_of_error_is_counted_by_hand() -> None:
    reference = [Turn(0.0, 4.0, "ann"), Turn(3.0, 6.0, "bob")]
    estimate = [Turn(1.0, 4.0, "x"), Turn(4.0, 6.0, "x"), Turn(3.5, 7.0, "y")]
    error = diarization_error(estimate=estimate, reference=reference)
    assert error.mapping == {"x": "ann", "y": "bob"}
    assert error.missed == pytest.approx(1.0 + 0.5)  # ann's first second, one of two from 3 to 3.5
    assert error.false_alarm == pytest.approx(2.0 + 1.0)  # x beside bob from 4 to 6, y alone behind 6
    assert error.confusion == pytest.approx(0.0)
    assert error.percent == pytest.approx(100 * 4.5 / 7)


def test_a_collar_leaves_out_both_sides_of_a_boundary() -> None:
    reference, estimate = [Turn(1.0, 3.0, "ann")], [Turn(0.8, 3.2, "x")]
    assert diarization_error(estimate=estimate, reference=reference).false_alarm == pytest.approx(0.4)
    error = diarization_error(estimate=estimate, reference=reference, collar=0.25)
    assert (error.false_alarm, error.total) == pytest.approx((0.0, 1.5))


def test_turns_of_one_speaker_that_overlap_count_once() -> None:
    reference = [Turn(0.0, 2.0, "ann"), Turn(1.0, 3.0, "ann")]
    error = diarization_error(estimate=[Turn(0.0, 3.0, "x")], reference=reference)
    assert (error.total, error.percent) == pytest.approx((3.0, 0.0))


def test_nobody_speaking_is_undefined() -> None:
    with pytest.raises(UndefinedError, match="nobody speaks in the reference"):
        _ = diarization_error(estimate=[Turn(0.0, 1.0, "x")], reference=[]).percent

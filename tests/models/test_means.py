"""Weighted means of many points."""

import torch

from septool.models.layers.means import weighted_means


def test_means_are_those_of_each_cluster() -> None:
    points, weights = torch.randn(2, 50, 3), torch.rand(2, 50, 4)
    weights[1, :, 2] = 0
    for item in range(2):
        for cluster in range(4):
            own = weights[item, :, cluster]
            expected = (own[:, None] * points[item]).sum(0) / own.sum() if own.any() else torch.zeros(3)
            torch.testing.assert_close(weighted_means(points, weights)[item, cluster], expected)


def test_networks_are_counted_with_them() -> None:
    points = torch.empty(2, 50, 3, device="meta")
    assert weighted_means(points, torch.empty(2, 50, 4, device="meta")).shape == (2, 4, 3)


def test_a_long_recording_fits_where_half_precision_has_no_room_for_its_sums() -> None:
    """The sum of 300,000 values of 0.9 is 270,000; float16 ends at 65,504."""
    points, weights = torch.full((1, 300_000, 2), 0.9), torch.ones(1, 300_000, 1)
    with torch.autocast("cpu", torch.float16):
        assert torch.allclose(weighted_means(points, weights), torch.tensor(0.9), atol=1e-2)
        assert not (weights.mT @ points).isfinite().all()
    half = weighted_means(points.half(), weights.half())
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), torch.tensor(0.9), atol=1e-2)

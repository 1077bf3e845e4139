"""Windows and responses belong to where a source starts: one that has moved far gets new ones, and nobody notices."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.fit import Fit, FitResult
from gammaflow.modeling import GaussianSpatialModel, Models, PointSpatialModel, SpatialModel
from tests.fit.observed import at, backgrounds, observed

#: Moves in deg to east and north, and of the size.
SHAPES: dict[str, SpatialModel] = {
    "point": PointSpatialModel(lon_0="83.6 deg", lat_0="22 deg"),
    "gauss": GaussianSpatialModel(lon_0="83.6 deg", lat_0="22 deg", sigma="0.1 deg"),
}


def fitted(shape: str, east: float, north: float, grown: float) -> FitResult:
    truth = at(SHAPES[shape].copy())
    truth.spectral_model.amplitude.value *= 5
    dataset = observed([truth], seed=3)
    start = truth.copy("source")
    start.spatial_model.lon_0.value += east / np.cos(np.radians(22))
    start.spatial_model.lat_0.value += north
    if shape == "gauss":
        start.spatial_model.sigma.value *= grown
    return Fit().run(dataset, Models([start, *backgrounds("one")]))


@pytest.mark.parametrize(
    ("shape", "start"),
    [
        ("point", (0.09, -0.05, 1.0)),
        ("gauss", (-0.1, 0.12, 1.0)),
        ("gauss", (0.0, 0.0, 3.0)),
        ("gauss", (0.03, 0.1, 0.3)),
    ],
)
def test_a_far_start_ends_where_a_near_one_does(shape: str, start: tuple[float, float, float]) -> None:
    near, far = fitted(shape, 0.0, 0.0, 1.0), fitted(shape, *start)
    assert near.success
    assert far.success
    assert near.anchors == 1
    assert far.anchors > 1
    assert far.trips <= 12
    for name in near.names:
        assert abs(far.values[name] - near.values[name]) < 0.02 * near.errors[name], name
        assert far.errors[name] == pytest.approx(near.errors[name], rel=0.01), name
    assert far.total_stat == pytest.approx(near.total_stat, abs=0.1)

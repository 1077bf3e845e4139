"""Ellipses in smooth coordinates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gammaflow.fit import ellipse
from gammaflow.modeling import GaussianSpatialModel

SHAPES = [(0.3, 0.8, 35.0), (0.1, 0.2, -70.0), (0.5, 0.95, 0.0), (0.2, 0.6, 90.0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_matrix_is_that_of_the_model(shape: tuple[float, float, float]) -> None:
    size, e, phi = shape
    model = GaussianSpatialModel(sigma=f"{size} deg", e=e, phi=f"{phi} deg")
    np.testing.assert_allclose(
        ellipse.from_shape(np.array(shape)).value, model.covariance_entries, atol=1e-16
    )
    np.testing.assert_allclose(
        ellipse.from_cholesky(ellipse.cholesky(*shape)).value, model.covariance_entries, atol=1e-16
    )


@pytest.mark.parametrize("way", [ellipse.from_shape, ellipse.from_cholesky])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives(way: Callable[[np.ndarray], ellipse.Curved], shape: tuple[float, float, float]) -> None:
    at = np.array(shape) if way is ellipse.from_shape else ellipse.cholesky(*shape)
    found = way(at)
    for i, step in enumerate(1e-5 * np.maximum(np.abs(at), 0.1)):
        moved = [way(at + sign * step * np.eye(3)[i]) for sign in (1, -1)]
        np.testing.assert_allclose(
            (moved[0].value - moved[1].value) / (2 * step), found.first[:, i], atol=1e-9
        )
        np.testing.assert_allclose(
            (moved[0].first - moved[1].first) / (2 * step), found.second[:, :, i], atol=1e-8
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape: tuple[float, float, float]) -> None:
    factor = ellipse.cholesky(*shape)
    back, jacobian = ellipse.shape_of(factor)
    np.testing.assert_allclose(back[:2], shape[:2], rtol=1e-12)
    assert (back[2] - shape[2]) % 180 == pytest.approx(0, abs=1e-9) or (
        back[2] - shape[2]
    ) % 180 == pytest.approx(180)
    for i in range(3):
        step = 1e-6 * np.eye(3)[i]
        change = (ellipse.shape_of(factor + step)[0] - ellipse.shape_of(factor - step)[0]) / 2e-6
        change[2] = (change[2] * 2e-6 + 90) % 180 / 2e-6 - 90 / 2e-6
        np.testing.assert_allclose(change, jacobian[:, i], rtol=2e-4, atol=1e-4)


def test_a_circle_has_no_angle() -> None:
    shape, jacobian = ellipse.shape_of(ellipse.cholesky(0.2, 0.0, 0.0))
    assert shape[0] == pytest.approx(0.2)
    assert shape[1] == pytest.approx(0.0, abs=1e-7)
    assert np.isfinite(jacobian[0]).all()
    assert np.isnan(jacobian[1:]).all()

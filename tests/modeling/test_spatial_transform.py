"""Fourier transforms of shapes: closed forms, quadrature of the shapes themselves, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    GeneralizedGaussianSpatialModel,
    Model,
    PointSpatialModel,
    ShellSpatialModel,
    SpatialModel,
)
from gammaflow.modeling.spatial.disk import bessel_ratios
from gammaflow.modeling.spatial.generalized_gauss import hankel_profile

RANDOM = np.random.default_rng(20)
EAST, NORTH = RANDOM.uniform(-8, 8, (2, 400))
SHAPES = [
    ("gauss", {"sigma": "0.1 deg"}),
    ("gauss", {"sigma": "0.1 deg", "e": 0.7, "phi": "30 deg"}),
    ("gauss-general", {"r_0": "0.1 deg", "eta": 0.3}),
    ("gauss-general", {"r_0": "0.1 deg", "eta": 0.8, "e": 0.5, "phi": "-60 deg"}),
    ("disk", {"r_0": "0.2 deg", "edge_width": 0.1}),
    ("disk", {"r_0": "0.2 deg", "edge_width": 0.2, "e": 0.8, "phi": "110 deg"}),
    ("shell", {"radius": "0.2 deg", "width": "0.05 deg"}),
    ("shell", {"radius": "12 arcmin", "width": "0.05 deg"}),
    ("shell2", {"r_0": "0.25 deg", "eta": 0.4}),
]
IDS = [f"{tag}-{i}" for i, (tag, _) in enumerate(SHAPES)]


def by_quadrature(model: SpatialModel, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """``sum M(s) cos(2 pi u.s) / sum M(s)`` at the equator, where lon and lat are east and north."""
    reach = 1.5 if isinstance(model, GeneralizedGaussianSpatialModel) else 1.3 * model.extent
    ends = np.unique(np.concatenate([np.linspace(0, reach, 80), [0.2, 0.25, 0.15]]))
    nodes, weights = np.polynomial.legendre.leggauss(10)
    r = (0.5 * np.diff(ends)[:, None] * nodes + 0.5 * (ends[1:] + ends[:-1])[:, None]).ravel()
    w = (0.5 * np.diff(ends)[:, None] * weights).ravel() * r
    psi = np.arange(128) * 2 * np.pi / 128
    x, y = r[:, None] * np.sin(psi), r[:, None] * np.cos(psi)
    flux = w[:, None] * model.values(x, y)
    flux = (flux / flux.sum()).ravel()
    keep = flux > 1e-12
    x, y, flux = x.ravel()[keep], y.ravel()[keep], flux[keep]
    return np.array([flux @ np.cos(2 * np.pi * (a * x + b * y)) for a, b in zip(east, north, strict=True)])


@pytest.mark.parametrize(("tag", "parameters"), SHAPES, ids=IDS)
def test_the_transform_is_that_of_the_values(tag: str, parameters: dict) -> None:
    """Size, orientation and edge of the two spaces agree; the sphere is flat to 1e-5 over such shapes."""
    model = Model.create(tag, "spatial", **parameters)
    east, north = EAST[:40], NORTH[:40]
    found = model.transform(east, north, (), order=0).value
    # the disk's edge is an error function along the radius, in Fourier space a Gaussian in two dimensions
    width = parameters.get("edge_width", 0.0)
    assert_allclose(found, by_quadrature(model, east, north), atol=2e-5 + 0.06 * width**2)


@pytest.mark.parametrize(("tag", "parameters"), SHAPES, ids=IDS)
def test_derivatives(tag: str, parameters: dict) -> None:
    model = Model.create(tag, "spatial", **parameters)
    names = model.shape_parameters
    found = model.transform(EAST, NORTH, names)
    assert found.parameters == names
    for i, name in enumerate(names):
        parameter = model.parameters[name]
        value, step = parameter.value, 2e-4 * max(abs(parameter.value), 0.1)
        if value - 2 * step < parameter.bounds[0]:
            continue  # a circle: tested below
        gradient, hessian = 0.0, 0.0
        for multiple, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
            parameter.value = value + multiple * step
            at = model.transform(EAST, NORTH, names)
            gradient, hessian = gradient + weight * at.value / step, hessian + weight * at.gradient / step
        parameter.value = value
        assert_allclose(found.gradient[i], gradient, atol=1e-7 * np.abs(found.gradient[i]).max() + 1e-10)
        for j in range(len(names)):
            scale = max(np.abs(found.hessian[i, j]).max(), np.abs(hessian[j]).max())
            assert_allclose(found.hessian[i, j], hessian[j], atol=1e-6 * scale + 1e-9)
    assert_allclose(found.hessian, found.hessian.swapaxes(0, 1))


@pytest.mark.parametrize("cls", [GaussianSpatialModel, DiskSpatialModel, GeneralizedGaussianSpatialModel])
def test_the_ellipse_by_its_covariance(cls: type) -> None:
    """Regular at a circle, the same shape, and derivatives that are those of the parameters."""
    model = cls(e=0.6, phi="25 deg", **{cls.size: "0.2 deg"})
    entries = model.covariance_entries
    found = model.transform_covariance(EAST, NORTH)
    own = model.transform(EAST, NORTH, (cls.size, "e", "phi"))
    assert_allclose(found.value, own.value, atol=1e-14)
    assert_allclose(
        own.gradient, np.linalg.inv(model.covariance_jacobian()).T @ found.gradient[:3], atol=1e-10
    )
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        up = model.transform_covariance(EAST, NORTH, entries + step)
        down = model.transform_covariance(EAST, NORTH, entries - step)
        assert_allclose(found.gradient[i], (up.value - down.value) / 2e-6, rtol=1e-5, atol=1e-6)
        assert_allclose(found.hessian[i, :3], (up.gradient - down.gradient)[:3] / 2e-6, rtol=1e-5, atol=1e-4)
    model.e.value = 0.0
    circle = model.transform_covariance(EAST, NORTH)
    assert np.all(np.isfinite(circle.hessian))
    assert_allclose(circle.value, model.transform(EAST, NORTH, (), 0).value, atol=1e-14)


@given(
    size=st.floats(0.01, 2),
    e=st.floats(0.001, 0.99),
    phi=st.floats(-89, 89),
)
@settings(max_examples=60, deadline=None)
def test_an_ellipse_comes_back_from_its_covariance(size: float, e: float, phi: float) -> None:
    model = GaussianSpatialModel(sigma=f"{size * 60} arcmin", e=e, phi=f"{phi} deg")
    entries = model.covariance_entries
    other = GaussianSpatialModel(sigma="1 arcmin")
    other.set_covariance(entries)
    assert other.sigma.value == pytest.approx(size * 60, rel=1e-12)
    assert other.e.value == pytest.approx(e, rel=1e-6)
    assert np.sin(2 * np.radians(other.phi.value - phi)) == pytest.approx(0, abs=1e-6 / e**2)
    with pytest.raises(ModelError, match="no ellipse"):
        other.set_covariance(np.array([1.0, 2.0, 1.0]))


def test_closed_forms() -> None:
    rho = np.linspace(0, 3, 40)
    assert_allclose(hankel_profile(rho, 0.5)[:, 0], np.exp(-((np.pi * rho) ** 2)), atol=1e-13)
    assert_allclose(hankel_profile(rho, 1.0)[:, 0], (1 + (2 * np.pi * rho) ** 2) ** -1.5, atol=1e-12)
    # a shell without a hole is a ball, a thin one has the transform sin(x)/x
    ball = ShellSpatialModel(radius="0 deg", width="0.3 deg").transform(EAST, NORTH, (), 0).value
    x = 2 * np.pi * 0.3 * np.hypot(EAST, NORTH)
    assert_allclose(ball, 3 * (np.sin(x) - x * np.cos(x)) / x**3, atol=1e-12)
    thin = ShellSpatialModel(radius="0.3 deg", width="0 deg").transform(EAST, NORTH, ("radius", "width"))
    assert_allclose(thin.value, np.sin(x) / x, atol=1e-4)
    assert np.all(np.isfinite(thin.hessian))
    point = PointSpatialModel().transform(EAST, NORTH)
    assert_allclose(point.value, 1)
    assert point.gradient.shape == (0, EAST.size)


@pytest.mark.parametrize(("tag", "parameters"), SHAPES, ids=IDS)
def test_1_at_frequency_0_and_never_above_the_envelope(tag: str, parameters: dict) -> None:
    model = Model.create(tag, "spatial", **parameters)
    assert model.transform(np.zeros(1), np.zeros(1)).value == pytest.approx(1, abs=1e-9)
    value = np.abs(model.transform(10 * EAST, 10 * NORTH, (), 0).value)
    q = 10 * np.hypot(EAST, NORTH)
    assert np.all(value <= model.envelope(q) * (1 + 1e-9) + 1e-9)
    smaller = model.copy()
    size = "radius" if tag == "shell" else getattr(model, "size", "r_0")
    for name in (size, "width"):
        if name in smaller.shape_parameters:
            smaller.parameters[name].value *= 0.7
    value = np.abs(smaller.transform(10 * EAST, 10 * NORTH, (), 0).value)
    assert np.all(value <= model.envelope(q, shrink=0.7) * (1 + 1e-9) + 1e-9)


def test_only_what_is_asked_for_is_differentiated() -> None:
    model = GaussianSpatialModel()
    assert model.free_shape_parameters == ("sigma",)
    assert model.transform(EAST, NORTH).gradient.shape == (1, EAST.size)
    assert model.transform(EAST, NORTH, order=1).hessian.size == 0
    assert model.transform(EAST, NORTH, ("phi",), order=2).hessian.shape == (1, 1, EAST.size)
    with pytest.raises(ModelError, match="no shape parameter 'lon_0'"):
        model.transform(EAST, NORTH, ("lon_0",))


@given(x=st.floats(0, 300))
@settings(max_examples=100, deadline=None)
def test_bessel_ratios(x: float) -> None:
    from scipy.special import jv

    found = [float(r) for r in bessel_ratios(np.array(x))]
    if x > 0.1:
        assert_allclose(found, [jv(n, x) / x**n for n in (1, 2, 3)], rtol=1e-9, atol=1e-16)
    else:
        assert_allclose(found, [0.5 - x**2 / 16, 0.125 - x**2 / 96, 1 / 48 - x**2 / 768], atol=1e-6)

"""Derivatives of spectral models and of their integrals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gammaflow.modeling import (
    CompoundSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    Parameter,
    PowerLawSpectralModel,
    SpectralModel,
)
from gammaflow.modeling.spectral.integration import (
    bin_nodes,
    expm1_ratio,
    expm1_ratio_slope,
    loglog_trapezoid,
    loglog_trapezoid_gradient,
)
from tests.modeling.catalogue import spectral_cases

CASES = [(name, model) for name, model, _ in spectral_cases()]
IDS = [name for name, _ in CASES]
EDGES = np.geomspace(0.15, 60, 9)


def differences(model: SpectralModel, function: Callable[[], np.ndarray]) -> np.ndarray:
    """Differences of fourth order by each parameter's value."""
    rows = []
    for parameter in model.parameters:
        value = parameter.value
        step = 4e-4 * (abs(value) or 1.0)
        total = 0.0
        for multiple, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
            parameter.value = value + multiple * step
            total = total + weight * function()
        parameter.value = value
        rows.append(total / step)
    return np.array(rows)


def assert_rows_close(rows: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Relative to the largest entry of each row."""
    scale = np.max(np.abs(expected), axis=-1, keepdims=True)
    assert np.all(np.abs(rows - expected) <= tolerance * scale + 1e-300)


@pytest.mark.parametrize(("name", "model"), CASES, ids=IDS)
def test_gradient_of_the_integrals(name: str, model: SpectralModel) -> None:
    integral, gradient = model.integral_and_gradient(EDGES)
    assert gradient.shape == (len(model.parameters), len(EDGES) - 1)
    assert_allclose(integral, model.integral_values(EDGES), rtol=1e-13)
    if len(model.parameters):
        expected = differences(model, lambda: model.integral_values(EDGES))
        # steps across the break of a broken power law see its kink
        assert_rows_close(gradient, expected, 1e-5 if name.startswith("bpl") else 2e-8)


@pytest.mark.parametrize(("name", "model"), CASES, ids=IDS)
def test_gradient_of_the_values(name: str, model: SpectralModel) -> None:
    energy = np.geomspace(0.15, 60, 9)
    values, gradient = model.values_and_gradient(energy)
    assert_allclose(values, model.values(energy), rtol=1e-14)
    if len(model.parameters):
        assert_rows_close(gradient, differences(model, lambda: model.values(energy)), 2e-8)


@pytest.mark.parametrize(("name", "model"), CASES, ids=IDS)
def test_hessian_of_the_integrals(name: str, model: SpectralModel) -> None:
    n = len(model.parameters)
    hessian = model.integral_hessian(EDGES)
    assert hessian.shape == (n, n, len(EDGES) - 1)
    if n and not name.startswith("bpl"):
        expected = differences(model, lambda: model.integral_and_gradient(EDGES)[1])
        size = np.abs(model.parameters.value)
        size = np.where(size > 0, size, 1.0)[:, None, None] * np.where(size > 0, size, 1.0)[None, :, None]
        assert np.all(np.abs(hessian - expected) * size <= 1e-7 * np.abs(model.integral_values(EDGES)).max())
        assert np.any(hessian) or n == 1


def test_nothing_is_special_at_lambda_0() -> None:
    model = ExpCutoffPowerLawSpectralModel(index=2.0, lambda_="0 TeV-1")
    integral, gradient = model.integral_and_gradient(EDGES)
    assert_allclose(integral, PowerLawSpectralModel(index=2.0).integral_values(EDGES), rtol=1e-12)
    # d/dlambda of exp(-lambda E) at 0 is -E
    assert_allclose(gradient[3], -1e-8 * np.diff(np.log(EDGES)), rtol=2e-3)
    assert np.all(np.isfinite(gradient))
    hessian = model.integral_hessian(EDGES)
    assert_allclose(hessian[3, 3], 1e-8 * np.diff(EDGES), rtol=2e-3)


@given(
    index=st.floats(-1, 5),
    cutoff=st.floats(-0.05, 2),
    low=st.floats(0.01, 5),
    width=st.floats(0.01, 2),
)
@settings(max_examples=50, deadline=None)
def test_gradients_hold_anywhere(index: float, cutoff: float, low: float, width: float) -> None:
    model = ExpCutoffPowerLawSpectralModel(index=index, lambda_=f"{cutoff} TeV-1")
    edges = low * 10.0 ** np.array([0, width])
    for name, step in (("index", 1e-3), ("lambda_", 1e-3 / edges[1])):
        parameter = model.parameters[name]
        value = parameter.value
        row = model.parameters.index(name)
        gradient = model.integral_and_gradient(edges)[1][row]
        sides = []
        for sign in (-1, 1):
            parameter.value = value + sign * step
            sides.append(model.integral_values(edges))
        parameter.value = value
        assert_allclose(gradient, (sides[1] - sides[0]) / (2 * step), rtol=1e-4)


@given(x=st.floats(-60, 60))
def test_the_kernel_of_the_trapezoid(x: float) -> None:
    """(e^x - 1)/x and its derivative, also where they would cancel."""
    at = np.array([x])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    s, w = 0.5 * (nodes + 1), 0.5 * weights
    assert_allclose(expm1_ratio(at)[0], w @ np.exp(s * x), rtol=1e-12)
    assert_allclose(expm1_ratio_slope(at)[0], w @ (s * np.exp(s * x)), rtol=1e-12)


def test_nodes_follow_the_widest_bin() -> None:
    nodes = bin_nodes(np.array([0.1, 1.0]), np.array([1.0, 100.0]))
    assert nodes.shape == (2, 200)
    assert bin_nodes(np.array([1.0]), np.array([1.01])).shape == (1, 2)
    assert_allclose(nodes[1][[0, -1]], [1, 100])


def test_segments_with_zeros_and_signs() -> None:
    energy = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    values = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, -3.0], [-2.0, -2.0]])
    assert_allclose(loglog_trapezoid(energy, values), [0, 0, -1, -2])
    integral, gradient = loglog_trapezoid_gradient(energy, values, np.ones((1, 4, 2)))
    assert_allclose(integral, [0, 0, -1, -2])
    assert_allclose(gradient[0], [0, 0, 1, 1])


class Bump(SpectralModel):
    """A user's model, ten lines."""

    tag = ("BumpSpectralModel", "bump")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1")
    centre = Parameter("centre", "3000 GeV")
    width = Parameter("width", 0.5, min=0.1)

    @staticmethod
    def evaluate(energy, amplitude, centre, width):
        return amplitude * np.exp(-0.5 * np.abs(np.log(energy / centre) / width) ** 2)


class AnalyticBump(Bump):
    """The same, differentiated by a complex step."""

    tag = ("AnalyticBumpSpectralModel", "analytic-bump")
    complex_step = True

    @staticmethod
    def evaluate(energy, amplitude, centre, width):
        return amplitude * np.exp(-0.5 * (np.log(energy / centre) / width) ** 2)


def parabola_of(bump: SpectralModel) -> LogParabolaSpectralModel:
    """A bump is a log parabola: A exp(-x^2 / 2 w^2), x = ln(E/c)."""
    return LogParabolaSpectralModel(
        amplitude=bump.amplitude.quantity,
        reference=bump.centre.quantity,
        alpha=0,
        beta=0.5 / bump.width.value**2,
    )


@pytest.mark.parametrize(("cls", "tolerance"), [(Bump, 1e-8), (AnalyticBump, 1e-12)])
@pytest.mark.parametrize("width", [0.5, 0.1])
def test_a_users_model_has_integrals_and_derivatives(cls: type, tolerance: float, width: float) -> None:
    model = cls(width=width, amplitude="3e-12 cm-2 s-1 TeV-1")
    exact = parabola_of(model)
    integral, gradient = model.integral_and_gradient(EDGES)
    expected, wanted = exact.integral_and_gradient(EDGES)
    assert_allclose(integral, expected, rtol=1e-12)
    # rows of the parabola: amplitude, reference, alpha, beta; beta = 1 / (2 w^2)
    rows = np.array([wanted[0], wanted[1], -wanted[3] / width**3])
    assert_rows_close(gradient, rows, tolerance)
    hessian = model.integral_hessian(EDGES)
    curved = exact.integral_hessian(EDGES)
    expected_ww = curved[3, 3] / width**6 + 3 * wanted[3] / width**4
    assert np.all(np.abs(hessian[2, 2] - expected_ww) <= 1e-4 * np.abs(expected_ww).max())
    assert_allclose(hessian, hessian.swapaxes(0, 1))


def test_a_users_model_in_a_product() -> None:
    product = Bump() * PowerLawSpectralModel.create("pl-norm", "spectral", tilt=0.4)
    assert isinstance(product, CompoundSpectralModel)
    gradient = product.integral_and_gradient(EDGES)[1]
    assert_rows_close(gradient, differences(product, lambda: product.integral_values(EDGES)), 1e-8)


def test_frozen_and_linked_parameters_keep_their_rows() -> None:
    first, second = PowerLawSpectralModel(), PowerLawSpectralModel(amplitude="2e-12 cm-2 s-1 TeV-1")
    second.index = first.index
    total = first + second
    gradient = total.integral_and_gradient(EDGES)[1]
    assert gradient.shape[0] == 6
    assert len(total.parameters.unique_parameters) == 5
    assert_allclose(gradient[3], 2 * gradient[0], rtol=1e-13)

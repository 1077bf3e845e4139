"""Values and integrals of spectral models: Gammapy's, and closed forms."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.modeling import (
    ConstantSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    PowerLaw2SpectralModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    ScaleSpectralModel,
    SmoothBrokenPowerLawSpectralModel,
    SpectralModel,
    TemplateSpectralModel,
)
from tests.modeling.catalogue import reference, spectral_cases

CASES = spectral_cases()
IDS = [name for name, _, _ in CASES]


@pytest.mark.parametrize(("name", "model", "numbers"), CASES, ids=IDS)
def test_values_and_integrals_are_gammapys(name: str, model: SpectralModel, numbers: dict) -> None:
    unit = u.Unit("") if model.is_norm_spectral_model else u.Unit("cm-2 s-1 TeV-1")
    energy = reference()["energy"] * u.TeV
    assert_allclose(model(energy).to_value(unit), numbers["values"], rtol=1e-13)
    for binning, edges in reference()["edges"].items():
        low, high = edges[:-1] * u.TeV, edges[1:] * u.TeV
        assert_allclose(
            model.integral(low, high).to_value(unit * u.TeV), numbers[f"integral_{binning}"], rtol=2e-12
        )
        assert_allclose(
            model.energy_flux(low, high).to_value(unit * u.TeV**2),
            numbers[f"energy_flux_{binning}"],
            rtol=2e-12,
        )


@pytest.mark.parametrize(("name", "model", "numbers"), CASES, ids=IDS)
def test_the_inner_integral_is_the_public_one(name: str, model: SpectralModel, numbers: dict) -> None:
    edges = np.geomspace(0.2, 30, 8)
    unit = model.unit * u.TeV
    public = model.integral(edges[:-1] * u.TeV, edges[1:] * u.TeV).to_value(unit)
    assert_allclose(model.integral_values(edges), public, rtol=1e-13)
    assert_allclose(model.integral_and_gradient(edges)[0], public, rtol=1e-13)


def test_units_inside_are_per_m2() -> None:
    model = PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1")
    assert_allclose(model.values(np.array([1.0])), 1e-8)
    in_gev = PowerLawSpectralModel(amplitude="1e-15 cm-2 s-1 GeV-1", reference="1000 GeV")
    assert_allclose(in_gev.values(np.array([0.3, 7.0])), model.values(np.array([0.3, 7.0])), rtol=1e-14)
    assert in_gev(500 * u.GeV).unit == u.Unit("cm-2 s-1 TeV-1")


@pytest.mark.parametrize("index", [0.0, 1.0 - 1e-12, 1.0, 1.0 + 1e-7, 2.3])
def test_a_power_law_is_integrated_in_closed_form(index: float) -> None:
    model = PowerLawSpectralModel(index=index, amplitude="1e-12 cm-2 s-1 TeV-1")
    value = model.integral(0.5 * u.TeV, 20 * u.TeV).to_value("cm-2 s-1")
    exponent = 1 - index
    expected = np.log(40) if abs(exponent) < 1e-9 else (20**exponent - 0.5**exponent) / exponent
    assert value == pytest.approx(1e-12 * expected, rel=3e-9 if 0 < abs(exponent) < 1e-6 else 1e-14)


def test_power_law_2_has_its_amplitude_as_flux() -> None:
    for index in (1.0, 1.3, 2.6):
        model = PowerLaw2SpectralModel(amplitude="4e-11 cm-2 s-1", index=index, emin="0.3 TeV", emax="50 TeV")
        assert model.integral(0.3 * u.TeV, 50 * u.TeV).to_value("cm-2 s-1") == pytest.approx(4e-11, rel=1e-13)


@pytest.mark.parametrize("amplitude", ["-2e-12 cm-2 s-1 TeV-1", "0 cm-2 s-1 TeV-1"])
def test_amplitudes_may_be_negative_or_zero(amplitude: str) -> None:
    kwargs = {"index": 1.7, "lambda_": "0.1 TeV-1"}
    model = ExpCutoffPowerLawSpectralModel(amplitude=amplitude, **kwargs)
    positive = ExpCutoffPowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1", **kwargs)
    edges = np.geomspace(0.1, 50, 9)
    factor = u.Quantity(amplitude).value / 1e-12
    assert_allclose(model.integral_values(edges), factor * positive.integral_values(edges), rtol=1e-13)
    # the derivative by an amplitude is the integral at amplitude 1, whatever the amplitude
    assert_allclose(
        model.integral_and_gradient(edges)[1][1],
        0 if factor == 0 else positive.integral_and_gradient(edges)[1][1],
        rtol=1e-13,
    )


def test_a_sum_that_changes_its_sign_is_a_trapezoid_there() -> None:
    difference = PowerLawSpectralModel(index=1) - PowerLawSpectralModel(index=3)
    value = difference.integral(0.5 * u.TeV, 2 * u.TeV).to_value("cm-2 s-1")
    assert value == pytest.approx(1e-12 * (np.log(4) - 0.5 * (4 - 0.25)), rel=2e-3)


def test_equal_indices_of_a_smooth_break_are_a_power_law() -> None:
    model = SmoothBrokenPowerLawSpectralModel(index1=2, index2=2)
    ratio = model.values(np.array([10.0])) / model.values(np.array([1.0]))
    assert_allclose(ratio, 1e-2, rtol=1e-12)


def test_arithmetic_with_numbers_and_norms() -> None:
    power_law = PowerLawSpectralModel()
    twice = power_law * 2
    assert twice(3 * u.TeV).value == pytest.approx(2 * power_law(3 * u.TeV).value)
    assert (power_law * PowerLawNormSpectralModel(norm=3) / 3)(3 * u.TeV).value == pytest.approx(
        power_law(3 * u.TeV).value
    )
    assert ScaleSpectralModel(power_law, 4)(3 * u.TeV).value == pytest.approx(4 * power_law(3 * u.TeV).value)
    assert (PowerLawNormSpectralModel() * PowerLawNormSpectralModel()).is_norm_spectral_model
    assert not twice.is_norm_spectral_model
    with pytest.raises(ModelError, match="Add fluxes to fluxes"):
        power_law + PowerLawNormSpectralModel()


def test_a_constant_has_the_unit_it_is_given() -> None:
    assert ConstantSpectralModel(const=0.3).is_norm_spectral_model
    assert ConstantSpectralModel(const="2e-9 cm-2 s-1 GeV-1")(1 * u.TeV).to_value(
        "cm-2 s-1 TeV-1"
    ) == pytest.approx(2e-6)


@pytest.mark.parametrize(
    ("energy", "values", "message"),
    [
        ([1, 3, 2], [1, 1, 1], "rising"),
        ([0, 1, 2], [1, 1, 1], "positive"),
        ([1, 2, 3], [1, -1, 1], "negative"),
        ([1, 2, 3], [1, np.nan, 1], "not finite"),
        ([1, 2, 3], [1, 1], "shape"),
    ],
)
def test_a_wrong_table_is_refused(energy: list, values: list, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TemplateSpectralModel(energy * u.TeV, values)


@pytest.mark.parametrize("bounds", [(2, 1), (0, 1), (1, 1)])
def test_an_empty_energy_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ModelError, match="energy range"):
        PowerLawSpectralModel().integral(bounds[0] * u.TeV, bounds[1] * u.TeV)


def test_energies_need_their_unit() -> None:
    with pytest.raises(ModelError, match="no energy"):
        PowerLawSpectralModel()(3 * u.m)


def test_local_index_and_error_band() -> None:
    model = PowerLawSpectralModel(index=2.4)
    assert_allclose(model.spectral_index([1, 5] * u.TeV), 2.4, rtol=1e-4)
    model.covariance = np.diag([0.1, 2e-13, 0]) ** 2
    value, error = model.evaluate_error(1 * u.TeV)
    # at the reference energy only the amplitude counts
    assert value.value == pytest.approx(1e-12)
    assert error.value == pytest.approx(2e-13)
    _, error = model.evaluate_error(np.e * u.TeV)
    assert (error / model(np.e * u.TeV)).value == pytest.approx(np.hypot(0.1, 0.2))

"""Parameters: values, units, limits, links."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gammaflow.errors import ConfigError, ModelError
from gammaflow.modeling import GaussianPrior, Parameter, Parameters, PowerLawSpectralModel, UniformPrior
from gammaflow.modeling.units import internal_factor, internal_unit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": np.nan}, "value is nan"),
        ({"value": np.inf}, "value is inf"),
        ({"value": "three TeV"}, "no number with a unit"),
        ({"value": 3, "unit": "TeVs"}, "no number with a unit"),
        ({"value": None}, "no number"),
        ({"value": 5, "max": 3}, r"value 5  is outside its limits \[-inf, 3\]"),
        ({"value": 5, "min": 6, "max": 3}, "above the upper limit"),
        ({"value": "5 TeV", "min": "3 m"}, "limit or error in m"),
        ({"value": 5, "frozen": "yes"}, "frozen is 'yes'"),
        ({"value": 5, "prior": 3}, "is no prior"),
    ],
)
def test_what_means_nothing_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        Parameter("index", **arguments)
    assert isinstance(caught.value, ConfigError)
    assert "index" in str(caught.value)


def test_value_unit_and_quantity() -> None:
    energy = Parameter("energy", "300 GeV", min="0.1 TeV", error="10 GeV")
    assert (energy.value, energy.unit) == (300, u.GeV)
    assert_allclose([energy.min, energy.error], [100, 10])
    energy.quantity = "0.4 TeV"
    assert (energy.value, energy.unit) == (0.4, u.TeV)
    # limits and error follow the unit
    assert_allclose([energy.min, energy.error], [0.1, 0.01])
    with pytest.raises(ModelError, match="unit m where one like TeV"):
        energy.quantity = 3 * u.m
    with pytest.raises(ModelError, match=r"Assign it to \.quantity"):
        energy.value = 3 * u.TeV
    with pytest.raises(ModelError, match="outside its limits"):
        energy.value = 0.05
    assert energy.value == 0.4


def test_limits() -> None:
    parameter = Parameter("index", 2)
    assert parameter.bounds == (-np.inf, np.inf)
    assert np.isnan(parameter.min)
    parameter.set_lim(1, 3)
    assert parameter.bounds == (1, 3)
    parameter.max = None
    assert np.isnan(parameter.max)
    # limits may be set before the value, what does not fit is found by check()
    parameter.min = 2.5
    with pytest.raises(ModelError, match="outside its limits"):
        parameter.check()
    parameter.min = 0
    parameter.prior = UniformPrior(min=1, max=4)
    assert parameter.bounds == (1, 4)


@pytest.mark.parametrize(
    ("unit", "expected", "factor"),
    [
        ("cm-2 s-1 TeV-1", "m-2 s-1 TeV-1", 1e4),
        ("erg cm-2 s-1", "TeV m-2 s-1", 1e4 * u.erg.to("TeV")),
        ("MeV-1", "TeV-1", 1e6),
        ("arcmin", "deg", 1 / 60),
        ("sr-1", "sr-1", 1.0),
        ("d", "s", 86400.0),
        ("rad / d", "deg / s", np.degrees(1) / 86400),
        ("", "", 1.0),
    ],
)
def test_units_inside(unit: str, expected: str, factor: float) -> None:
    assert internal_unit(u.Unit(unit)).is_equivalent(u.Unit(expected))
    assert internal_unit(u.Unit(unit)).to(u.Unit(expected)) == pytest.approx(1)
    assert internal_factor(u.Unit(unit)) == pytest.approx(factor, rel=1e-14)


@given(value=st.floats(1e-30, 1e30), sign=st.sampled_from([-1, 1]))
def test_autoscale_brings_the_factor_between_1_and_10(value: float, sign: int) -> None:
    parameter = Parameter("norm", sign * value)
    parameter.autoscale()
    assert 1 - 1e-9 <= abs(parameter.factor) < 10 + 1e-9
    parameter.factor = 2 * parameter.factor
    assert parameter.value == pytest.approx(2 * sign * value)


def test_scans() -> None:
    parameter = Parameter("norm", 4, error=0.5, scan_n_values=5)
    assert_allclose(parameter.scan_values, [3, 3.5, 4, 4.5, 5])
    parameter.scan_min, parameter.scan_max, parameter.interp = 1, 16, "log"
    assert_allclose(parameter.scan_values, [1, 2, 4, 8, 16])
    parameter.interp = "sqrt"
    assert_allclose(parameter.scan_values, np.linspace(1, 4, 5) ** 2)
    parameter.scan_values = [1, 7]
    assert_allclose(parameter.scan_values, [1, 7])


def test_a_sequence_of_parameters() -> None:
    a, b = Parameter("a", 1), Parameter("b", 2, frozen=True)
    both = Parameters([a, b, a])
    assert both["b"] is b
    assert both[2] is a
    assert list(both[:2]) == [a, b]
    assert list(both[np.array([False, True, False])]) == [b]
    assert both.index(b) == 1
    assert "a" in both
    assert "c" not in both
    assert both.names == ["a", "b", "a"]
    assert_allclose(both.value, [1, 2, 1])
    assert list(both.unique_parameters) == [a, b]
    assert list(both.free_unique_parameters) == [a]
    assert list(both.linked) == [a]
    assert list(both.select(frozen=True)) == [b]
    with pytest.raises(ModelError, match="no parameter 'c'"):
        both["c"]
    with both.restore_status():
        a.value = 7
        both.freeze_all()
    assert (a.value, a.frozen) == (1, False)
    table = both.to_table()
    assert list(table["link"]) == ["a@1", "", "a@1"]
    a.prior = GaussianPrior(mu=0, sigma=1)
    # a linked parameter's prior counts once
    assert both.prior_stat_sum() == pytest.approx(1 + np.log(2 * np.pi))


def test_models_copy_and_link_their_parameters() -> None:
    first, second = PowerLawSpectralModel(index=2.5), PowerLawSpectralModel()
    assert second.index.value == 2
    assert PowerLawSpectralModel.index.value == 2
    second.index = first.index
    first.index.value = 3
    assert second.index.value == 3
    copy = second.copy()
    copy.index.value = 1
    assert second.index.value == 3
    back = pickle.loads(pickle.dumps(first))
    assert back.index.value == 3
    assert PowerLawSpectralModel(index=first.index).index is first.index


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: PowerLawSpectralModel(indx=2), "unknown parameter 'indx', did you mean 'index'"),
        (lambda: PowerLawSpectralModel(amplitude=1e-12), "unit dimensionless where one like"),
        (lambda: PowerLawSpectralModel(reference="1 m"), "parameter 'reference'"),
        (lambda: PowerLawSpectralModel(index=Parameter("index", "1 TeV")), "given for 'index'"),
        (lambda: setattr(PowerLawSpectralModel(), "index", 3), r"Set \.index\.value"),
        (lambda: PowerLawSpectralModel().indexx, "has no attribute 'indexx', did you mean 'index'"),
    ],
)
def test_mistakes_with_models_are_explained(action, message: str) -> None:
    with pytest.raises((ModelError, AttributeError), match=message):
        action()
